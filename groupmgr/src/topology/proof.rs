//! Runs of hosts that were heard and have not yet proved that they are alive.
//!
//! A correct signature says that a group member once wrote a message, not when: a recording has it too. So a
//! (host, boot) that is new to us must answer a nonce before it gets a row.
//!
//! Every run of a name has its own question, nonce and pace, so that no recording takes the turn of the run that lives.
//! What a stranger can make us ask is bounded: so many runs of one name, and so many questions a second to it.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use proto::beacon::Beacon;
use proto::host_message::{HostMessage, INTERFACES_MAX, INTERFACES_PER_MESSAGE};
use proto::net::IfName;
use proto::time::Duration;
use proto::{BootId, HostName, Instant, Nonce};

use super::ignored::Ignored;
use super::words::{Arrival, ProofWanted};
use proto::rng::SecretRng;

/// The first answer is waited for this long; then the wait doubles.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The longest wait between two questions to a run. Two hosts of one name are to be noticed within a second after
/// they can be heard, however long nobody heard the questions, and that may take two proofs, one after the other.
const ASK_AGAIN_MAX: Duration = Duration::from_millis(300);
/// Questions without an answer to a run that is not heard any more.
const ASKS_MAX: u32 = 8;
/// Runs of one name that are asked at the same time.
const RUNS_MAX: usize = 12;
/// From one question to a name to the next, whatever runs of it are heard. That is room for [`RUNS_MAX`] of them to be
/// asked as often as each may be.
const APART: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) boot: BootId,
    pub(super) nonce: Nonce,
    /// Where it is asked.
    pub(super) from: SocketAddrV4,
    pub(super) due: Instant,
    /// The newest beacon, for the row to start with.
    pub(super) beacon: Option<Beacon>,
    /// And the newest message in its parts.
    pub(super) messages: Vec<HostMessage>,
    /// The newest beacon's number on each of its interfaces.
    beacons: BTreeMap<IfName, u64>,
    asked: u32,
    asked_at: Option<Instant>,
    /// Questions since it was last heard.
    unheard: u32,
}

impl Candidate {
    pub(super) fn new(at: Arrival<'_>, boot: BootId, entropy: &mut SecretRng) -> Self {
        Self {
            boot,
            nonce: Nonce(entropy.u128()),
            from: at.from,
            due: at.now,
            beacon: None,
            messages: Vec::new(),
            beacons: BTreeMap::new(),
            asked: 0,
            asked_at: None,
            unheard: 0,
        }
    }

    /// Something of it was heard: it is asked on. Its pace stays, since that may have been a recording.
    pub(super) const fn heard(&mut self) {
        self.unheard = 0;
    }

    /// Takes in a beacon. Only one that is newer than all before it says where the run is: whoever plays back what
    /// others heard as well must not have the questions sent to itself.
    pub(super) fn hear_beacon(&mut self, at: Arrival<'_>, beacon: &Beacon) {
        let newest = self.beacons.get(&beacon.iface);
        let is_full = newest.is_none() && self.beacons.len() >= INTERFACES_MAX;
        if is_full || newest.is_some_and(|newest| beacon.seq <= *newest) {
            return;
        }
        self.beacons.insert(beacon.iface.clone(), beacon.seq);
        self.from = at.from;
        self.beacon = Some(beacon.clone());
    }

    /// Takes in one part of a message.
    pub(super) fn hear_message(&mut self, at: Arrival<'_>, message: &HostMessage) {
        let seq = |m: &HostMessage| m.vitals.as_ref().map(|v| (v.iface.clone(), v.seq));
        if self.messages.first().is_some_and(|first| seq(first) != seq(message)) {
            self.messages.clear();
        }
        if self.messages.len() < INTERFACES_MAX / INTERFACES_PER_MESSAGE {
            self.messages.push(message.clone());
        }
        if message.interfaces.iter().any(|interface| interface.ip == *at.from.ip()) {
            self.from = at.from;
        }
    }

    /// Asks when it is time; `false` when it was asked often enough.
    pub(super) fn poll(&mut self, now: Instant, out: &mut Vec<ProofWanted>) -> bool {
        if self.is_given_up(now) {
            return false;
        }
        if now >= self.due {
            self.ask(now, out);
        }
        true
    }

    fn is_given_up(&self, now: Instant) -> bool {
        self.unheard >= ASKS_MAX && now >= self.due
    }

    fn ask(&mut self, now: Instant, out: &mut Vec<ProofWanted>) {
        out.push(ProofWanted { addr: self.from, to: self.boot, nonce: self.nonce });
        self.due = now + ASK_AGAIN.saturating_mul(1 << self.asked.min(ASKS_MAX)).min(ASK_AGAIN_MAX);
        self.asked = self.asked.saturating_add(1);
        self.asked_at = Some(now);
        self.unheard += 1;
    }

    /// It was asked, and has had the time to answer.
    fn had_its_chance(&self, now: Instant) -> bool {
        self.asked_at.is_some_and(|at| now.since(at) >= ASK_AGAIN)
    }
}

/// The runs of one name that have not proved themselves.
#[derive(Debug, Default)]
struct Runs {
    runs: Vec<Candidate>,
    asked_at: Option<Instant>,
}

impl Runs {
    /// The candidate of a run that is heard. A new one takes the place of the one that was asked most often, if it needs
    /// one: a run that lives answers the first question.
    fn heard(&mut self, at: Arrival<'_>, boot: BootId, entropy: &mut SecretRng) -> Result<(), Ignored> {
        if let Some(run) = self.runs.iter_mut().find(|run| run.boot == boot) {
            run.heard();
            return Ok(());
        }
        if self.runs.len() >= RUNS_MAX {
            let asked = self.runs.iter().enumerate().filter(|(_, run)| run.had_its_chance(at.now));
            let most = asked.max_by_key(|(_, run)| run.asked).map(|(n, _)| n).ok_or(Ignored::Full)?;
            self.runs.remove(most);
        }
        self.runs.push(Candidate::new(at, boot, entropy));
        Ok(())
    }

    /// Asks one run, if it is time. One that was asked less often goes first.
    fn poll(&mut self, now: Instant, out: &mut Vec<ProofWanted>) {
        self.runs.retain(|run| !run.is_given_up(now));
        if self.asked_at.is_some_and(|at| now < at + APART) {
            return;
        }
        let due = self.runs.iter_mut().filter(|run| run.due <= now);
        if let Some(run) = due.min_by_key(|run| (run.asked, run.due)) {
            run.ask(now, out);
            self.asked_at = Some(now);
        }
    }

    fn due(&self) -> Option<Instant> {
        let due = self.runs.iter().map(|run| run.due).min()?;
        Some(self.asked_at.map_or(due, |at| due.max(at + APART)))
    }
}

/// All runs that were heard and have not proved themselves, by their names.
#[derive(Debug, Default)]
pub(super) struct Candidates(BTreeMap<HostName, Runs>);

impl Candidates {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// How many names have some.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, host: &HostName) -> bool {
        self.0.contains_key(host)
    }

    pub(super) fn get_mut(&mut self, host: &HostName, boot: BootId) -> Option<&mut Candidate> {
        self.0.get_mut(host)?.runs.iter_mut().find(|run| run.boot == boot)
    }

    /// A run is heard that has not proved itself. Says when the next question to its name is due.
    ///
    /// # Errors
    /// So many runs of that name were heard for the first time of late that there is no place for it.
    pub(super) fn heard(
        &mut self,
        at: Arrival<'_>,
        host: &HostName,
        boot: BootId,
        entropy: &mut SecretRng,
    ) -> Result<Option<Instant>, Ignored> {
        let runs = self.0.entry(host.clone()).or_default();
        runs.heard(at, boot, entropy)?;
        Ok(runs.due())
    }

    /// The candidate that this proof is of. Of an older question it may be, or a recording: neither ends the one that is
    /// out. Without a message of it, which comes before the proof, nobody would know how to reach it: then it is asked
    /// anew, for an answer counts when it comes or never.
    pub(super) fn proven(
        &mut self,
        host: &HostName,
        boot: BootId,
        nonce: Nonce,
        entropy: &mut SecretRng,
    ) -> Result<Candidate, Ignored> {
        let runs = self.0.get_mut(host).map(|runs| &mut runs.runs).ok_or(Ignored::Unasked)?;
        let is_it = |run: &Candidate| run.boot == boot && run.nonce == nonce;
        let number = runs.iter().position(is_it).ok_or(Ignored::Unasked)?;
        if runs[number].messages.is_empty() {
            runs[number].nonce = Nonce(entropy.u128());
            return Err(Ignored::Unproven);
        }
        let proven = runs.remove(number);
        if runs.is_empty() {
            self.0.remove(host);
        }
        Ok(proven)
    }

    pub(super) fn forget(&mut self, host: &HostName) {
        self.0.remove(host);
    }

    /// Asks for the proofs that are due, and forgets the runs that did not answer and are not heard any more.
    pub(super) fn poll(&mut self, now: Instant, out: &mut Vec<ProofWanted>) {
        self.0.retain(|_, runs| {
            runs.poll(now, out);
            !runs.runs.is_empty()
        });
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.0.values().filter_map(Runs::due).min()
    }
}

#[cfg(test)]
mod tests {
    use proto::WallTime;

    use super::*;

    const LIVE: BootId = BootId(99);

    /// One name, of which some runs are heard; they are polled every millisecond.
    struct Name {
        candidates: Candidates,
        entropy: SecretRng,
        host: HostName,
        iface: IfName,
    }

    impl Name {
        fn new() -> Self {
            let [host, iface] = ["b", "lan0"];
            let (host, iface) = (host.parse().unwrap(), iface.parse().unwrap());
            Self { candidates: Candidates::new(), entropy: SecretRng::new([7; 32]), host, iface }
        }

        fn at(&self, ms: u64) -> Arrival<'_> {
            let now = Instant::from_micros(ms * 1000);
            Arrival {
                now,
                wall: WallTime::default(),
                iface: &self.iface,
                from: "10.0.0.1:7009".parse().unwrap(),
            }
        }

        fn hear(&mut self, ms: u64, boot: BootId) -> Result<(), Ignored> {
            let (host, iface) = (self.host.clone(), self.iface.clone());
            let at = Arrival { iface: &iface, ..self.at(ms) };
            self.candidates.heard(at, &host, boot, &mut self.entropy).map(|_| ())
        }

        /// Who is asked at this moment.
        fn asked(&mut self, ms: u64) -> Vec<BootId> {
            let mut out = Vec::new();
            self.candidates.poll(self.at(ms).now, &mut out);
            out.into_iter().map(|wanted| wanted.to).collect()
        }
    }

    #[test]
    fn recordings_of_other_runs_do_not_delay_the_question_to_one_that_lives() {
        for recorded in 0..RUNS_MAX as u64 {
            let (mut name, mut questions) = (Name::new(), 0);
            // Each of the recordings is played every 40 ms; after two seconds a run that lives is heard once.
            let live_after = (0..2_100).find(|ms| {
                for boot in (0..recorded).filter(|boot| ms % 40 == *boot) {
                    name.hear(*ms, BootId(boot)).unwrap();
                }
                if *ms == 2_001 {
                    name.hear(*ms, LIVE).unwrap();
                }
                let asked = name.asked(*ms);
                questions += asked.len();
                asked.contains(&LIVE)
            });
            let live_after = live_after.unwrap() - 2_001;
            assert!(live_after <= 20, "{recorded} recordings: asked after {live_after} ms");
            assert!(questions <= 2_100 / 20, "{recorded} recordings: {questions} questions");
        }
    }

    #[test]
    fn a_run_whose_questions_were_lost_for_long_is_asked_again_every_three_tenths_of_a_second() {
        let mut name = Name::new();
        let mut asked = Vec::new();
        for ms in 0..20_000 {
            if ms % 100 == 0 {
                name.hear(ms, LIVE).unwrap();
            }
            asked.extend(name.asked(ms).iter().map(|_| ms));
        }
        let longest = asked.windows(2).map(|two| two[1] - two[0]).max();
        assert_eq!(longest, Some(300));
    }

    #[test]
    fn whatever_runs_are_heard_their_name_is_asked_fifty_times_a_second_at_most() {
        let (mut name, mut questions) = (Name::new(), 0);
        for ms in 0..1_000 {
            for n in 0..10 {
                let _ = name.hear(ms, BootId(ms * 10 + n));
            }
            questions += name.asked(ms).len();
            assert!(name.candidates.0.values().all(|runs| runs.runs.len() <= RUNS_MAX));
        }
        assert_eq!(questions, 50);
    }

    #[test]
    fn who_plays_back_a_beacon_does_not_have_the_questions_sent_to_itself() {
        let name = Name::new();
        let beacon = |seq| Beacon {
            host: name.host.clone(),
            ver: proto::version::Version::CURRENT,
            boot: LIVE,
            seq,
            iface: "eth0".parse().unwrap(),
            every: proto::beacon::INTERVAL,
            load: 0,
            sessions: 0,
            drain: false,
            tick: seq,
            chain_value: proto::chain::ChainValue::from_bytes([0; 16]),
            digest: None,
        };
        let stranger = "10.0.0.66:7009".parse().unwrap();
        let mut candidate = Candidate::new(name.at(0), LIVE, &mut SecretRng::new([7; 32]));
        candidate.hear_beacon(name.at(0), &beacon(5));
        for old in [5, 4] {
            candidate.hear_beacon(Arrival { from: stranger, ..name.at(1) }, &beacon(old));
        }
        assert_eq!((candidate.from, candidate.beacon.unwrap().seq), (name.at(0).from, 5));
        // Nor does one that had nothing else to play before.
        let mut candidate =
            Candidate::new(Arrival { from: stranger, ..name.at(0) }, LIVE, &mut SecretRng::new([7; 32]));
        candidate.hear_beacon(name.at(1), &beacon(6));
        assert_eq!(candidate.from, name.at(1).from);
    }
}
