//! `keygen` and `run`.

use std::path::Path;

use proto::HostName;
use proto::exit::Exit;
use proto::io::KeyDir;
use proto::io::cli::{Failure, print};
use serde_json::json;

use super::args::{At, RunArgs};
use super::show::print_json;
use crate::host::guests::GuestLimits;
use crate::io::daemon::{Options, RunError};
use crate::io::dirs::DirError;
use crate::io::net::NetOptions;
use crate::io::{dirs, logging, memory};

pub(super) fn keygen(dir: &Path, json: bool) -> Result<Exit, Failure> {
    let keys = KeyDir::generate(dir)?;
    let (dir, key, ca) = (dir.display().to_string(), keys.ring.signing(), keys.fingerprint());
    if json {
        print_json(&json!({"dir": dir, "key": key, "ca": ca.to_string()}))?;
    } else {
        print(format!(
            "{dir}: key {key}\nca fingerprint {ca}\nCopy the directory to every host of the group; a DTU needs {dir}/ca.pem or the fingerprint only.\n"
        ))?;
    }
    Ok(Exit::Done)
}

pub(super) fn run(args: RunArgs, at: &At) -> Result<Exit, Failure> {
    memory::share_heap();
    let _log = logging::start(args.log_json);
    let options = Options {
        keys: args.keys,
        name: args.name.or_else(|| at.host.clone()).map_or_else(machine_name, Ok)?,
        net: NetOptions { bind: args.bind, multicast: args.multicast, port: proto::PORT },
        store: args.store,
        run_dir: at.run_dir.clone().unwrap_or_else(dirs::run_base),
        state_dir: args.state_dir.unwrap_or_else(dirs::state_base),
        allows_plain: args.plain,
        keeps_sessions: args.keep_sessions,
        rack: args.rack,
        site: args.site,
        pair: args.pair,
        per_address: args.per_address,
        sessions_max: args.sessions_max,
        guests: GuestLimits {
            sessions: args.guests,
            left: args.guests_left,
            idle: proto::time::Duration::from_secs(u64::from(args.guest_idle) * 60),
        },
        account: args.account,
        on_start: args.on_start,
        on_stop: args.on_stop,
    };
    crate::io::daemon::run(&options).map_err(|error| match error {
        RunError::Keys(error) => Failure::usage(error),
        RunError::Accounts(error) => Failure::usage(error),
        RunError::Dir(DirError::Running { .. }) => Failure::no(error),
        RunError::Dir(_)
        | RunError::Net(_)
        | RunError::Admin { .. }
        | RunError::Timer(_)
        | RunError::Threads(_) => Failure::machine(error),
        other => Failure::no(other),
    })?;
    Ok(Exit::Done)
}

/// The machine's name up to its first dot.
fn machine_name() -> Result<HostName, Failure> {
    let remedy = "give this host a name with --name";
    let name = nix::unistd::gethostname()
        .map_err(|error| Failure::usage(format!("the machine has no name: {error}; {remedy}")))?;
    let name = name.to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    name.parse()
        .map_err(|error| Failure::usage(format!("the machine's name cannot be used: {error}; {remedy}")))
}
