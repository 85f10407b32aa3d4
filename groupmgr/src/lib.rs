//! The group manager: what makes servers that share a key one failover group.
//!
//! The pure half decides: [`announce`] says what this host is, [`fitness`] whether it can make a session, [`topology`]
//! knows the others, [`reach`] says whom a DTU can reach, [`digest`] who of them may have its session, [`directory`] asks
//! them, [`placement`] chooses who gets a new one, [`host`] composes them with gates, admission and sessions into one
//! machine, [`keep`] holds copies of sessions' objects for other hosts, and [`links`] carries what hosts ask of each other.
//! `io` (feature `io`) awaits for it: the daemon, its sockets, the command line.

pub mod announce;
pub mod digest;
pub mod directory;
pub mod fitness;
pub mod host;
#[cfg(feature = "io")]
pub mod io;
pub mod keep;
pub mod links;
pub mod placement;
pub mod reach;
pub mod topology;
