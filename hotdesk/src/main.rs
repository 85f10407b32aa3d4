//! The one binary: every program of the system, called by its name as the first word or by a link with its name, and
//! the lab.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use groupmgr::io::cli::applets::{APPLETS, Main, find};
use lab::LabArgs;
use proto::exit::Exit;

/// The programs that only this binary has beside [`APPLETS`].
const MORE: [(&str, Main); 2] = [("groupmgr", groupmgr::io::cli::main), ("dtu-emu", dtu_emu::io::cli::run)];

/// Hotdesk: a session broker for thin clients.
///
/// The programs authmgr, datastore, dtu-emu, groupmgr and sessiond are part of this file: `hotdesk groupmgr status`, or
/// `groupmgr status` by way of a link with that name.
#[derive(Debug, Parser)]
#[command(name = "hotdesk", version, after_help = proto::exit::HELP, disable_help_subcommand = true)]
enum Cli {
    /// Try a whole group on this machine
    Lab(LabArgs),
}

/// Must not start threads before a program is called: the lab moves the process into namespaces, and the spawner forks.
fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some((main, args)) = find(&MORE, &args).or_else(|| find(&APPLETS, &args)) {
        return main(args);
    }
    let Cli::Lab(args) = Cli::parse_from(args);
    let binary = std::env::current_exe()
        .map_err(|e| format!("this program's own file cannot be found: {e}; start it by its path"));
    let done = binary.and_then(|binary| lab::run(&args, binary).map_err(|error| error.to_string()));
    done.unwrap_or_else(|error| {
        eprintln!("hotdesk: {error}");
        Exit::Machine.code().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
