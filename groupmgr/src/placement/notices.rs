//! What is said again to hosts to which DTUs were sent: a datagram may be lost, and who does not hear of the DTUs takes
//! itself for idle.

use std::collections::VecDeque;

use proto::time::Duration;
use proto::{GrantId, HostName, Instant};

/// After so long it is said again, once.
const AGAIN_AFTER: Duration = Duration::from_millis(30);
/// Notices that wait to be said again; beyond it they are said once.
pub const NOTICES_MAX: usize = 4_096;

/// Notices that were sent once and are to be sent once more.
#[derive(Debug, Default)]
pub struct Notices {
    again: VecDeque<(Instant, HostName, GrantId)>,
}

impl Notices {
    /// One was sent.
    pub fn sent(&mut self, now: Instant, to: HostName, grant: GrantId) {
        if self.again.len() < NOTICES_MAX {
            self.again.push_back((now + AGAIN_AFTER, to, grant));
        }
    }

    /// Those that are due, in the order in which they were sent.
    pub fn due(&mut self, now: Instant) -> Vec<(HostName, GrantId)> {
        let count = self.again.partition_point(|(at, ..)| *at <= now);
        self.again.drain(..count).map(|(_, to, grant)| (to, grant)).collect()
    }

    /// When the next one is.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.again.front().map(|(at, ..)| *at)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.again.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.again.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_said_again_once_and_they_do_not_pile_up() {
        let mut notices = Notices::default();
        for n in 0..NOTICES_MAX as u128 + 5 {
            notices.sent(Instant::ZERO, "b".parse().unwrap(), GrantId(n));
        }
        assert_eq!(notices.len(), NOTICES_MAX);
        let at = notices.poll_at().unwrap();
        assert_eq!(notices.due(Instant::ZERO).len(), 0);
        assert_eq!(notices.due(at).len(), NOTICES_MAX);
        assert!(notices.is_empty() && notices.poll_at().is_none());
    }
}
