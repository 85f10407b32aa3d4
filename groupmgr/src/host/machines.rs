//! The machines of a host, and the tables that they lend each other.

use proto::Instant;
use proto::time::earliest;

use super::admission::Gatekeeper;
use super::attachments::Attachments;
use super::claims::Claims;
use super::connections::Connections;
use super::directory::Lookups;
use super::driver::{Port, StoreReq};
use super::env::{Ctx, Env, Local};
use super::keeping::Keeping;
use super::membership::Membership;
use super::operations::Operations;
use super::placing::Placing;
use super::presentations::Presentations;
use super::records::Records;
use super::relay::Relay;
use super::sessions::SessionHost;
use super::step::Machine;
use super::store::StoreWatch;
use proto::rng::SecretRng;

/// A moment at which a machine wants to be called, and what for.
pub(super) type Deadline = (&'static str, Option<Instant>);

fn first(deadlines: &[Deadline]) -> Option<Instant> {
    deadlines.iter().map(|(_, at)| *at).fold(None, earliest)
}

/// All of them. None reads another's fields: what several need is in the tables.
#[derive(Debug)]
pub(super) struct Machines {
    pub(super) membership: Membership,
    pub(super) directory: Lookups,
    pub(super) placing: Placing,
    pub(super) admission: Gatekeeper,
    pub(super) claims: Claims,
    pub(super) presentations: Presentations,
    pub(super) attachments: Attachments,
    pub(super) connections: Connections,
    pub(super) sessions: SessionHost,
    pub(super) records: Records,
    pub(super) relay: Relay,
    pub(super) keeping: Keeping,
    pub(super) store: StoreWatch,
    pub(super) operations: Operations,
}

impl Machines {
    /// Each with random numbers of its own: a draw of one shifts no other's.
    pub(super) fn new(env: &Env<'_>, seed: [u8; 32]) -> Self {
        let entropy = SecretRng::new(seed);
        let id = &env.config.identity;
        Self {
            membership: Membership::new(env, entropy.fork("membership")),
            directory: Lookups::new(id.host.clone(), id.boot, entropy.fork("directory")),
            placing: Placing::new(entropy.fork("placing")),
            admission: Gatekeeper::new(env.now, entropy.fork("admission")),
            claims: Claims::new(env.now),
            presentations: Presentations::new(entropy.fork("presentations")),
            attachments: Attachments::new(entropy.fork("attachments")),
            connections: Connections::default(),
            sessions: SessionHost::new(env),
            records: Records::new(env.now),
            relay: Relay::new(),
            keeping: Keeping::new(),
            store: StoreWatch::new(),
            operations: Operations::new(entropy.fork("operations")),
        }
    }

    /// The tables as they are now.
    pub(super) const fn ctx<'a>(&'a self, env: Env<'a>) -> Ctx<'a> {
        let (members, sessions) = (self.membership.members(), self.sessions.table());
        let local = Local { env, members, sessions };
        let (workload, kept, cookies) =
            (self.placing.workload(), self.keeping.kept(), self.keeping.cookies());
        Ctx { local, store: self.store.state(), workload, kept, cookies }
    }

    /// The deadlines of a machine, by name.
    pub(super) fn deadlines(&self, machine: Machine) -> Vec<Deadline> {
        self.with_deadlines(machine, <[Deadline]>::to_vec)
    }

    /// When a machine wants to be called.
    pub(super) fn due(&self, machine: Machine) -> Option<Instant> {
        self.with_deadlines(machine, first)
    }

    fn with_deadlines<R>(&self, machine: Machine, then: impl FnOnce(&[Deadline]) -> R) -> R {
        match machine {
            Machine::Membership => then(&self.membership.deadlines()),
            Machine::Directory => then(&self.directory.deadlines()),
            Machine::Placing => then(&self.placing.deadlines()),
            Machine::Admission => then(&self.admission.deadlines()),
            Machine::Claims => then(&self.claims.deadlines()),
            Machine::Presentations => then(&self.presentations.deadlines()),
            Machine::Attachments => then(&self.attachments.deadlines()),
            Machine::Connections => then(&self.connections.deadlines()),
            Machine::Sessions => then(&self.sessions.deadlines()),
            Machine::Records => then(&self.records.deadlines()),
            Machine::Relay => then(&self.relay.deadlines()),
            Machine::Keeping => then(&self.keeping.deadlines()),
            Machine::Store => then(&self.store.deadlines()),
            Machine::Operations => then(&self.operations.deadlines()),
        }
    }

    /// Whether somebody waits for the answer to this request.
    pub(super) fn awaits(&self, req: StoreReq) -> bool {
        match req.port {
            Port::Admission => self.admission.awaits(req.seq),
            Port::Claims => self.claims.awaits(req.seq),
            Port::Records => self.records.awaits(req.seq),
            Port::Relay => self.relay.awaits(req.seq),
            Port::Store => self.store.awaits(req.seq),
        }
    }

    /// Requests to the data store under way, those that are late included.
    pub(super) fn store_requests(&self) -> usize {
        let [_, _, admission, ..] = self.admission.sizes();
        let [_, _, claims] = self.claims.sizes();
        admission + claims + self.records.pending() + self.relay.pending() + self.store.pending()
    }
}
