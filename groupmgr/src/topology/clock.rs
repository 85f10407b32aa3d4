//! The time by which a group orders the connections of a token.
//!
//! Times of last connection of several hosts are compared ([`proto::Last`]), and one that is far ahead of a host's own
//! clock is refused. A host whose clock is set to another year could therefore agree with nobody: what it says is
//! absurd to the others, and what they say is old to it, so that a card would stay at two desks. Such a host goes by
//! the clocks of the others.

use proto::{Instant, Last, WallTime};

use super::Topology;

impl Topology {
    /// The time of the group at `now`, on a host whose clock shows `own`: its own clock, unless that is further from
    /// most of the others' than a [`Last`] may be ahead. Then it is the middle one of all clocks, and of two middle
    /// ones the later: a clock that lost its time is usually behind.
    #[must_use]
    pub fn group_time(&self, now: Instant, own: WallTime) -> WallTime {
        let mut clocks: Vec<WallTime> = self.up().filter_map(|row| row.clock_at(now)).collect();
        clocks.push(own);
        let half = clocks.len() / 2;
        let (_, middle, _) = clocks.select_nth_unstable(half);
        let apart = middle.as_millis().abs_diff(own.as_millis());
        if apart > Last::FUTURE_MAX_MS { *middle } else { own }
    }
}
