//! The command line of the spawner: `sessiond spawner ...`, which is also `groupmgr sessiond spawner ...`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::spawner::{self, Options};

/// Makes and keeps session processes. The daemon starts it; by hand it is only started to run as root.
#[derive(Debug, Parser)]
#[command(name = "sessiond", version)]
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
    },
}

/// Runs the command line `args`, the program's name first, and returns the status to exit with.
///
/// To be called before any thread is started: the spawner forks.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return error.exit_code();
        }
    };
    let Command::Spawner { run_dir, keep, daemon_uid, inherited } = arguments.command;
    match spawner::run(&Options { run_dir, keep, daemon: daemon_uid, inherited }) {
        Ok(()) => 0,
        Err(reason) => {
            eprintln!("sessiond: {reason}");
            1
        }
    }
}
