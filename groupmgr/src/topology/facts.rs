//! What a host announces of itself, as others remember it.

use proto::host_message::{HostMessage, Label, Load, Vitals};
use proto::lack::Lacks;
use proto::{MachineId, StoreId, WallTime};

/// What a host announces of itself beyond its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces it says it has.
    pub numifs: u16,
    /// Its wall clock minus ours, in seconds, when its last message came.
    pub time_off: i64,
    /// Processors of its machine.
    pub cpus: u16,
    /// Their clock, MHz.
    pub clock: u32,
    /// The port it serves, of TCP and UDP.
    pub port: u16,
    /// How busy it is.
    pub load: Load,
    /// The machine it runs on, once it has said so.
    pub machine: Option<MachineId>,
    /// The rack, as its operator calls it.
    pub rack: Label,
    /// The site, as its operator calls it.
    pub site: Label,
    /// Whether it takes no new sessions.
    pub drain: bool,
    /// Whether its sessions outlive its daemon.
    pub keep: bool,
    /// Whether it takes terminals that speak without TLS.
    pub plain: bool,
    /// Where it finds its data store.
    pub store: Label,
    /// Which data store that is, once it was told.
    pub store_id: Option<StoreId>,
    /// What it lacks to make sessions.
    pub lacks: Lacks,
    /// For how long it had run when its last message came, in milliseconds, if it said so.
    pub up_ms: Option<u64>,
}

impl Facts {
    pub(super) fn of(message: &HostMessage, vitals: &Vitals, wall: WallTime) -> Self {
        Self {
            numifs: message.numifs,
            time_off: time_off(message.time, wall),
            cpus: message.cpus,
            clock: message.clock,
            port: vitals.port,
            load: vitals.load,
            machine: Some(vitals.machine),
            rack: vitals.rack.clone(),
            site: vitals.site.clone(),
            drain: vitals.drain,
            keep: vitals.keep,
            plain: vitals.plain,
            store: vitals.store.clone(),
            store_id: vitals.store_id,
            lacks: vitals.lacks.clone(),
            up_ms: vitals.up_ms,
        }
    }

    /// Whether this host and one that uses the data store `own` are known to use different ones. Neither has the
    /// claims and permanent data of the other's users then.
    #[must_use]
    pub fn has_other_store(&self, own: Option<StoreId>) -> bool {
        self.store_id.zip(own).is_some_and(|(theirs, own)| theirs != own)
    }

    /// Whether an observer has to act on the difference; load and clock change all the time.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (self.drain, self.keep, self.plain, self.port, &self.store, self.store_id)
            != (other.drain, other.keep, other.plain, other.port, &other.store, other.store_id)
    }
}

pub(super) fn time_off(theirs_secs: u64, ours: WallTime) -> i64 {
    let signed = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
    signed(theirs_secs).saturating_sub(signed(ours.as_secs()))
}
