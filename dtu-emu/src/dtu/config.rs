//! What a DTU is told before it starts: who it is, where to look first, and how patient to be.

use core::time::Duration;
use std::net::SocketAddrV4;

use proto::Serial;
use proto::frame::Size;

/// Whether a DTU opens the display channels it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// It shows the first display of its session.
    Display,
    /// It only keeps its session attached: for measuring hosts with more DTUs than there are descriptors for.
    Nothing,
}

/// What a DTU is told before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The serial, by which hosts and sessions tell DTUs apart.
    pub serial: Serial,
    /// Hosts to try first, in this order.
    pub servers: Vec<SocketAddrV4>,
    /// The TCP port of a host that is known by its beacon alone.
    pub port: u16,
    /// The size of its screen.
    pub size: Size,
    /// Randomness for its nonces and its retries; never the same for two runs.
    pub seed: [u8; 32],
    /// Whether it opens displays.
    pub shows: Shows,
    /// How patient it is.
    pub timing: Timing,
}

impl Config {
    /// A DTU with the system's port, a usual screen and default patience.
    #[must_use]
    pub fn new(serial: Serial, seed: [u8; 32]) -> Self {
        Self {
            serial,
            servers: Vec::new(),
            port: proto::PORT,
            size: Size::default(),
            seed,
            shows: Shows::Display,
            timing: Timing::default(),
        }
    }
}

/// How patient a DTU is. The defaults bring a DTU back within half a second; see
/// `docs/architecture.md`, "What a DTU does when a connection dies".
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A probed connection that says nothing for this long is dead.
    pub answer: Duration,
    /// How often a DTU that hears no beacons of its host probes it.
    pub probe: Duration,
    /// How long a session that still answers is held while its host's daemon does not.
    pub grace: Duration,
    /// How long to wait for a connection to open, in a first round; later rounds wait longer.
    pub open: Duration,
    /// The longest such wait.
    pub open_max: Duration,
    /// The same for a host of the group, as was told over TLS, whose beacons are heard and whose machine has taken the
    /// connection: so many may come to it at once that we have to wait our turn, and who leaves has to begin at the
    /// end of another line.
    pub line_max: Duration,
    /// How long a host may be silent about an infoReq before it is given up.
    pub ask: Duration,
    /// The same for a host whose beacons are heard.
    pub ask_max: Duration,
    /// The first pause between rounds of looking for a host; doubles up to `round_max`.
    pub round: Duration,
    /// The longest such pause.
    pub round_max: Duration,
    /// How long to look for a host before the screen says that there is none.
    pub no_host: Duration,
    /// How often an idle display is probed whose host's beacons are heard, and how long it may take.
    pub display_idle: Duration,
    /// How long a display may take to open or to answer an idle probe.
    pub display_open: Duration,
    /// Typed bytes that are not acknowledged for this long make the DTU ask whether they arrive at all. If the question
    /// is not acknowledged either, the kernel ends the connection 0.28 s later, at 0.43 s.
    pub typed: Duration,
    /// A DTU that was called later than it asked for by more than this suspends its judgement of others.
    pub late: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_millis(100),
            probe: Duration::from_millis(300),
            grace: Duration::from_secs(10),
            open: Duration::from_millis(400),
            open_max: Duration::from_secs(5),
            line_max: Duration::from_secs(30),
            ask: Duration::from_secs(1),
            ask_max: Duration::from_secs(10),
            round: Duration::from_millis(250),
            round_max: Duration::from_secs(5),
            no_host: Duration::from_millis(800),
            display_idle: Duration::from_secs(4),
            display_open: Duration::from_secs(3),
            typed: Duration::from_millis(150),
            late: Duration::from_millis(20),
        }
    }
}
