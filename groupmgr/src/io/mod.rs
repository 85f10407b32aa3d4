//! Everything of the group manager that awaits: the daemon around the pure host machine, and the command line.
//!
//! | Module | Owns |
//! |---|---|
//! | [`daemon`] | the order of start and stop, and the one loop that feeds the host machine and does what it says |
//! | [`inbox`] | what happens outside the thread of the host machine, on its way there |
//! | [`net`] | interfaces, and the UDP sockets on them |
//! | [`accept`] | TCP connections: what they are, their bounds, session protocol lines |
//! | [`store`], [`sessions`] | the data store and the session processes, as the machine sees them |
//! | [`admin`] | an operator's requests, from this host and from others of the group; the links to other hosts |
//! | [`peers`] | what the host machine says to other hosts, on its way to their links |
//! | [`cli`] | the command line |
//! | [`caretaker`] | what sessions need of the machine, looked at and mended |
//! | [`dirs`] | where sockets and data are |
//! | [`clock`], [`rank`], [`memory`], [`vitals`] | time, the loop's precedence, the daemon's heap, how busy the machine is |
//! | [`counters`], [`logging`] | what was dropped, and what is written down |
//!
//! Nothing here decides what a host does; it decides what a socket may cost.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "io is where clocks are read and threads wait; what decides is outside"
)]

pub mod accept;
pub mod accounts;
pub mod admin;
pub(crate) mod caretaker;
pub mod cli;
pub mod clock;
pub mod counters;
pub mod daemon;
pub mod dirs;
pub(crate) mod inbox;
pub mod logging;
pub(crate) mod memory;
pub mod net;
pub(crate) mod peers;
pub mod rank;
pub mod sessions;
pub mod store;
pub mod vitals;
