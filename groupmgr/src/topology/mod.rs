//! The topology table: what this host knows of all hosts and their interfaces (Table A of seed 003).
//!
//! Owns the rows of trusted hosts, the proof that a run of a host is alive and no recording
//! ([`proof`]), the judgement who is up, silent, down or left ([`Standing`]), and, in a name space of their
//! own, strangers ([`strangers`]). Refuses to decide what follows from any of it.
//!
//! Liveness uses the monotonic clock only, and a host that was itself not run for a while gives the others
//! that time ([`Topology::was_away`]): a slow host must not accuse healthy ones.

mod facts;
mod hearing;
mod print;
mod proof;
mod row;
mod strangers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use proto::beacon::{self, Beacon};
use proto::host_message::HostMessage;
use proto::keys::Verified;
use proto::net::IfName;
use proto::time::{Duration, earliest};
use proto::version::Version;
use proto::{BootId, HostName, Instant, Nonce, WallTime};

use crate::entropy::Entropy;
pub use facts::Facts;
pub use hearing::Audible;
pub use print::{InterfaceView, RowView};
pub use row::{DOWN_AFTER, FORGOTTEN_AFTER, Row, Standing};
pub use strangers::{STRANGERS_MAX, Strangers};

use hearing::{Hearing, Kind};
use proof::Candidate;

/// Trusted hosts a table holds: above the three hundred we promise, with room for a group that grew.
pub const HOSTS_MAX: usize = 1_024;

/// What an observer of the table wants to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A run of a host has proved itself, or was heard again.
    Up(HostName),
    /// Three beacons missed.
    Silent(HostName),
    /// Not heard for [`DOWN_AFTER`].
    Down(HostName),
    /// It said goodbye.
    Left(HostName),
    /// Another run of it took over: what the old one had is gone, unless it keeps its sessions.
    Restarted(HostName),
    /// What it announces of itself changed.
    Changed(HostName),
    /// One interface of a host that is up was declared down, or was heard again.
    Interface {
        /// Whose.
        host: HostName,
        /// Which.
        iface: IfName,
        /// Whether it is down now.
        down: bool,
    },
    /// It was gone for [`FORGOTTEN_AFTER`], and left the table.
    Forgotten(HostName),
}

/// What to send so that a run of a host proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofWanted {
    /// Where its message came from.
    pub addr: SocketAddrV4,
    /// The run that is meant.
    pub to: BootId,
    /// To be sent back.
    pub nonce: Nonce,
}

/// Why a verified message changed nothing. Each is counted by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Its sequence number was passed: reordered or replayed.
    Stale,
    /// It is our own, come back.
    Own,
    /// The table is full of trusted hosts.
    Full,
    /// It is of a protocol version that we do not speak with.
    Version,
    /// It is of a run that said goodbye, or that another one replaced.
    Ended,
    /// Of a host that must prove itself first; the proof has been asked for.
    Unproven,
    /// An answer nobody asked for.
    Unasked,
}

impl Ignored {
    /// The name under which it is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Own => "own",
            Self::Full => "table_full",
            Self::Version => "version",
            Self::Ended => "ended_run",
            Self::Unproven => "unproven",
            Self::Unasked => "unasked",
        }
    }
}

/// Where and when a datagram came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Monotonic clock.
    pub now: Instant,
    /// Wall clock.
    pub wall: WallTime,
    /// Our interface.
    pub iface: &'a IfName,
    /// Its source.
    pub from: SocketAddrV4,
}

/// Who says something, and in which run.
#[derive(Clone, Copy, Debug)]
struct Said<'a> {
    host: &'a HostName,
    boot: BootId,
    ver: Version,
}

/// The table.
#[derive(Debug)]
pub struct Topology {
    own: HostName,
    own_boot: BootId,
    /// When our own messages were heard back.
    echo: Hearing,
    rows: BTreeMap<HostName, Row>,
    /// Runs that were heard and have not yet proved themselves.
    candidates: BTreeMap<HostName, Candidate>,
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
            candidates: BTreeMap::new(),
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

    /// How many runs were heard and have not yet proved themselves.
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
        entropy: &mut Entropy,
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
            candidate.hear(message);
        }
        admitted?;
        let Some(row) = self.rows.get_mut(&message.host) else { return Err(Ignored::Unproven) };
        self.strangers.forget_known(&message.host, message.addr);
        if row.hear_message(at, message, vitals)? {
            self.changes.push(Change::Changed(message.host.clone()));
        }
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
        entropy: &mut Entropy,
    ) -> Result<(), Ignored> {
        let beacon = beacon.get();
        let said = Said { host: &beacon.host, boot: beacon.boot, ver: beacon.ver };
        self.hear_echo(at, said, &beacon.iface, Kind::Beacon);
        let admitted = self.admit(at, said, |row| row.has_passed_beacon(beacon), entropy);
        if admitted == Err(Ignored::Unproven)
            && let Some(candidate) = self.candidate(said)
        {
            candidate.beacon = Some(beacon.clone());
        }
        admitted?;
        let Some(row) = self.rows.get_mut(&beacon.host) else { return Err(Ignored::Unproven) };
        row.hear_beacon(at, beacon)?;
        self.due = earliest(self.due, row.poll_at());
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
        let row = self.rows.get_mut(said.host).filter(|row| row.boot() == said.boot);
        row.and_then(Row::waking).or_else(|| self.candidates.get_mut(said.host))
    }

    /// Whether a message of this run may touch a row; if it must prove itself first, that is begun.
    fn admit(
        &mut self,
        at: Arrival<'_>,
        Said { host, boot, ver }: Said<'_>,
        has_passed: impl FnOnce(&Row) -> bool,
        entropy: &mut Entropy,
    ) -> Result<(), Ignored> {
        if *host == self.own {
            return Err(Ignored::Own);
        }
        if !ver.speaks_with(Version::CURRENT) {
            return Err(Ignored::Version);
        }
        if let Some(row) = self.rows.get_mut(host) {
            if row.boot() != boot && row.replaced(boot) || row.boot() == boot && row.has_left() {
                return Err(Ignored::Ended);
            }
            if row.boot() == boot && has_passed(row) {
                return Err(Ignored::Stale);
            }
            // Somebody may have recorded what nobody else heard, and would revive a dead host with it.
            if row.boot() == boot && row.is_quiet() {
                row.wake(at, entropy);
                self.due = earliest(self.due, row.poll_at());
                return Err(Ignored::Unproven);
            }
            if row.boot() == boot {
                return Ok(());
            }
        }
        let full = self.rows.len() + self.candidates.len() >= HOSTS_MAX && !self.rows.contains_key(host);
        match self.candidates.get_mut(host) {
            // A recording of an older run may alternate with the real one: the newest word is asked for
            // proof, and whichever can answer wins.
            Some(candidate) if candidate.boot == boot => candidate.from = at.from,
            Some(candidate) => candidate.restart(at, boot, entropy),
            None if full => return Err(Ignored::Full),
            None => {
                let candidate = Candidate::new(at, boot, entropy);
                self.due = earliest(self.due, Some(candidate.due));
                self.candidates.insert(host.clone(), candidate);
            }
        }
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
    ) -> Result<(), Ignored> {
        let quiet = self.rows.get_mut(host).filter(|row| row.boot() == boot);
        if let Some(row) = quiet
            && row.awake(at, nonce)
        {
            self.due = earliest(self.due, row.poll_at());
            self.changes.push(Change::Up(host.clone()));
            return Ok(());
        }
        // Of an older question it may be, or a recording: neither ends the one that is out.
        let proven = self.candidates.get(host).is_some_and(|c| c.boot == boot && c.nonce == nonce);
        let Some(candidate) = proven.then(|| self.candidates.remove(host)).flatten() else {
            return Err(Ignored::Unasked);
        };
        if candidate.messages.is_empty() {
            self.candidates.insert(host.clone(), candidate);
            return Err(Ignored::Unproven);
        }
        let (row, restarted) = match self.rows.remove(host) {
            Some(mut row) => {
                row.restart(boot);
                (row, true)
            }
            None => (Row::new(host.clone(), boot, self.every), false),
        };
        let row = self.rows.entry(host.clone()).or_insert(row);
        row.prove(at, &candidate);
        if restarted {
            self.changes.push(Change::Restarted(host.clone()));
        }
        self.due = earliest(self.due, row.poll_at());
        self.changes.push(Change::Up(host.clone()));
        Ok(())
    }

    /// Takes in a goodbye whose signature was checked.
    ///
    /// # Errors
    /// When it is not of the present run.
    pub fn on_goodbye(&mut self, host: &HostName, boot: BootId) -> Result<(), Ignored> {
        let row = self.rows.get_mut(host).filter(|row| row.boot() == boot).ok_or(Ignored::Ended)?;
        if row.leave() {
            self.changes.push(Change::Left(host.clone()));
        }
        Ok(())
    }

    /// Whether `boot` is the present, proven run of `host`: only such a one is asked, answered or chosen.
    #[must_use]
    pub fn is_present(&self, host: &HostName, boot: BootId) -> bool {
        self.rows.get(host).is_some_and(|row| row.boot() == boot && !row.has_left())
    }

    /// Takes out a host that an operator says is gone for good. Returns whether it was there.
    pub fn forget(&mut self, host: &HostName) -> bool {
        self.candidates.remove(host);
        self.rows.remove(host).is_some()
    }

    /// Gives every host the time that this host was itself not run, so that nobody is judged by what was
    /// not listened for.
    pub fn was_away(&mut self, away: Duration) {
        for row in self.rows.values_mut() {
            row.excuse(away);
        }
    }

    /// Judges everybody, and asks for the proofs that are due.
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<ProofWanted>) {
        self.strangers.forget_old(now);
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        for row in self.rows.values_mut() {
            if let Some(change) = row.judge(now) {
                self.changes.push(change);
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
        self.candidates.retain(|_, candidate| candidate.poll(now, out));
        let rows = self.rows.values().filter_map(Row::poll_at).min();
        self.due = earliest(rows, self.candidates.values().map(|c| c.due).min());
    }

    /// When [`Topology::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        earliest(self.due, self.strangers.poll_at())
    }
}
