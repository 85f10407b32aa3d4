//! A daemon whose predecessor kept its sessions takes them up before it is a host of the group.
//!
//! Until it knows whose they are it could only answer that it has none, and another host would make a second session
//! of the token. So nothing is opened before: whoever asks is refused by the kernel, as while there is no daemon, and
//! waits ([`Host::is_ready`]).

use proto::time::Duration;
use proto::{HostName, Instant, SessionId};
use sessiond::manager::{Phase, Session};

use super::{Clock, Host};
use crate::directory::Found;
use crate::topology::{Row, Standing};

/// The sessions of a host that keeps them are held this long for its next daemon.
pub(super) const KEEP_GRACE: Duration = Duration::from_secs(10);

/// Session processes that do not answer are not waited for longer: the others are to be had again.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// So often the time that the machine stood still is not counted. On a starved machine, which stands still for a
/// moment over and over, the wait would never end, and nobody could get here.
const STANDSTILLS_MAX: u32 = 8;

/// How far a daemon has come with what it was left.
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
    /// An earlier daemon has left so many session processes.
    pub(super) fn new(now: Instant, kept: usize) -> Self {
        Self { untold: kept, until: Some(now + READY_WITHIN), standstills: 0 }
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
}

impl Host {
    /// Whether it has taken up what an earlier daemon left: only then may its sockets be opened.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.take_up.until.is_none()
    }

    pub(super) fn poll_take_up(&mut self, clock: Clock) {
        let Some(until) = self.take_up.until else { return };
        let is_done = self.take_up.untold == 0 && !self.has_stragglers();
        if is_done || until <= clock.now {
            self.take_up.until = None;
        }
    }

    /// Whether there are session processes that have not said yet whose they are.
    pub(super) fn has_stragglers(&self) -> bool {
        self.sessions.iter().any(is_straggler)
    }

    pub(super) fn straggles(&self, session: SessionId) -> bool {
        self.sessions.get(session).is_some_and(is_straggler)
    }

    /// Whether the next daemon of a host may still take up the sessions that it keeps: its daemon is gone, as is known
    /// from a refusal or its goodbye, and not for long.
    pub(super) fn may_return(now: Instant, row: &Row, is_refused: bool) -> bool {
        let is_gone = is_refused || row.standing() == Standing::Left;
        is_gone && row.facts().keep && now.since(row.heard_at()) < KEEP_GRACE
    }

    /// A host, found to be without a daemon, whose next one may have the session that is looked for.
    pub(super) fn held_host(&self, now: Instant, found: Option<&Found>) -> Option<HostName> {
        let is_refused = |row: &Row| found.is_some_and(|found| found.gone.contains(row.host()));
        let held = self.topology.rows().find(|row| Self::may_return(now, row, is_refused(row)));
        held.map(|row| row.host().clone())
    }
}

const fn is_straggler(session: &Session) -> bool {
    matches!(session.phase, Phase::TakenUp { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
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
            take_up.poll_at().is_some_and(|until| until <= *now)
        });
        assert_eq!(over, Some(at(3_200)));
    }
}
