//! Whole groups simulated from one seed: a world is built, people and faults and a stranger are let loose on it,
//! all is repaired, and all the while checkers that stand apart from the system hold what is seen against the
//! rules ([`check`]).
//!
//! ```text
//!  settle ─▶ everybody attached, sessions spread ─▶ faults ─▶ repair ─▶ at rest ─▶ still at rest
//!            └───────────── the rules of `check` hold at every moment ─────────────────┘
//! ```
//!
//! What it has found so far, and the test that pins each fault, is in `FOUND.md` beside this file.

pub mod check;
mod cost;
mod flips;
mod forgery;
mod intruder;
mod lost_beacons;
mod operators;
mod options;
mod people;
mod restarts;
mod run;
mod stage;
mod swarm;
mod trouble;

pub use cost::{Cost, measure};
pub use options::{Faults, Given, Options};
pub use run::{Broken, Progress, Summary, run};
pub use swarm::{Swarm, swarm};
