//! Sessions that could not be started, for `session list` and `explain`: the session itself is gone by then, and the
//! desk shows the reason only as long as the card is in.

use std::collections::VecDeque;

use proto::time::Duration;
use proto::{Instant, SessionId, Token};

/// Failures remembered, one for each token; beyond it the oldest is forgotten.
pub(in crate::host) const FAILURES_MAX: usize = 64;
/// How long they are remembered.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// The last session of a token, which could not be started.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) token: Token,
    /// None when it had no id yet.
    pub(super) session: Option<SessionId>,
    pub(super) at: Instant,
    pub(super) why: String,
}

#[derive(Debug, Default)]
pub(super) struct Failures(VecDeque<Failure>);

impl Failures {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn note(&mut self, failure: Failure) {
        self.forget(&failure.token);
        if self.0.len() >= FAILURES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(failure);
    }

    /// A session of the token runs.
    pub(super) fn forget(&mut self, token: &Token) {
        self.0.retain(|failure| failure.token != *token);
    }

    /// Those of late, the oldest first.
    pub(super) fn recent(&self, now: Instant) -> impl Iterator<Item = &Failure> {
        self.0.iter().filter(move |failure| now.since(failure.at) < TOLD_FOR)
    }

    pub(super) fn of(&self, now: Instant, token: &Token) -> Option<&Failure> {
        self.recent(now).find(|failure| failure.token == *token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(token: usize, at: u64) -> Failure {
        let token = format!("card.{token}").parse().unwrap();
        Failure { token, session: None, at: Instant::from_micros(at), why: String::new() }
    }

    #[test]
    fn the_last_failure_of_each_token_is_told_for_a_while_and_the_oldest_makes_room() {
        let mut failures = Failures::default();
        for token in 0..=FAILURES_MAX {
            failures.note(failure(token, 0));
        }
        failures.note(failure(1, 7));
        assert_eq!(failures.len(), FAILURES_MAX);
        let (none, one) = ("card.0".parse().unwrap(), "card.1".parse().unwrap());
        let early = Instant::from_micros(9);
        assert!(failures.of(early, &none).is_none());
        assert_eq!(failures.of(early, &one).unwrap().at, Instant::from_micros(7));
        assert_eq!(failures.recent(Instant::from_micros(7) + TOLD_FOR).count(), 0);
        failures.forget(&one);
        assert!(failures.of(early, &one).is_none());
    }
}
