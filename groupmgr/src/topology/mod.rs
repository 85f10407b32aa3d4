//! The topology table: what this host knows of all hosts and their interfaces.
//!
//! Owns the rows of trusted hosts, the proof that a run of a host is alive and no recording
//! ([`proof`]), the judgement who is up, silent, down or left ([`Standing`]), and, in a name space of their
//! own, strangers ([`strangers`]). Refuses to decide what follows from any of it.
//!
//! Liveness uses the monotonic clock only, and a host that was itself not run for a while gives the others
//! that time ([`Topology::was_away`]): a slow host must not accuse healthy ones.

mod clock;
mod doubles;
mod facts;
mod hearing;
mod ignored;
mod print;
mod proof;
mod rivals;
mod row;
mod strangers;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use proto::beacon::{self, Beacon};
use proto::host_message::HostMessage;
use proto::keys::Verified;
use proto::lack::Lacks;
use proto::net::IfName;
use proto::time::{Duration, earliest};
use proto::version::Version;
use proto::{BootId, HostName, Instant, Nonce};

use crate::announce::Announcer;
pub use facts::Facts;
pub use hearing::Audible;
pub use ignored::Ignored;
pub use print::{InterfaceView, RowView};
use proto::rng::SecretRng;
pub use row::{Row, Standing};
pub use strangers::{STRANGERS_MAX, Strangers};
pub use words::{Arrival, Change, DOWN_AFTER, Double, FORGOTTEN_AFTER, ProofWanted};

use hearing::{Hearing, Kind};
use proof::{Candidate, Candidates};
use rivals::Rivals;

/// Trusted hosts a table holds: above the three hundred we promise, with room for a group that grew.
pub const HOSTS_MAX: usize = 1_024;

/// Who says something, and in which run.
#[derive(Clone, Copy, Debug)]
struct Said<'a> {
    host: &'a HostName,
    boot: BootId,
    ver: Version,
}

fn lacks_changed(row: &Row, before: &Lacks) -> Option<Change> {
    let lacks = &row.facts().lacks;
    (lacks != before).then(|| Change::Lacks(row.host().clone(), lacks.clone()))
}

/// The table of hosts, with what is needed to judge the next datagram.
#[derive(Debug)]
pub struct Topology {
    own: HostName,
    own_boot: BootId,
    /// When our own messages were heard back.
    echo: Hearing,
    rows: BTreeMap<HostName, Row>,
    /// Runs that were heard and have not yet proved themselves.
    candidates: Candidates,
    /// Proven runs beside those that have the rows; under this host's own name too.
    rivals: Rivals,
    /// Hosts whose messages are not signed with our key.
    pub strangers: Strangers,
    changes: Vec<Change>,
    /// How far apart beacons are of a host that was not heard to say so yet.
    every: Duration,
    /// Nobody is due before this moment: a large table must not be looked through for every datagram. It may be
    /// too early, when somebody was heard meanwhile, and is never too late.
    due: Option<Instant>,
}

impl Topology {
    /// The table of the host `own` in its run `own_boot`, with no other host in it.
    #[must_use]
    pub const fn new(own: HostName, own_boot: BootId) -> Self {
        Self {
            own,
            own_boot,
            echo: Hearing::new(),
            rows: BTreeMap::new(),
            candidates: Candidates::new(),
            rivals: Rivals::new(),
            strangers: Strangers::new(),
            changes: Vec::new(),
            every: beacon::INTERVAL,
            due: None,
        }
    }

    /// The row of a trusted host.
    #[must_use]
    pub fn row(&self, host: &HostName) -> Option<&Row> {
        self.rows.get(host)
    }

    /// All rows of trusted hosts that ever proved themselves, in the order of their names.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The rows of hosts that are up.
    pub fn up(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(|row| row.is_up())
    }

    /// How many names are heard of runs that have not yet proved themselves.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// How many hosts count for the beacon's interval: the trusted ones in service, this one among them. Strangers
    /// do not count, or anyone could slow the group's detection.
    #[must_use]
    pub fn group_size(&self) -> usize {
        1 + self.rows.values().filter(|row| row.in_service()).count()
    }

    /// Takes in how far apart this host's own beacons are, which in a group of this size are everybody's.
    pub const fn set_every(&mut self, every: Duration) {
        self.every = every;
    }

    /// What has changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        core::mem::take(&mut self.changes)
    }

    /// Takes in a host message whose signature was checked.
    ///
    /// # Errors
    /// Why it changed nothing.
    pub fn on_message(
        &mut self,
        at: Arrival<'_>,
        message: &Verified<HostMessage>,
        entropy: &mut SecretRng,
    ) -> Result<(), Ignored> {
        let message = message.get();
        let Some(vitals) = &message.vitals else { return Err(Ignored::Version) };
        let said = Said { host: &message.host, boot: vitals.boot, ver: vitals.ver };
        self.hear_echo(at, said, &vitals.iface, Kind::Message);
        let admitted = self.admit(at, said, |row| row.has_passed_message(message, vitals), entropy);
        // The message of whoever has to prove itself is kept: when the proof comes, the row is complete at once.
        if admitted == Err(Ignored::Unproven)
            && let Some(candidate) = self.candidate(said)
        {
            candidate.hear_message(at, message);
        }
        admitted?;
        if let Some(rival) = self.rivals.run_mut(&message.host, vitals.boot) {
            return rival.hear_message(at, message, vitals).map(|_| ());
        }
        let Some(row) = self.rows.get_mut(&message.host) else { return Err(Ignored::Unproven) };
        self.strangers.forget_known(&message.host, message.addr);
        let before = row.facts().lacks.clone();
        if row.hear_message(at, message, vitals)? {
            self.changes.push(Change::Changed(message.host.clone()));
        }
        self.changes.extend(lacks_changed(row, &before));
        self.due = earliest(self.due, row.poll_at());
        Ok(())
    }

    /// Takes in a beacon whose signature was checked.
    ///
    /// # Errors
    /// Why it changed nothing.
    pub fn on_beacon(
        &mut self,
        at: Arrival<'_>,
        beacon: &Verified<Beacon>,
        entropy: &mut SecretRng,
    ) -> Result<(), Ignored> {
        let beacon = beacon.get();
        let said = Said { host: &beacon.host, boot: beacon.boot, ver: beacon.ver };
        self.hear_echo(at, said, &beacon.iface, Kind::Beacon);
        let admitted = self.admit(at, said, |row| row.has_passed_beacon(beacon), entropy);
        if admitted == Err(Ignored::Unproven)
            && let Some(candidate) = self.candidate(said)
        {
            candidate.hear_beacon(at, beacon);
        }
        admitted?;
        if let Some(rival) = self.rivals.run_mut(&beacon.host, beacon.boot) {
            return rival.hear_beacon(at, beacon);
        }
        let Some(row) = self.rows.get_mut(&beacon.host) else { return Err(Ignored::Unproven) };
        let before = row.facts().lacks.clone();
        row.hear_beacon(at, beacon)?;
        self.changes.extend(lacks_changed(row, &before));
        self.due = earliest(self.due, row.poll_at());
        self.challenge(at, &beacon.host, entropy);
        Ok(())
    }

    /// Notes that what this run said itself came back: the socket and the firewall let it out. Whether anybody else hears
    /// it is another matter, since the kernel loops a broadcast back before the wire.
    fn hear_echo(&mut self, at: Arrival<'_>, said: Said<'_>, iface: &IfName, kind: Kind) {
        if *said.host == self.own && said.boot == self.own_boot {
            self.echo.hear(at.now, iface, at.iface, kind);
        }
    }

    /// Who has to prove itself, as a new run or as one that was quiet.
    fn candidate(&mut self, said: Said<'_>) -> Option<&mut Candidate> {
        if let Some(rival) = self.rivals.run_mut(said.host, said.boot) {
            return rival.waking_slot().as_mut();
        }
        match self.rows.get_mut(said.host) {
            Some(row) if row.boot() == said.boot => row.waking_slot().as_mut(),
            _ => self.candidates.get_mut(said.host, said.boot),
        }
    }

    /// Whether a message of this run may touch a row; if it must prove itself first, that is begun.
    fn admit(
        &mut self,
        at: Arrival<'_>,
        Said { host, boot, ver }: Said<'_>,
        has_passed: impl FnOnce(&Row) -> bool,
        entropy: &mut SecretRng,
    ) -> Result<(), Ignored> {
        if *host == self.own && boot == self.own_boot {
            return Err(Ignored::Own);
        }
        if !ver.speaks_with(Version::CURRENT) {
            return Err(Ignored::Version);
        }
        let of_row = self.rows.get_mut(host).filter(|row| row.boot() == boot);
        if let Some(row) = of_row.or_else(|| self.rivals.run_mut(host, boot)) {
            if row.has_left() {
                return Err(Ignored::Ended);
            }
            if has_passed(row) {
                return Err(Ignored::Stale);
            }
            // Somebody may have recorded what nobody else heard, and would revive a dead host with it.
            if row.is_quiet() {
                row.wake(at, entropy);
                self.due = earliest(self.due, row.poll_at());
                return Err(Ignored::Unproven);
            }
            return Ok(());
        }
        if self.rows.get(host).is_some_and(|row| row.has_ended(boot)) {
            return Err(Ignored::Ended);
        }
        let is_known = self.rows.contains_key(host) || self.candidates.contains(host);
        if !is_known && self.rows.len() + self.candidates.len() >= HOSTS_MAX {
            return Err(Ignored::Full);
        }
        // Recordings of older runs may alternate with the real one: each is asked for proof, and who can answer wins.
        self.due = earliest(self.due, self.candidates.heard(at, host, boot, entropy)?);
        Err(Ignored::Unproven)
    }

    /// Takes in a hostR whose signature was checked: the run is alive. Without a message of it, which comes
    /// before the proof, nobody would know how to reach it: then it is asked again.
    ///
    /// # Errors
    /// When it answers nothing that was asked, or too little is known of it.
    pub fn on_proof(
        &mut self,
        at: Arrival<'_>,
        host: &HostName,
        boot: BootId,
        nonce: Nonce,
        entropy: &mut SecretRng,
    ) -> Result<(), Ignored> {
        if let Some(row) = self.rows.get_mut(host).filter(|row| row.boot() == boot) {
            let was_up = row.is_up();
            if row.awake(at, nonce) {
                self.due = earliest(self.due, row.poll_at());
                if !was_up {
                    self.changes.push(Change::Up(host.clone()));
                }
                self.notice_two(at.now, host);
                return Ok(());
            }
        }
        if self.rivals.on_proof(at, host, boot, nonce) {
            return Ok(());
        }
        let candidate = self.candidates.proven(host, boot, nonce, entropy)?;
        if *host == self.own || self.rows.get(host).is_some_and(Row::is_up) {
            return self.add_rival(at, host, candidate, entropy);
        }
        let (row, restarted) = match self.rows.remove(host) {
            Some(mut row) => {
                row.restart(boot);
                (row, true)
            }
            None => (Row::new(host.clone(), boot, self.every), false),
        };
        let row = self.rows.entry(host.clone()).or_insert(row);
        let before = row.facts().lacks.clone();
        row.prove(at, &candidate);
        let lacks = lacks_changed(row, &before);
        if restarted {
            self.changes.push(Change::Restarted(host.clone()));
        }
        self.due = earliest(self.due, row.poll_at());
        self.changes.push(Change::Up(host.clone()));
        self.changes.extend(lacks);
        Ok(())
    }

    /// Takes in a goodbye whose signature was checked.
    ///
    /// # Errors
    /// When it is not of the present run.
    pub fn on_goodbye(&mut self, host: &HostName, boot: BootId) -> Result<(), Ignored> {
        if self.rivals.run_mut(host, boot).is_some() {
            self.drop_rival(host);
            return Ok(());
        }
        let row = self.rows.get_mut(host).filter(|row| row.boot() == boot).ok_or(Ignored::Ended)?;
        if row.leave() {
            self.changes.push(Change::Left(host.clone()));
            self.promote(host);
        }
        Ok(())
    }

    /// Whether `boot` is a present, proven run of `host`: only such a one is answered. Of two, the one that has the
    /// row is asked and chosen.
    #[must_use]
    pub fn is_present(&self, host: &HostName, boot: BootId) -> bool {
        let is_it = |row: &Row| row.boot() == boot && !row.has_left();
        self.rows.get(host).is_some_and(is_it) || self.rivals.get(host).is_some_and(|rival| is_it(&rival.row))
    }

    /// Takes out a host that an operator says is gone for good. Returns whether it was there.
    pub fn forget(&mut self, host: &HostName) -> bool {
        self.candidates.forget(host);
        self.rivals.remove(host);
        self.rows.remove(host).is_some()
    }

    /// Gives every host the time that this host was itself not run, so that nobody is judged by what was
    /// not listened for.
    pub fn was_away(&mut self, away: Duration) {
        for row in self.rows.values_mut().chain(self.rivals.rows_mut()) {
            row.excuse(away);
        }
    }

    /// Judges everybody, and asks for the proofs that are due.
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<ProofWanted>) {
        self.strangers.forget_old(now);
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let mut succeeded = Vec::new();
        for row in self.rows.values_mut() {
            match row.judge(now) {
                // Another run of it is there: it was restarted.
                Some(Change::Silent(host)) if self.rivals.get(&host).is_some_and(|r| r.row.is_up()) => {
                    succeeded.push(host);
                }
                change => self.changes.extend(change),
            }
            self.changes.extend(row.judge_interfaces(now));
            row.poll_proof(now, out);
        }
        let changes = &mut self.changes;
        self.rows.retain(|host, row| {
            let is_forgotten = row.is_forgotten(now);
            if is_forgotten {
                changes.push(Change::Forgotten(host.clone()));
            }
            !is_forgotten
        });
        for host in succeeded {
            self.promote(&host);
        }
        self.rivals.on_timeout(now, out, &mut self.changes);
        self.candidates.poll(now, out);
        let rows = self.rows.values().filter_map(Row::poll_at).min();
        let others = earliest(self.rivals.poll_at(), self.candidates.poll_at());
        self.due = earliest(rows, others);
    }

    /// The whole table: this host first, then the trusted ones, then strangers.
    #[must_use]
    pub fn view(&self, now: Instant, own: &Announcer) -> Vec<RowView> {
        let mut rows = vec![RowView::of_self(now, own, &self.echo)];
        rows.extend(self.rows().map(|row| RowView::of_row(now, row)));
        rows.extend(self.strangers.iter().map(|stranger| RowView::of_stranger(now, stranger)));
        rows
    }

    /// When [`Topology::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        earliest(self.due, self.strangers.poll_at())
    }
}
