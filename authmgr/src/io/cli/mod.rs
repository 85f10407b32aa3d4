//! The command line: `authmgr card new | register | list | show | alias | disable | enable | rm`, `authmgr dtu list |
//! forget`, `authmgr policy show | set`. The exit codes are those of [`proto::exit`].

mod follow;
mod run;
mod show;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use proto::Serial;
use proto::exit::Exit;
use proto::io::cli::{Failure, KEYS, Shell, print_completions};

use super::named::NamedError;
use super::store::RegistryError;
use crate::admission::{AccountName, Cards, Dtus, Owner, Policy, Pseudo, TemplateName};

/// Cards, the keys of DTUs, and the login policy.
///
/// Cards are files for DTUs that are programs; the registry of tokens and of DTUs' keys and the login policy are in the data
/// store, so that they hold for the whole group.
#[derive(Debug, Parser)]
#[command(name = "authmgr", version, after_help = proto::exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make cards and say whose they are
    #[command(subcommand)]
    Card(CardCommand),
    /// See which key belongs to which DTU, and let a replaced one in
    #[command(subcommand)]
    Dtu(DtuCommand),
    /// Set the login policy: who is admitted without a record in the registry
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell to print completions for
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum CardCommand {
    /// Make a card file, readable by you alone; nothing is overwritten
    New(NewCard),
    /// Register a card, or change what is registered about it
    ///
    /// A keyed card has to prove its secret only from then on. What sessions of the card stored while it had no user
    /// becomes the user's; a value stays with the card where the user has another one under the same key.
    Register {
        /// The card's file (a path with a slash, or one that ends in .card), or its token (card.<id>)
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
    /// Show what is registered about one token
    Show {
        /// The card's file, or its token
        #[arg(value_name = "FILE|TOKEN")]
        card: OsString,
        #[command(flatten)]
        at: At,
    },
    /// Delete what is registered about a token; the policy decides about it then
    Rm {
        /// The card's file, or its token
        #[arg(value_name = "FILE|TOKEN")]
        card: OsString,
        /// Also if it is disabled, and could be admitted again without its record
        #[arg(long)]
        force: bool,
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
        /// The card's file, or the token (card.<id>, pseudo.<serial>)
        #[arg(value_name = "FILE|TOKEN")]
        card: OsString,
        #[command(flatten)]
        at: At,
    },
    /// Admit a disabled token again, as far as the policy does; it is not registered by that
    Enable {
        /// The card's file, or the token (card.<id>, pseudo.<serial>)
        #[arg(value_name = "FILE|TOKEN")]
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
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum DtuCommand {
    /// List the keys that hosts have pinned, each to its DTU's serial when it was admitted for the first time
    List {
        #[command(flatten)]
        at: At,
    },
    /// Forget the key of a DTU that was replaced or set up anew: the next one that comes with its serial is pinned
    Forget {
        /// The serial, as `authmgr dtu list` shows it
        serial: Serial,
        #[command(flatten)]
        at: At,
    },
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
        /// pseudo=allow|deny (DTUs without a card), cards=any|registered, dtus=any|keyed (keyed: DTUs that prove a key)
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
    /// Where the daemons of this machine have their sockets: one is asked whether all hosts follow a change
    /// [default: as of groupmgr]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

const STORE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), datastore::io::PORT);

/// One field of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Pseudo(Pseudo),
    Cards(Cards),
    Dtus(Dtus),
}

impl Rule {
    const fn apply(self, policy: Policy) -> Policy {
        match self {
            Self::Pseudo(pseudo) => Policy { pseudo, ..policy },
            Self::Cards(cards) => Policy { cards, ..policy },
            Self::Dtus(dtus) => Policy { dtus, ..policy },
        }
    }
}

impl FromStr for Rule {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once('=') {
            Some(("pseudo", value)) => value.parse().map(Self::Pseudo),
            Some(("cards", value)) => value.parse().map(Self::Cards),
            Some(("dtus", value)) => value.parse().map(Self::Dtus),
            _ => Err(
                "a rule is pseudo=allow, pseudo=deny, cards=any, cards=registered, dtus=any or dtus=keyed"
                    .into(),
            ),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => error.into(),
            _ => Self::no(error),
        }
    }
}

impl From<NamedError> for Failure {
    fn from(error: NamedError) -> Self {
        Self::usage(error)
    }
}

/// Runs the program on a command line whose first word is the program's name, and says how to exit. Starts a
/// runtime of its own: not to be called within one.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    proto::io::cli::run(args, dispatch)
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Card(CardCommand::New(new)) => run::new_card(new),
        Command::Card(command) => runtime()?.block_on(run::card(command)),
        Command::Dtu(command) => runtime()?.block_on(run::dtu(command)),
        Command::Policy(command) => runtime()?.block_on(run::policy(command)),
        Command::Completions { shell } => print_completions::<Cli>(shell),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_rule_names_its_field_and_one_of_its_values() {
        assert_eq!("pseudo=deny".parse(), Ok(Rule::Pseudo(Pseudo::Deny)));
        assert_eq!("cards=registered".parse(), Ok(Rule::Cards(Cards::Registered)));
        assert_eq!("dtus=keyed".parse(), Ok(Rule::Dtus(Dtus::Keyed)));
        for bad in ["pseudo", "pseudo=", "cards=all", "dtus=keyless", "users=any", ""] {
            assert!(bad.parse::<Rule>().is_err(), "{bad:?}");
        }
    }
}
