//! What becomes of the table when a second run of a host has proved itself ([`super::rivals`]).

use std::net::SocketAddrV4;

use proto::time::{Duration, earliest};
use proto::{HostName, Instant};

use super::Topology;
use super::ignored::Ignored;
use super::proof::Candidate;
use super::rivals::Rival;
use super::row::Row;
use super::words::{Arrival, Change, Double};
use proto::rng::SecretRng;

impl Topology {
    /// Keeps a run that has proved itself beside the one that is up under its name.
    pub(super) fn add_rival(
        &mut self,
        at: Arrival<'_>,
        host: &HostName,
        proven: Candidate,
        entropy: &mut SecretRng,
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
    pub(super) fn challenge(&mut self, at: Arrival<'_>, host: &HostName, entropy: &mut SecretRng) {
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
            rival.row.share_ended(row);
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
        self.candidates.contains(&self.own)
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
    fn challenge(&mut self, at: Arrival<'_>, entropy: &mut SecretRng) {
        let (boot, to) = (self.boot(), self.ask_at(at.now));
        let waking = self.waking_slot().get_or_insert_with(|| Candidate::new(at, boot, entropy));
        waking.heard();
        waking.from = to;
    }
}
