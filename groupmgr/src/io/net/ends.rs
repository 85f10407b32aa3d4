//! Tasks that end with what owns them.

use std::future::Future;

/// A task that ends when this is dropped.
pub(crate) struct Ends(tokio::task::AbortHandle);

impl Ends {
    /// A task on the thread of the host machine.
    pub(super) fn spawn(task: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(task).abort_handle())
    }

    /// A task elsewhere.
    pub(crate) const fn of(task: tokio::task::AbortHandle) -> Self {
        Self(task)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}
