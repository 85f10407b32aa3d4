//! The desktop unit: finds a host, presents its token, shows the session, and finds another host when that
//! one dies.
//!
//! [`Dtu`] decides and does nothing: whoever drives it hands in the time and what happened ([`DtuInput`]),
//! carries out what comes back ([`Effect`]) in order, and calls again with [`DtuInput::Timeout`] at
//! [`Dtu::poll_at`]. Sockets, clocks and randomness are the driver's; a simulation drives the same code as
//! [`crate::io`].
//!
//! It is a router of machines. Each owns its state; none calls another or reads another's fields. What one needs from
//! another travels as a [`step`] through one queue, first in, first out; what several read is lent with each step
//! ([`ctx`]).
//!
//! ```text
//!                      Enter                         a session was granted
//!  Discovery ─────────────────────▶ Connection ──────────────────────────▶ Display
//!      ▲   ▲                         │     ▲   ▲                             │
//!      │   └── the host failed us ───┘     │   └──── it died, and its ───────┤
//!      │                    control died   │         host lives              │
//!      │                             ▼     │                                 │
//!      └─────── search ────────── Failover ┘ ◀──── it died, and was held ────┘
//!                                        it is back, give it up
//! ```
//!
//! | Machine | Owns | Its parts |
//! |---|---|---|
//! | [`discovery`] | the known hosts, the search for one | [`hosts`], [`search`], [`attempt`] |
//! | [`connection`] | the control connection | [`linked`], [`watch`], [`talk`], [`redirect`], [`watching`] |
//! | [`failover`] | a held session, the length of a gap | [`gap`] |
//! | [`display`] | the screen and what is typed | [`flipping`], [`panel`], [`channel`], [`picture`], [`typed`] |
//! | [`cards`] | who sits here | [`seat`] |

mod attempt;
mod cards;
mod channel;
mod config;
mod connection;
mod ctx;
mod discovery;
mod display;
mod edges;
mod event;
mod failover;
mod fault;
mod flipping;
mod gap;
mod host_ref;
mod hosts;
mod input;
mod linked;
mod panel;
mod picture;
mod reason;
mod redirect;
mod redirecting;
mod search;
mod seat;
mod step;
mod talk;
#[cfg(test)]
mod tests;
mod typed;
mod watch;
mod watching;

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use proto::alp::FromHost;
use proto::beacon::Beacon;
use proto::time::earliest;
use proto::{HostName, Instant, Line, Serial, Token};

pub use config::{Config, Shows, Timing};
pub use event::{DtuEvent, Gap, Loss, Phase, Status};
pub use fault::{ConnId, Fault};
pub use host_ref::HostRef;
pub use input::{DisplayTarget, DtuInput, Effect, FLIP_KEYS, Notice, Paint};

use cards::Cards;
use connection::Connection;
use ctx::{Control, Ctx, Env, Out};
use discovery::Discovery;
use display::Display;
use failover::Failover;
use proto::rng::SecretRng;
use step::{Step, ToCards, ToConnection, ToDiscovery, ToDisplay, ToFailover, Unusable};
use watch::Watch;

/// Whose beacons a DTU goes by at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heeds<'a> {
    /// Those of no host: it is switched off, or shows what no beacon could change.
    Nobody,
    /// Those of the host that it is at.
    One(&'a HostName),
    /// Those of all hosts: any may be the one to go to.
    Everybody,
}

/// The desktop unit. See the module's text.
pub struct Dtu {
    config: Config,
    dice: SecretRng,
    cards: Cards,
    discovery: Discovery,
    connection: Connection,
    failover: Failover,
    display: Display,
    queue: VecDeque<Step>,
    /// Connections numbered so far.
    conns: u64,
    /// The next deadline, and what it is.
    due: Option<(Instant, &'static str)>,
}

/// A machine with deadlines of its own, in the order in which those are looked at that come at one moment: a silent host
/// is judged before its display, since the display's silence is then explained.
const DUE_ORDER: [Machine; 4] =
    [Machine::Discovery, Machine::Connection, Machine::Failover, Machine::Display];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    Discovery,
    Connection,
    Failover,
    Display,
}

impl Machine {
    const fn due(self) -> Step {
        match self {
            Self::Discovery => Step::Discovery(ToDiscovery::Due),
            Self::Connection => Step::Connection(ToConnection::Due),
            Self::Failover => Step::Failover(ToFailover::Due),
            Self::Display => Step::Display(ToDisplay::Due),
        }
    }
}

impl Dtu {
    /// A DTU that is off.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut dice = SecretRng::new(config.seed);
        Self {
            cards: Cards::new(config.size),
            discovery: Discovery::new(),
            connection: Connection::new(),
            failover: Failover::new(),
            display: Display::new(dice.nonce()),
            queue: VecDeque::new(),
            conns: 0,
            due: None,
            config,
            dice,
        }
    }

    /// The serial it was configured with.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        &self.config.serial
    }

    /// The token that is here now.
    #[must_use]
    pub fn token(&self) -> Token {
        self.cards.seat().token(&self.config.serial)
    }

    /// When to call with [`DtuInput::Timeout`], unless something happens earlier.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.map(|(at, _)| at)
    }

    /// What is due at [`poll_at`](Self::poll_at), in words, for whoever looks for a deadline that does not move.
    #[must_use]
    pub fn next_deadline(&self) -> Option<&'static str> {
        self.due.map(|(_, name)| name)
    }

    /// When somebody's silence would be held against him. A driver that comes to this moment makes sure first that
    /// what has already arrived is handed in, even if its own tasks have to be waited for.
    #[must_use]
    pub fn judges_at(&self) -> Option<Instant> {
        let machines = [self.discovery.judges_at(), self.connection.judges_at(), self.failover.judges_at()];
        machines.into_iter().fold(self.display.judges_at(), earliest)
    }

    /// Typed bytes that no session has acknowledged, as in [`Dtu::status`].
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.display.unacknowledged()
    }

    /// What it would say of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let phase = if self.failover.held().is_some() {
            Phase::Held
        } else if self.discovery.is_off() {
            Phase::Off
        } else if self.discovery.is_idle() {
            Phase::Detached
        } else {
            self.connection.phase().unwrap_or(Phase::Searching)
        };
        let host = self.connection.open().map(|linked| &linked.host).or_else(|| self.failover.held());
        Status {
            phase,
            host: host.and_then(|host| host.name.clone()),
            token: self.token(),
            session: self.display.state().session,
            shown: self.display.is_painted(),
            service: self.display.service().cloned(),
            displays: self.display.count(),
            unacknowledged: self.unacknowledged(),
            input_dropped: self.display.input_dropped(),
        }
    }

    /// Takes in what happened at `now` and appends what is to be done.
    pub fn handle(&mut self, now: Instant, input: DtuInput<'_>, effects: &mut Vec<Effect>) {
        if self.poll_at().is_some_and(|due| now.since(due) > self.config.timing.late) {
            // This process was not run for a while: what others said meanwhile may still lie unread, so nobody's
            // silence is judged yet.
            self.queue.extend([
                ToDiscovery::Resumed.into(),
                ToConnection::Resumed.into(),
                ToFailover::Resumed.into(),
                ToDisplay::Resumed.into(),
            ]);
        }
        self.take(now, input, effects);
        self.drain(now, effects);
        // An input comes before the deadlines: whoever answered just now is not judged for silence.
        if self.next_due().is_some_and(|(due, _)| due <= now) {
            for machine in DUE_ORDER {
                if self.due_of(machine).is_some_and(|(due, _)| due <= now) {
                    self.queue.push_back(machine.due());
                    self.drain(now, effects);
                }
            }
        }
        self.due = self.next_due();
    }

    /// Hands an input to the machine that it is for.
    fn take(&mut self, now: Instant, input: DtuInput<'_>, effects: &mut Vec<Effect>) {
        let step: Step = match input {
            DtuInput::Boot => ToDiscovery::Boot.into(),
            DtuInput::CardInserted(card) => ToCards::Card(Some(Box::new(card))).into(),
            DtuInput::CardRemoved => ToCards::Card(None).into(),
            DtuInput::ServerR(answer) => ToDiscovery::ServerR(Box::new(answer.clone())).into(),
            DtuInput::Beacon { beacon, from, at } => {
                return self.take_beacon(now, (beacon, from, at), effects);
            }
            DtuInput::ControlReached { conn } => match self.owner_of(conn) {
                Some(Machine::Discovery) => ToDiscovery::Reached { conn }.into(),
                Some(Machine::Connection) => ToConnection::Reached { conn }.into(),
                _ => return,
            },
            DtuInput::ControlOpened { conn, local } => match self.owner_of(conn) {
                Some(Machine::Discovery) => ToDiscovery::Opened { conn, local }.into(),
                Some(Machine::Connection) => ToConnection::Opened { conn, local }.into(),
                Some(Machine::Failover) => ToFailover::Opened { conn, local }.into(),
                _ => return,
            },
            DtuInput::ControlLine { conn, line } if self.connection.conn() == Some(conn) => {
                ToConnection::Said { conn, said: read(line) }.into()
            }
            DtuInput::ControlClosed { conn, fault } => match self.owner_of(conn) {
                Some(Machine::Discovery) => ToDiscovery::Closed { conn, fault }.into(),
                Some(Machine::Connection) => ToConnection::Closed { conn, fault }.into(),
                Some(Machine::Failover) => ToFailover::Closed { conn }.into(),
                _ => return,
            },
            DtuInput::DisplayOpened { conn } => ToDisplay::Opened { conn }.into(),
            DtuInput::DisplayHeard { conn } => ToDisplay::Heard { conn }.into(),
            DtuInput::DisplayFrame { conn, frame } => ToDisplay::Frame { conn, frame }.into(),
            DtuInput::DisplayClosed { conn, fault } => ToDisplay::Closed { conn, fault }.into(),
            DtuInput::Flip => ToDisplay::Flip.into(),
            DtuInput::Typed(bytes) => ToDisplay::Typed(bytes.to_vec()).into(),
            DtuInput::Resized(size) => ToCards::Resized(size).into(),
            DtuInput::ControlLine { .. } | DtuInput::Timeout => return,
        };
        self.queue.push_back(step);
    }

    /// Beacons come often and are read where they lie.
    fn take_beacon(&mut self, now: Instant, beacon: (&Beacon, Ipv4Addr, Instant), effects: &mut Vec<Effect>) {
        self.drain(now, effects);
        let control = control(&self.discovery, &self.connection, &self.failover);
        let watched = control.watched.cloned();
        let Self { config, dice, queue, conns, discovery, cards, .. } = self;
        let env = Env { now, config, seat: cards.seat() };
        let mut out = Out::new(queue, effects, conns, dice);
        discovery.on_beacon(&env, watched.as_ref(), beacon, &mut out);
    }

    /// The machine that opens or holds a control connection.
    fn owner_of(&self, conn: ConnId) -> Option<Machine> {
        let owners = [
            (self.discovery.conn(), Machine::Discovery),
            (self.connection.conn(), Machine::Connection),
            (self.failover.conn(), Machine::Failover),
        ];
        owners.into_iter().find(|(owned, _)| *owned == Some(conn)).map(|(_, machine)| machine)
    }

    /// Delivers steps until there are none.
    fn drain(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Self { config, dice, cards, discovery, connection, failover, display, queue, conns, .. } = self;
        while let Some(step) = queue.pop_front() {
            let out = &mut Out::new(queue, effects, conns, dice);
            let env = Env { now, config, seat: cards.seat() };
            match step {
                Step::Cards(step) => cards.handle(config, step, out),
                Step::Discovery(step) => discovery.handle(&env, step, out),
                Step::Connection(step) => {
                    let ctx = Ctx { env, hosts: discovery.hosts(), screen: display.state() };
                    connection.handle(&ctx, step, out);
                }
                Step::Failover(step) => {
                    let ctx = Ctx { env, hosts: discovery.hosts(), screen: display.state() };
                    failover.handle(&ctx, step, out);
                }
                Step::Display(step) => {
                    let control = control(discovery, connection, failover);
                    display.handle(&env, &control, step, out);
                }
            }
        }
    }

    fn next_due(&self) -> Option<(Instant, &'static str)> {
        DUE_ORDER.into_iter().filter_map(|machine| self.due_of(machine)).min_by_key(|(at, _)| *at)
    }

    /// The next deadline of a machine.
    fn due_of(&self, machine: Machine) -> Option<(Instant, &'static str)> {
        match machine {
            Machine::Discovery => first(&self.discovery.deadlines()),
            Machine::Connection => first(&self.connection.deadlines()),
            Machine::Failover => first(&self.failover.deadlines()),
            Machine::Display => {
                let control = control(&self.discovery, &self.connection, &self.failover);
                first(&self.display.deadlines(self.config.timing.typed, &control))
            }
        }
    }

    /// Takes note of a beacon heard at `at` that it does not [heed](Self::heeds): then it knows more and does nothing.
    /// `false` when it does heed it, and wants it [handed in](DtuInput::Beacon).
    #[must_use]
    pub fn note(&mut self, beacon: &Beacon, from: Ipv4Addr, at: Instant) -> bool {
        let only_knows = match self.heeds(at) {
            Heeds::Nobody => true,
            Heeds::Everybody => false,
            Heeds::One(host) => *host != beacon.host,
        };
        if only_knows {
            self.discovery.note(at, beacon, from, self.config.port);
        }
        only_knows
    }

    /// Whose beacons would change what it does now. Any other one is knowledge for when a host has to be chosen, and
    /// need not be noted before the next input that is no beacon.
    #[must_use]
    pub fn heeds(&self, now: Instant) -> Heeds<'_> {
        match self.discovery.heeds_all(now) {
            Some(true) => Heeds::Everybody,
            Some(false) => Heeds::Nobody,
            None => control(&self.discovery, &self.connection, &self.failover)
                .watched
                .map_or(Heeds::Nobody, Heeds::One),
        }
    }
}

/// How the way to the host stands, for the machines that need to know.
fn control<'a>(discovery: &Discovery, connection: &'a Connection, failover: &'a Failover) -> Control<'a> {
    let open = connection.open();
    let watch = open.and_then(|linked| linked.watch.as_ref());
    Control {
        open: open.map(|linked| *linked.host.addr.ip()),
        watched: watch.map(Watch::host).or_else(|| failover.held_name()),
        is_held: failover.held().is_some(),
        waits_for_enter: discovery.is_idle() || open.is_some_and(|linked| linked.is_without_session()),
    }
}

/// The first of some deadlines.
fn first(deadlines: &[(&'static str, Option<Instant>)]) -> Option<(Instant, &'static str)> {
    deadlines.iter().filter_map(|(name, at)| Some(((*at)?, *name))).min_by_key(|(at, _)| *at)
}

/// Reads a line that a host said.
fn read(line: &Line) -> Result<Box<FromHost>, Box<Unusable>> {
    FromHost::from_line(line)
        .map(Box::new)
        .map_err(|error| Box::new(Unusable { command: line.command().to_owned(), what: error.to_string() }))
}
