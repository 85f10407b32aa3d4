//! What hosts send, receive and work: counted while [`World::meter`] is on.

#![expect(
    clippy::disallowed_types,
    reason = "what a machine costs is wall time; nothing of it goes into the run"
)]

use std::time::Instant as Wall;

use super::World;
use super::parts::meter::Meter;
use super::wire::Node;

impl World {
    /// Counts from now on what hosts do, from nothing.
    pub fn meter(&mut self) {
        self.meter = Meter { is_on: true, ..Meter::default() };
    }

    /// What was counted.
    #[must_use]
    pub const fn metered(&self) -> Meter {
        self.meter
    }

    pub(super) fn count_sent(&mut self, node: Node, bytes: &[u8]) {
        if self.meter.is_on && matches!(node, Node::Host(_)) {
            self.meter.sent += 1;
            self.meter.sent_bytes += bytes.len() as u64;
            self.meter.comings += u64::from(bytes.starts_with(b"coming "));
            self.meter.token_qs += u64::from(bytes.starts_with(b"tokenQ "));
        }
    }

    pub(super) fn count_received(&mut self, bytes: &[u8]) {
        if self.meter.is_on {
            self.meter.received += 1;
            self.meter.received_bytes += bytes.len() as u64;
        }
    }

    /// Does a host's work, and takes its time if anybody wants to know.
    pub(super) fn timed<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        if !self.meter.is_on {
            return work(self);
        }
        let start = Wall::now();
        let result = work(self);
        self.meter.worked += start.elapsed();
        result
    }
}
