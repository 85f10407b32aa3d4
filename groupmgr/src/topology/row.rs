//! One trusted host in the topology table.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use proto::beacon::{self, Beacon};
use proto::host_message::{HostMessage, INTERFACES_MAX, Vitals};
use proto::lack::Lacks;
use proto::net::{IfName, Interface};
use proto::time::{Duration, earliest};
use proto::{BootId, HostName, Instant, Nonce, WallTime};

use super::facts::Facts;
use super::hearing::{Audible, Hearing, Kind};
use super::ignored::Ignored;
use super::proof::Candidate;
use super::words::{Arrival, Change, DOWN_AFTER, FORGOTTEN_AFTER, ProofWanted};
use proto::rng::SecretRng;

/// Ended runs remembered, so that a recording of one is not even asked for proof.
const ENDED_MAX: usize = 8;

/// What is thought of a host. The order is that of its service, best first.
///
/// ```text
///            proof
///   (none) ────────▶ Up ◀─ heard, proof ┬───────────────────┐
///                    │ 3 beacons missed │                   │
///                    ├────────────────▶ Silent ── 60 s ──▶ Down
///                    │ goodbye          │ goodbye           │
///                    └─────▶ Left ◀─────┴───────────────────┘   Left ── another run proves itself ──▶ Up
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Heard, and proven.
    Up,
    /// Three beacons missed: judged for failover.
    Silent,
    /// Not heard for [`DOWN_AFTER`].
    Down,
    /// It said goodbye.
    Left,
}

impl Standing {
    /// Whether nothing is heard of a host that said no goodbye.
    #[must_use]
    pub const fn is_unheard(self) -> bool {
        matches!(self, Self::Silent | Self::Down)
    }

    const fn may_become(self, next: Self) -> bool {
        use Standing::{Down, Left, Silent, Up};
        matches!(
            (self, next),
            (Up, Silent | Left) | (Silent, Up | Down | Left) | (Down, Up | Left) | (Left, Up)
        )
    }
}

/// A trusted host, whose present run has proved that it is alive.
#[derive(Debug)]
pub struct Row {
    host: HostName,
    boot: BootId,
    /// Earlier runs that ended on purpose: of such a one nothing counts any more.
    ended: Vec<BootId>,
    standing: Standing,
    /// It is quiet and was heard again: it has to prove that this is no recording, of which others may have missed
    /// the original.
    waking: Option<Candidate>,
    /// Last heard at all, by which it is judged.
    heard_at: Instant,
    /// Since when it is up.
    up_since: Instant,
    message_at: Option<Instant>,
    /// What its wall clock showed when its newest message came.
    clock: Option<WallTime>,
    beacon_at: Option<Instant>,
    every: Duration,
    /// Sequence numbers passed, per interface of the host.
    passed: BTreeMap<IfName, Passed>,
    hearing: Hearing,
    addr: Ipv4Addr,
    interfaces: Vec<Interface>,
    facts: Facts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    messages: u64,
    beacons: u64,
}

impl Row {
    pub(super) fn new(host: HostName, boot: BootId, every: Duration) -> Self {
        Self {
            host,
            boot,
            ended: Vec::new(),
            standing: Standing::Left,
            waking: None,
            heard_at: Instant::ZERO,
            up_since: Instant::ZERO,
            message_at: None,
            clock: None,
            beacon_at: None,
            every,
            passed: BTreeMap::new(),
            hearing: Hearing::new(),
            addr: Ipv4Addr::UNSPECIFIED,
            interfaces: Vec::new(),
            facts: Facts { port: proto::PORT, ..Facts::default() },
        }
    }

    /// The name it signs with.
    #[must_use]
    pub const fn host(&self) -> &HostName {
        &self.host
    }

    /// Its present run.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// What is thought of it.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.standing == Standing::Up
    }

    /// Since when it is up, if it is. For a beacon's interval it may not yet have been heard on all its LANs.
    #[must_use]
    pub const fn up_since(&self) -> Instant {
        self.up_since
    }

    /// Whether it counts as a member: up, or silent for less than [`DOWN_AFTER`].
    #[must_use]
    pub fn in_service(&self) -> bool {
        self.standing <= Standing::Silent
    }

    pub(super) fn has_left(&self) -> bool {
        self.standing == Standing::Left
    }

    /// Whether an earlier run ended on purpose.
    pub(super) fn has_ended(&self, boot: BootId) -> bool {
        self.ended.contains(&boot)
    }

    pub(super) const fn waking_slot(&mut self) -> &mut Option<Candidate> {
        &mut self.waking
    }

    /// Where the run was asked to prove itself, while it is.
    pub(super) fn asked_at(&self) -> Option<SocketAddrV4> {
        self.waking.as_ref().map(|waking| waking.from)
    }

    /// Takes over what is to be remembered of the run that had this place before.
    pub(super) fn succeed(&mut self, before: Self) {
        self.share_ended(&before);
        self.note_ended(before.boot, before.standing);
    }

    /// Of two that live at once neither is an earlier run of the other.
    pub(super) fn share_ended(&mut self, other: &Self) {
        self.ended = other.ended.clone();
    }

    fn note_ended(&mut self, boot: BootId, standing: Standing) {
        if standing != Standing::Left {
            return;
        }
        if self.ended.len() == ENDED_MAX {
            self.ended.remove(0);
        }
        self.ended.push(boot);
    }

    /// Its primary address.
    #[must_use]
    pub const fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// Its interfaces, as it announced them.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// What else it announced.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// When it was last heard at all.
    #[must_use]
    pub const fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// When its last host message came.
    #[must_use]
    pub const fn message_at(&self) -> Option<Instant> {
        self.message_at
    }

    /// What its wall clock shows at `now`, by its newest message: to the second, and later by as long as that was on
    /// its way.
    #[must_use]
    pub fn clock_at(&self, now: Instant) -> Option<WallTime> {
        self.message_at.zip(self.clock).map(|(at, shown)| shown + now.since(at))
    }

    /// When its last beacon came.
    #[must_use]
    pub const fn beacon_at(&self) -> Option<Instant> {
        self.beacon_at
    }

    /// When a host message last came from its interface `theirs`: `lastpkt` in the table's first form.
    #[must_use]
    pub fn lastpkt(&self, theirs: &IfName) -> Option<Instant> {
        self.hearing.message_at(theirs)
    }

    /// When a beacon last came from its interface `theirs`.
    #[must_use]
    pub fn lastbeacon(&self, theirs: &IfName) -> Option<Instant> {
        self.hearing.beacon_at(theirs)
    }

    /// Whether its interface `theirs` was heard on our interface `ours` lately enough to say that both are on
    /// one wire now.
    #[must_use]
    pub fn heard_lately(&self, now: Instant, theirs: &IfName, ours: &IfName) -> bool {
        self.hearing.is_fresh_on(now, theirs, ours, self.patience())
    }

    /// Our interfaces on which its interface `theirs` was heard so lately.
    #[must_use]
    pub fn heard_on(&self, now: Instant, theirs: &IfName) -> Vec<IfName> {
        self.hearing.fresh_on(now, theirs, self.patience())
    }

    /// What is thought of its interface `theirs`.
    #[must_use]
    pub fn audible(&self, now: Instant, theirs: &IfName) -> Audible {
        self.hearing.audible(now, theirs, self.patience())
    }

    /// Where to send it datagrams: the address of an interface that is heard now, else its primary one.
    #[must_use]
    pub fn ask_at(&self, now: Instant) -> SocketAddrV4 {
        let heard = self.interfaces.iter().filter(|i| self.audible(now, &i.name) == Audible::Up);
        let ip = heard.map(|i| i.ip).next().unwrap_or(self.addr);
        SocketAddrV4::new(ip, self.facts.port)
    }

    /// How long it may be quiet before it is silent: three beacon intervals, no less than at the full rate.
    fn patience(&self) -> Duration {
        self.every.max(beacon::INTERVAL) * beacon::MISSED_MAX
    }

    fn hear(&mut self, at: Arrival<'_>, theirs: &IfName, kind: Kind) {
        // What came by another socket may have been read before it, and a pause of this host is excused.
        self.heard_at = self.heard_at.max(at.now);
        self.hearing.hear(at.now, theirs, at.iface, kind);
    }

    /// Whether a message's number was passed already. The further datagrams of a message that does not fit one share
    /// its number.
    pub(super) fn has_passed_message(&self, message: &HostMessage, vitals: &Vitals) -> bool {
        let passed = self.passed.get(&vitals.iface).map_or(0, |passed| passed.messages);
        vitals.seq < passed || (vitals.seq == passed && !self.continues(passed, message, vitals))
    }

    fn continues(&self, passed: u64, message: &HostMessage, vitals: &Vitals) -> bool {
        vitals.seq == passed && self.interfaces.len() < usize::from(message.numifs)
    }

    pub(super) fn has_passed_beacon(&self, beacon: &Beacon) -> bool {
        self.passed.get(&beacon.iface).is_some_and(|passed| beacon.seq <= passed.beacons)
    }

    /// A number that was passed already changes nothing.
    pub(super) fn hear_message(
        &mut self,
        at: Arrival<'_>,
        message: &HostMessage,
        vitals: &Vitals,
    ) -> Result<bool, Ignored> {
        if self.passed.len() >= INTERFACES_MAX && !self.passed.contains_key(&vitals.iface) {
            return Err(Ignored::Full);
        }
        if self.has_passed_message(message, vitals) {
            return Err(Ignored::Stale);
        }
        let passed = self.passed.entry(vitals.iface.clone()).or_default();
        let before_it = core::mem::replace(&mut passed.messages, vitals.seq);
        let continues = self.continues(before_it, message, vitals);
        let before = self.interfaces.clone();
        if !continues {
            self.interfaces.clear();
        }
        for interface in &message.interfaces {
            let known = self.interfaces.iter().any(|i| i.name == interface.name);
            if !known && self.interfaces.len() < INTERFACES_MAX {
                self.interfaces.push(interface.clone());
            }
        }
        let facts = Facts::of(message, vitals, at.wall);
        let changed = before != self.interfaces || facts.differs(&self.facts);
        self.facts = facts;
        self.addr = message.addr;
        self.message_at = Some(at.now);
        self.clock = Some(WallTime::from_secs(message.time));
        self.hear(at, &vitals.iface, Kind::Message);
        Ok(changed)
    }

    pub(super) fn hear_beacon(&mut self, at: Arrival<'_>, beacon: &Beacon) -> Result<(), Ignored> {
        if self.passed.len() >= INTERFACES_MAX && !self.passed.contains_key(&beacon.iface) {
            return Err(Ignored::Full);
        }
        if self.has_passed_beacon(beacon) {
            return Err(Ignored::Stale);
        }
        self.passed.entry(beacon.iface.clone()).or_default().beacons = beacon.seq;
        self.every = beacon.every;
        self.facts.load.run_queue = beacon.load;
        self.facts.load.sessions = beacon.sessions;
        self.facts.drain = beacon.drain;
        if !beacon.drain {
            self.facts.lacks = Lacks::none();
        }
        self.beacon_at = Some(at.now);
        self.hear(at, &beacon.iface, Kind::Beacon);
        Ok(())
    }

    /// Another run begins: nothing that was passed or heard counts for it.
    pub(super) fn restart(&mut self, boot: BootId) {
        self.note_ended(self.boot, self.standing);
        self.boot = boot;
        self.passed.clear();
        self.hearing = Hearing::new();
        self.become_standing(Standing::Left);
        self.waking = None;
    }

    /// It has proved that it lives, and what it said before counts.
    pub(super) fn prove(&mut self, at: Arrival<'_>, proven: &Candidate) {
        self.heard_at = at.now;
        self.up_since = at.now;
        if self.addr.is_unspecified() {
            self.addr = *at.from.ip();
        }
        self.become_standing(Standing::Up);
        for message in &proven.messages {
            if let Some(vitals) = &message.vitals {
                let _ = self.hear_message(at, message, vitals);
            }
        }
        if let Some(beacon) = &proven.beacon {
            let _ = self.hear_beacon(at, beacon);
        }
    }

    /// Whether it is silent or down: what is heard of it may be a recording.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.standing, Standing::Silent | Standing::Down)
    }

    /// It is quiet and was heard again: it is asked for proof.
    pub(super) fn wake(&mut self, at: Arrival<'_>, entropy: &mut SecretRng) {
        let boot = self.boot;
        self.waking.get_or_insert_with(|| Candidate::new(at, boot, entropy)).heard();
    }

    /// The answer to `nonce`: if that was asked it is up, with what it said meanwhile.
    pub(super) fn awake(&mut self, at: Arrival<'_>, nonce: Nonce) -> bool {
        let Some(woken) = self.waking.take_if(|waking| waking.nonce == nonce) else { return false };
        // One that is up was only asked because another run has its name.
        if self.is_quiet() {
            self.prove(at, &woken);
        }
        true
    }

    /// Asks for the proof when it is time.
    pub(super) fn poll_proof(&mut self, now: Instant, out: &mut Vec<ProofWanted>) {
        self.waking.take_if(|waking| !waking.poll(now, out));
    }

    pub(super) fn leave(&mut self) -> bool {
        let was = self.standing != Standing::Left;
        self.become_standing(Standing::Left);
        self.waking = None;
        was
    }

    pub(super) fn excuse(&mut self, away: Duration) {
        self.heard_at += away;
        self.hearing.excuse(away);
    }

    pub(super) fn judge(&mut self, now: Instant) -> Option<Change> {
        let quiet = now.since(self.heard_at);
        match self.standing {
            Standing::Up if quiet > self.patience() => {
                self.become_standing(Standing::Silent);
                Some(Change::Silent(self.host.clone()))
            }
            Standing::Silent if quiet > DOWN_AFTER => {
                self.become_standing(Standing::Down);
                Some(Change::Down(self.host.clone()))
            }
            _ => None,
        }
    }

    /// Declares interfaces down and up, while the host is up.
    pub(super) fn judge_interfaces(&mut self, now: Instant) -> Vec<Change> {
        if !self.is_up() {
            return Vec::new();
        }
        let changed = self.hearing.judge(now, self.up_since, &self.interfaces);
        let change = |(iface, down)| Change::Interface { host: self.host.clone(), iface, down };
        changed.into_iter().map(change).collect()
    }

    /// Whether it was gone for so long that it leaves the table.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        !self.in_service() && self.waking.is_none() && now.since(self.heard_at) > FORGOTTEN_AFTER
    }

    /// Just after the judged moment, since what was heard exactly then still counts.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let waking = self.waking.as_ref().map(|waking| waking.due);
        let wait = match self.standing {
            Standing::Up => self.patience(),
            Standing::Silent => DOWN_AFTER,
            Standing::Down | Standing::Left => FORGOTTEN_AFTER,
        };
        earliest(waking, Some(self.heard_at + wait + Duration::from_micros(1)))
    }

    fn become_standing(&mut self, next: Standing) {
        debug_assert!(
            next == self.standing || self.standing.may_become(next),
            "{:?} → {next:?}",
            self.standing
        );
        self.standing = next;
    }
}
