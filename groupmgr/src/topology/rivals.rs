//! A second run under a name that another run has: its successor, or another host of the same name.
//!
//! A run that proves itself while the row's run is up is kept beside it. It takes the row over when the old run has
//! said goodbye, is refused, or has been silent for three beacons: then it was a restart. Until then the old run is
//! asked to prove itself too; if it does, there are two hosts of one name, and the row stays with the one that was there
//! first. Only proofs count, so a recording of either makes no second host.

use std::collections::BTreeMap;

use proto::time::Duration;
use proto::{BootId, HostName, Instant, Nonce};

use super::row::Row;
use super::words::{Arrival, Change, ProofWanted};

/// A second run that was not heard for so long is gone. Longer than it takes to be silent, so that a lossy LAN does not
/// tell of the same two over and over.
const GONE_AFTER: Duration = Duration::from_secs(2);

/// A proven run beside the one that has the row.
#[derive(Debug)]
pub(super) struct Rival {
    pub(super) row: Row,
    /// The row's run has proved itself since this one did.
    pub(super) are_two: bool,
}

/// At most one for each name.
#[derive(Debug, Default)]
pub(super) struct Rivals(BTreeMap<HostName, Rival>);

impl Rivals {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn get(&self, host: &HostName) -> Option<&Rival> {
        self.0.get(host)
    }

    pub(super) fn get_mut(&mut self, host: &HostName) -> Option<&mut Rival> {
        self.0.get_mut(host)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rival> {
        self.0.values()
    }

    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.0.values_mut().map(|rival| &mut rival.row)
    }

    /// The row of this run, if it is one of these.
    pub(super) fn run_mut(&mut self, host: &HostName, boot: BootId) -> Option<&mut Row> {
        self.0.get_mut(host).map(|rival| &mut rival.row).filter(|row| row.boot() == boot)
    }

    pub(super) fn remove(&mut self, host: &HostName) -> Option<Rival> {
        self.0.remove(host)
    }

    /// Takes in a run that has just proved itself. One that is up and known to be a second host keeps its place.
    pub(super) fn add(&mut self, row: Row) -> bool {
        let host = row.host().clone();
        let is_taken = self.0.get(&host).is_some_and(|other| other.are_two && other.row.is_up());
        if !is_taken {
            self.0.insert(host, Rival { row, are_two: false });
        }
        !is_taken
    }

    /// The row's run has proved itself as well. Says whether that is news.
    pub(super) fn are_two(&mut self, host: &HostName) -> bool {
        let rival = self.0.get_mut(host).filter(|rival| rival.row.is_up());
        rival.is_some_and(|rival| !core::mem::replace(&mut rival.are_two, true))
    }

    /// A second run's answer to a question of ours.
    pub(super) fn on_proof(&mut self, at: Arrival<'_>, host: &HostName, boot: BootId, nonce: Nonce) -> bool {
        self.run_mut(host, boot).is_some_and(|row| row.awake(at, nonce))
    }

    /// Judges everybody, and forgets who is gone.
    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Vec<ProofWanted>, changes: &mut Vec<Change>) {
        for row in self.rows_mut() {
            // Nobody relies on a second run, so nobody has to hear that it is silent.
            let _ = row.judge(now);
            row.poll_proof(now, out);
        }
        self.0.retain(|host, rival| {
            let is_there = now.since(rival.row.heard_at()) <= GONE_AFTER;
            if !is_there && rival.are_two {
                changes.push(Change::OneAgain(host.clone()));
            }
            is_there
        });
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let gone = |rival: &Rival| rival.row.heard_at() + GONE_AFTER + Duration::from_micros(1);
        self.iter().map(|rival| rival.row.poll_at().map_or(gone(rival), |at| at.min(gone(rival)))).min()
    }
}
