//! `service list | start | stop`.

use std::process::ExitCode;

use serde_json::json;

use super::args::{At, ServiceCommand};
use super::ask::Daemon;
use super::session::do_to;
use super::{CliError, say, say_json, show};
use crate::host::admin::{Reply, ServiceStart, SessionAct};

pub(super) fn run(at: &At, command: ServiceCommand) -> Result<ExitCode, CliError> {
    let mut daemon = Daemon::connect(at)?;
    let (session, act) = match command {
        ServiceCommand::List { session } => (session, SessionAct::Services),
        ServiceCommand::Start { session, service, background, command } => {
            (session, SessionAct::Start(ServiceStart { service, command, display: !background }))
        }
        ServiceCommand::Stop { session, service } => (session, SessionAct::Stop(service)),
    };
    let (session, done) = do_to(&mut daemon, &session, act)?;
    for (_, reply) in &done.replies {
        match reply {
            Reply::Services(services) if at.json => {
                say_json(&json!({"session": session.session, "host": session.host, "services": services}))?;
            }
            Reply::Services(services) => say(&show::services(services))?,
            _ if at.json => {
                say_json(&json!({"session": session.session, "host": session.host, "done": true}))?;
            }
            _ => {}
        }
    }
    Ok(done.conclude())
}
