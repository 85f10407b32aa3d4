//! The command line: `authmgr card new | register | list | alias | disable | enable`, `authmgr policy show |
//! set`.
//!
//! | Exit code | Meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the registry says no: not registered, or registered for somebody else; nothing was changed |
//! | 2 | wrong command line, card file, token or stored record |
//! | 3 | the data store cannot be reached; nothing was changed |
//! | 4 | the data store refused, or there is no trust; nothing was changed |
//! | 5 | a write was sent and its outcome is unknown |
//! | 6 | this machine is in the way: a file, a directory |

mod run;
mod show;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use datastore::StoreError;
use proto::Token;
use proto::ids::BadName;

use super::card_file::CardFileError;
use super::store::RegistryError;
use crate::admission::{AccountName, Cards, Owner, Policy, Pseudo, TemplateName};

/// Cards, and who may come in.
///
/// Cards are files for DTUs that are programs; the registry of tokens and the login policy are in the data
/// store, so that they hold for the whole group.
#[derive(Debug, Parser)]
#[command(name = "authmgr", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the registry says no, 2 wrong command line, card or token, \
                          3 data store out of reach, 4 refused or not trusted, 5 outcome of a write unknown, \
                          6 a file or directory of this machine is in the way.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make cards and say whose they are
    #[command(subcommand)]
    Card(CardCommand),
    /// Say who may come in when nothing else is said about a token
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum CardCommand {
    /// Make a card file, readable by you alone; nothing is overwritten
    New(NewCard),
    /// Register a card, or change what is registered about it
    ///
    /// A keyed card has to prove its secret only from then on.
    Register {
        /// The card's file, or its token (card.<id>)
        #[arg(value_name = "FILE|TOKEN")]
        card: OsString,
        /// Whose it is: the user's data in the data store is kept under this name
        #[arg(long, value_name = "NAME", value_parser = Owner::user)]
        user: Option<Owner>,
        /// The template that its sessions are made from
        #[arg(long)]
        template: Option<TemplateName>,
        /// The account that its sessions run as
        #[arg(long)]
        account: Option<AccountName>,
        #[command(flatten)]
        at: At,
    },
    /// List registered tokens
    List {
        #[command(flatten)]
        at: At,
    },
    /// Let a new card take the place of a lost one: it gets its sessions, and the lost one is disabled
    Alias {
        /// The lost card: its token, or a copy of its file
        #[arg(value_name = "OLD")]
        old: OsString,
        /// The new card's file, or its token
        #[arg(value_name = "NEW")]
        new: OsString,
        #[command(flatten)]
        at: At,
    },
    /// Refuse a token from now on, registered or not
    Disable {
        /// Which (card.<id>, pseudo.<serial>), or a card's file
        #[arg(value_name = "TOKEN")]
        card: OsString,
        #[command(flatten)]
        at: At,
    },
    /// Admit a disabled token again
    Enable {
        /// Which (card.<id>, pseudo.<serial>), or a card's file
        #[arg(value_name = "TOKEN")]
        card: OsString,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
struct NewCard {
    /// Where to write it
    #[arg(required_unless_present = "output", conflicts_with = "output")]
    file: Option<PathBuf>,
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The card's id [default: a random one, which nobody can guess]
    #[arg(long)]
    id: Option<String>,
    /// The card's type, as a terminal states it
    #[arg(long = "type", value_name = "TYPE", default_value = "card")]
    kind: String,
    /// Give it a secret that it proves to hold without showing it
    #[arg(long)]
    keyed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Show the login policy
    Show {
        #[command(flatten)]
        at: At,
    },
    /// Change the login policy; what is not named stays
    Set {
        /// pseudo=allow|deny (DTUs without a card), cards=any|registered
        #[arg(value_name = "RULE", required = true)]
        rules: Vec<Rule>,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
struct At {
    /// The data store's address and port
    #[arg(long, value_name = "IP:PORT", default_value_t = STORE)]
    store: SocketAddr,
    /// The group's key directory, made by: groupmgr keygen DIR
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where the group's keys are unless said otherwise, relative to where the program is started.
const KEYS: &str = "hotdesk-keys";
const STORE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), datastore::io::PORT);

/// One field of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Pseudo(Pseudo),
    Cards(Cards),
}

impl Rule {
    const fn apply(self, policy: Policy) -> Policy {
        match self {
            Self::Pseudo(pseudo) => Policy { pseudo, ..policy },
            Self::Cards(cards) => Policy { cards, ..policy },
        }
    }
}

impl FromStr for Rule {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once('=') {
            Some(("pseudo", value)) => value.parse().map(Self::Pseudo),
            Some(("cards", value)) => value.parse().map(Self::Cards),
            _ => Err("a rule is pseudo=allow, pseudo=deny, cards=any or cards=registered".into()),
        }
    }
}

/// What ended a command early, with its exit code.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    CardFile(#[from] CardFileError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("{text}: no such file, and no token either: {error}")]
    NeitherFileNorToken { text: String, error: BadName },
    #[error("{0}")]
    Card(String),
    #[error(transparent)]
    Keys(#[from] proto::io::KeyDirError),
    #[error("{0}")]
    Here(#[from] std::io::Error),
}

impl CliError {
    const fn code(&self) -> u8 {
        match self {
            Self::Registry(error) => match error {
                RegistryError::Refused(_) => 1,
                RegistryError::Damaged { .. } | RegistryError::Policy(_) => 2,
                RegistryError::Store(StoreError::Unreachable { .. }) => 3,
                RegistryError::Store(StoreError::OutcomeUnknown { .. } | StoreError::Malformed { .. }) => 5,
                RegistryError::Store(_) | RegistryError::Busy(_) => 4,
            },
            Self::CardFile(CardFileError::Content { .. })
            | Self::NeitherFileNorToken { .. }
            | Self::Card(_) => 2,
            Self::CardFile(_) | Self::Keys(_) | Self::Here(_) => 6,
        }
    }
}

/// Runs the program on a command line whose first word is the program's name, and says how to exit. Starts a
/// runtime of its own: not to be called within one.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("authmgr: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Card(CardCommand::New(new)) => run::new_card(new),
        Command::Card(command) => runtime()?.block_on(run::card(command)),
        Command::Policy(command) => runtime()?.block_on(run::policy(command)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "authmgr", &mut script);
            show::write(&script)
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A file that is there, else a token.
fn file_or_token(text: OsString) -> Result<Result<PathBuf, Token>, CliError> {
    let path = PathBuf::from(text);
    if path.exists() {
        return Ok(Ok(path));
    }
    let text = path.display().to_string();
    text.parse().map(Err).map_err(|error| CliError::NeitherFileNorToken { text, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_rule_names_its_field_and_one_of_its_values() {
        assert_eq!("pseudo=deny".parse(), Ok(Rule::Pseudo(Pseudo::Deny)));
        assert_eq!("cards=registered".parse(), Ok(Rule::Cards(Cards::Registered)));
        for bad in ["pseudo", "pseudo=", "cards=all", "users=any", ""] {
            assert!(bad.parse::<Rule>().is_err(), "{bad:?}");
        }
    }
}
