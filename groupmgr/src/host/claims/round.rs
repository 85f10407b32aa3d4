//! The claim of each session that is shown is looked at now and then: another host that did not hear us may have taken
//! it over, and nothing that we see need tell of it.

use std::ops::Bound;

use proto::time::Duration;
use proto::{Instant, SessionId};
use sessiond::manager::Sessions;

/// Steps in which each is looked at once.
const ROUND: usize = 30;
/// Rounds from one in which also the claims of sessions that are not shown are looked at to the next.
const REST_EVERY: u32 = 10;
/// Between two steps.
const STEP: Duration = Duration::from_secs(1);

/// How far the round has come.
#[derive(Debug)]
pub(super) struct Round {
    at: Option<SessionId>,
    rounds: u32,
    /// When it goes on; none when it has ended.
    step_at: Option<Instant>,
}

impl Round {
    pub(super) const fn new(now: Instant) -> Self {
        Self { at: None, rounds: 0, step_at: Some(now) }
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.step_at
    }

    pub(super) const fn end(&mut self) {
        self.step_at = None;
    }

    /// Goes a step further, if it is time. Returns whose claims are to be looked at.
    pub(super) fn step(&mut self, now: Instant, sessions: &Sessions) -> Vec<SessionId> {
        if self.step_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.step_at = Some(now + STEP);
        let step = sessions.len().div_ceil(ROUND);
        let from = self.at.map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<(SessionId, bool)> =
            sessions.from(from).take(step).map(|s| (s.id, s.shown.is_some())).collect();
        // Behind the last it begins anew.
        self.at = next.last().map(|(session, _)| *session);
        self.rounds += u32::from(next.is_empty());
        let all = self.rounds.is_multiple_of(REST_EVERY);
        next.into_iter().filter(|(_, is_shown)| *is_shown || all).map(|(session, _)| session).collect()
    }
}
