//! Who is at a DTU and whether they may come in: the authentication manager.
//!
//! [`gate`] is one DTU's connection as a state machine: it reads the session protocol with all its tolerance,
//! says what is presented, and tells the DTU what was decided. [`admission`] decides whether a token is
//! genuine and allowed, by the policy and the token registry that the data store keeps. Both are pure: no
//! socket, clock or random source; what awaits is the command line in `io` (feature `io`). This crate refuses
//! to know sessions: which session belongs to an admitted token, and on which host, is decided by whoever
//! holds a gate.

pub mod admission;
pub mod challenge;
pub mod denial;
pub mod gate;
#[cfg(feature = "io")]
pub mod io;
pub mod registry;

pub use admission::{Admission, Admitted, Lookup, Owner, Policy, StoreAway, Verdict};
pub use challenge::{CardAnswer, CardChallenge};
pub use denial::Denial;
pub use gate::{CloseReason, Gate, GateEffect, GateEvent, GateStage, Odd, Order, Presentation};
pub use proto::alp::DisconnectCause;
