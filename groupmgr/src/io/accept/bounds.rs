//! How many connections an address may have, and how long one may take; who gets a place among them is decided by
//! [`datastore::arrivals`].

pub use datastore::io::places::{Bounds, Place};

use crate::io::counters::Reason;

/// Connections of one address, unless the operator says otherwise: a thousand desks behind one router, each of which
/// may open its next connection before its last one has ended.
pub const PER_ADDRESS: usize = 2048;

/// What a connection is must be known within so many seconds.
const KNOWN_WITHIN: u32 = 5;
/// While others wait for its place, a handshake that was begun has to leave it after so many: to have it begin anew
/// costs more than to let it end.
const BEGUN_WITHIN_CROWDED: u32 = 3;

/// Why a connection that has been silent, or whose handshake was begun, so many seconds ago has to leave, if it has
/// to: `begun` says whether its handshake was, and `crowded` whether others wait for the place.
#[must_use]
pub const fn must_leave(waited: u32, begun: bool, crowded: bool) -> Option<Reason> {
    if begun && crowded && waited >= BEGUN_WITHIN_CROWDED {
        Some(Reason::Crowded)
    } else if waited >= KNOWN_WITHIN {
        Some(Reason::Late)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine that is starved every handshake takes long, and to throw it away starves it more.
    #[test]
    fn while_others_wait_a_handshake_has_less_time_and_a_silent_connection_as_much() {
        assert_eq!(
            [1, 2, 3].map(|waited| must_leave(waited, true, true)),
            [None, None, Some(Reason::Crowded)]
        );
        for (begun, crowded) in [(false, false), (false, true), (true, false)] {
            assert_eq!(
                [1, 4, 5].map(|waited| must_leave(waited, begun, crowded)),
                [None, None, Some(Reason::Late)]
            );
        }
    }
}
