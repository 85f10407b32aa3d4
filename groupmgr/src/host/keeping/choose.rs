//! Which host keeps a session's objects: one that does not die with this one, that its operator has chosen, or that has
//! the least to do.

use std::collections::BTreeMap;

use proto::host_message::Label;
use proto::time::Duration;
use proto::{HostName, MachineId, SessionId};
use sha2::{Digest as _, Sha256};

use super::super::env::Local;
use crate::topology::{Facts, Row};

/// Hosts differ in load if their run queues do by so much, per processor times 100: it is never the same twice.
const LOAD_STEP: u32 = 100;
/// A host with less memory than this is chosen only if all have, in MiB.
const MEM_LOW_MIB: u32 = 128;

/// How near a host is to this one: the nearer, the likelier they die together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nearness {
    pub(super) same_machine: bool,
    /// The operator has paired this host with another one.
    unpaired: bool,
    same_rack: bool,
    same_site: bool,
}

/// How good a place a host is, as far as a session changes it for that. Lower is better.
pub(super) type Grade = (bool, bool);

/// Where this host is.
#[derive(Clone, Copy, Debug)]
struct Own<'a> {
    machine: MachineId,
    rack: &'a Label,
    site: &'a Label,
}

impl Nearness {
    fn of(own: Own<'_>, unpaired: bool, facts: &Facts) -> Self {
        // What nobody has named is no proof of another place.
        let same = |own: &Label, theirs: &Label| own == theirs || [own, theirs].contains(&&Label::default());
        Self {
            same_machine: facts.machine.is_none_or(|machine| machine == own.machine),
            unpaired,
            same_rack: same(own.rack, &facts.rack),
            same_site: same(own.site, &facts.site),
        }
    }

    pub(super) const fn grade(self) -> Grade {
        (self.same_machine, self.unpaired)
    }

    /// Whether a session had better be kept elsewhere.
    pub(super) const fn is_makeshift(self) -> bool {
        self.same_machine || self.unpaired
    }
}

/// The nearness of a host, if it can keep something more now.
pub(super) fn nearness(local: &Local<'_>, host: &HostName) -> Option<Nearness> {
    let id = &local.config.identity;
    let own = Own { machine: id.machine, rack: &id.rack, site: &id.site };
    let facts = local.members.row(host)?.facts();
    let unpaired = local.config.pair.as_ref().is_some_and(|pair| pair != host);
    (!facts.drain && can_keep(local, host)).then(|| Nearness::of(own, unpaired, facts))
}

/// Whether a host can go on keeping what it keeps.
pub(super) fn can_keep(local: &Local<'_>, host: &HostName) -> bool {
    let row = local.members.row(host).filter(|row| row.is_up());
    let is_ours = |row: &Row| !row.facts().has_other_store(local.members.store_id());
    row.is_some_and(is_ours) && !local.members.is_in_doubt(host)
}

/// The best grade there is, of the hosts that `shunned` does not leave out.
pub(super) fn best(local: &Local<'_>, shunned: impl Fn(&HostName) -> bool) -> Option<Grade> {
    let hosts = local.members.rows().map(|row| row.host()).filter(|host| !shunned(host));
    hosts.filter_map(|host| nearness(local, host)).map(Nearness::grade).min()
}

/// The best host for a session but those that `shunned` says are to be left out; `kept` says how many sessions of this
/// host each keeps, and `distances` how long each took to acknowledge that was tried.
pub(super) fn choose(
    local: &Local<'_>,
    session: SessionId,
    kept: &BTreeMap<HostName, usize>,
    distances: &BTreeMap<HostName, Duration>,
    shunned: impl Fn(&HostName) -> bool,
) -> Option<(HostName, Nearness)> {
    let rank = |host: &HostName| {
        let facts = local.members.row(host)?.facts();
        let nearness = nearness(local, host)?;
        let load = facts.load;
        // None at all means that it has not said yet.
        let is_short = (1..MEM_LOW_MIB).contains(&load.mem_mib);
        let has = kept.get(host).copied().unwrap_or(0);
        let distance = distances.get(host).map_or(0, |took| step(*took));
        let rank = (nearness, is_short, load.run_queue / LOAD_STEP, has, distance, lot(session, host));
        Some((rank, nearness))
    };
    let hosts = local.members.rows().map(|row| row.host()).filter(|host| !shunned(host));
    let ranked = hosts.filter_map(|host| rank(host).map(|(rank, nearness)| (rank, host, nearness)));
    ranked.min_by(|a, b| a.0.cmp(&b.0)).map(|(_, host, nearness)| (host.clone(), nearness))
}

/// Hosts are equally far if none takes twice as long as the other.
fn step(took: Duration) -> u32 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).checked_ilog2().unwrap_or(0)
}

/// Decides between hosts that are equal: each session by itself, so that all hosts have their share.
fn lot(session: SessionId, host: &HostName) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(session.0.to_be_bytes());
    hash.update(host.as_str());
    let mut lot = [0; 8];
    lot.copy_from_slice(&hash.finalize()[..8]);
    lot
}
