//! The monotonic clock of one process, as the machines want it.

use proto::Instant;

/// Counts from its own making.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// A clock that shows (almost) zero.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The present moment. Never zero, so that it can be told from "never".
    #[must_use]
    pub fn now(self) -> Instant {
        let micros = u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(micros.saturating_add(1))
    }

    /// A moment as tokio counts it.
    #[must_use]
    pub fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        (self.0 + at.since(Instant::ZERO)).into()
    }
}
