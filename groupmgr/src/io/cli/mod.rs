//! The command line of the group: `groupmgr`, and by way of it the programs that a host needs beside it.
//!
//! The exit codes are those of [`proto::exit`]. Every error is one line on the standard error: what, where, and what would help.

pub mod applets;
mod args;
mod ask;
mod doctor;
mod group;
mod key;
mod run;
mod secondary;
mod service;
mod session;
mod show;
mod table;
mod template;

use std::ffi::OsString;
use std::process::ExitCode;

use proto::exit::Exit;
use proto::io::cli::{Failure, print_completions};

use self::args::{Cli, Command};

/// Runs the program on its command line, whose first word is its name. Must be called while the process has one
/// thread: some commands start a runtime, some move the process into namespaces, and the spawner forks.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some((main, args)) = applets::find(&applets::APPLETS, &args) {
        return main(args);
    }
    proto::io::cli::run(args, dispatch)
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let at = cli.at;
    match cli.command {
        Command::Keygen { dir } => run::keygen(&dir, at.json),
        Command::Key(command) => key::run(&at, command),
        Command::Run(args) => run::run(*args, &at),
        Command::Stop(on) => group::stop(&at, on),
        Command::Topology { seed_format, on } => group::topology(&at, on, seed_format),
        Command::Status { watch, on } => group::status(&at, on, watch),
        Command::Explain { token } => group::explain(&at, &token),
        Command::Doctor { keys } => doctor::run(&at, keys.as_deref()),
        Command::Session(command) => session::run(&at, command),
        Command::Secondary(command) => secondary::run(&at, command),
        Command::Service(command) => service::run(&at, command),
        Command::Dtu(command) => group::dtu(&at, command),
        Command::Drain { wait, on } => group::drain(&at, on, true, wait),
        Command::Undrain { on } => group::drain(&at, on, false, false),
        Command::Forget { gone } => group::forget(&at, gone),
        Command::Template(command) => template::run(&at, command),
        Command::Completions { shell } => print_completions::<Cli>(shell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_for_the_daemon_asked_may_stand_before_and_behind_the_command() {
        for words in [
            vec!["groupmgr", "--json", "--host", "a", "topology"],
            vec!["groupmgr", "topology", "--json", "--host", "a"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert!(cli.at.json && cli.at.host.is_some());
        }
    }
}
