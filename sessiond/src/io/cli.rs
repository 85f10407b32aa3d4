//! The command line of `sessiond`, which is also `groupmgr sessiond`: the spawner, and what a program inside a session
//! can ask of it.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use super::spawner::{self, Options};

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
    let done = match arguments.command {
        Command::Spawner { run_dir, keep, daemon_uid, inherited, open_files } => {
            spawner::run(&Options { run_dir, keep, daemon: daemon_uid, inherited, open_files })
        }
        Command::Events => print_events(),
    };
    match done {
        Ok(()) => 0,
        Err(reason) => {
            eprintln!("sessiond: {reason}");
            1
        }
    }
}

fn print_events() -> Result<(), String> {
    let path = std::env::var_os("HOTDESK_EVENTS")
        .ok_or("HOTDESK_EVENTS is not set: this works inside a session of Hotdesk only")?;
    let told = |error: io::Error| format!("{}: {error}", Path::new(&path).display());
    let stream = UnixStream::connect(&path).map_err(told)?;
    let mut out = io::stdout().lock();
    // Line by line and not by io::copy: that may splice, and a splice that waits for the next event holds the pipe
    // behind the standard output, so that nobody can read from it what was said before.
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(told)?;
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            said => said.map_err(|error| format!("cannot print: {error}"))?,
        }
    }
    Ok(())
}
