//! Membership: who is in the group, reachable from where and how loaded, and what this host tells of itself.
//!
//! Owns announcing, the topology table, proofs of life, digests, and what this host lacks to make sessions; it writes
//! [`Members`], which all machines read. What other hosts ask or tell about tokens is checked here, and goes on to the
//! directory and to the attachments.

mod answered;
mod datagrams;
mod listen;
mod members;

pub(super) use answered::ANSWERED_MAX;
pub(super) use members::Members;

use proto::host_message::Load;
use proto::lack::Lack;
use proto::peer::PeerBody;
use proto::time::{Duration, earliest};
use proto::{Instant, Last, WallTime, beacon};

use super::admin::{DigestStatus, Reply};
use super::driver::{AdminReq, Effect};
use super::env::{Busy, Env};
use super::note::Note;
use super::out::Out;
use super::step::{
    ToAttachments, ToClaims, ToConnections, ToDirectory, ToKeeping, ToMembership, ToRecords, ToSessions,
};
use crate::announce::Announcer;
use crate::digest::{self, ASK_ALL_MAX};
use crate::directory::Ask;
use crate::fitness::{Condition, Finding, Fitness, News};
use crate::topology::{Change, Double, ProofWanted, Topology};
use answered::Answered;
use listen::Listening;
use proto::rng::SecretRng;

/// Between two calls a running host is never idle for longer than a beacon interval; a gap of more than this
/// means that it was itself not run.
const AWAY_AFTER: Duration = beacon::INTERVAL;

/// A host that was away for longer was silent to the others, and its sessions may have been taken over.
const LOST_SIGHT_AFTER: Duration = Duration::from_millis(125);

/// Membership changes are told to connected DTUs at most this often: a storm of hosts must not become one of
/// messages to every desk.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

// By then others may have missed three beacons, of which the first was due just before this host stopped.
const _: () =
    assert!(LOST_SIGHT_AFTER.as_millis() <= beacon::INTERVAL.as_millis() * beacon::MISSED_MAX as u128);

/// The machine that announces this host and knows the others.
#[derive(Debug)]
pub(super) struct Membership {
    members: Members,
    /// What this host tells of its tokens.
    digest: digest::Own,
    answered: Answered,
    /// None once it has started.
    listening: Option<Listening>,
    /// None before the first call: to be made and to be run are two things.
    last_run: Option<(Instant, WallTime)>,
    /// The group's time when it was last looked at.
    group_time_was: Option<WallTime>,
    /// When DTUs are told where they may fail over to.
    refresh_at: Option<Instant>,
    is_stopping: bool,
    entropy: SecretRng,
}

impl Membership {
    pub(super) fn new(env: &Env<'_>, mut entropy: SecretRng) -> Self {
        let id = env.config.identity.clone();
        let topology = Topology::new(id.host.clone(), id.boot);
        let mut announcer = Announcer::new(env.now, id, &mut entropy);
        let members = Members {
            topology,
            anchor: announcer.anchor(),
            announcer,
            digests: digest::Others::default(),
            fitness: Fitness::new(),
            run_queue: 0,
            started: env.now,
        };
        Self {
            members,
            digest: digest::Own::new(env.config.ring.signing()),
            answered: Answered::default(),
            listening: Some(Listening::new(env.config.kept)),
            last_run: None,
            group_time_was: None,
            refresh_at: None,
            is_stopping: false,
            entropy,
        }
    }

    pub(super) const fn members(&self) -> &Members {
        &self.members
    }

    /// Whether the host has just started and still listens.
    pub(super) const fn is_listening(&self) -> bool {
        self.listening.is_some()
    }

    /// Whether the host ends.
    pub(super) const fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Addresses whose last answer is remembered.
    pub(super) fn answered(&self) -> usize {
        self.answered.len()
    }

    pub(super) fn digest_status(&self) -> DigestStatus {
        let (known, held) = self.members.digests_held();
        let version = self.digest.version().map(|version| version.to_string());
        DigestStatus { version, tokens: self.digest.tags(), known, held }
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 8] {
        let speaks = |at: Option<Instant>| at.filter(|_| !self.is_stopping);
        let announcer = &self.members.announcer;
        // Who announces nothing yet has to be called all the same, or a pause looks as if this machine had stood still.
        let run = self.last_run.filter(|_| announcer.poll_at().is_none());
        [
            ("message or beacon", speaks(self.members.announcer.poll_at())),
            ("judge", self.members.topology.poll_at()),
            ("digest part", speaks(self.digest.poll_at())),
            ("digest question", speaks(self.members.digests.poll_at())),
            ("fitness", self.members.fitness.poll_at()),
            ("listening", self.listening.as_ref().and_then(Listening::until)),
            ("refresh", self.refresh_at),
            ("sign of running", run.map(|(at, _)| at + announcer.every())),
        ]
    }

    pub(super) fn handle(&mut self, env: &Env<'_>, busy: Busy<'_>, step: ToMembership, out: &mut Out<'_>) {
        let announcer = &mut self.members.announcer;
        match step {
            ToMembership::Resumed => self.notice_absence(env, out),
            ToMembership::Interfaces(interfaces) => {
                announcer.set_interfaces(env.now, interfaces);
                if let Some(listening) = &mut self.listening {
                    listening.begin(env.now);
                }
            }
            ToMembership::Vitals { run_queue, mem_mib } => {
                let Load { mem_mib: before, .. } = announcer.load();
                self.members.run_queue = run_queue;
                announcer.set_load(Load { mem_mib, ..announcer.load() });
                if before == 0 {
                    // Beacons do not carry it, and nobody places sessions where no memory is known of.
                    announcer.announce_soon(env.now);
                }
            }
            ToMembership::Findings(findings) => {
                findings.into_iter().for_each(|finding| self.members.fitness.find(finding));
            }
            ToMembership::Spawned => self.members.fitness.on_spawned(),
            ToMembership::SpawnFailed { reason } => self.members.fitness.on_spawn_failed(env.now, &reason),
            ToMembership::StoreIs(id) => announcer.set_store_id(env.now, id),
            ToMembership::Datagrams { iface, datagrams } => {
                for datagram in datagrams {
                    self.on_datagram(env, busy, &iface, &datagram, out);
                    self.take_changes(env, out);
                }
            }
            ToMembership::Refused { addr } => self.members.topology.on_refused(addr),
            ToMembership::Token { tag, is_here: true } => self.digest.add(tag),
            ToMembership::Token { tag, is_here: false } => self.digest.remove(tag),
            ToMembership::Drain(drain) => {
                announcer.set_drain(env.now, drain);
                if drain {
                    out.step(ToKeeping::Drained);
                }
            }
            ToMembership::Forget { req, host } => self.forget(req, &host, out),
            ToMembership::Stop => {
                self.is_stopping = true;
                self.members.broadcast(&env.seal_peer(PeerBody::Goodbye), out);
            }
            ToMembership::Due => self.on_due(env, busy, out),
        }
        self.take_changes(env, out);
    }

    /// Who was not run cannot have listened: the time is given to everybody.
    fn notice_absence(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let Some(before) = self.last_run.replace((env.now, env.wall)) else { return };
        self.notice_set_clock(env, before, out);
        let gap = env.now.since(before.0);
        if gap <= self.members.announcer.every() + AWAY_AFTER {
            return;
        }
        self.members.topology.was_away(gap);
        self.members.digests.doubt_all();
        out.step(ToSessions::WasAway(gap));
        out.step(ToKeeping::WasAway(gap));
        out.done("was_away");
        if gap > LOST_SIGHT_AFTER {
            out.step(ToClaims::OutOfSight);
            out.step(ToRecords::OutOfSight);
        }
        out.note(Note::WasAway { ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX) });
    }

    /// This host's clock was `before` when it last ran: if it was set by more than others would believe, they hear of
    /// it at once, or they would order by its old time until its next message.
    fn notice_set_clock(&mut self, env: &Env<'_>, (then, wall): (Instant, WallTime), out: &mut Out<'_>) {
        let expected = wall + env.now.since(then);
        if env.wall.as_millis().abs_diff(expected.as_millis()) > Last::FUTURE_MAX_MS {
            self.members.announcer.announce_soon(env.now);
            self.follow_group_time(env, out);
        } else if env.wall < wall {
            out.step(ToAttachments::ClockSetBack);
        }
    }

    /// Clocks of the group were heard, or hosts came and went: where that sets the group's time back, times of last
    /// connection that were given by it are corrected.
    fn follow_group_time(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let time = self.members.group_time(env.now, env.wall);
        let before = self.group_time_was.replace(time);
        if before.is_some_and(|before| !Last::next(before, None).is_plausible(time)) {
            out.step(ToAttachments::ClockSetBack);
        }
    }

    /// An operator says that a host will not come back.
    fn forget(&mut self, req: AdminReq, host: &proto::HostName, out: &mut Out<'_>) {
        let is_up = self.members.row(host).is_some_and(crate::topology::Row::is_up);
        let reply = if is_up {
            Reply::Refused(format!("{host} is up and would be heard again; stop it first"))
        } else if self.members.topology.forget(host) {
            self.members.digests.forget(host);
            out.step(ToClaims::Group(Change::Forgotten(host.clone())));
            out.step(ToRecords::Group(Change::Forgotten(host.clone())));
            out.step(ToKeeping::Group(Change::Forgotten(host.clone())));
            Reply::Done
        } else {
            Reply::Refused(format!("no host {host} in the table; see: groupmgr topology"))
        };
        out.answer(req, reply);
    }

    fn on_due(&mut self, env: &Env<'_>, busy: Busy<'_>, out: &mut Out<'_>) {
        let mut wanted = Vec::new();
        self.members.topology.on_timeout(env.now, &mut wanted);
        for ProofWanted { addr, to, nonce } in wanted {
            let bytes = env.seal_peer(PeerBody::HostQ { to, nonce });
            out.effect(Effect::Ask(Ask { to: addr, bytes }));
        }
        self.take_changes(env, out);
        self.end_listening(env, out);
        self.members.fitness.on_timeout(env.now);
        self.announce_fitness(env, out);
        if !self.is_stopping {
            self.tell_digests(env, out);
            self.speak(env, busy, out);
        }
        if self.refresh_at.is_some_and(|at| at <= env.now) {
            self.refresh_at = None;
            out.step(ToConnections::Refresh);
        }
    }

    /// Serves whoever has come meanwhile, when it is time.
    fn end_listening(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let Members { announcer, topology, .. } = &mut self.members;
        let is_over = |listening: &mut Listening| {
            listening.is_over(env.now, announcer.every(), topology.is_own_name_in_doubt())
        };
        if self.listening.as_mut().is_some_and(is_over) {
            self.listening = None;
            announcer.begin(env.now);
            out.effect(Effect::Ready);
            out.step(ToConnections::Begin);
        }
    }

    fn tell_digests(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        if let Some(part) = self.digest.speak(env.now) {
            self.members.broadcast(&env.seal_peer(PeerBody::Digest(part)), out);
        }
        if let Some(question) = self.members.digests.on_timeout(env.now, &mut self.entropy)
            && let Some(row) = self.members.row(&question.host).filter(|row| row.is_up())
        {
            let to = row.ask_at(env.now);
            let bytes = env.seal_peer(PeerBody::DigestQ { to: question.boot, parts: question.parts });
            out.effect(Effect::Ask(Ask { to, bytes }));
        }
    }

    /// Says what is due.
    fn speak(&mut self, env: &Env<'_>, busy: Busy<'_>, out: &mut Out<'_>) {
        self.update_load(env, busy);
        let announcer = &mut self.members.announcer;
        announcer.set_digest(self.digest.version());
        let mut said = Vec::new();
        let is_new_chain = announcer.speak(env.now, env.wall, &env.config.ring, &mut self.entropy, &mut said);
        out.effects.extend(said.into_iter().map(Effect::Broadcast));
        self.members.anchor = announcer.anchor();
        if is_new_chain {
            // The old chain is used up: without the new anchor DTUs could believe no beacon.
            self.refresh_at = Some(env.now);
        }
    }

    fn update_load(&mut self, env: &Env<'_>, busy: Busy<'_>) {
        let load = busy.workload.load(env.now, busy.sessions.len(), &self.members);
        self.members.announcer.set_load(load);
    }

    /// Announces what is lacking as soon as it is, or no longer is.
    fn announce_fitness(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let news = self.members.fitness.take_news();
        if !news.is_empty() {
            self.members.announcer.set_lacks(env.now, self.members.fitness.lacks());
        }
        for News { of, why } in news {
            out.done("fitness_changed");
            out.note(Note::Lacks { of, why });
        }
    }

    /// Tells everybody concerned what has become of other hosts.
    fn take_changes(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        for change in self.members.topology.take_changes() {
            self.on_change(env, &change, out);
            // Whoever does not start for it says that instead.
            if !self.is_stopping {
                out.note(self.note_of(env.now, change));
            }
        }
        self.announce_fitness(env, out);
    }

    fn on_change(&mut self, env: &Env<'_>, change: &Change, out: &mut Out<'_>) {
        self.follow_group_time(env, out);
        let Members { topology, announcer, digests, .. } = &mut self.members;
        let group = topology.group_size();
        announcer.set_group_size(group);
        topology.set_every(announcer.every());
        self.digest.set_group(announcer.every(), group > ASK_ALL_MAX);
        digests.set_group(announcer.every(), group > ASK_ALL_MAX);
        self.refresh_at = earliest(self.refresh_at, Some(env.now + REFRESH_PAUSE));
        match change {
            Change::Silent(host) => digests.doubt(host),
            Change::Left(host) | Change::Restarted(host) | Change::Down(host) | Change::Forgotten(host) => {
                digests.forget(host);
            }
            Change::Two(_) | Change::OneAgain(_) => self.on_double(env, change, out),
            Change::Up(_) | Change::Changed(_) | Change::Interface { .. } | Change::Lacks(..) => {}
        }
        // Whoever waits for the answer of a lost host goes on only after the claims know of the loss.
        out.step(ToClaims::Group(change.clone()));
        out.step(ToRecords::Group(change.clone()));
        out.step(ToKeeping::Group(change.clone()));
        match change {
            Change::Up(host) => out.step(ToAttachments::HostUp(host.clone())),
            Change::Silent(host) | Change::Left(host) | Change::Restarted(host) => {
                out.step(ToDirectory::Lost(host.clone()));
            }
            _ => {}
        }
    }

    /// Two hosts have a name, or no longer have.
    fn on_double(&mut self, env: &Env<'_>, change: &Change, out: &mut Out<'_>) {
        let (Change::Two(Double { host, .. }) | Change::OneAgain(host)) = change else { return };
        if host != env.name() {
            return;
        }
        let namesake = self.members.namesake(env.now);
        if let (Some(_), Some((at, _))) = (&self.listening, namesake) {
            self.is_stopping = true;
            out.effect(Effect::Refuse { at });
            return;
        }
        let how = match namesake {
            Some((at, true)) => Condition::Wrong(format!(
                "another host named {host} was there first, at {at}; stop this one and give it another name (--name)"
            )),
            _ => Condition::Well,
        };
        self.members.fitness.find(Finding { of: Lack::Name, how });
    }

    /// A change as operators read it: of its own name a host knows more than its table does.
    fn note_of(&self, now: Instant, change: Change) -> Note {
        match change {
            Change::Two(Double { host, second, .. }) if host == self.members.announcer.identity().host => {
                let is_first = self.members.namesake(now).is_some_and(|(_, first)| first);
                Note::Host(Change::Two(self.members.own_double(host, second, is_first)))
            }
            change => Note::Host(change),
        }
    }
}
