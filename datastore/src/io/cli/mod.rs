//! The command line: `datastore serve | get | put | ls | rm | status | backup | restore`.
//! The exit codes are those of [`proto::exit`].

mod access;
mod serve;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use proto::exit::Exit;
use proto::io::cli::{Failure, KEYS};

use super::backup::BackupFileError;
use crate::error::StoreError;
use crate::key::{Key, Prefix};

/// The shared permanent-data store of a Hotdesk group.
///
/// Inside a session, get, put, ls and rm work on the user's own data and need no options.
#[derive(Debug, Parser)]
#[command(name = "datastore", version, after_help = proto::exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the data store on this machine
    Serve(Serve),
    /// Print the value of a key
    Get {
        /// The key whose value is printed
        key: Key,
        #[command(flatten)]
        at: At,
    },
    /// Store a value under a key; done when it is safe on disk
    Put {
        /// Under which key
        key: Key,
        /// What; - reads it from standard input
        value: OsString,
        #[command(flatten)]
        at: At,
    },
    /// List keys and their values
    Ls {
        /// Only those that begin with this
        #[arg(default_value = "")]
        prefix: Prefix,
        #[command(flatten)]
        at: At,
    },
    /// Delete a key
    Rm {
        /// The key to delete
        key: Key,
        #[command(flatten)]
        at: At,
    },
    /// Show what the data store has counted
    Status {
        #[command(flatten)]
        at: At,
    },
    /// Write everything to a file, as of one moment, while the data store is in use
    Backup {
        /// Which file; replaced when the backup is complete
        file: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Fill a data store's directory from a backup; the data store must be stopped
    Restore {
        /// The file that backup wrote
        file: PathBuf,
        /// The data store's directory
        #[arg(long, default_value = DIR)]
        dir: PathBuf,
        /// Replace the data store that is in the directory (its data is kept beside the new)
        #[arg(long)]
        force: bool,
        /// Print one JSON document instead of text
        #[arg(long)]
        json: bool,
    },
}

/// Where data is kept unless said otherwise, relative to where the program is started.
const DIR: &str = "hotdesk-store";
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), super::PORT);

const QUOTA_MIB: u32 = 16;
const QUOTA_TOKENS_MIB: u32 = 1024;

#[derive(Debug, Args)]
struct Serve {
    /// Address and port to listen on; port 0 takes any
    #[arg(long, value_name = "IP:PORT", default_value_t = LISTEN)]
    listen: SocketAddr,
    /// Directory to keep the data in; made if need be
    #[arg(long, default_value = DIR)]
    dir: PathBuf,
    /// The group's key directory, made by: groupmgr keygen DIR
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
    /// Permanent data of one user, in MiB
    #[arg(long, value_name = "MIB", default_value_t = QUOTA_MIB)]
    quota: u32,
    /// Permanent data of all cards and desks together for which no user is registered, in MiB
    #[arg(long, value_name = "MIB", default_value_t = QUOTA_TOKENS_MIB)]
    quota_unregistered: u32,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct At {
    /// The data store's address and port [default: the session's own data inside a session, else 127.0.0.1:7010]
    #[arg(long, value_name = "IP:PORT")]
    store: Option<SocketAddr>,
    /// The group's key directory
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.exit(), error)
    }
}

impl From<BackupFileError> for Failure {
    fn from(error: BackupFileError) -> Self {
        match error {
            BackupFileError::Store(error) => error.into(),
            BackupFileError::Content { .. } => Self::usage(error),
            other => Self::machine(other),
        }
    }
}

/// Runs the program on a command line whose first word is the program's name, and says how to exit. Starts
/// a runtime of its own: not to be called within one.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    proto::io::cli::run(args, dispatch)
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Serve(serve) => runtime(true)?.block_on(serve::serve(&serve)),
        Command::Restore { file, dir, force, json } => access::restore(&file, &dir, force, json),
        Command::Get { key, at } => runtime(false)?.block_on(access::get(&key, &at)),
        Command::Put { key, value, at } => runtime(false)?.block_on(access::put(&key, &value, &at)),
        Command::Ls { prefix, at } => runtime(false)?.block_on(access::ls(&prefix, &at)),
        Command::Rm { key, at } => runtime(false)?.block_on(access::rm(&key, &at)),
        Command::Status { at } => runtime(false)?.block_on(access::status(&at)),
        Command::Backup { file, at } => runtime(false)?.block_on(access::backup(&file, &at)),
    }?;
    Ok(Exit::Done)
}

fn runtime(serves: bool) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = if serves {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn whether_a_write_may_have_happened_shows_in_the_exit_code() {
        let (at, why) = (String::from("a"), String::from("b"));
        let code = |error: StoreError| Failure::from(error).exit().code();
        assert_eq!(code(StoreError::Unreachable { at: at.clone(), why: why.clone() }), 3);
        assert_eq!(code(StoreError::OutcomeUnknown { at, why }), 5);
    }
}
