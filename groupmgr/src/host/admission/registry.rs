//! How up to date this host's knowledge of the login policy and the registry is, before anybody presents a token.
//!
//! The driver watches both in the data store, and every change takes effect as it is told. They are
//! also read as a whole: when the watch begins or has missed something, and, for as long as nobody watches, every ten
//! seconds. So a token that this host never saw can still be judged when the data store dies together with the host
//! that had its session.
//!
//! An answer of the data store and the news of a later change may cross on their way here. So the last changes are
//! remembered with their revisions, and an answer never undoes a change that is newer than it.
//!
//! What was changed while nobody watched is found by the next listing, and noted then as a late change.

use std::collections::{BTreeMap, BTreeSet};

use authmgr::admission::author_of;
use datastore::{Key, Revision, Value};
use proto::Instant;
use proto::time::earliest;

/// Changes remembered, so that older answers do not undo them: more than can happen while an answer is on its way.
pub(in crate::host) const CHANGES_MAX: usize = 1024;

/// How far the listing of the registry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// To be begun when it is due.
    Wanted,
    UnderWay,
    /// It ended, and every change since was told.
    Complete,
}

/// A change that was told.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) value: Option<Value>,
    pub(super) by: Option<String>,
}

impl Change {
    pub(super) fn of(revision: Revision, value: Option<Value>) -> Self {
        let by = value.as_ref().and_then(|value| author_of(value.as_bytes()));
        Self { revision, value, by }
    }
}

/// What is known of how up to date this host's registry is.
#[derive(Debug)]
pub(super) struct Registry {
    /// When policy and registry are read again.
    pub(super) due: Option<Instant>,
    pub(super) watched: bool,
    pub(super) listing: Listing,
    /// Counts the listings: pages of an earlier one are nobody's.
    pub(super) number: u64,
    changes: BTreeMap<Key, Change>,
    /// The same by age: thousands of desks that are switched on for the first time change thousands of keys.
    by_revision: BTreeSet<(Revision, Key)>,
}

impl Registry {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            due: Some(now),
            watched: false,
            listing: Listing::Wanted,
            number: 0,
            changes: BTreeMap::new(),
            by_revision: BTreeSet::new(),
        }
    }

    /// All is to be read, at `at` or before.
    pub(super) fn read_at(&mut self, at: Instant) {
        self.listing = Listing::Wanted;
        self.due = earliest(self.due, Some(at));
    }

    /// Whether changes may have been missed that a listing is going to find.
    pub(super) fn catches_up(&self) -> bool {
        !self.watched || self.listing != Listing::Complete
    }

    /// Changes remembered, for the bounds check.
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// What is under `key`, of which `found` was read at `revision`.
    pub(super) fn newest(&self, key: &Key, revision: Revision, found: Option<Value>) -> Option<Value> {
        match self.changes.get(key) {
            Some(change) if change.revision > revision => change.value.clone(),
            _ => found,
        }
    }

    /// Remembers a change, and returns the one before it of the same key.
    pub(super) fn remember(&mut self, key: Key, change: Change) -> Option<Change> {
        let revision = change.revision;
        let before = self.changes.insert(key.clone(), change);
        if let Some(before) = &before {
            self.by_revision.remove(&(before.revision, key.clone()));
        }
        self.by_revision.insert((revision, key));
        if self.changes.len() > CHANGES_MAX
            && let Some((_, oldest)) = self.by_revision.pop_first()
        {
            self.changes.remove(&oldest);
        }
        before
    }

    /// Whether a change of the key is known that is not older than this.
    pub(super) fn knows(&self, key: &Key, revision: Revision) -> bool {
        self.changes.get(key).is_some_and(|change| change.revision >= revision)
    }

    /// Revisions of another generation of the store mean nothing.
    pub(super) fn forget_changes(&mut self) {
        self.changes.clear();
        self.by_revision.clear();
    }
}
