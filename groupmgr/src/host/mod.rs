//! The host: one machine, composed here and nowhere else of announcer, topology table, directory, placement,
//! gates, admission and session manager.
//!
//! It takes what happened ([`Input`]) with the time, says what to do ([`Effect`]), and when it wants to be called
//! next. The daemon's loop and a simulation call the same code. The way of a card through it is the order of the
//! rooms below:
//!
//! | Room | Step |
//! |---|---|
//! | [`conns`] | a DTU's connection and its gate: a token is presented |
//! | [`flow`] | is it genuine and allowed, who has its session, who gets a new one, is it claimed |
//! | [`shows`] | a session is shown here, and nowhere else |
//! | [`datagrams`], [`digests`] | what other hosts say meanwhile |
//! | [`takeup`] | what an earlier daemon has left is known before any card comes |
//! | [`store`], [`claims`], [`renew`], [`release`], [`sweep`], [`upkeep`], [`registry`], [`relay`] | what the data store is asked meanwhile |
//! | [`guests`] | what those may cause whom nobody registered |
//! | [`listen`] | before anything else: is the name free? |
//! | [`fitness`] | whether a session can be made here at all |
//! | [`operator`], [`explain`], [`manage`] | what administrators ask and order meanwhile |

pub mod admin;
mod claims;
mod config;
mod conns;
mod counters;
mod datagrams;
mod digests;
pub mod driver;
mod explain;
mod failures;
mod fitness;
mod flow;
pub mod guests;
mod listen;
mod manage;
pub mod note;
mod operator;
mod outcomes;
mod registry;
mod relay;
mod release;
mod renew;
mod shows;
mod store;
mod sweep;
mod tables;
mod takeup;
mod time;
mod upkeep;

use std::net::{Ipv4Addr, SocketAddrV4};

use authmgr::Admission;
use proto::alp::{AnchorNote, STANDBYS_MAX, Standby};
use proto::beacon;
use proto::host_message::Load;
use proto::keys::KeyRing;
use proto::time::{Duration, earliest};
use proto::{HostName, Instant, WallTime};
use sessiond::manager::{SessionEffect, Sessions};

pub use claims::ClaimRecord;
pub use config::HostConfig;
pub use counters::Counters;
pub use driver::{AdminReq, ConnId, Effect, Followed, Input, StoreReq};
pub use note::Note;
pub use tables::Fill;

use self::time::Clock;
use crate::announce::{Announcement, Announcer};
use crate::digest::{self, ASK_ALL_MAX};
use crate::directory::grants::Grants;
use crate::directory::{Ask, Directory, Found, Outbox};
use crate::entropy::Entropy;
use crate::fitness::Fitness;
use crate::reach::{self, Dtu, Reachable};
use crate::topology::{Change, ProofWanted, Topology};

/// Between two calls a running host is never idle for longer than a beacon interval; a gap of more than this
/// means that it was itself not run.
const AWAY_AFTER: Duration = Duration::from_millis(100);

/// A host that was away for longer was silent to the others, and its sessions may have been taken over.
const LOST_SIGHT_AFTER: Duration = Duration::from_millis(250);

/// Membership changes are told to connected DTUs at most this often: a storm of hosts must not become one of
/// messages to every desk.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

// A DTU that fails over needs to have heard of the others before, not in the same moment.
const _: () = assert!(AWAY_AFTER.as_millis() <= beacon::INTERVAL.as_millis());

/// One host of a failover group.
#[derive(Debug)]
pub struct Host {
    config: HostConfig,
    entropy: Entropy,
    announcer: Announcer,
    topology: Topology,
    directory: Directory,
    digest: digest::Own,
    digests: digest::Others,
    grants: Grants,
    placing: flow::Placing,
    fitness: Fitness,
    /// As the kernel last told it.
    run_queue: u32,
    admission: Admission,
    registry: registry::Registry,
    sessions: Sessions,
    conns: conns::Conns,
    store: store::StoreSide,
    shows: shows::Shows,
    guests: guests::Guests,
    failures: failures::Failures,
    outcomes: outcomes::Outcomes,
    discovery: datagrams::Discovery,
    counters: Counters,
    take_up: takeup::TakeUp,
    started: Instant,
    /// None before the first call: to be made and to be run are two things.
    last_run: Option<Clock>,
    /// The group's time when it was last looked at.
    group_time_was: Option<Clock>,
    refresh_at: Option<Instant>,
    listening: Option<listen::Listening>,
    stopping: bool,
    /// When a host that stops ends at the latest.
    stop_at: Option<Instant>,
}

impl Host {
    /// A host that is about to start. `seed` is the source of all its random numbers.
    #[must_use]
    pub fn new(now: Instant, config: HostConfig, seed: [u8; 32]) -> Self {
        let mut entropy = Entropy::new(seed);
        let id = config.identity.clone();
        let (name, boot, tools) = (id.host.clone(), id.boot, config.tools.clone());
        Self {
            announcer: Announcer::new(now, id, &mut entropy),
            topology: Topology::new(name.clone(), boot),
            directory: Directory::new(name.clone(), boot),
            digest: digest::Own::new(config.ring.signing()),
            digests: digest::Others::default(),
            grants: Grants::new(),
            placing: flow::Placing::default(),
            fitness: Fitness::new(),
            run_queue: 0,
            admission: Admission::new(entropy.bytes()),
            registry: registry::Registry::new(now),
            sessions: Sessions::new(name, tools),
            conns: conns::Conns::default(),
            store: store::StoreSide::default(),
            shows: shows::Shows::default(),
            guests: guests::Guests::default(),
            failures: failures::Failures::default(),
            outcomes: outcomes::Outcomes::default(),
            discovery: datagrams::Discovery::default(),
            counters: Counters::default(),
            take_up: takeup::TakeUp::new(now, config.kept),
            started: now,
            last_run: None,
            group_time_was: None,
            refresh_at: None,
            listening: Some(listen::Listening::new(config.kept)),
            stopping: false,
            stop_at: None,
            entropy,
            config,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.config.identity.host
    }

    /// The group's keys.
    #[must_use]
    pub const fn ring(&self) -> &KeyRing {
        &self.config.ring
    }

    /// The topology table.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The sessions here.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whether it was told to stop, and ends as soon as it has given back what it has claimed.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, wall: WallTime, input: Input, out: &mut Vec<Effect>) {
        let clock = Clock { now, wall };
        self.notice_absence(clock, out);
        if let Some(input) = self.hold(input) {
            self.dispatch(clock, input, out);
        }
        self.tidy(clock, out);
    }

    /// When it wants to be called with [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        [
            self.announcer.poll_at().filter(|_| !self.stopping),
            self.topology.poll_at(),
            self.directory.poll_at(),
            self.digest.poll_at(),
            self.digests.poll_at(),
            self.sessions.poll_at(),
            self.shows.poll_at(),
            self.guests.poll_at(),
            self.outcomes.poll_at(),
            self.store.poll_at(),
            self.placing.poll_at(),
            self.registry.poll_at(),
            self.fitness.poll_at(),
            self.listens_until(),
            self.refresh_at,
            self.stop_at,
            self.take_up.poll_at(),
            self.conns.poll_at(),
        ]
        .into_iter()
        .fold(None, earliest)
    }

    /// Who was not run cannot have listened (DESIGN 4.2): the time is given to everybody.
    fn notice_absence(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let Some(last_run) = self.last_run.replace(clock) else { return };
        self.notice_set_clock(clock, last_run, out);
        let gap = clock.now.since(last_run.now);
        let expected = self.announcer.every() + AWAY_AFTER;
        if gap > expected {
            self.topology.was_away(gap);
            self.sessions.was_away(gap);
            self.take_up.was_away(gap);
            self.counters.done("was_away");
            self.digests.doubt_all();
            if gap > LOST_SIGHT_AFTER {
                self.renew_all_claims();
            }
            out.push(Effect::Note(Note::WasAway { ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX) }));
        }
    }

    fn dispatch(&mut self, clock: Clock, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Timeout => {}
            Input::Interfaces(interfaces) => {
                self.begin_to_listen(clock.now);
                self.announcer.set_interfaces(clock.now, interfaces);
            }
            Input::Vitals { run_queue, mem_mib } => {
                let Load { mem_mib: before, .. } = self.announcer.load();
                self.run_queue = run_queue;
                self.announcer.set_load(Load { mem_mib, ..self.announcer.load() });
                if before == 0 {
                    // Beacons do not carry it, and nobody places sessions where no memory is known of.
                    self.announcer.announce_soon(clock.now);
                }
            }
            Input::Found(findings) => self.on_findings(findings),
            Input::Datagram { iface, from, bytes } => self.on_datagram(clock, &iface, from, &bytes, out),
            Input::Refused { addr } => self.on_refused(clock, addr, out),
            Input::Opened { conn, peer, plain } => self.on_opened(clock, conn, peer, plain),
            Input::Line { conn, line } => self.on_line(clock, conn, line, out),
            Input::Closed { conn } => self.on_closed(clock, conn, out),
            Input::Display { conn, session } => self.on_display(conn, session, out),
            Input::Store { req, outcome } => self.on_store(clock, req, outcome, out),
            Input::StoreLink { up, store } => {
                if let Some(id) = store {
                    self.announcer.set_store_id(clock.now, id);
                }
                self.on_store_link(clock, up, out);
            }
            Input::Followed(news) => self.on_followed(clock, news, out),
            Input::SessionSpawned { session, kept } => {
                self.fitness.on_spawned();
                if kept {
                    self.take_up.told();
                }
                self.with_sessions(clock, out, |s, now, fx| s.on_spawned(now, session, kept, fx));
            }
            Input::SpawnFailed { session, reason } => {
                self.fitness.on_spawn_failed(clock.now, &reason);
                self.with_sessions(clock, out, |s, now, fx| s.on_spawn_failed(now, session, reason, fx));
            }
            Input::SessionExited { session } => {
                self.with_sessions(clock, out, |s, now, fx| s.on_exited(now, session, fx));
            }
            Input::Session { session, said } => {
                self.with_sessions(clock, out, |s, now, fx| s.on_said(now, session, *said, fx));
            }
            Input::Admin { req, command } => self.on_command(clock, req, command, out),
        }
    }

    /// What is due by time, and what follows from what has changed: cheap, and the same however often it is
    /// called.
    fn tidy(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        self.judge(clock, out);
        self.poll_listening(clock, out);
        self.poll_directory(clock, out);
        self.poll_conns(clock, out);
        self.poll_store(clock, out);
        self.poll_registry(clock, out);
        self.with_sessions(clock, out, Sessions::on_timeout);
        self.poll_take_up(clock);
        self.poll_shows(clock, out);
        self.poll_guests(clock, out);
        self.poll_outcomes(clock, out);
        self.poll_digests(clock, out);
        self.poll_placing(clock.now, out);
        self.poll_fitness(clock, out);
        self.speak(clock, out);
        self.poll_stop(clock.now, out);
        if self.refresh_at.is_some_and(|at| at <= clock.now) {
            self.refresh_at = None;
            self.refresh_dtus(clock, out);
        }
    }

    fn speak(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        let load = self.load_now(clock.now);
        self.announcer.set_load(load);
        self.announcer.set_digest(self.digest.version());
        let mut said = Vec::new();
        let ring = &self.config.ring;
        let renewed = self.announcer.speak(clock.now, clock.wall, ring, &mut self.entropy, &mut said);
        out.extend(said.into_iter().map(Effect::Broadcast));
        if renewed {
            // The old chain is used up: without the new anchor DTUs could believe no beacon.
            self.refresh_at = Some(clock.now);
        }
    }

    fn judge(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let mut wanted = Vec::new();
        self.topology.on_timeout(clock.now, &mut wanted);
        self.ask_for_proof(wanted, out);
        for change in self.topology.take_changes() {
            self.on_change(clock, &change, out);
            // Whoever does not start for it says that instead.
            if !self.stopping {
                out.push(Effect::Note(self.note_of(clock.now, change)));
            }
        }
    }

    fn ask_for_proof(&self, wanted: Vec<ProofWanted>, out: &mut Vec<Effect>) {
        for ProofWanted { addr, to, nonce } in wanted {
            let body = proto::peer::PeerBody::HostQ { to, nonce };
            out.push(Effect::Ask(Ask { to: addr, bytes: self.seal_peer(body) }));
        }
    }

    /// `body` as a datagram of this host.
    fn seal_peer(&self, body: proto::peer::PeerBody) -> Vec<u8> {
        let id = &self.config.identity;
        let message = proto::peer::PeerMessage { host: id.host.clone(), boot: id.boot, body };
        self.config.ring.seal(proto::keys::Purpose::Peer, &message.to_line())
    }

    fn on_change(&mut self, clock: Clock, change: &Change, out: &mut Vec<Effect>) {
        self.follow_group_time(clock, out);
        let group = self.topology.group_size();
        self.announcer.set_group_size(group);
        self.topology.set_every(self.announcer.every());
        self.digest.set_group(self.announcer.every(), group > ASK_ALL_MAX);
        self.digests.set_group(self.announcer.every(), group > ASK_ALL_MAX);
        let due = clock.now + REFRESH_PAUSE;
        self.refresh_at = Some(self.refresh_at.map_or(due, |at| at.min(due)));
        self.sweep_after(clock.now, change);
        match change {
            Change::Up(host) => self.tell_what_is_shown(clock, host, out),
            Change::Silent(host) | Change::Left(host) | Change::Restarted(host) => {
                let host = host.clone();
                match change {
                    Change::Silent(_) => self.digests.doubt(&host),
                    _ => self.digests.forget(&host),
                }
                self.with_directory(clock, out, |directory, outbox| directory.on_lost(&host, outbox));
                self.offer_superseded();
            }
            Change::Down(host) | Change::Forgotten(host) => self.digests.forget(host),
            Change::Two(_) | Change::OneAgain(_) => self.on_double(clock, change, out),
            Change::Changed(_) | Change::Interface { .. } | Change::Lacks(..) => {}
        }
    }

    /// Runs a step of the directory and goes on with the presentations whose lookup it ended.
    fn with_directory<R>(
        &mut self,
        clock: Clock,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut Directory, &mut Outbox<'_>) -> R,
    ) -> R {
        let (mut asks, mut found) = (Vec::new(), Vec::new());
        let result = step(&mut self.directory, &mut Outbox { asks: &mut asks, found: &mut found });
        out.extend(asks.into_iter().map(Effect::Ask));
        for found in found {
            self.on_found(clock, found, out);
        }
        result
    }

    fn poll_directory(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        if self.directory.poll_at().is_none_or(|at| at > clock.now) {
            return;
        }
        let (mut asks, mut found): (Vec<Ask>, Vec<Found>) = (Vec::new(), Vec::new());
        let mut outbox = Outbox { asks: &mut asks, found: &mut found };
        self.directory.on_timeout(clock.now, &self.config.ring, &mut self.entropy, &mut outbox);
        out.extend(asks.into_iter().map(Effect::Ask));
        for found in found {
            self.on_found(clock, found, out);
        }
    }

    /// Runs a step of the session manager and does what follows from it.
    fn with_sessions(
        &mut self,
        clock: Clock,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut Sessions, Instant, &mut Vec<SessionEffect>),
    ) {
        let mut effects = Vec::new();
        step(&mut self.sessions, clock.now, &mut effects);
        for effect in effects {
            match effect {
                SessionEffect::Spawn(spec) => out.push(Effect::Spawn(spec)),
                SessionEffect::Tell(session, message) => out.push(Effect::Tell { session, message }),
                SessionEffect::Kill(session) => out.push(Effect::Kill(session)),
                SessionEffect::Event(event) => self.on_session_event(clock, event, out),
            }
        }
    }

    /// The hosts that this DTU can reach, other than this one.
    fn reachable(&self, now: Instant, dtu: Dtu) -> Vec<Reachable> {
        reach::reachable(now, &self.topology, self.announcer.interfaces(), dtu)
    }

    /// This host's address for a DTU at `addr`.
    fn address_for(&self, addr: Ipv4Addr) -> SocketAddrV4 {
        let ip = reach::own_address(self.announcer.interfaces(), addr).unwrap_or(Ipv4Addr::LOCALHOST);
        SocketAddrV4::new(ip, self.config.identity.port)
    }

    fn anchor(&mut self) -> AnchorNote {
        self.announcer.anchor()
    }

    /// Where this DTU may fail over to.
    fn standbys(&self, now: Instant, dtu: Dtu) -> Vec<Standby> {
        let mut hosts = self.reachable(now, dtu);
        hosts.retain(|r| !self.has_other_store(&r.host));
        hosts.sort_by_key(|r| r.choice);
        hosts.into_iter().take(STANDBYS_MAX).map(|r| Standby { host: r.host, addr: r.addr }).collect()
    }

    /// Whether `host` is known to use another data store than this one: no session goes there, since its claim and
    /// its user's permanent data would be apart from the group's.
    fn has_other_store(&self, host: &HostName) -> bool {
        let own = self.announcer.store_id();
        self.topology.row(host).is_some_and(|row| row.facts().has_other_store(own))
    }

    fn broadcast(&self, bytes: &[u8], out: &mut Vec<Effect>) {
        for interface in self.announcer.interfaces() {
            let said = Announcement { iface: interface.name.clone(), bytes: bytes.to_vec() };
            out.push(Effect::Broadcast(said));
        }
    }
}
