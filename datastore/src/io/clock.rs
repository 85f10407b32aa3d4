//! The monotonic clock.

use proto::Instant;

/// A monotonic clock with its own origin, for one machine of this crate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(std::time::Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(super) fn now(self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    /// Waits until `at`, or for ever.
    pub(super) async fn until(self, at: Option<Instant>) {
        match at {
            Some(at) => tokio::time::sleep(at.since(self.now())).await,
            None => std::future::pending().await,
        }
    }
}
