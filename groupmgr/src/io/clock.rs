//! The monotonic clock of this process, with one origin for all that is measured in it.

use std::sync::OnceLock;

use proto::Instant;

static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();

fn origin() -> std::time::Instant {
    *ORIGIN.get_or_init(std::time::Instant::now)
}

/// The present, in microseconds since this process first asked.
#[must_use]
pub fn now() -> Instant {
    Instant::from_micros(u64::try_from(origin().elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Waits until `at`; for ever when there is no such moment.
pub async fn until(at: Option<Instant>) {
    match at {
        Some(at) => {
            let since_origin = std::time::Duration::from_micros(at.as_micros());
            tokio::time::sleep_until((origin() + since_origin).into()).await;
        }
        None => std::future::pending().await,
    }
}
