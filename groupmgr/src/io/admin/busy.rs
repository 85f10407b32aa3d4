//! How many requests of operators are being answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests whose answer is not written yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// Whether nobody waits for an answer.
    pub(super) fn is_at_rest(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// One more, as long as what is returned lives.
    pub(super) fn at_work(&self) -> AtWork {
        self.0.fetch_add(1, Ordering::AcqRel);
        AtWork(self.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct AtWork(Busy);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
