//! The processes of a session and their sockets: everything here awaits, forks or reads a clock.
//!
//! [`spawner`] makes a process per session, `session` is that process, [`client`] the daemon's side of both and
//! [`cli`] their command line. The spawner must be the only thread of its process, so whoever links it calls
//! [`cli::run`] before starting a runtime.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the shells are where clocks are read and processes waited for"
)]

pub mod account;
pub mod cli;
pub mod client;
pub mod limits;
mod packets;
mod procs;
pub mod root;
mod rundir;
mod session;
pub mod spawner;
mod state_cli;
pub mod state_client;
mod sys;

/// The clock of this process, from its first use on.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    fn now(self) -> proto::Instant {
        proto::Instant::ZERO + self.origin.elapsed()
    }
}
