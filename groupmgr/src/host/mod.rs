//! The host: a router of machines.
//!
//! It takes what happened ([`Input`]) with the time, says what to do ([`Effect`]), and when it wants to be called
//! next. The daemon's loop and a simulation call the same code. An input becomes a step of the machine it belongs to; a
//! machine answers a step with effects for the driver and steps for other machines; steps are delivered in the order in
//! which they were queued, until none is left. No machine calls another, and what several need is in tables that one of
//! them writes ([`mod@env`]).
//!
//! | Machine | What it owns |
//! |---|---|
//! | [`membership`] | who is in the group, reachable from where, how loaded; what this host tells of itself |
//! | [`directory`] | who has sessions for a token; the grants this host gives |
//! | [`placing`] | which host takes a new session; what is still to come to this one |
//! | [`admission`] | is a token genuine and allowed, as whom; templates |
//! | [`claims`] | whose is the token: claims are read, made, renewed, given back |
//! | [`presentations`] | what is decided about each presented token, from infoReq to its end |
//! | [`attachments`] | which session is shown on which connection, and nowhere else |
//! | [`connections`] | the DTUs' connections and their gates |
//! | [`sessions`] | the sessions here and their processes |
//! | [`records`] | the sessions' records: where the home of each is, in which epoch |
//! | [`keeping`] | copies of sessions' objects: those that this host keeps for others, and those of a session that it takes over |
//! | [`relay`] | programs' requests to the data store |
//! | [`store`] | whether the data store answers, and which generation of it |
//! | [`operations`] | what administrators ask and order |

pub mod admin;
mod admission;
mod askers;
mod attachments;
mod candidates;
mod claim_record;
mod claims;
mod config;
mod connections;
mod counters;
mod directory;
pub mod driver;
mod edges;
mod env;
pub mod guests;
mod keeping;
mod liveness;
mod machines;
mod membership;
mod new_session;
pub mod note;
mod operations;
mod out;
mod payload;
mod placing;
mod port;
mod presentations;
mod records;
mod relay;
mod session_record;
mod session_view;
mod sessions;
mod step;
mod store;
mod sweep;
mod views;
mod workload;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use proto::keys::KeyRing;
use proto::time::earliest;
use proto::{HostName, Instant, SessionId, WallTime};
use sessiond::manager::Sessions;

pub use claim_record::ClaimRecord;
pub use config::HostConfig;
pub use counters::Counters;
pub use driver::{AdminReq, ConnId, Datagram, Effect, Followed, Input, StoreReq};
pub use note::Note;
pub use session_record::SessionRecord;
pub use views::Fill;

use crate::topology::{Double, Topology};
use driver::Port;
use env::{Busy, Ctx, Env, Local};
use machines::Machines;
use out::Out;
use step::{
    Machine, Step, ToAdmission, ToClaims, ToConnections, ToDirectory, ToKeeping, ToMembership, ToOperations,
    ToRecords, ToRelay, ToSessions, ToStore,
};
use store::Bearing;

/// One host of a failover group.
#[derive(Debug)]
pub struct Host {
    config: HostConfig,
    machines: Machines,
    queue: VecDeque<Step>,
    counters: Counters,
    /// When each machine wants to be called, by its number: a beacon must not cost a look at all of them.
    due: [Option<Instant>; Machine::DUE_ORDER.len()],
    /// The most steps that one input has caused.
    most_steps: u64,
}

impl Host {
    /// A host that is about to start. `seed` is the source of all its random numbers.
    #[must_use]
    pub fn new(now: Instant, config: HostConfig, seed: [u8; 32]) -> Self {
        // Nobody looks at the wall clock before the first input.
        let env = Env { now, wall: WallTime::from_secs(0), config: &config };
        let machines = Machines::new(&env, seed);
        let mut due = [None; Machine::DUE_ORDER.len()];
        Machine::DUE_ORDER.into_iter().for_each(|machine| due[machine as usize] = machines.due(machine));
        let (queue, counters) = (VecDeque::new(), Counters::default());
        Self { machines, queue, counters, due, most_steps: 0, config }
    }

    /// This host's name.
    #[must_use]
    pub const fn name(&self) -> &HostName {
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
        self.machines.membership.members().topology()
    }

    /// The sessions here.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        self.machines.sessions.all()
    }

    /// Whether it has taken up what an earlier daemon left: only then may its sockets be opened.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.machines.sessions.table().is_ready()
    }

    /// Whether it has just started and still listens.
    #[must_use]
    pub const fn is_listening(&self) -> bool {
        self.machines.membership.is_listening()
    }

    /// Whether it was told to stop, and ends as soon as it has given back what it has claimed.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        self.machines.membership.is_stopping()
    }

    /// All names that two hosts have, as this host knows.
    #[must_use]
    pub fn doubles(&self, now: Instant) -> Vec<Double> {
        self.machines.membership.members().doubles(now)
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// All tables that strangers, other hosts or DTUs can make grow.
    #[must_use]
    pub fn tables(&self) -> Vec<Fill> {
        views::tables(&self.machines)
    }

    /// The sessions of other hosts of which this one keeps something.
    pub fn kept(&self) -> impl Iterator<Item = SessionId> {
        self.machines.keeping.kept().sessions()
    }

    /// Every edge that is drawn, of the machines and of the stages of a presentation, and how often it was taken.
    #[must_use]
    pub fn edges(&self) -> BTreeMap<String, u64> {
        views::edges(&self.counters)
    }

    /// When it wants to be called with [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.into_iter().fold(None, earliest)
    }

    /// The most steps that one input has caused so far: a simulation fails when machines tell each other things for ever.
    #[must_use]
    pub const fn most_steps(&self) -> u64 {
        self.most_steps
    }

    /// All deadlines by name, the next one first: what it waits for.
    #[must_use]
    pub fn deadlines(&self) -> Vec<(Instant, &'static str)> {
        let named = Machine::DUE_ORDER.into_iter().flat_map(|machine| self.machines.deadlines(machine));
        let mut all: Vec<_> = named.filter_map(|(name, at)| Some((at?, name))).collect();
        all.sort();
        all
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, wall: WallTime, input: Input, effects: &mut Vec<Effect>) {
        // A long pause is excused before anything is judged.
        self.queue.push_back(Step::Membership(ToMembership::Resumed));
        self.drain(now, wall, effects);
        self.take(now, wall, input, effects);
        self.drain(now, wall, effects);
        // Each at most once, or a deadline that stays in the past would be served for ever.
        for machine in Machine::DUE_ORDER {
            if self.due[machine as usize].is_some_and(|at| at <= now) {
                self.queue.push_back(machine.due_step());
                self.drain(now, wall, effects);
            }
        }
    }

    /// Makes an input the steps of the machines that it concerns.
    fn take(&mut self, now: Instant, wall: WallTime, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Timeout => {}
            Input::Interfaces(interfaces) => self.put(ToMembership::Interfaces(interfaces)),
            Input::Vitals { run_queue, mem_mib } => self.put(ToMembership::Vitals { run_queue, mem_mib }),
            Input::Found(findings) => self.put(ToMembership::Findings(findings)),
            Input::Datagrams { iface, datagrams } => self.put(ToMembership::Datagrams { iface, datagrams }),
            Input::Refused { addr } => {
                self.put(ToMembership::Refused { addr });
                self.put(ToDirectory::Refused { addr });
            }
            Input::Opened { conn, peer, plain, key } => {
                self.put(ToConnections::Opened { conn, peer, plain, key });
            }
            Input::Line { conn, line } => self.put(ToConnections::Line { conn, line }),
            Input::Closed { conn } => self.put(ToConnections::Closed { conn }),
            Input::Display { conn, session } => self.put(ToSessions::Display { conn, session }),
            Input::Store { req, outcome } => {
                // What the answer says of the store is known before what follows from it is decided.
                let (in_time, bearing) = (self.machines.awaits(req), Bearing::of(&outcome));
                self.put(ToStore::Answered { in_time, bearing });
                let (seq, outcome) = (req.seq, Box::new(outcome));
                match req.port {
                    Port::Admission => self.put(ToAdmission::Stored { seq, outcome }),
                    Port::Claims => self.put(ToClaims::Stored { seq, outcome }),
                    Port::Records => self.put(ToRecords::Stored { seq, outcome }),
                    Port::Relay => self.put(ToRelay::Stored { seq, outcome }),
                    Port::Store => self.put(ToStore::Stored { seq }),
                }
            }
            Input::StoreLink { up, store } => self.put(ToStore::Link { up, store }),
            Input::Followed(news) => self.put(ToAdmission::Followed(news)),
            Input::SessionSpawned { session, kept } => {
                self.put(ToMembership::Spawned);
                self.put(ToSessions::Spawned { session, kept });
            }
            Input::SpawnFailed { session, reason } => {
                self.put(ToMembership::SpawnFailed { reason: reason.clone() });
                self.put(ToSessions::SpawnFailed { session, reason });
            }
            Input::SessionExited { session } => self.put(ToSessions::Exited { session }),
            Input::Session { session, said } => self.put(ToSessions::Said { session, said }),
            Input::Peer { host, message } => self.put(ToKeeping::Peer { host, message }),
            Input::PeerLost { host } => self.put(ToKeeping::PeerLost { host }),
            Input::Admin { req, command } => {
                let env = Env { now, wall, config: &self.config };
                match views::answer(env, &self.machines, &self.counters, &command) {
                    Some(reply) => effects.push(Effect::Answer { req, reply: Box::new(reply) }),
                    None => self.put(ToOperations::Command { req, command }),
                }
            }
        }
    }

    fn put(&mut self, step: impl Into<Step>) {
        self.queue.push_back(step.into());
    }

    /// Delivers steps in the order in which they were queued, until none is left.
    fn drain(&mut self, now: Instant, wall: WallTime, effects: &mut Vec<Effect>) {
        let Self { config, machines, queue, counters, due, most_steps } = self;
        let (mut steps, mut called) = (0, [false; Machine::DUE_ORDER.len()]);
        let env = Env { now, wall, config };
        while let Some(step) = queue.pop_front() {
            called[step.receiver() as usize] = true;
            let mut out = Out {
                from: step.receiver(),
                queue: &mut *queue,
                effects: &mut *effects,
                counters: &mut *counters,
            };
            deliver(env, machines, step, &mut out);
            steps += 1;
        }
        *most_steps = (*most_steps).max(steps);
        // Only its own steps change a machine.
        for machine in Machine::DUE_ORDER.into_iter().filter(|machine| called[*machine as usize]) {
            due[machine as usize] = machines.due(machine);
        }
        debug_assert!(
            Machine::DUE_ORDER.into_iter().all(|machine| due[machine as usize] == machines.due(machine))
        );
    }
}

/// Hands a step to its machine, with the tables of the others.
fn deliver(env: Env<'_>, machines: &mut Machines, step: Step, out: &mut Out<'_>) {
    let Machines {
        membership,
        directory,
        placing,
        admission,
        claims,
        presentations,
        attachments,
        connections,
        sessions,
        records,
        relay,
        keeping,
        store,
        operations,
    } = machines;
    match step {
        Step::Membership(step) => {
            let busy = Busy { sessions: sessions.table(), workload: placing.workload() };
            return membership.handle(&env, busy, step, out);
        }
        Step::Sessions(step) => return sessions.handle(&env, step, out),
        Step::Store(step) => return store.handle(&env, step, out),
        _ => {}
    }
    let local = Local { env, members: membership.members(), sessions: sessions.table() };
    if let Step::Placing(step) = step {
        return placing.handle(&local, step, out);
    }
    if let Step::Keeping(step) = step {
        return keeping.handle(&local, store.state().is_up(), step, out);
    }
    let (workload, kept, cookies) = (placing.workload(), keeping.kept(), keeping.cookies());
    let ctx = Ctx { local, store: store.state(), workload, kept, cookies };
    match step {
        Step::Directory(step) => directory.handle(&ctx, step, out),
        Step::Admission(step) => admission.handle(&ctx, step, out),
        Step::Claims(step) => claims.handle(&ctx, step, out),
        Step::Presentations(step) => presentations.handle(&ctx, step, out),
        Step::Attachments(step) => attachments.handle(&ctx, step, out),
        Step::Connections(step) => connections.handle(&ctx, step, out),
        Step::Records(step) => records.handle(&ctx, step, out),
        Step::Relay(step) => relay.handle(&ctx, step, out),
        Step::Operations(step) => operations.handle(&ctx, step, out),
        Step::Membership(_) | Step::Sessions(_) | Step::Store(_) | Step::Placing(_) | Step::Keeping(_) => {}
    }
}
