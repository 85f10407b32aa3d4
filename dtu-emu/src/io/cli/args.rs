//! What the command line may say.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use proto::Serial;
use proto::frame::Size;
use proto::io::cli::Shell;
use proto::io::tls::Fingerprint;

/// Desk units (DTUs) that are programs: one, or thousands.
#[derive(Debug, Parser)]
#[command(name = "dtu-emu", version, after_help = proto::exit::HELP)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Switch a DTU on; its session is shown in this terminal (Ctrl-] q leaves, Ctrl-] ? lists more)
    Boot(BootArgs),
    /// Put a card into a running DTU
    Insert {
        /// The card's file, as `authmgr card new` makes it
        #[arg(value_name = "CARDFILE")]
        card: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take the card out
    Remove {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show the next display of the session, as Ctrl-] n does
    Flip {
        #[command(flatten)]
        reach: Reach,
    },
    /// Type into the session; \n presses Enter, as a line's end does; also \t \e \b \xHH \\
    Type {
        /// What to type
        #[arg(value_name = "TEXT", allow_hyphen_values = true)]
        text: String,
        /// Press Enter at the end
        #[arg(long)]
        enter: bool,
        /// Take backslashes as they are
        #[arg(long)]
        raw: bool,
        /// Wait for so many seconds until the session is there and has taken it; then fail
        #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
        timeout: f64,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print what the screen shows
    Screen {
        /// Write it as a picture (PNG) instead
        #[arg(long, value_name = "FILE")]
        png: Option<PathBuf>,
        /// Print one JSON object: lines, cursor, state, host, session
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show the screen of a running DTU in this terminal, and type into it (Ctrl-] q leaves it running)
    Attach {
        #[command(flatten)]
        reach: Reach,
    },
    /// Wait until the screen shows a text, or the DTU is in a state
    Wait(WaitArgs),
    /// List the DTUs that run here, and where they are at work
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
        /// The directory of their sockets
        #[arg(long, value_name = "DIR")]
        control: Option<PathBuf>,
    },
    /// Switch many DTUs on in one process and report where they are attached, and every gap
    Fleet(FleetArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell to print completions for
        shell: Shell,
    },
}

/// Which running DTU.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// Its serial, or the end of it; not needed when only one runs here
    #[arg(long, value_name = "SN")]
    pub(super) dtu: Option<String>,
    /// The directory of its socket
    #[arg(long, value_name = "DIR")]
    pub(super) control: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Text that one line of the screen shall hold
    #[arg(long = "for", value_name = "TEXT", required_unless_present = "state", allow_hyphen_values = true)]
    pub(super) text: Option<String>,
    /// What the DTU shall be doing
    #[arg(long, value_name = "STATE", value_parser = clap::builder::PossibleValuesParser::new(crate::dtu::Phase::WORDS))]
    pub(super) state: Option<String>,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(super) timeout: f64,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Hosts: where they are, and by what they are known.
#[derive(Debug, Args)]
pub(super) struct HostArgs {
    /// A host to try first, as NAME or NAME:PORT; may be given several times. Without one, hosts are asked
    /// for by broadcast
    #[arg(long = "server", value_name = "HOST")]
    pub(super) servers: Vec<String>,
    /// Know hosts by the CA in this file, the group's ca.pem (or set HOTDESK_CA)
    #[arg(long, value_name = "FILE", group = "trust")]
    pub(super) ca: Option<PathBuf>,
    /// Know hosts by the SHA-256 of their certificate, or of their CA's
    #[arg(long, value_name = "HEX", group = "trust")]
    pub(super) fingerprint: Option<Fingerprint>,
    /// Where it keeps its own key, made at its first boot [default: ~/.local/state/hotdesk/dtu]
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Trust anybody: the session protocol in the clear, for hosts with a listener marked for it
    #[arg(long, group = "trust")]
    pub(super) plain: bool,
    /// Use this address of this machine, and its interface alone; on loopback any 127.x.x.x
    #[arg(long, value_name = "IP")]
    pub(super) bind: Option<Ipv4Addr>,
    /// Hear beacons on this multicast group too
    #[arg(long, value_name = "GROUP", value_parser = multicast_group)]
    pub(super) multicast: Option<Ipv4Addr>,
    /// A host that is asked and says nothing for this long is dead
    #[arg(long, value_name = "MS", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(5..60_000))]
    pub(super) patience: u64,
    /// The port of hosts and beacons
    #[arg(long, hide = true, default_value_t = proto::PORT)]
    pub(super) port: u16,
}

fn multicast_group(text: &str) -> Result<Ipv4Addr, String> {
    let group: Ipv4Addr = text.parse().map_err(|_| "not an IPv4 address".to_owned())?;
    if group.is_multicast() { Ok(group) } else { Err("not between 224.0.0.0 and 239.255.255.255".to_owned()) }
}

#[derive(Debug, Args)]
pub(super) struct BootArgs {
    /// Show the session nowhere; command the DTU with insert, type, screen, attach
    #[arg(long)]
    pub(super) headless: bool,
    /// Print events as one JSON object a line
    #[arg(long, requires = "headless")]
    pub(super) json: bool,
    /// Its name, 12 hex digits like a MAC address; without it, one is derived from this machine
    #[arg(long, value_name = "SN")]
    pub(super) serial: Option<Serial>,
    /// Insert this card at once
    #[arg(long, value_name = "CARDFILE")]
    pub(super) card: Option<PathBuf>,
    /// The size of its screen without a terminal
    #[arg(long, value_name = "COLSxROWS", default_value = "80x24", value_parser = size)]
    pub(super) size: Size,
    /// The directory of its socket
    #[arg(long, value_name = "DIR")]
    pub(super) control: Option<PathBuf>,
    #[command(flatten)]
    pub(super) hosts: HostArgs,
}

fn size(text: &str) -> Result<Size, String> {
    let (cols, rows) = text.split_once('x').ok_or("not like 80x24")?;
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a number"));
    let (cols, rows) = (number(cols)?, number(rows)?);
    let size = Size::clamped(cols, rows);
    if (size.cols, size.rows) == (cols, rows) {
        Ok(size)
    } else {
        Err(format!("between 1 and {}", Size::MAX))
    }
}

#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// How many DTUs to run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(super) count: u32,
    /// How many are switched on in a second
    #[arg(long, value_name = "PER_S", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: u32,
    /// Each has a card of its own, fleet<number>
    #[arg(long, conflicts_with = "pseudo")]
    pub(super) cards: bool,
    /// None has a card (as without --cards)
    #[arg(long)]
    pub(super) pseudo: bool,
    /// End after this many seconds; otherwise with Ctrl-C
    #[arg(long, value_name = "S")]
    pub(super) seconds: Option<f64>,
    /// End as soon as all are attached
    #[arg(long)]
    pub(super) until_attached: bool,
    /// Open no display channels: half the descriptors, and no screens
    #[arg(long)]
    pub(super) without_display: bool,
    /// The number of the first one, so that several fleets do not share serials
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) first: u32,
    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) hosts: HostArgs,
}
