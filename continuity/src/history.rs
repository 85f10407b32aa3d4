//! The last versions of an object at its primary, so that a peer that has any of them gets a delta.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::delta::Delta;
use crate::encoded::Encoded;
use crate::limits::{HISTORY_BYTES_MAX, PINS_MAX, VERSIONS_MAX};
use crate::names::Stamp;

/// The newest versions, and those that are pinned: bounded in count and bytes.
#[derive(Clone, Debug, Default)]
pub struct History {
    recent: VecDeque<Encoded>,
    pinned: BTreeMap<Stamp, Encoded>,
}

impl History {
    /// Adds a version. Returns whether it was taken: it must be above the newest.
    pub fn push(&mut self, encoded: Encoded) -> bool {
        if self.newest().is_some_and(|newest| newest.stamp() >= encoded.stamp()) {
            return false;
        }
        self.recent.push_back(encoded);
        // The newest stays, whatever its size.
        while self.recent.len() > VERSIONS_MAX || (self.recent.len() > 1 && self.bytes() > HISTORY_BYTES_MAX)
        {
            self.recent.pop_front();
        }
        true
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> Option<&Encoded> {
        self.recent.back()
    }

    /// A version, if it is held.
    #[must_use]
    pub fn get(&self, stamp: Stamp) -> Option<&Encoded> {
        self.pinned.get(&stamp).or_else(|| self.recent.iter().rev().find(|encoded| encoded.stamp() == stamp))
    }

    /// The difference between two versions; `None` unless both are held, when the whole object has to do.
    #[must_use]
    pub fn delta(&self, base: Stamp, result: Stamp) -> Option<Delta> {
        Some(Delta::between(self.get(base)?, self.get(result)?))
    }

    /// Holds exactly these versions beside the newest ones, as far as they are there: what peers have acknowledged, from
    /// which their next delta is made however late it is. At most [`PINS_MAX`], the newest ones.
    pub fn pin(&mut self, stamps: &BTreeSet<Stamp>) {
        let wanted = stamps.iter().rev().filter_map(|stamp| Some((*stamp, self.get(*stamp)?.clone())));
        self.pinned = wanted.take(PINS_MAX).collect();
    }

    /// Bytes of the versions that are not pinned.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.recent.iter().map(|encoded| encoded.as_bytes().len()).sum()
    }

    /// How many versions it holds that are not pinned.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.recent.len()
    }
}
