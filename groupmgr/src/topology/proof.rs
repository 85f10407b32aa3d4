//! Runs of hosts that were heard and have not yet proved that they are alive.
//!
//! A correct signature says that a group member once wrote a message, not when: a recording has it too. So a
//! (host, boot) that is new to us must answer a nonce before it gets a row.

use std::net::SocketAddrV4;

use proto::beacon::Beacon;
use proto::host_message::{HostMessage, INTERFACES_MAX, INTERFACES_PER_MESSAGE};
use proto::time::Duration;
use proto::{BootId, Instant, Nonce};

use super::words::{Arrival, ProofWanted};
use proto::rng::SecretRng;

/// The first answer is waited for this long; then the wait doubles.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The longest wait between two questions.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);
/// Questions without an answer before the candidate goes: a recording never answers, and a real host is
/// heard again.
const ASKS_MAX: u32 = 8;
/// Runs of one name remembered that did not answer.
const MUTE_RUNS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) boot: BootId,
    pub(super) nonce: Nonce,
    pub(super) from: SocketAddrV4,
    pub(super) due: Instant,
    /// The newest beacon, for the row to start with.
    pub(super) beacon: Option<Beacon>,
    /// And the newest message in its parts.
    pub(super) messages: Vec<HostMessage>,
    asked: u32,
    asked_at: Option<Instant>,
    /// Runs of the same name that were asked before this one and have not answered, the newest last.
    mute: Vec<BootId>,
}

impl Candidate {
    pub(super) fn new(at: Arrival<'_>, boot: BootId, entropy: &mut SecretRng) -> Self {
        let nonce = Nonce(entropy.u128());
        Self {
            boot,
            nonce,
            from: at.from,
            due: at.now,
            beacon: None,
            messages: Vec::new(),
            asked: 0,
            asked_at: None,
            mute: Vec::new(),
        }
    }

    /// It was heard again; of several runs that share the question the newest word is asked for proof. A run that was
    /// asked and has not answered may be a recording: it takes no turn from one that was not asked yet.
    pub(super) fn heard_from(&mut self, at: Arrival<'_>, boot: BootId, entropy: &mut SecretRng) {
        if self.boot == boot {
            self.from = at.from;
        } else if self.asked > 0 || !self.mute.contains(&boot) {
            self.restart(at, boot, entropy);
        }
    }

    /// Another run is heard under the same name. One that is heard for the first time is asked soon, and at most one in
    /// [`ASK_AGAIN`]; otherwise the pace of the questions stays, or alternating recordings could make this host ask
    /// without end.
    fn restart(&mut self, at: Arrival<'_>, boot: BootId, entropy: &mut SecretRng) {
        let mut mute = core::mem::take(&mut self.mute);
        if self.asked > 0 && !mute.contains(&self.boot) {
            if mute.len() == MUTE_RUNS_MAX {
                mute.remove(0);
            }
            mute.push(self.boot);
        }
        let (asked, due) = if mute.contains(&boot) {
            (self.asked, self.due)
        } else {
            (0, self.asked_at.map_or(at.now, |asked| at.now.max(asked + ASK_AGAIN)))
        };
        *self = Self { due, asked, asked_at: self.asked_at, mute, ..Self::new(at, boot, entropy) };
    }

    pub(super) fn hear(&mut self, message: &HostMessage) {
        let seq = |m: &HostMessage| m.vitals.as_ref().map(|v| (v.iface.clone(), v.seq));
        if self.messages.first().is_some_and(|first| seq(first) != seq(message)) {
            self.messages.clear();
        }
        if self.messages.len() < INTERFACES_MAX / INTERFACES_PER_MESSAGE {
            self.messages.push(message.clone());
        }
    }

    /// Asks when it is time; `false` when it was asked often enough.
    pub(super) fn poll(&mut self, now: Instant, out: &mut Vec<ProofWanted>) -> bool {
        if now < self.due {
            return true;
        }
        if self.asked == ASKS_MAX {
            return false;
        }
        out.push(ProofWanted { addr: self.from, to: self.boot, nonce: self.nonce });
        let wait = ASK_AGAIN.saturating_mul(1 << self.asked).min(ASK_AGAIN_MAX);
        self.asked += 1;
        self.asked_at = Some(now);
        self.due = now + wait;
        true
    }
}

#[cfg(test)]
mod tests {
    use proto::WallTime;

    use super::*;

    const LIVE: BootId = BootId(99);

    /// Asks when it is due and says whom.
    fn asked(candidate: &mut Candidate, now: Instant) -> Option<BootId> {
        let mut out = Vec::new();
        candidate.poll(now, &mut out);
        out.pop().map(|wanted| wanted.to)
    }

    #[test]
    fn recordings_of_other_runs_do_not_delay_the_question_to_one_that_lives() {
        let iface = "lan0".parse().unwrap();
        let from = "10.0.0.1:7009".parse().unwrap();
        let mut entropy = SecretRng::new([7; 32]);
        for recorded in 1..=MUTE_RUNS_MAX as u64 {
            let at = |ms: u64| Arrival {
                now: Instant::from_micros(ms * 1000),
                wall: WallTime::default(),
                iface: &iface,
                from,
            };
            let mut candidate = Candidate::new(at(0), BootId(0), &mut entropy);
            let mut questions = 0;
            // Each of the recordings is played every 40 ms for two seconds; then the run that lives is heard once.
            for ms in 0..2_200 {
                if ms % 40 < recorded {
                    candidate.heard_from(at(ms), BootId(ms % 40), &mut entropy);
                }
                if ms == 2_001 {
                    candidate.heard_from(at(ms), LIVE, &mut entropy);
                }
                let asked = asked(&mut candidate, at(ms).now);
                questions += u32::from(asked.is_some());
                if asked == Some(LIVE) {
                    assert!(ms <= 2_051, "{recorded} recordings: asked at {ms} ms");
                    break;
                }
                assert!(ms < 2_100, "{recorded} recordings: never asked");
            }
            assert!(questions <= ASKS_MAX * 2, "{recorded} recordings: {questions} questions");
        }
    }
}
