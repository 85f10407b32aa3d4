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
mod clock;
mod confined;
mod connection;
mod durable;
mod engine;
mod memory;
pub mod places;
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

/// The port of the data store.
pub const PORT: u16 = 7010;
