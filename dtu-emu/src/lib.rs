//! The desktop unit (DTU): a thin client as a state machine ([`dtu`]), the model of its screen ([`screen`]),
//! and an emulator of one or of thousands ([`io`], feature `io`).
//!
//! What it says and hears is in `docs/protocol.md`. This crate owns what a DTU does; what a host does to
//! it is not known here beyond what is said on the wire ([`proto`]).

pub mod dtu;
#[cfg(feature = "io")]
pub mod io;
pub mod notice;
pub mod screen;
