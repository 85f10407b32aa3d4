//! How far a daemon has come with the sessions that an earlier one has left.

use proto::Instant;
use proto::time::Duration;

/// Session processes that do not answer are not waited for longer: the others are to be had again.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// So often the time that the machine stood still is not counted. On a starved machine, which stands still for a
/// moment over and over, the wait would never end, and nobody could get here.
const STANDSTILLS_MAX: u32 = 8;

/// The wait for session processes to say whose they are.
#[derive(Debug)]
pub(super) struct TakeUp {
    /// Session processes of which the spawner has not told yet.
    untold: usize,
    /// When the wait is over; none once it is.
    until: Option<Instant>,
    /// How often the machine stood still meanwhile.
    standstills: u32,
}

impl TakeUp {
    /// An earlier daemon has left so many session processes. Without any the wait is over at the first call.
    pub(super) fn new(now: Instant, kept: usize) -> Self {
        let until = if kept > 0 { now + READY_WITHIN } else { now };
        Self { untold: kept, until: Some(until), standstills: 0 }
    }

    pub(super) const fn told(&mut self) {
        self.untold = self.untold.saturating_sub(1);
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.until
    }

    /// The machine stood still for so long, which is not counted, at most [`STANDSTILLS_MAX`] times.
    pub(super) fn was_away(&mut self, away: Duration) {
        if let Some(until) = &mut self.until
            && self.standstills < STANDSTILLS_MAX
        {
            self.standstills += 1;
            *until += away;
        }
    }

    /// Whether the wait is over; `straggles` says whether somebody was told of and has not said whose it is.
    pub(super) fn is_over(&mut self, now: Instant, straggles: bool) -> bool {
        self.until.take_if(|until| (self.untold == 0 && !straggles) || *until <= now);
        self.until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn the_wait_is_over_when_the_spawner_has_told_of_all_and_each_has_said_whose_it_is() {
        let mut take_up = TakeUp::new(at(0), 2);
        take_up.told();
        assert!(!take_up.is_over(at(1), false));
        take_up.told();
        assert!(!take_up.is_over(at(2), true));
        assert!(take_up.is_over(at(3), false));
        assert!(TakeUp::new(at(0), 2).is_over(at(2_000), true), "or at last");
    }

    #[test]
    fn a_machine_that_stands_still_for_long_has_as_much_time_left_as_before() {
        let mut take_up = TakeUp::new(at(0), 1);
        take_up.was_away(Duration::from_secs(20));
        assert_eq!(take_up.poll_at(), Some(at(22_000)));
    }

    /// It runs for 50 ms, stands still for 150 ms, and so on.
    #[test]
    fn on_a_machine_that_stands_still_over_and_over_the_wait_ends_all_the_same() {
        let mut take_up = TakeUp::new(at(0), 1);
        let over = (1..1_000).map(|n| at(200 * n)).find(|now| {
            take_up.was_away(Duration::from_millis(150));
            take_up.is_over(*now, false)
        });
        assert_eq!(over, Some(at(3_200)));
    }
}
