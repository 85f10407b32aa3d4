//! The desktop unit: finds a host, presents its token, shows the session, and finds another host when that
//! one dies.
//!
//! [`Dtu`] decides and does nothing: whoever drives it hands in the time and what happened ([`DtuInput`]),
//! carries out what comes back ([`Effect`]) in order, and calls again with [`DtuInput::Timeout`] at
//! [`Dtu::poll_at`]. Sockets, clocks and randomness are the driver's; a simulation drives the same code as
//! [`crate::io`].
//!
//! Rooms: [`link`] the states of the control connection, [`search`] looking for a host, [`redirect`]
//! following one elsewhere, [`talk`] the session protocol, [`show`] the display channel, [`failure`] the
//! rules of DESIGN 5, [`seat`] cards, [`watch`] who lives, [`hosts`] who is known.

mod config;
mod dice;
mod event;
mod failure;
mod gap;
mod hosts;
mod input;
mod link;
mod picture;
mod redirect;
mod search;
mod seat;
mod show;
mod talk;
#[cfg(test)]
mod tests;
mod typed;
mod watch;

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::alp::Cause;
use proto::beacon::Beacon;
use proto::time::earliest;
use proto::{HostName, Instant, Serial, Token};

pub use config::{Config, Shows, Timing};
pub use event::{DtuEvent, Gap, Loss, Phase, Status};
pub use hosts::HostRef;
pub use input::{ConnId, DisplayTarget, DtuInput, Effect, Fault, Notice, Paint};

use dice::Dice;
use gap::OpenGap;
use hosts::Hosts;
use link::{Came, HoldControl, Link, Linked, Talk};
use picture::Picture;
use search::Start;
use seat::Seat;
use show::Show;
use typed::TypedInput;
use watch::{Prompt, Pulse, Sign};

/// How long a passing notice stays on the screen.
const NOTICE_TIME: Duration = Duration::from_secs(15);
/// After this time a key takes it away: whoever typed before has not read it.
const NOTICE_MIN: Duration = Duration::from_secs(3);
/// Longest notice shown, in characters: it is a stranger's text.
const NOTICE_MAX: usize = 400;

/// Whose beacons a DTU goes by at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heeds<'a> {
    /// Nobody's.
    Nobody,
    /// Those of the host that it is at.
    One(&'a HostName),
    /// Those of all hosts: any may be the one to go to.
    Everybody,
}

/// The desktop unit. See the module's text.
pub struct Dtu {
    config: Config,
    dice: Dice,
    seat: Seat,
    hosts: Hosts,
    link: Link,
    show: Option<Show>,
    picture: Picture,
    typed: TypedInput,
    gap: Option<OpenGap>,
    notice_until: Option<Instant>,
    /// Whether the session that was last shown may be had again: its host, and so its process, may live.
    keeps_session: bool,
    /// Typed bytes that were dropped since it was switched on.
    input_dropped: u64,
    presented_at: Instant,
    /// Displays in a row that died young.
    show_failures: u32,
    /// When a host was last left that had not yet answered who we are. It may still come to it.
    left_unanswered: Option<Instant>,
    /// Connections numbered so far.
    conns: u64,
    /// What `poll_at` says.
    due: Option<Instant>,
}

/// The present moment of one call: its time, and where effects go.
struct Cx<'a> {
    now: Instant,
    out: &'a mut Vec<Effect>,
}

impl Cx<'_> {
    fn push(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    fn report(&mut self, event: DtuEvent) {
        self.push(Effect::Report(event));
    }
}

impl Dtu {
    /// A DTU that is off.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut dice = Dice::new(config.seed);
        Self {
            seat: Seat::new(config.size),
            hosts: Hosts::default(),
            link: Link::Off,
            show: None,
            picture: Picture::new(),
            typed: TypedInput::new(dice.nonce()),
            gap: None,
            notice_until: None,
            keeps_session: false,
            input_dropped: 0,
            presented_at: Instant::ZERO,
            show_failures: 0,
            left_unanswered: None,
            conns: 0,
            due: None,
            config,
            dice,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        &self.config.serial
    }

    /// The token that is here now.
    #[must_use]
    pub fn token(&self) -> Token {
        self.seat.token(&self.config.serial)
    }

    /// When to call with [`DtuInput::Timeout`], unless something happens earlier.
    #[must_use]
    pub const fn poll_at(&self) -> Option<Instant> {
        self.due
    }

    /// When somebody's silence would be held against him. A driver that comes to this moment makes sure first that
    /// what has already arrived is handed in, even if its own tasks have to be waited for.
    #[must_use]
    pub fn judges_at(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Off | Link::Idle => None,
            Link::Searching(search) => search.attempt.as_ref().map(|attempt| attempt.due),
            Link::Errand(errand) => Some(errand.attempt.due),
            Link::Linked(linked) => linked.judges_at(),
            Link::Holding(holding) => match &holding.control {
                HoldControl::Opening { due, .. } => Some(*due),
                HoldControl::Silent(_) | HoldControl::Waiting { .. } => None,
            },
        };
        earliest(link, self.show.as_ref().and_then(|show| show.pulse.due()))
    }

    /// What it would say of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let phase = match &self.link {
            Link::Off => Phase::Off,
            Link::Searching(_) => Phase::Searching,
            Link::Errand(_) => Phase::Redirected,
            Link::Holding(_) => Phase::Held,
            Link::Idle => Phase::Detached,
            Link::Linked(linked) => match &linked.talk {
                Talk::Asking(_) => Phase::Asking,
                Talk::Attached => Phase::Attached,
                Talk::Denied { .. } => Phase::Denied,
                Talk::Detached => Phase::Detached,
            },
        };
        Status {
            phase,
            host: self.link.host().and_then(|host| host.name.clone()),
            token: self.token(),
            session: self.picture.session(),
            shown: self.show.as_ref().is_some_and(|show| show.painted),
            unacknowledged: self.typed.kept(),
            input_dropped: self.input_dropped,
        }
    }

    /// Takes in what happened at `now` and appends what is to be done.
    pub fn handle(&mut self, now: Instant, input: DtuInput<'_>, out: &mut Vec<Effect>) {
        let cx = &mut Cx { now, out };
        if self.due.is_some_and(|due| now.since(due) > self.config.timing.late) {
            self.excuse(now);
        }
        self.take(cx, input);
        // An input comes before the deadlines: whoever answered just now is not judged for silence.
        if self.poll().is_some_and(|due| due <= now) {
            self.tend(cx);
        }
        self.due = self.poll();
    }

    fn take(&mut self, cx: &mut Cx<'_>, input: DtuInput<'_>) {
        match input {
            DtuInput::Boot => {
                if matches!(self.link, Link::Off) {
                    cx.report(DtuEvent::Booted);
                    self.begin_search(cx, Start::Boot, None);
                }
            }
            DtuInput::CardInserted(card) => self.on_card(cx, Some(card)),
            DtuInput::CardRemoved => self.on_card(cx, None),
            DtuInput::ServerR(answer) => {
                let news = self.hosts.learn_server_r(cx.now, answer);
                self.hint(cx, &answer.host, news);
            }
            DtuInput::Beacon { beacon, from, at } => self.on_beacon(cx, beacon, from, at),
            DtuInput::ControlReached { conn } => self.on_control_reached(conn),
            DtuInput::ControlOpened { conn, local } => self.on_control_opened(cx, conn, local),
            DtuInput::ControlLine { conn, line } => self.on_control_line(cx, conn, line),
            DtuInput::ControlClosed { conn, fault } => self.on_control_closed(cx, conn, fault),
            DtuInput::DisplayOpened { conn } => self.on_display_opened(cx, conn),
            DtuInput::DisplayHeard { conn } => self.on_display_heard(cx, conn),
            DtuInput::DisplayFrame { conn, frame } => self.on_display_frame(cx, conn, frame),
            DtuInput::DisplayClosed { conn, fault } => self.on_display_closed(cx, conn, fault),
            DtuInput::Typed(bytes) => self.on_typed(cx, bytes),
            DtuInput::Resized(size) => self.on_resized(cx, size),
            DtuInput::Timeout => {}
        }
    }

    fn poll(&self) -> Option<Instant> {
        let show = self.show.as_ref().map(|show| {
            let is_up = show.stage == show::Stage::Up;
            let when_up = earliest(Some(show.ping_at), self.picture.ack_at()).filter(|_| is_up);
            earliest(show.pulse.due(), when_up)
        });
        let typed = match (&self.link, &self.show) {
            (Link::Linked(_), Some(show)) if show.stage == show::Stage::Up => self.typed.waiting(),
            _ => None,
        };
        let typed = typed.map(|since| since + self.config.timing.typed);
        [show.flatten(), typed, self.notice_until].into_iter().fold(self.link.poll_at(), earliest)
    }

    fn tend(&mut self, cx: &mut Cx<'_>) {
        match &self.link {
            Link::Searching(_) => self.tend_search(cx),
            Link::Errand(_) => self.tend_errand(cx),
            Link::Linked(_) => self.tend_linked(cx),
            Link::Holding(_) => self.tend_holding(cx),
            Link::Off | Link::Idle => {}
        }
        if let Some(show) = self.show.take_if(|show| show.pulse.is_dead(cx.now)) {
            cx.push(Effect::CloseDisplay { conn: show.conn });
            self.display_died(cx, &show, Fault::Unreachable, Prompt::Beacons);
        }
        let control = match &self.link {
            Link::Linked(linked) => Some(*linked.host.addr.ip()),
            _ => None,
        };
        self.tend_display(cx, control);
        self.tend_notice(cx);
    }

    /// Who was not run for a while must not accuse others of silence (DESIGN 4.2): what they said meanwhile
    /// may still lie unread.
    fn excuse(&mut self, now: Instant) {
        let listen = now + self.config.timing.answer;
        match &mut self.link {
            Link::Searching(search) => {
                if let Some(attempt) = &mut search.attempt {
                    attempt.due = attempt.due.max(listen);
                }
            }
            Link::Errand(errand) => errand.attempt.due = errand.attempt.due.max(listen),
            Link::Linked(linked) => excuse_linked(linked, now, listen),
            Link::Holding(holding) => match &mut holding.control {
                HoldControl::Silent(linked) => excuse_linked(linked, now, listen),
                HoldControl::Opening { due, .. } => *due = (*due).max(listen),
                HoldControl::Waiting { .. } => {}
            },
            Link::Off | Link::Idle => {}
        }
        if let Some(show) = &mut self.show {
            show.pulse.excuse(now);
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
            self.hosts.learn_beacon(at, beacon, from, self.config.port);
        }
        only_knows
    }

    /// Whose beacons would change what it does now. Any other one is knowledge for when a host has to be chosen, and
    /// need not be noted before the next input that is no beacon.
    #[must_use]
    pub fn heeds(&self, now: Instant) -> Heeds<'_> {
        let one = |host: Option<_>| host.map_or(Heeds::Nobody, Heeds::One);
        match &self.link {
            Link::Off | Link::Idle | Link::Errand(_) => Heeds::Nobody,
            Link::Searching(search) => match search.tried() {
                Some((host, in_first_round)) if in_first_round || self.hosts.is_about(now, host) => {
                    Heeds::Nobody
                }
                _ => Heeds::Everybody,
            },
            Link::Linked(linked) => one(linked.watch.as_ref().map(watch::Watch::host)),
            Link::Holding(holding) => one(holding.host.name.as_ref()),
        }
    }

    fn on_beacon(&mut self, cx: &mut Cx<'_>, beacon: &Beacon, from: Ipv4Addr, at: Instant) {
        let news = self.hosts.learn_beacon(at, beacon, from, self.config.port);
        match &mut self.link {
            Link::Searching(_) => self.hint(cx, &beacon.host, news),
            Link::Linked(linked) => {
                let Some(watch) = &mut linked.watch else { return };
                match watch.on_beacon(at, beacon, from) {
                    Sign::Alive => self.vouch_by_beacon(),
                    Sign::Odd => self.probe_on_odd_beacon(cx),
                    Sign::None => {}
                }
            }
            Link::Holding(holding) => {
                if holding.host.name.as_ref() == Some(&beacon.host) && *holding.host.addr.ip() == from {
                    self.hint_rejoin(cx);
                }
            }
            Link::Off | Link::Errand(_) | Link::Idle => {}
        }
    }

    fn on_control_opened(&mut self, cx: &mut Cx<'_>, conn: ConnId, local: Ipv4Addr) {
        if self.link.conn() != Some(conn) {
            return;
        }
        match core::mem::replace(&mut self.link, Link::Off) {
            Link::Searching(mut search) => {
                let Some(attempt) = search.attempt.take() else { return };
                self.enter(cx, conn, attempt.host, local, 0);
                let avoid = search.avoid.clone();
                self.present(cx, Came::Search(search), Cause::Insert, None, avoid);
            }
            Link::Errand(errand) => self.errand_opened(cx, *errand, local),
            Link::Holding(holding) if matches!(holding.control, HoldControl::Opening { .. }) => {
                self.enter(cx, conn, holding.host, local, 0);
                self.present(cx, Came::Rejoin { until: holding.until }, Cause::Insert, None, None);
            }
            other => self.link = other,
        }
    }

    /// A control connection is open; the caller presents the token on it.
    fn enter(&mut self, cx: &mut Cx<'_>, conn: ConnId, host: HostRef, local: Ipv4Addr, hops: u8) {
        if let Some(gap) = &mut self.gap {
            gap.control_up(cx.now);
        }
        cx.report(DtuEvent::HostFound { host: host.clone() });
        self.link = Link::Linked(Box::new(Linked {
            conn,
            host,
            local,
            talk: Talk::Detached,
            pulse: Pulse::new(cx.now),
            watch: None,
            keepalive_at: cx.now + proto::alp::KEEPALIVE_DISCONNECTED,
            expiry_at: cx.now + proto::alp::EXPIRY,
            again_at: None,
            declined: None,
            blank: None,
            unanswered: 0,
            retry: link::RETRY_FIRST,
            hops,
        }));
    }

    /// Closes the control connection, whatever its state; the caller says what the link is next.
    fn close_control(&mut self, cx: &mut Cx<'_>) {
        if let Some(conn) = self.link.conn() {
            cx.push(Effect::CloseControl { conn });
        }
        self.link = Link::Off;
    }

    const fn next_conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }

    /// A line for the person at the screen that stays until something better is shown.
    fn notice(&mut self, cx: &mut Cx<'_>, text: &str) {
        self.notice_until = None;
        say(cx, text, false);
    }

    /// One that passes.
    fn notice_for_a_while(&mut self, cx: &mut Cx<'_>, text: &str) {
        self.notice_until = Some(cx.now + NOTICE_TIME);
        say(cx, text, true);
    }

    /// A key takes a passing notice away that was there long enough to be read.
    fn dismiss_notice(&mut self, cx: &mut Cx<'_>) {
        if self.notice_until.take_if(|until| cx.now + NOTICE_TIME >= *until + NOTICE_MIN).is_some() {
            cx.push(Effect::Paint(Paint::Notice(None)));
        }
    }

    /// Typed bytes that no session will ever have.
    fn drop_input(&mut self, cx: &mut Cx<'_>, bytes: usize) {
        if bytes > 0 {
            self.input_dropped += bytes as u64;
            cx.report(DtuEvent::InputDropped { bytes });
        }
    }
}

fn say(cx: &mut Cx<'_>, text: &str, passes: bool) {
    let text: String = text.chars().filter(|c| !c.is_control()).take(NOTICE_MAX).collect();
    cx.push(Effect::Paint(Paint::Notice(Some(Notice { text: text.clone(), passes }))));
    cx.report(DtuEvent::Notice { text });
}

fn excuse_linked(linked: &mut Linked, now: Instant, listen: Instant) {
    linked.pulse.excuse(now);
    linked.expiry_at = linked.expiry_at.max(listen);
    if let Talk::Asking(asking) = &mut linked.talk {
        asking.due = asking.due.max(listen);
        asking.limit = asking.limit.max(listen);
    }
}
