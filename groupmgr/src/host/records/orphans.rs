//! What a look through all records has found: those to which nothing points, and those of sessions that are kept.

use std::collections::{BTreeMap, VecDeque};

use datastore::{Key, Value};
use proto::time::Duration;
use proto::{Instant, SessionId};

use super::super::session_record::SessionRecord;
use super::super::sweep::MAY_RETURN_WITHIN;

/// A record to which nothing points for so long is nobody's: whoever writes it writes the pointer next.
pub(super) const ORPHANED_AFTER: Duration = Duration::from_secs(60);
/// Records to which nothing points remembered; beyond it one waits for another round.
pub(in crate::host) const ORPHANS_MAX: usize = 4_096;
/// Kept sessions that are shown to operators.
pub(in crate::host) const KEPT_MAX: usize = 4_096;

/// A record that was found, of a session that does not run.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) session: SessionId,
    pub(super) record: SessionRecord,
    pub(super) key: Key,
    pub(super) read: Value,
    /// Whether it goes without a question.
    pub(super) is_over: bool,
}

/// What the sweep has found.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Of one page, to be looked at.
    pub(super) found: VecDeque<Found>,
    /// To which nothing pointed, as it was then, and since when.
    since: BTreeMap<Key, (Value, Instant)>,
    /// Sessions without a home that have not been given up, and in which round they were found.
    kept: BTreeMap<SessionId, (SessionRecord, u64)>,
    round: u64,
}

impl Orphans {
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.since.len(), self.kept.len()]
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = (SessionId, &SessionRecord)> {
        self.kept.iter().map(|(session, (record, _))| (*session, record))
    }

    /// Something points to it.
    pub(super) fn keep(&mut self, found: Found) {
        self.since.remove(&found.key);
        if self.kept.len() < KEPT_MAX {
            self.kept.insert(found.session, (found.record, self.round));
        }
    }

    /// Nothing points to it. Whether that has been so for long.
    pub(super) fn is_orphan(&mut self, now: Instant, found: &Found) -> bool {
        self.kept.remove(&found.session);
        if let Some((read, since)) = self.since.get(&found.key).filter(|(read, _)| *read == found.read) {
            return *read == found.read && now.since(*since) >= ORPHANED_AFTER;
        }
        if self.since.len() < ORPHANS_MAX || self.since.contains_key(&found.key) {
            self.since.insert(found.key.clone(), (found.read.clone(), now));
        }
        false
    }

    /// It is removed.
    pub(super) fn forget(&mut self, found: &Found) {
        self.since.remove(&found.key);
        self.kept.remove(&found.session);
    }

    /// A round has ended: what was not found again in it is no longer there.
    pub(super) fn end_round(&mut self, now: Instant) {
        self.kept.retain(|_, (_, round)| *round + 1 >= self.round);
        self.since.retain(|_, (_, since)| now.since(*since) < MAY_RETURN_WITHIN);
        self.round += 1;
    }
}
