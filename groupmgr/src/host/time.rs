//! The group's time in the host: what it costs when clocks jump.

use proto::{Instant, Last, WallTime};

use super::{Effect, Host};

/// The time, twice: for deadlines and for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Instant,
    pub(super) wall: WallTime,
}

impl Host {
    /// The time by which connections of a token are ordered ([`crate::topology::Topology::group_time`]).
    pub(super) fn group_time(&self, clock: Clock) -> WallTime {
        self.topology.group_time(clock.now, clock.wall)
    }

    /// This host's clock was `before` when it last ran: if it was set by more than others would believe, they hear of
    /// it at once, or they would order by its old time until its next message.
    pub(super) fn notice_set_clock(&mut self, clock: Clock, before: Clock, out: &mut Vec<Effect>) {
        let expected = before.wall + clock.now.since(before.now);
        if clock.wall.as_millis().abs_diff(expected.as_millis()) > Last::FUTURE_MAX_MS {
            self.announcer.announce_soon(clock.now);
            self.follow_group_time(clock, out);
        } else if clock.wall < before.wall {
            self.correct_lasts(clock, out);
        }
    }

    /// Clocks of the group were heard, or hosts came and went: where that sets the group's time back, times of last
    /// connection that were given by it are corrected.
    pub(super) fn follow_group_time(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let time = self.group_time(clock);
        let before = self.group_time_was.replace(Clock { now: clock.now, wall: time });
        if before.is_some_and(|before| !Last::next(before.wall, None).is_plausible(time)) {
            self.correct_lasts(clock, out);
        }
    }
}
