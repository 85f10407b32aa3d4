//! What is said to the other hosts of what is shown here: gathered for a moment, and said again, since a broadcast may
//! be lost.

use std::collections::VecDeque;

use proto::peer::SHOWN_PER_MESSAGE_MAX;
use proto::time::{Duration, earliest};
use proto::{Instant, Last, Token};

/// Announcements of a storm share datagrams when they come within this time.
const GATHER: Duration = Duration::from_millis(2);
/// An announcement is said again after these pauses.
const SAY_AGAIN: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(400)];
/// Announcements waiting to be said again, at most; beyond it they are said once.
pub(in crate::host) const REPEATS_MAX: usize = 4_096;

/// A queued repeat: due time, repetition index, payload.
type Repeat = (Instant, usize, Vec<(Token, Last)>);

/// Announcements that are to be made.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    fresh: Vec<(Token, Last)>,
    say_at: Option<Instant>,
    repeats: VecDeque<Repeat>,
}

impl Announcements {
    pub(super) fn repeats(&self) -> usize {
        self.repeats.len()
    }

    pub(super) fn poll_at(&self) -> [Option<Instant>; 2] {
        [self.say_at, self.repeats.front().map(|(at, _, _)| *at)]
    }

    /// A token is shown here since `last`.
    pub(super) fn add(&mut self, now: Instant, token: Token, last: Last) {
        if !self.fresh.contains(&(token.clone(), last)) {
            self.fresh.push((token, last));
        }
        let at = if self.fresh.len() >= SHOWN_PER_MESSAGE_MAX { now } else { now + GATHER };
        self.say_at = earliest(self.say_at, Some(at));
    }

    /// The parts that are to be said now, each in one message. `is_shown` says what still holds: what is over must not be
    /// taken for what is, since by another clock it may look like the newer word.
    pub(super) fn due(
        &mut self,
        now: Instant,
        is_shown: impl Fn(&Token, Last) -> bool,
    ) -> Vec<Vec<(Token, Last)>> {
        let mut said = Vec::new();
        if self.say_at.is_some_and(|at| at <= now) {
            self.say_at = None;
            for part in core::mem::take(&mut self.fresh).chunks(SHOWN_PER_MESSAGE_MAX) {
                self.repeat(now, 0, part.to_vec());
                said.push(part.to_vec());
            }
        }
        while self.repeats.front().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, index, mut tokens)) = self.repeats.pop_front() else { break };
            tokens.retain(|(token, last)| is_shown(token, *last));
            if !tokens.is_empty() {
                self.repeat(now, index + 1, tokens.clone());
                said.push(tokens);
            }
        }
        said
    }

    fn repeat(&mut self, now: Instant, index: usize, tokens: Vec<(Token, Last)>) {
        let Some(pause) = SAY_AGAIN.get(index) else { return };
        if self.repeats.len() < REPEATS_MAX {
            let at = now + *pause;
            let place = self.repeats.partition_point(|(other, _, _)| *other <= at);
            self.repeats.insert(place, (at, index, tokens));
        }
    }
}
