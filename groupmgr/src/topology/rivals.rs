//! A second run under a name that another run has: its successor, or another host of the same name.
//!
//! A run that proves itself while the row's run is up is kept beside it. It takes the row over when the old run has
//! said goodbye, is refused, or has been silent for three beacons: then it was a restart. Until then the old run is
//! asked to prove itself too; if it does, there are two hosts of one name, and the row stays with the one that was there
//! first. Only proofs count, so a recording of either makes no second host.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use proto::time::{Duration, earliest};
use proto::{BootId, HostName, Instant, Nonce};
use serde::{Deserialize, Serialize};

use super::proof::Candidate;
use super::row::Row;
use super::{Arrival, Change, Ignored, ProofWanted, Topology};
use crate::entropy::Entropy;

/// A second run that was not heard for so long is gone. Longer than it takes to be silent, so that a lossy LAN does not
/// tell of the same two over and over.
const GONE_AFTER: Duration = Duration::from_secs(2);

/// Two hosts of one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Double {
    /// Their name.
    pub host: HostName,
    /// Where the one is that was there first, as far as is known.
    pub first: SocketAddrV4,
    /// Where the other one is.
    pub second: SocketAddrV4,
}

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

    fn get_mut(&mut self, host: &HostName) -> Option<&mut Rival> {
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

impl Topology {
    /// The candidate that this proof is of. Of an older question it may be, or a recording: neither ends the one that is
    /// out. Without a message of it, which comes before the proof, nobody would know how to reach it.
    pub(super) fn proven(
        &mut self,
        host: &HostName,
        boot: BootId,
        nonce: Nonce,
    ) -> Result<Candidate, Ignored> {
        let is_it = |candidate: &Candidate| candidate.boot == boot && candidate.nonce == nonce;
        if let Some(row) = self.rows.get_mut(host)
            && let Some(returning) = row.returning_slot().take_if(|c| is_it(c) && !c.messages.is_empty())
        {
            return Ok(returning);
        }
        let asked = self.candidates.get(host).filter(|c| is_it(c)).ok_or(Ignored::Unasked)?;
        if asked.messages.is_empty() {
            return Err(Ignored::Unproven);
        }
        self.candidates.remove(host).ok_or(Ignored::Unasked)
    }

    /// Keeps a run that has proved itself beside the one that is up under its name.
    pub(super) fn add_rival(
        &mut self,
        at: Arrival<'_>,
        host: &HostName,
        proven: Candidate,
        entropy: &mut Entropy,
    ) -> Result<(), Ignored> {
        let mut row = Row::new(host.clone(), proven.boot, self.every);
        row.prove(at, &proven);
        if !self.rivals.add(row) {
            return Err(Ignored::Full);
        }
        self.due = Some(at.now);
        if *host == self.own {
            // This host need not ask itself whether it is there.
            self.notice_two(at.now, host);
        } else {
            self.challenge(at, host, entropy);
        }
        Ok(())
    }

    /// Asks the run that has a row whether it is still there, while another one of its name is.
    pub(super) fn challenge(&mut self, at: Arrival<'_>, host: &HostName, entropy: &mut Entropy) {
        if self.rivals.get(host).is_some_and(|rival| !rival.are_two)
            && let Some(row) = self.rows.get_mut(host)
        {
            row.challenge(at, entropy);
            self.due = earliest(self.due, row.poll_at());
        }
    }

    /// The run that has the name has proved itself while another one is there.
    pub(super) fn notice_two(&mut self, now: Instant, host: &HostName) {
        if !self.rivals.are_two(host) {
            return;
        }
        self.give_row_to_the_first(now, host);
        if let Some(rival) = self.rivals.get(host) {
            let second = rival.row.address();
            // Whoever looks at the change of its own name knows its own address.
            let first = self.rows.get(host).map_or(second, Row::address);
            self.changes.push(Change::Two(Double { host: host.clone(), first, second }));
        }
    }

    /// After a split the run that has the row may be the one that was started later.
    fn give_row_to_the_first(&mut self, now: Instant, host: &HostName) {
        let Some(row) = self.rows.get_mut(host) else { return };
        let Some(rival) = self.rivals.get_mut(host) else { return };
        let is_elder = rival.row.up_for(now).zip(row.up_for(now)).is_some_and(|(theirs, its)| theirs > its);
        if is_elder && rival.row.is_up() {
            rival.row.share_old_boots(row);
            core::mem::swap(row, &mut rival.row);
            self.changes.extend([Change::Restarted(host.clone()), Change::Up(host.clone())]);
        }
    }

    /// The second run of a name ended.
    pub(super) fn drop_rival(&mut self, host: &HostName) {
        if self.rivals.remove(host).is_some_and(|rival| rival.are_two) {
            self.changes.push(Change::OneAgain(host.clone()));
        }
    }

    /// The run that had a row is gone: the other one of its name takes it over, if there is one.
    pub(super) fn promote(&mut self, host: &HostName) {
        if !self.rivals.get(host).is_some_and(|rival| rival.row.is_up()) {
            return self.drop_rival(host);
        }
        let Some(rival) = self.rivals.remove(host) else { return };
        let Some(before) = self.rows.remove(host) else { return };
        let lacks = rival.row.facts().lacks.clone();
        let mut row = rival.row;
        row.succeed(before);
        self.due = earliest(self.due, row.poll_at());
        self.rows.insert(host.clone(), row);
        if rival.are_two {
            self.changes.push(Change::OneAgain(host.clone()));
        }
        self.changes.extend([Change::Restarted(host.clone()), Change::Up(host.clone())]);
        if !lacks.is_empty() {
            self.changes.push(Change::Lacks(host.clone(), lacks));
        }
    }

    /// Nobody listens at an address. If the run of a row was asked there whether it still lives, it does not.
    pub fn on_refused(&mut self, addr: SocketAddrV4) {
        let asked = |row: &&Row| row.asked_at() == Some(addr) && self.rivals.get(row.host()).is_some();
        let gone: Vec<HostName> = self.rows.values().filter(asked).map(|row| row.host().clone()).collect();
        for host in gone {
            self.promote(&host);
        }
    }

    /// Whether another run of `host` has proved itself beside the one that has its row, and which of them lives will be
    /// known within three beacons.
    #[must_use]
    pub fn is_in_doubt(&self, host: &HostName) -> bool {
        self.rivals.get(host).is_some_and(|rival| !rival.are_two)
    }

    /// Whether this host's own name was heard of a run that has not proved itself yet.
    #[must_use]
    pub fn is_own_name_in_doubt(&self) -> bool {
        self.candidates.contains_key(&self.own)
    }

    /// The other host of this host's own name: where it is, and whether it has run for longer than this one, which has
    /// run for so long. An older version does not say.
    #[must_use]
    pub fn namesake(&self, now: Instant, up: Duration) -> Option<(SocketAddrV4, bool)> {
        let rival = self.rivals.get(&self.own).filter(|rival| rival.are_two)?;
        let row = &rival.row;
        let is_first = row.up_for(now).is_some_and(|theirs| theirs > up);
        Some((row.address(), is_first))
    }

    /// All names that two hosts have, other than this host's own.
    pub fn doubles(&self) -> impl Iterator<Item = Double> {
        let two = self.rivals.iter().filter(|rival| rival.are_two);
        two.filter_map(|Rival { row: second, .. }| {
            let first = self.rows.get(second.host())?;
            let host = first.host().clone();
            Some(Double { host, first: first.address(), second: second.address() })
        })
    }
}

impl Row {
    /// For how long the run has run, if it says so.
    fn up_for(&self, now: Instant) -> Option<Duration> {
        let told = self.facts().up_ms.map(Duration::from_millis).zip(self.message_at());
        told.map(|(up, at)| up + now.since(at))
    }

    fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.addr(), self.facts().port)
    }

    /// Asks the run of this row to prove itself, because another one has under the same name.
    fn challenge(&mut self, at: Arrival<'_>, entropy: &mut Entropy) {
        let (boot, to) = (self.boot(), self.ask_at(at.now));
        let waking = self.waking_slot().get_or_insert_with(|| Candidate::new(at, boot, entropy));
        waking.from = to;
    }
}
