//! How a DTU knows that its host lives: by beacons, and by answers to probes.
//!
//! A [`Pulse`] belongs to one connection and says whether it answered in time. A [`Watch`] belongs to a host
//! and says when its connections should be asked. Neither decides what follows from a death.
//!
//! A beacon proves a path, not a host: only one that comes from the address to which the control connection leads is a
//! sign of life for that connection. A host that is heard from another address alone (behind a router, or connected to
//! by a second address) is asked instead, as one whose beacons stopped. Where beacons go on and only the connection is
//! broken, the kernel of the DTU notices ([`crate::io`] sets its TCP timers).

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::alp::AnchorNote;
use proto::beacon::{INTERVAL, INTERVAL_MAX, MISSED_MAX};
use proto::chain::Anchor;
use proto::{BootId, HostName, Instant};

use super::step::Sighting;

/// Whether one connection still answers. Only words of the application behind it count.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    heard: Instant,
    /// When the oldest question that is not answered was asked.
    asked: Instant,
    due: Option<Instant>,
    patience: Duration,
    excused: u32,
}

/// A question is forgiven its lateness this often in a row. A DTU that is late for good must judge at last,
/// or it would stay with a dead host.
const EXCUSES_MAX: u32 = 20;

impl Pulse {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, asked: now, due: None, patience: Duration::ZERO, excused: 0 }
    }

    /// A question is out; the other side has `patience` to say anything. An earlier deadline stands.
    pub(super) fn asked(&mut self, now: Instant, patience: Duration) {
        let due = now + patience;
        if self.due.is_none() {
            self.asked = now;
        }
        if self.due.is_none_or(|earlier| due < earlier) {
            self.due = Some(due);
            self.patience = patience;
        }
    }

    /// The other side said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.due = None;
        self.excused = 0;
    }

    /// Its silence is explained: nobody has to answer for it any more.
    pub(super) const fn forgive(&mut self) {
        self.due = None;
    }

    /// It gets more time since it was asked, if it owes an answer at all: someone else has vouched for its host.
    pub(super) fn relax(&mut self, patience: Duration) {
        if let Some(due) = &mut self.due {
            *due = (*due).max(self.asked + patience);
            self.patience = self.patience.max(patience);
        }
    }

    /// When it last did.
    pub(super) const fn last(&self) -> Instant {
        self.heard
    }

    /// When it must have answered.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it was silent past its deadline.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// We were not run for a while; what we did not hear is our own fault.
    pub(super) fn excuse(&mut self, now: Instant) {
        if self.due.is_some() && self.excused < EXCUSES_MAX {
            self.excused += 1;
            self.due = Some(now + self.patience);
        }
    }
}

/// The host that granted our session, and its beacons.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    host: HostName,
    /// Where the control connection leads: beacons from elsewhere say nothing about it.
    path: Ipv4Addr,
    boot: BootId,
    anchor: Anchor,
    every: Duration,
    /// The longest interval that a beacon may claim: `every` in a beacon is not covered by its chain value.
    every_max: Duration,
    /// The newest verified beacon; until one comes, when the host granted the session.
    heard: Instant,
    /// When the connections are probed next.
    probe_at: Instant,
    /// When in half an interval this DTU probes, of 65,536: one lost broadcast makes all DTUs of a host ask, and it
    /// cannot answer thousands in one moment.
    turn: u16,
    /// What prompted the newest probe.
    prompt: Prompt,
}

/// A beacon that is late by so much is not missed yet.
const LATE: Duration = Duration::from_millis(25);

/// What made us ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// Beacons that did not come: one that comes late answers for its host.
    Beacons,
    /// A sign that nothing gets from us to the host, such as typed bytes that nobody took: beacons say nothing about
    /// that.
    Path,
}

/// What a beacon means to the DTU that hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Our host lives.
    Alive,
    /// Our host speaks as another run of itself: perhaps it was restarted, perhaps a stranger plays it.
    Odd,
    /// Nothing: repeated, forged, or by another way than our connection's.
    None,
}

impl Watch {
    pub(super) fn new(now: Instant, host: HostName, path: Ipv4Addr, note: &AnchorNote, turn: u16) -> Self {
        let every = note.every.clamp(INTERVAL, INTERVAL_MAX);
        Self {
            host,
            path,
            boot: note.boot,
            anchor: Anchor::new(note.tick, note.chain_value),
            every,
            every_max: (every * 4).min(INTERVAL_MAX),
            heard: now,
            probe_at: now + early(every, turn),
            turn,
            prompt: Prompt::Beacons,
        }
    }

    /// A fresh anchor from the host itself.
    pub(super) fn re_anchor(&mut self, now: Instant, note: &AnchorNote) {
        let known = self.anchor;
        let (heard, probe_at) = (self.heard, self.probe_at);
        *self = Self::new(now, self.host.clone(), self.path, note, self.turn);
        (self.heard, self.probe_at) = (heard, probe_at);
        // A beacon may have overtaken the line that told an older value of the same chain.
        self.anchor.advance(known.number(), known.value());
    }

    /// Takes in a beacon of the host. One that came from another address than the connection leads to must not advance
    /// the chain either: the same value comes by every interface of the host, and would be taken for a repetition on the
    /// path that counts.
    pub(super) fn on_beacon(&mut self, beacon: &Sighting) -> Sign {
        if beacon.from != self.path {
            return Sign::None;
        }
        if beacon.boot != self.boot {
            return Sign::Odd;
        }
        if !self.anchor.advance(beacon.tick, beacon.chain_value) {
            return Sign::None;
        }
        self.every = beacon.every.min(self.every_max);
        self.heard = beacon.at;
        self.probe_at = beacon.at + early(self.every, self.turn);
        Sign::Alive
    }

    /// Whose beacons count.
    pub(super) const fn host(&self) -> &HostName {
        &self.host
    }

    /// The newest sign that its machine reaches us.
    pub(super) const fn heard(&self) -> Instant {
        self.heard
    }

    /// When the connections should be probed.
    pub(super) const fn probe_at(&self) -> Instant {
        self.probe_at
    }

    /// How long a host that is asked now has to answer: at least `answer`, and nobody is left before [`MISSED_MAX`]
    /// beacons were missed.
    pub(super) fn patience(&self, now: Instant, answer: Duration) -> Duration {
        (self.heard + self.every * MISSED_MAX + LATE).since(now).max(answer)
    }

    /// They were, since beacons did not come. Until the next beacon they are probed again after `every`.
    pub(super) fn probed(&mut self, now: Instant, every: Duration) {
        self.probe_at = now + every;
        self.prompt = Prompt::Beacons;
    }

    /// We were not run for a while: beacons may lie unread, so that it is asked once three were missed and no sooner. Where
    /// many DTUs share a machine that has more to do than it can, most would ask for nothing.
    pub(super) fn excuse(&mut self) {
        self.probe_at = self.probe_at.max(self.heard + self.every * MISSED_MAX);
    }

    /// The host is asked for another reason than its beacons.
    pub(super) const fn set_prompt(&mut self, prompt: Prompt) {
        self.prompt = prompt;
    }

    /// What prompted the newest probe.
    pub(super) const fn prompt(&self) -> Prompt {
        self.prompt
    }
}

/// How long after a beacon a host is asked whose next one does not come: when half the time has passed in which that one
/// may be late, and up to half an interval later, at this DTU's turn.
fn early(every: Duration, turn: u16) -> Duration {
    every * 3 / 2 + every / 2 * u32::from(turn) / 65_536
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::chain::Chain;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn beacon(at: Instant, chain: &mut Chain, tick: u64, every: u64) -> Sighting {
        let chain_value = chain.reveal(tick).unwrap();
        Sighting { boot: BootId(1), tick, chain_value, every: Duration::from_millis(every), from: PATH, at }
    }

    /// The interval of the host that is watched here: of a group of a hundred.
    const EVERY: Duration = Duration::from_millis(100);

    const PATH: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn watch(chain: &Chain) -> Watch {
        let note = AnchorNote { boot: BootId(1), tick: 0, chain_value: chain.anchor(), every: EVERY };
        Watch::new(at(0), "a".parse().unwrap(), PATH, &note, 0)
    }

    #[test]
    fn only_a_new_link_of_the_hosts_own_chain_is_a_sign_of_life() {
        let mut chain = Chain::new([1; 16], 100);
        let mut stranger = Chain::new([2; 16], 100);
        let mut watch = watch(&chain);
        assert_eq!(watch.on_beacon(&beacon(at(1), &mut stranger, 1, 100)), Sign::None);
        assert_eq!(watch.on_beacon(&beacon(at(2), &mut chain, 1, 100)), Sign::Alive);
        assert_eq!(watch.on_beacon(&beacon(at(3), &mut chain, 1, 100)), Sign::None, "a recording");
        let other = Sighting { boot: BootId(2), ..beacon(at(4), &mut chain, 2, 100) };
        assert_eq!(watch.on_beacon(&other), Sign::Odd);
        assert_eq!(watch.probe_at(), at(152));
    }

    #[test]
    fn a_beacon_by_another_way_is_no_sign_of_life_and_spoils_none() {
        let mut chain = Chain::new([1; 16], 100);
        let mut watch = watch(&chain);
        let elsewhere = Ipv4Addr::new(10, 0, 0, 2);
        let same = beacon(at(1), &mut chain, 1, 100);
        assert_eq!(watch.on_beacon(&Sighting { from: elsewhere, ..same }), Sign::None);
        assert_eq!(watch.on_beacon(&same), Sign::Alive, "the same value by our own path");
        let other = Sighting { boot: BootId(2), from: elsewhere, ..beacon(at(3), &mut chain, 2, 100) };
        assert_eq!(watch.on_beacon(&other), Sign::None, "a namesake");
    }

    #[test]
    fn a_stretched_interval_is_followed_within_bounds() {
        let mut chain = Chain::new([1; 16], 100);
        let mut watch = watch(&chain);
        watch.on_beacon(&beacon(at(0), &mut chain, 1, 200));
        assert_eq!(watch.probe_at(), at(300));
        watch.on_beacon(&beacon(at(0), &mut chain, 2, 10_000));
        assert_eq!(watch.probe_at(), at(600), "four times what TLS told, not thirty seconds");
    }

    #[test]
    fn a_host_is_asked_within_half_an_interval_and_left_no_sooner_than_three_beacons_are_missed() {
        assert_eq!(early(EVERY, 0), Duration::from_millis(150));
        assert!(early(EVERY, u16::MAX) > Duration::from_millis(199));
        assert!(early(EVERY, u16::MAX) < Duration::from_millis(200), "when the next beacon would come");
        let mut chain = Chain::new([1; 16], 100);
        let mut watch = watch(&chain);
        watch.on_beacon(&beacon(at(1_000), &mut chain, 1, 100));
        let answer = Duration::from_millis(100);
        for (asked, by) in [(1_150, 1_325), (1_200, 1_325), (1_300, 1_400)] {
            assert_eq!(at(asked) + watch.patience(at(asked), answer), at(by), "asked at {asked}");
        }
        watch.probed(at(1_150), Duration::from_millis(300));
        assert_eq!(watch.probe_at(), at(1_450), "and then less often");
        watch.on_beacon(&beacon(at(2_000), &mut chain, 2, 100));
        watch.excuse();
        assert_eq!(watch.probe_at(), at(2_300), "who was not run himself waits longer");
    }

    #[test]
    fn a_fresh_anchor_does_not_forget_a_beacon_that_overtook_it() {
        let mut chain = Chain::new([1; 16], 100);
        let mut watch = watch(&chain);
        assert_eq!(watch.on_beacon(&beacon(at(1), &mut chain, 9, 100)), Sign::Alive);
        let chain_value = chain.reveal(5).unwrap();
        watch.re_anchor(at(2), &AnchorNote { boot: BootId(1), tick: 5, chain_value, every: EVERY });
        assert_eq!(watch.on_beacon(&beacon(at(3), &mut chain, 8, 100)), Sign::None, "older than the newest");
        assert_eq!(watch.on_beacon(&beacon(at(3), &mut chain, 10, 100)), Sign::Alive);
    }

    #[test]
    fn silence_past_the_deadline_is_death_and_lateness_of_our_own_is_not() {
        let mut pulse = Pulse::new(at(0));
        assert!(!pulse.is_dead(at(9_999)), "nobody asked");
        pulse.asked(at(0), Duration::from_millis(100));
        assert!(!pulse.is_dead(at(99)) && pulse.is_dead(at(100)));
        pulse.excuse(at(500));
        assert!(!pulse.is_dead(at(599)) && pulse.is_dead(at(600)));
        pulse.heard(at(601));
        assert!(!pulse.is_dead(at(9_999)));
    }

    #[test]
    fn more_time_is_given_only_to_whoever_owes_an_answer() {
        let mut pulse = Pulse::new(at(0));
        pulse.relax(Duration::from_secs(3));
        assert_eq!(pulse.due(), None);
        pulse.asked(at(0), Duration::from_millis(100));
        pulse.relax(Duration::from_secs(3));
        pulse.asked(at(2_950), Duration::from_millis(100));
        pulse.relax(Duration::from_secs(3));
        assert!(
            !pulse.is_dead(at(2_999)) && pulse.is_dead(at(3_000)),
            "once, however often it is vouched for"
        );
        pulse.forgive();
        assert!(!pulse.is_dead(at(9_999)));
    }

    #[test]
    fn excuses_run_out() {
        let mut pulse = Pulse::new(at(0));
        pulse.asked(at(0), Duration::from_millis(100));
        for n in 0..=u64::from(EXCUSES_MAX) {
            pulse.excuse(at(n * 1000));
        }
        assert!(pulse.is_dead(at(u64::from(EXCUSES_MAX) * 1000)));
    }
}
