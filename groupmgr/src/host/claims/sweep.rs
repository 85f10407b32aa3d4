//! How far this host has come with looking through the claims of all hosts ([`super::strays`]).

use std::collections::BTreeSet;

use datastore::Key;
use proto::time::{Duration, earliest};
use proto::{HostName, Instant};

/// How soon after something that leaves claims behind all are looked through: those that are there have had the time to
/// take up, to renew and to offer theirs.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// Forgotten hosts remembered; beyond it claims of one more wait until it can no longer come back.
const FORGOTTEN_MAX: usize = 256;

/// How far a host has come with looking through all claims.
#[derive(Debug)]
pub(super) struct Sweep {
    /// None when it has ended.
    pub(super) due: Option<Instant>,
    /// The last claim of the page before, within a round.
    pub(super) after: Option<Key>,
    /// Hosts that an operator has removed for good.
    pub(super) forgotten: BTreeSet<HostName>,
    /// Hosts that were down, and may so have lost their claims though they live.
    were_down: BTreeSet<HostName>,
}

impl Sweep {
    pub(super) fn new(now: Instant) -> Self {
        let (forgotten, were_down) = (BTreeSet::new(), BTreeSet::new());
        Self { due: Some(now + SOON), after: None, forgotten, were_down }
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn end(&mut self) {
        self.due = None;
    }

    /// Something happened that may leave claims behind.
    pub(super) fn soon(&mut self, now: Instant) {
        self.due = earliest(self.due, Some(now + SOON));
    }

    /// A host, or its run, is gone.
    pub(super) fn lost(&mut self, now: Instant, host: &HostName, is_down: bool) {
        if is_down {
            self.were_down.insert(host.clone());
        }
        self.soon(now);
    }

    /// A host is up. Returns whether it was down before.
    pub(super) fn is_back(&mut self, host: &HostName) -> bool {
        self.forgotten.remove(host);
        self.were_down.remove(host)
    }

    /// A host will not come back: an operator says so, or it was down for a day.
    pub(super) fn forget(&mut self, now: Instant, host: &HostName) {
        self.were_down.remove(host);
        if self.forgotten.len() < FORGOTTEN_MAX {
            self.forgotten.insert(host.clone());
        }
        self.due = earliest(self.due, Some(now));
    }
}
