//! The time in the host.

use proto::{Instant, WallTime};

/// The time, twice: for deadlines and for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Instant,
    pub(super) wall: WallTime,
}
