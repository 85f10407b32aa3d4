//! The lab: a whole group on one machine, with its data store, its hosts and its DTUs as real processes.
//!
//! Owns the networks they live in ([`net`]) and everything that is done to them from outside: kill, freeze,
//! cut, heal, restart. It refuses to reach into a process: whatever the lab knows of hosts and DTUs it learns
//! from their own output, so that what it shows has really happened.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lab is a driver: it reads clocks, starts processes and waits for them"
)]

pub mod backend;
mod commands;
pub mod net;
pub mod plan;
mod running;
pub mod timeline;
pub mod world;
