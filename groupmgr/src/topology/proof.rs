//! Runs of hosts that were heard and have not yet proved that they are alive.
//!
//! A correct signature says that a group member once wrote a message, not when: a recording has it too. So a
//! (host, boot) that is new to us must answer a nonce before it gets a row (DESIGN 4.2).

use std::net::SocketAddrV4;

use proto::beacon::Beacon;
use proto::host_message::{HostMessage, INTERFACES_MAX, INTERFACES_PER_MESSAGE};
use proto::time::Duration;
use proto::{BootId, Instant, Nonce};

use super::{Arrival, ProofWanted};
use crate::entropy::Entropy;

/// The first answer is waited for this long; then the wait doubles.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The longest wait between two questions.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);
/// Questions without an answer before the candidate goes: a recording never answers, and a real host is
/// heard again.
const ASKS_MAX: u32 = 8;

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
}

impl Candidate {
    pub(super) fn new(at: Arrival<'_>, boot: BootId, entropy: &mut Entropy) -> Self {
        let nonce = Nonce(entropy.u128());
        Self { boot, nonce, from: at.from, due: at.now, beacon: None, messages: Vec::new(), asked: 0 }
    }

    /// Another run is heard under the same name. The pace of the questions stays, or alternating recordings
    /// could make this host ask without end.
    pub(super) fn restart(&mut self, at: Arrival<'_>, boot: BootId, entropy: &mut Entropy) {
        let Self { due, asked, .. } = *self;
        *self = Self { due, asked, ..Self::new(at, boot, entropy) };
    }

    /// It was heard again; of several runs that share the question the newest word is asked for proof.
    pub(super) fn heard_from(&mut self, at: Arrival<'_>, boot: BootId, entropy: &mut Entropy) {
        if self.boot == boot {
            self.from = at.from;
        } else {
            self.restart(at, boot, entropy);
        }
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
        self.due = now + wait;
        true
    }
}
