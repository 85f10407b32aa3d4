//! The daemon: `groupmgr run`.
//!
//! Started in this order, so that whatever is missing is said before anything else is touched: accounts, keys, run directory,
//! data store, spawner, sockets, ready line. Then one loop owns the host machine ([`event_loop`]): it takes what happened,
//! hands it in with the time, and does what comes out. It runs on a thread of its own that goes before all others
//! ([`super::rank`]); connections, TLS and the data store's client run on the other threads.

mod event_loop;
mod hooks;
mod log;
mod options;
mod start;

pub use self::options::Options;
pub use self::start::{RunError, run};
