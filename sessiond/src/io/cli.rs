//! The command line of `sessiond`, which is also `groupmgr sessiond`: the spawner, and what a program inside a session
//! can ask of it.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use proto::exit::Exit;
use proto::io::cli::{Failure, print};

use super::spawner::{self, Options};
use super::state_cli::{self, StateCommand};

/// Makes and keeps session processes. The daemon starts it; by hand it is only started to run as root.
#[derive(Debug, Parser)]
#[command(name = "sessiond", version, after_help = proto::exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Wait for a daemon and make session processes for it.
    Spawner {
        /// Directory for its socket and its sessions; made if it does not exist.
        #[arg(long, value_name = "DIR")]
        run_dir: PathBuf,
        /// Let sessions outlive the daemon.
        #[arg(long)]
        keep: bool,
        /// Numeric id of the account whose daemon may connect; its own if left out.
        #[arg(long, value_name = "UID")]
        daemon_uid: Option<u32>,
        /// The standard input is the daemon's socket.
        #[arg(long, hide = true)]
        inherited: bool,
        /// Open files of the programs of sessions [default: as many as the spawner was started with]
        #[arg(long, value_name = "SOFT:HARD")]
        open_files: Option<super::limits::OpenFiles>,
    },
    /// Inside a session: print where it is shown, now and at every change, until it ends
    ///
    /// One line each: connect dtu=SERIAL, disconnect, end.
    Events,
    /// Inside a session: keep what another host needs to go on with a program of this service
    #[command(subcommand)]
    State(StateCommand),
}

/// Runs the command line `args`, the program's name first, and says how to exit.
///
/// To be called before any thread is started: the spawner forks.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    proto::io::cli::run(args, |arguments: Arguments| {
        match arguments.command {
            Command::Spawner { run_dir, keep, daemon_uid, inherited, open_files } => {
                let options = Options { run_dir, keep, daemon: daemon_uid, inherited, open_files };
                spawner::run(&options).map_err(Failure::no)
            }
            Command::Events => print_events(),
            Command::State(command) => state_cli::run(command),
        }?;
        Ok(Exit::Done)
    })
}

fn print_events() -> Result<(), Failure> {
    let path = std::env::var_os("HOTDESK_EVENTS").ok_or_else(|| {
        Failure::no("HOTDESK_EVENTS is not set: this works inside a session of Hotdesk only")
    })?;
    let told = |error: io::Error| Failure::no(format!("{}: {error}", Path::new(&path).display()));
    let stream = UnixStream::connect(&path).map_err(told)?;
    // Line by line and not by io::copy: that may splice, and a splice that waits for the next event holds the pipe
    // behind the standard output, so that nobody can read from it what was said before.
    BufReader::new(stream).lines().try_for_each(|line| print(line.map_err(told)? + "\n"))
}
