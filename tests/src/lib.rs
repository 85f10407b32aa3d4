//! A whole group in one process and in virtual time: real hosts and DTUs, simulated everything else ([`world`]).
//!
//! The scenarios are in `tests/`, one file per theme, each test named as the rule it shows.

pub mod scene;
pub mod sim;
pub mod world;
