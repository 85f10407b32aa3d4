//! The words of the command line.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use authmgr::admission::AccountName;
use clap::{Args, Parser, Subcommand};
use proto::host_message::Label;
use proto::io::cli::KEYS;
use proto::{HostName, Serial, ServiceName, Token};
use sessiond::template::{Ack, Protect};

use crate::host::guests::GuestLimits;
use crate::io::accept::bounds::PER_ADDRESS;
use crate::io::admin::wire::Target;

/// The group manager: makes servers that share a key one failover group for thin clients.
///
/// Every command but `keygen` and `run` asks the daemon of this machine, which asks the other hosts.
#[derive(Debug, Parser)]
#[command(name = "groupmgr", version, after_help = proto::exit::HELP, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) at: At,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Which daemon is asked, and how its answer is printed.
#[derive(Clone, Debug, Args)]
pub(super) struct At {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// The daemon of this machine to ask, when there are several
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) host: Option<HostName>,
    /// Where the daemons of this machine have their sockets [default: /run/hotdesk as root, else
    /// $XDG_RUNTIME_DIR/hotdesk, else /tmp/hotdesk-UID]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a group's key directory: a key ring and a CA, to be copied to every host
    Keygen {
        /// The directory; made if need be, and nothing in it is overwritten
        dir: PathBuf,
    },
    /// Replace the group key, step by step, while the group runs
    #[command(subcommand)]
    Key(KeyCommand),
    /// Run a host of the group in the foreground; prints one line, "ready ...", when it serves
    Run(Box<RunArgs>),
    /// Say goodbye and end a daemon; returns when it has ended
    Stop(#[command(flatten)] On),
    /// Show what a host knows of all hosts and their interfaces
    Topology {
        /// In the form of the original system's Table A
        #[arg(long, conflicts_with = "json")]
        seed_format: bool,
        #[command(flatten)]
        on: On,
    },
    /// Show how the hosts are
    Status {
        /// Again every second, until interrupted
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        on: On,
    },
    /// Show what would be done with a token, and why
    Explain {
        /// A token, such as card.7f3a or pseudo.080020a1b2c3, or a card's file
        #[arg(value_name = "TOKEN|FILE", value_parser = token)]
        token: Token,
    },
    /// Check everything a host needs, and say what to do about what is missing
    Doctor {
        /// The group's key directory [default: the running daemon's, else hotdesk-keys]
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
    /// Sessions of the whole group
    #[command(subcommand)]
    Session(SessionCommand),
    /// Services of a session
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Copies of sessions that hosts keep for each other
    #[command(subcommand)]
    Secondary(SecondaryCommand),
    /// Connected DTUs of the whole group
    #[command(subcommand)]
    Dtu(DtuCommand),
    /// Take no new sessions, and hand over those that another host keeps; the others stay reachable until they end
    Drain {
        /// Return when no session is left
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        on: On,
    },
    /// Take new sessions again
    Undrain {
        #[command(flatten)]
        on: On,
    },
    /// Remove a dead host from the topology table, on all hosts
    Forget {
        /// The name of the host that is gone
        #[arg(value_name = "HOST")]
        gone: HostName,
    },
    /// Templates, from which sessions are made; they live in the data store
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Print completions for a shell
    Completions {
        /// The shell to print completions for
        shell: proto::io::cli::Shell,
    },
}

/// Which hosts a command is for.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct On {
    /// For which hosts: a name, all, or local (the daemon that is asked)
    #[arg(long, value_name = "HOST", value_parser = target)]
    pub(super) on: Option<Target>,
}

impl On {
    pub(super) fn or(self, default: Target) -> Target {
        self.on.unwrap_or(default)
    }
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "all" => Ok(Target::All),
        "local" => Ok(Target::Local),
        name => name.parse().map(Target::Host).map_err(|e: proto::ids::BadName| e.to_string()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Show which host and which data store has which key
    Status {
        /// The group's key directory [default: the running daemon's, else hotdesk-keys]
        dir: Option<PathBuf>,
    },
    /// Take the next of three steps in a key directory, and say what to do before the one after it
    ///
    /// First the group is asked: a step is only taken when every host and the data store have the one before.
    Rotate {
        /// The group's key directory
        #[arg(default_value = KEYS)]
        dir: PathBuf,
        /// Do not ask the group, for one that is stopped, or a host that will never have the key
        #[arg(long)]
        force: bool,
    },
}

fn token(text: &str) -> Result<Token, String> {
    let named = authmgr::io::named::named(std::ffi::OsStr::new(text)).map_err(|error| error.to_string())?;
    Ok(named.token().clone())
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The group's key directory, made by: groupmgr keygen DIR
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    pub(super) keys: PathBuf,
    /// This host's name in the group [default: the machine's name]
    #[arg(long, value_parser = host_name)]
    pub(super) name: Option<HostName>,
    /// Serve only this address; may be repeated. 127.0.N.1 lets several hosts share a machine
    /// [default: every interface that is up, loopback excepted]
    #[arg(long, value_name = "IP", value_parser = bind_address)]
    pub(super) bind: Vec<Ipv4Addr>,
    /// The group's data store [default: one of this host's own]
    #[arg(long, value_name = "IP:PORT")]
    pub(super) store: Option<SocketAddrV4>,
    /// Where a data store of its own is kept [default: /var/lib/hotdesk as root, else $XDG_STATE_HOME/hotdesk]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Allow the session protocol without TLS, for terminals that cannot do it; who listens can read along
    #[arg(long)]
    pub(super) plain: bool,
    /// Let sessions outlive this daemon; the next one takes them up
    #[arg(long)]
    pub(super) keep_sessions: bool,
    /// The rack this host stands in
    #[arg(long, default_value = "-")]
    pub(super) rack: Label,
    /// The site this host stands at
    #[arg(long, default_value = "-")]
    pub(super) site: Label,
    /// Have this host keep the copies of replicated sessions, before any other; not where it is on the same machine
    #[arg(long, value_name = "HOST", value_parser = host_name)]
    pub(super) pair: Option<HostName>,
    /// Announce to this multicast group instead of broadcasting
    #[arg(long, value_name = "GROUP", value_parser = multicast_group)]
    pub(super) multicast: Option<Ipv4Addr>,
    /// Connections one address may have; 0 for no bound but the machine's
    #[arg(long, value_name = "N", default_value_t = PER_ADDRESS)]
    pub(super) per_address: usize,
    /// Sessions this host takes; 0 for no bound but the machine's
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) sessions_max: usize,
    /// Sessions of unregistered cards and of desks without a card that this host takes; 0 for no bound
    #[arg(long, value_name = "N", default_value_t = GuestLimits::default().sessions)]
    pub(super) guests: usize,
    /// How many of them an address may leave behind, beside four for each of its desks at work
    #[arg(long, value_name = "N", default_value_t = GuestLimits::default().left)]
    pub(super) guests_left: usize,
    /// Minutes after which one that no desk shows ends; 0 for never
    #[arg(long, value_name = "MINUTES", default_value_t = 720)]
    pub(super) guest_idle: u32,
    /// The account of sessions for which neither the registry nor the template names one; root must say it
    #[arg(long, value_name = "USER")]
    pub(super) account: Option<AccountName>,
    /// Run this command when the daemon serves; it may take 10 s, and finds HOTDESK_HOST in its environment
    #[arg(long, value_name = "COMMAND")]
    pub(super) on_start: Option<String>,
    /// The same before the daemon ends, when its sockets are closed
    #[arg(long, value_name = "COMMAND")]
    pub(super) on_stop: Option<String>,
    /// Write the log as JSON
    #[arg(long)]
    pub(super) log_json: bool,
}

fn host_name(text: &str) -> Result<HostName, String> {
    if matches!(text, "all" | "local") {
        return Err(format!("{text:?} means something else on this command line; choose another name"));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("a host's name begins with a letter or a digit".to_owned());
    }
    text.parse().map_err(|e: proto::ids::BadName| e.to_string())
}

fn bind_address(text: &str) -> Result<Ipv4Addr, String> {
    let ip: Ipv4Addr = text.parse().map_err(|_| "an IPv4 address is wanted".to_owned())?;
    if ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() {
        return Err("an address of one interface is wanted; leave --bind out to serve all".to_owned());
    }
    if ip == Ipv4Addr::new(127, 255, 255, 255) {
        return Err("this is the loopback's broadcast address; use 127.0.N.1".to_owned());
    }
    Ok(ip)
}

fn multicast_group(text: &str) -> Result<Ipv4Addr, String> {
    let ip: Ipv4Addr = text.parse().map_err(|_| "an IPv4 address is wanted".to_owned())?;
    if ip.is_multicast() {
        Ok(ip)
    } else {
        Err("a group from 224.0.0.0/4 is wanted, such as 239.70.0.9".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List the sessions of the group
    List {
        /// Only those of this token
        #[arg(long)]
        token: Option<Token>,
        #[command(flatten)]
        on: On,
    },
    /// Show everything about one session, and who keeps a copy of it
    Show {
        /// The beginning of its id, or its token
        session: String,
    },
    /// Make another session for a token, beside those it has; see `session switch`
    New {
        /// Such as card.7f3a, or a card's file; it is admitted as at a desk, but no card is asked
        #[arg(value_name = "TOKEN|FILE", value_parser = token)]
        token: Token,
        /// From which template [default: the token's own]
        #[arg(long, value_name = "NAME")]
        template: Option<String>,
        /// On which host [default: the daemon that is asked]
        #[arg(long, value_name = "HOST")]
        on: Option<HostName>,
    },
    /// Show a session wherever its token is presented, now and from now on
    Switch {
        /// The beginning of its id
        session: String,
    },
    /// Take a session off its DTU; its programs run on
    Detach {
        /// The beginning of its id, or its token
        session: String,
    },
    /// Have a replicated session wait for something else than its template says, as long as it is on this host
    Protect {
        /// The beginning of its id, or its token
        session: String,
        /// When the host that keeps it is told of a version: each, or batch/SECONDS/VERSIONS
        #[arg(long, value_parser = ack, required_unless_present = "protect")]
        ack: Option<Ack>,
        /// What becomes of it while no host keeps it: best or must
        #[arg(long)]
        protect: Option<Protect>,
    },
    /// End a session and all its programs
    End {
        /// The beginning of its id, or its token
        session: String,
    },
}

/// Reads how versions are acknowledged.
fn ack(text: &str) -> Result<Ack, String> {
    let ack: Ack = text.parse().map_err(|error: proto::ids::BadName| error.to_string())?;
    let bounds = || {
        let secs = Ack::EVERY_MAX.as_secs();
        format!("write seconds from 1 to {secs} and versions from 1 to {}", Ack::VERSIONS_MAX)
    };
    ack.is_within_bounds().then_some(ack).ok_or_else(bounds)
}

#[derive(Debug, Subcommand)]
pub(super) enum SecondaryCommand {
    /// List what each host keeps of the others' sessions
    List {
        #[command(flatten)]
        on: On,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// List the services of a session
    List {
        /// The beginning of the session's id, or its token
        session: String,
    },
    /// Start a service: one of the session's that does not run, or another one
    Start {
        /// The beginning of the session's id, or its token
        session: String,
        /// The service's name
        service: ServiceName,
        /// It has no screen: it runs in the background
        #[arg(long, requires = "command")]
        background: bool,
        /// Return without waiting until it runs
        #[arg(long)]
        no_wait: bool,
        /// What another one runs, and its arguments
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// End a service and all it has started; its session goes on
    Stop {
        /// The beginning of the session's id, or its token
        session: String,
        /// The service's name
        service: ServiceName,
        /// Return without waiting until it has ended
        #[arg(long)]
        no_wait: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DtuCommand {
    /// List connected DTUs
    List {
        #[command(flatten)]
        on: On,
    },
    /// Show everything about one connected DTU
    Show {
        /// The DTU's serial, as dtu list prints it
        serial: Serial,
    },
    /// Show the person at a DTU a line
    Message {
        /// Its serial, or all
        #[arg(value_name = "SERIAL|all", value_parser = message_target)]
        to: MessageTarget,
        /// The line to show
        text: String,
    },
}

/// Whom a line is for.
#[derive(Clone, Debug)]
pub(super) enum MessageTarget {
    /// Everybody who sits at a DTU.
    All,
    /// Whoever sits at this DTU.
    One(Serial),
}

fn message_target(text: &str) -> Result<MessageTarget, String> {
    match text {
        "all" => Ok(MessageTarget::All),
        serial => serial.parse().map(MessageTarget::One).map_err(|e: proto::ids::BadName| e.to_string()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum TemplateCommand {
    /// Check a template's file and store it
    Put {
        /// Its name; sessions are made from the one called "default" unless their token says otherwise
        name: String,
        /// The file (TOML)
        file: PathBuf,
    },
    /// List the names of templates
    List,
    /// Print a template
    Show {
        /// The template's name
        name: String,
    },
    /// Delete a template
    Rm {
        /// The template's name
        name: String,
    },
}
