//! `service list | start | stop`.

use proto::ServiceName;
use proto::exit::Exit;
use proto::io::cli::{Failure, print};
use serde_json::json;

use super::args::{At, ServiceCommand};
use super::ask::Daemon;
use super::session::do_to;
use super::show::{self, print_json};
use crate::host::admin::{Command, Reply, ServiceStart, ServiceView, SessionAct, SessionView};
use crate::io::admin::wire::Target;

pub(super) fn run(at: &At, command: ServiceCommand) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(at)?;
    match command {
        ServiceCommand::List { session } => list(at, &mut daemon, &session),
        ServiceCommand::Start { session, service, background, no_wait, command } => {
            let start = ServiceStart { service: service.clone(), command, display: !background };
            change(at, &mut daemon, &session, (SessionAct::Start(start), service, !no_wait))
        }
        ServiceCommand::Stop { session, service, no_wait } => {
            change(at, &mut daemon, &session, (SessionAct::Stop(service.clone()), service, !no_wait))
        }
    }
}

fn list(at: &At, daemon: &mut Daemon, session: &str) -> Result<Exit, Failure> {
    let (session, done) = do_to(daemon, session, SessionAct::Services)?;
    for (_, reply) in &done.replies {
        match reply {
            Reply::Services(services) if at.json => {
                print_json(&json!({"session": session.session, "host": session.host, "services": services}))?;
            }
            Reply::Services(services) => print(show::services(services))?,
            _ => {}
        }
    }
    Ok(done.conclude())
}

/// Starts or stops a service and, if `waits`, tells what came of it.
fn change(
    at: &At,
    daemon: &mut Daemon,
    session: &str,
    (act, service, waits): (SessionAct, ServiceName, bool),
) -> Result<Exit, Failure> {
    let starts = matches!(act, SessionAct::Start(_));
    let (session, done) = do_to(daemon, session, act)?;
    let accepted = done.replies.iter().any(|(_, reply)| matches!(reply, Reply::Done));
    if !accepted || !waits {
        if at.json {
            let done = if waits { json!(false) } else { json!(accepted) };
            print_json(&json!({"session": session.session, "host": session.host, "done": done}))?;
        }
        return Ok(done.conclude());
    }
    let outcome = Command::Session { session: session.session, act: SessionAct::Outcome(service) };
    let outcome = daemon.command(Target::Host(session.host.clone()), outcome)?;
    for (_, reply) in &outcome.replies {
        if let Reply::Services(views) = reply
            && let [view] = &views[..]
        {
            return report(at, &session, view, starts);
        }
    }
    Ok(outcome.conclude())
}

/// Done is a service that was started and runs or has ended well, and one that was stopped and has ended.
fn report(at: &At, session: &SessionView, view: &ServiceView, starts: bool) -> Result<Exit, Failure> {
    let runs = view.pid.is_some() && view.state == "running";
    let ended = view.state.starts_with("exited") || view.state.starts_with("ended");
    let failed = view.state.starts_with("failed");
    let done = if starts {
        runs || view.state == "exited with status 0"
    } else {
        ended || failed || view.state == "idle"
    };
    if at.json {
        let (id, host) = (session.session, &session.host);
        print_json(&json!({"session": id, "host": host, "done": done, "service": view}))?;
    } else if done {
        let process = view.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        print(format!("service {} on {}: {}{process}\n", view.service, session.host, view.state))?;
    }
    if done {
        return Ok(Exit::Done);
    }
    Err(Failure::no(format!("service {} on {}: {}", view.service, session.host, view.state)))
}
