//! `keygen` and `run`.

use std::path::Path;
use std::process::ExitCode;

use proto::HostName;
use proto::io::KeyDir;
use serde_json::json;

use super::args::{At, RunArgs};
use super::{CliError, say, say_json};
use crate::host::guests::GuestLimits;
use crate::io::daemon::{Options, RunError};
use crate::io::dirs::DirError;
use crate::io::net::NetOptions;
use crate::io::{dirs, logging};

pub(super) fn keygen(dir: &Path, json: bool) -> Result<ExitCode, CliError> {
    let keys = KeyDir::generate(dir).map_err(|error| CliError::Usage(error.to_string()))?;
    let (dir, key, ca) = (dir.display().to_string(), keys.ring.signing(), keys.fingerprint());
    if json {
        say_json(&json!({"dir": dir, "key": key, "ca": ca.to_string()}))?;
    } else {
        say(&format!(
            "{dir}: key {key}\nca fingerprint {ca}\nCopy the directory to every host of the group; a DTU needs {dir}/ca.pem or the fingerprint only.\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn run(args: RunArgs, at: &At) -> Result<ExitCode, CliError> {
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
        per_address: args.per_address,
        sessions_max: args.sessions_max,
        guests: GuestLimits {
            sessions: args.guests,
            left: args.guests_left,
            idle: proto::time::Duration::from_secs(u64::from(args.guest_idle) * 60),
        },
        account: args.account,
    };
    crate::io::daemon::run(&options).map_err(|error| match error {
        RunError::Keys(error) => CliError::Usage(error.to_string()),
        RunError::Accounts(error) => CliError::Usage(error.to_string()),
        RunError::Dir(DirError::Running { .. }) => CliError::No(error.to_string()),
        RunError::Dir(_) | RunError::Net(_) | RunError::Admin { .. } | RunError::Threads(_) => {
            CliError::Machine(error.to_string())
        }
        other => CliError::No(other.to_string()),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The machine's name up to its first dot.
fn machine_name() -> Result<HostName, CliError> {
    let remedy = "give this host a name with --name";
    let name = nix::unistd::gethostname()
        .map_err(|error| CliError::Usage(format!("the machine has no name: {error}; {remedy}")))?;
    let name = name.to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    name.parse()
        .map_err(|error| CliError::Usage(format!("the machine's name cannot be used: {error}; {remedy}")))
}
