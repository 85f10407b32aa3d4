//! Looking for a host: configured servers, the hosts known from before, whoever answers a serverQ or is heard by its
//! beacons, one after the other until one lets us in.
//!
//! ```text
//!  Off ──boot──▶ Searching ──open──▶ Presenting ──answered──▶ Settled
//!                  ▲ ▲ ▲                  │                    │   │
//!                  │ │ └──── failed ──────┘                    │   │ the session was taken away,
//!                  │ └──────────── no host is left ────────────┘   │ and then the host died
//!                  │                                               ▼
//!                  └────────────────── card, Enter ─────────────  Idle
//! ```
//! Idle: to present the token again by ourselves would take the session off the DTU that has it now, so we wait for the
//! card or for Enter.

use std::net::Ipv4Addr;

use proto::alp::Cookie;
use proto::beacon::Beacon;
use proto::{HostName, Instant};

use super::ctx::{Env, Out};
use super::edges::Edges;
use super::event::DtuEvent;
use super::fault::{ConnId, Fault};
use super::host_ref::HostRef;
use super::hosts::{Failure, Hosts, News};
use super::input::Effect;
use super::reason::ConnectReason;
use super::search::{Hint, Search, Start};
use super::step::{Entrance, Sighting, ToConnection, ToDiscovery, ToDisplay, ToFailover};

/// Where looking for a host stands.
#[derive(Debug)]
enum State {
    /// The DTU is not switched on.
    Off,
    Searching(Box<Search>),
    /// The host that was found was asked. Should it fail us, the search goes on where it was.
    Presenting(Box<Search>),
    /// A host was found.
    Settled,
    /// The person at the screen decides.
    Idle,
}

pub(super) const EDGES: Edges = Edges {
    machine: "discovery",
    drawn: &[
        ("off", "searching"),
        ("searching", "presenting"),
        ("presenting", "searching"),
        ("presenting", "settled"),
        ("settled", "searching"),
        ("settled", "idle"),
        ("idle", "searching"),
    ],
};

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Searching(_) => "searching",
            Self::Presenting(_) => "presenting",
            Self::Settled => "settled",
            Self::Idle => "idle",
        }
    }
}

/// Owns the hosts that are known, and the search for one.
#[derive(Debug)]
pub(super) struct Discovery {
    state: State,
    hosts: Hosts,
    /// Whether the session that was last shown may be had again: its host, and so its process, may live.
    keeps_session: bool,
    /// Who keeps that session, as its host said over TLS: whoever has it already shows it soonest.
    cookie: Option<Box<Cookie>>,
}

impl Discovery {
    pub(super) fn new() -> Self {
        Self { state: State::Off, hosts: Hosts::default(), keeps_session: false, cookie: None }
    }

    /// The hosts that are known, for the other machines.
    pub(super) const fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    const fn search(&self) -> Option<&Search> {
        match &self.state {
            State::Searching(search) => Some(search),
            _ => None,
        }
    }

    /// The connection that is being opened.
    pub(super) fn conn(&self) -> Option<ConnId> {
        Some(self.search()?.attempt.as_ref()?.conn)
    }

    pub(super) const fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// When somebody's silence would be held against him.
    pub(super) fn judges_at(&self) -> Option<Instant> {
        Some(self.search()?.attempt.as_ref()?.due)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 4] {
        let search = self.search();
        [
            ("attempt", self.judges_at()),
            ("next round", search.and_then(|search| search.next_round_at)),
            ("no host", search.and_then(|search| search.announce_at)),
            ("busy host", search.and_then(|search| search.busy_at)),
        ]
    }

    /// Whether any beacon may change what is done now; `None` where that is not for the search to say.
    pub(super) fn heeds_all(&self, now: Instant) -> Option<bool> {
        let search = self.search()?;
        Some(!search.attempt.as_ref().is_some_and(|attempt| {
            // Who is tried has its time whatever else is heard; in later rounds only if it is heard itself.
            search.is_first_round() || self.hosts.is_about(now, &attempt.host)
        }))
    }

    pub(super) fn handle(&mut self, env: &Env<'_>, step: ToDiscovery, out: &mut Out<'_>) {
        match step {
            ToDiscovery::Resumed => self.excuse(env),
            ToDiscovery::Due => self.on_due(env, out),
            ToDiscovery::Boot => {
                if self.is_off() {
                    out.report(DtuEvent::Booted);
                    self.begin(env, Start::Boot, None, out);
                }
            }
            ToDiscovery::ServerR(answer) => {
                let news = self.hosts.learn_server_r(env.now, &answer);
                self.hint(env, &answer.host, news, out);
            }
            ToDiscovery::Reached { conn } => {
                if let State::Searching(search) = &mut self.state
                    && let Some(attempt) = search.attempt.as_mut().filter(|attempt| attempt.conn == conn)
                {
                    attempt.reached(&self.hosts, &env.config.timing);
                }
            }
            ToDiscovery::Opened { conn, local } => self.on_opened(conn, local, out),
            ToDiscovery::Closed { conn, fault } => {
                if let State::Searching(search) = &mut self.state
                    && let Some(attempt) = search.attempt.take_if(|attempt| attempt.conn == conn)
                {
                    self.failed(env, attempt.host, fault, out);
                }
            }
            ToDiscovery::Failed { host, fault } => {
                self.change(|state| match state {
                    State::Presenting(search) => State::Searching(search),
                    other => other,
                });
                self.failed(env, host, fault, out);
            }
            ToDiscovery::Settled => self.change(|_| State::Settled),
            ToDiscovery::Search { avoid } => self.begin(env, Start::Lost, avoid, out),
            ToDiscovery::Wait => self.change(|_| State::Idle),
            ToDiscovery::PresentAgain => {
                if self.is_idle() {
                    self.begin(env, Start::Lost, None, out);
                }
            }
            ToDiscovery::SessionLeft => (self.keeps_session, self.cookie) = (false, None),
            other => self.learn(env, other),
        }
    }

    /// What the other machines found out about hosts.
    fn learn(&mut self, env: &Env<'_>, step: ToDiscovery) {
        match step {
            ToDiscovery::Lost { host, keeps_session } => {
                self.hosts.bury(&host);
                self.keeps_session = keeps_session;
            }
            ToDiscovery::Bury(host) => self.hosts.bury(&host),
            ToDiscovery::Unreached { host, failure } => self.hosts.failed(env.now, &host, failure),
            ToDiscovery::Admitted { host, addr, standbys, cookie } => {
                self.hosts.learn_own(&host, addr);
                self.hosts.learn_standbys(&standbys);
                self.cookie = cookie.filter(|cookie| cookie.primary == host);
            }
            ToDiscovery::Cookie { from, cookie } => {
                let is_old = self.cookie.as_ref().is_some_and(|held| cookie.is_older_than(held));
                if from.as_ref() == Some(&cookie.primary) && !is_old {
                    self.cookie = Some(cookie);
                }
            }
            ToDiscovery::Standbys(standbys) => self.hosts.learn_standbys(&standbys),
            _ => {}
        }
    }

    /// Takes note of a beacon that changes nothing now.
    pub(super) fn note(&mut self, at: Instant, beacon: &Beacon, from: Ipv4Addr, port: u16) {
        self.hosts.learn_beacon(at, beacon, from, port);
    }

    /// A beacon was heard at `at`. What it says of the host that is `watched` is for whoever is connected to it.
    pub(super) fn on_beacon(
        &mut self,
        env: &Env<'_>,
        watched: Option<&HostName>,
        (beacon, from, at): (&Beacon, Ipv4Addr, Instant),
        out: &mut Out<'_>,
    ) {
        let news = self.hosts.learn_beacon(at, beacon, from, env.config.port);
        if watched == Some(&beacon.host) {
            let Beacon { boot, tick, chain_value, every, .. } = *beacon;
            out.tell(ToConnection::Heard(Sighting { boot, tick, chain_value, every, from, at }));
            out.tell(ToFailover::Heard { from });
        }
        self.hint(env, &beacon.host, news, out);
    }

    fn change(&mut self, to: impl FnOnce(State) -> State) {
        let from = self.state.name();
        self.state = to(core::mem::replace(&mut self.state, State::Settled));
        EDGES.check(from, self.state.name());
    }

    /// What others said while we were not run may still lie unread.
    fn excuse(&mut self, env: &Env<'_>) {
        if let State::Searching(search) = &mut self.state
            && let Some(attempt) = &mut search.attempt
        {
            attempt.excuse(env.now + env.config.timing.answer);
        }
    }

    fn begin(&mut self, env: &Env<'_>, start: Start, avoid: Option<HostName>, out: &mut Out<'_>) {
        let mut search = Search::new(start, avoid, env.now + env.config.timing.no_host);
        search.fill(env.now, env.config, &self.hosts, secondary(&self.cookie));
        self.change(|_| State::Searching(Box::new(search)));
        self.go_on(env, out);
    }

    /// Goes on with a search: the next host, or a pause when nobody is left.
    fn go_on(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let State::Searching(search) = &mut self.state else { return };
        if search.attempt.is_some() {
            return;
        }
        if let Some(host) = search.next() {
            let conn = out.next_conn();
            out.effect(Effect::OpenControl { conn, addr: host.addr });
            search.open(env.now, conn, host, &env.config.timing);
        } else if search.next_round_at.is_none() {
            out.effect(Effect::BroadcastServerQ);
            let pause = search.end_round(&env.config.timing);
            search.next_round_at = Some(env.now + out.dice.spread(pause));
        }
    }

    fn on_opened(&mut self, conn: ConnId, local: Ipv4Addr, out: &mut Out<'_>) {
        let State::Searching(search) = &mut self.state else { return };
        let Some(attempt) = search.attempt.take_if(|attempt| attempt.conn == conn) else { return };
        // Someone who was at work is not left at the first host that is full.
        let may_go_on = search.start == Start::Lost && search.has_more();
        out.tell(ToConnection::Enter(Box::new(Entrance {
            conn,
            host: attempt.host,
            local,
            reason: ConnectReason::Search { may_go_on },
            avoid: search.avoid.clone(),
        })));
        self.change(|state| match state {
            State::Searching(search) => State::Presenting(search),
            other => other,
        });
    }

    /// A host of the search failed us, before or after it opened a connection.
    fn failed(&mut self, env: &Env<'_>, host: HostRef, fault: Fault, out: &mut Out<'_>) {
        // A clock may be put right any moment; a certificate of another group stays one.
        let failure = match fault {
            Fault::Tls(_) => Failure::Stranger,
            Fault::Busy(_) => Failure::Busy,
            _ => Failure::Away,
        };
        if let State::Searching(search) = &mut self.state {
            search.remember(&host, &fault);
            search.attempt = None;
        }
        self.hosts.failed(env.now, &host, failure);
        out.report(DtuEvent::HostFailed { host, fault });
        self.go_on(env, out);
    }

    fn on_due(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let now = env.now;
        let State::Searching(search) = &mut self.state else { return };
        let slow = search.attempt.as_ref().is_some_and(|a| self.hosts.is_about(now, &a.host));
        if slow && let Some(at) = &mut search.announce_at {
            // Someone is there who has not got to us yet.
            *at = (*at).max(now + env.config.timing.open);
        }
        if search.busy_at.take_if(|at| *at <= now).is_some()
            && let Some(attempt) = search.attempt.as_ref().filter(|_| slow)
        {
            let host = &attempt.host;
            let text =
                format!("Host {host} has many desks to serve. Yours is in line, and shown at its turn.");
            out.tell(ToDisplay::Notice(text));
        }
        if search.announce_at.take_if(|at| *at <= now).is_some() {
            out.report(DtuEvent::NoHost);
            out.tell(ToDisplay::NoHost(search.why_nobody(self.keeps_session)));
        }
        if let Some(mut attempt) = search.attempt.take_if(|attempt| attempt.due <= now) {
            if !attempt.extend(now, &self.hosts, &env.config.timing) {
                out.effect(Effect::CloseControl { conn: attempt.conn });
                return self.failed(env, attempt.host, Fault::Unreachable, out);
            }
            search.attempt = Some(attempt);
        }
        if search.next_round_at.take_if(|at| *at <= now).is_some() {
            search.fill(now, env.config, &self.hosts, secondary(&self.cookie));
        }
        self.go_on(env, out);
    }

    /// A host was heard that may be worth an attempt.
    fn hint(&mut self, env: &Env<'_>, name: &HostName, news: News, out: &mut Out<'_>) {
        let State::Searching(search) = &mut self.state else { return };
        let Some(host) = self.hosts.hinted(env.now, name) else { return };
        match search.hint(env.now, host, news, &self.hosts) {
            Hint::Kept => {}
            Hint::Instead(conn) => {
                if let Some(conn) = conn {
                    out.effect(Effect::CloseControl { conn });
                }
                self.go_on(env, out);
            }
        }
    }
}

/// The host that has all of the session that was last shown.
fn secondary(cookie: &Option<Box<Cookie>>) -> Option<&HostName> {
    cookie.as_ref()?.secondary.as_ref()
}
