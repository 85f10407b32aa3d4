//! The one part of this crate that touches a disk and ambient randomness: the key directory ([`keydir`]),
//! the replacement of its keys ([`rotate`](mod@rotate)), the TLS configurations made from it ([`tls`]), card files
//! ([`card_file`]), what is found on this machine ([`local`]), and what all command lines share ([`cli`]).

#![allow(clippy::disallowed_methods, reason = "io is where clocks may be read")]

pub mod card_file;
pub mod cli;
pub mod keydir;
pub mod local;
pub mod log;
pub mod rotate;
pub mod tls;

pub use keydir::{KeyDir, KeyDirError};
pub use rotate::{Rotation, rotate};

use crate::WallTime;

/// `N` random bytes from the operating system.
///
/// # Panics
/// When the operating system has none to give, which on Linux is a broken machine: nothing secret could be made.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        unreachable!("the operating system gives no randomness: {error}");
    }
    bytes
}

/// The wall clock.
#[must_use]
pub fn wall_now() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallTime::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
