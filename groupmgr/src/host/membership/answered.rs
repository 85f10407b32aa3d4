//! Which DTUs were answered of late.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proto::Instant;
use proto::time::Duration;

/// A DTU is answered at most this often per address; a broadcast storm must not be amplified.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// Addresses whose last answer is remembered; beyond, the oldest are forgotten.
pub(in crate::host) const ANSWERED_MAX: usize = 65_536;

/// When DTUs at each address were last answered.
#[derive(Debug, Default)]
pub(super) struct Answered(BTreeMap<Ipv4Addr, Instant>);

impl Answered {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a DTU there may be answered now; if so, it counts as answered.
    pub(super) fn may_answer(&mut self, now: Instant, ip: Ipv4Addr) -> bool {
        if self.0.get(&ip).is_some_and(|at| now.since(*at) < ANSWER_PAUSE) {
            return false;
        }
        if self.0.len() >= ANSWERED_MAX {
            self.0.retain(|_, at| now.since(*at) < ANSWER_PAUSE);
        }
        if self.0.len() < ANSWERED_MAX {
            self.0.insert(ip, now);
        }
        true
    }
}
