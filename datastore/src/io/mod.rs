//! Everything of the data store that awaits, or touches a disk, a socket or a clock.
//!
//! [`Store`] is what the rest of the system holds, as `Arc<dyn Store>`. [`Memory`] is for tests, [`SledStore`]
//! for the machine the data is on, [`Remote`] for all others, and [`Confined`] shows a session its user's
//! part of any of them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "io is where clocks and threads are; what decides is outside"
)]

mod backup;
pub mod cli;
mod confined;
mod connection;
mod durable;
mod engine;
mod memory;
mod remote;
mod server;
mod store;
mod transport;
mod watch;

pub use backup::{BackupFileError, Restored, Saved, back_up, restore};
pub use confined::Confined;
pub use connection::{Ended, serve_stream};
pub use durable::{Durable, Engine, REFUSES_BROKEN, REFUSES_FULL};
pub use engine::{OpenError, SledEngine, SledStore};
pub use memory::Memory;
pub use remote::{LinkState, Remote};
pub use server::{Counters, Server, ServerError};
pub use store::{Pending, Store};
pub use transport::{Target, keys_of};
pub use watch::Watch;

use proto::Instant;

/// The port of the data store.
pub const PORT: u16 = 7010;

/// A monotonic clock with its own origin, for one machine of this crate.
#[derive(Clone, Copy, Debug)]
struct Clock(std::time::Instant);

impl Clock {
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn now(self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    /// Waits until `at`, or for ever.
    async fn until(self, at: Option<Instant>) {
        match at {
            Some(at) => tokio::time::sleep(at.since(self.now())).await,
            None => std::future::pending().await,
        }
    }
}
