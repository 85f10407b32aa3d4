//! A session that is about to move to another host stands still: its services get no more input from the end of the line
//! on that is being typed, so that all that is typed meanwhile is applied once, there. What they were given before they
//! have time to do: as long as they write or commit something, and no longer than [`SETTLES_WITHIN`].
//!
//! ```text
//!   goes on ── Still(true) ──▶ settles ── lines are whole, and it is quiet ──▶ stands still
//!      ▲                          │                                                     │
//!      └───── Still(false) ───────┴─────────────────────────────────────────────────────┤
//!      └───── another daemon has taken it up, and its secondary has a version since ────┘
//! ```

use proto::time::Duration;
use proto::{Instant, ServiceName};

use super::{Effect, SessionCore};
use crate::control::FromSession;

/// A line that is not whole by then is cut: what follows is dropped and said, since a shell that has not seen its
/// beginning must not get its end.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// Whose programs have written and committed nothing for so long have done what they were given.
const QUIET_FOR: Duration = Duration::from_millis(100);

/// How far a session stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Still {
    /// Services get the rest of the lines of which they have a part.
    Settles {
        until: Instant,
        /// When it is looked whether there was more than this.
        look_at: Instant,
        seen: u64,
    },
    /// They get nothing.
    Stands,
    /// The same, and whoever wanted it is gone: it may have moved already. While its secondary takes versions it has not.
    Orphaned,
}

impl SessionCore {
    /// Whether no service gets any input.
    pub(super) const fn stands_still(&self) -> bool {
        matches!(self.still, Some(Still::Stands | Still::Orphaned))
    }

    pub(super) fn stand_still(&mut self, now: Instant, stands: bool, out: &mut Vec<Effect>) {
        match (stands, self.still) {
            (true, None) => {
                let (until, look_at) = (now + SETTLES_WITHIN, now + QUIET_FOR);
                self.still = Some(Still::Settles { until, look_at, seen: self.done() });
            }
            (true, Some(Still::Settles { .. })) => {}
            (true, Some(_)) => {
                self.still = Some(Still::Stands);
                out.push(Effect::Tell(FromSession::Still));
            }
            (false, _) => self.go_on(out),
        }
    }

    /// Looks whether all lines are whole, and all is quiet.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(Still::Settles { until, look_at, seen }) = self.still else { return };
        if now < look_at.min(until) {
            return;
        }
        let done = self.done();
        let is_whole = self.slots.values().all(|slot| slot.feed.ends_line());
        if until <= now || (is_whole && done == seen) {
            self.still = Some(Still::Stands);
            out.push(Effect::Tell(FromSession::Still));
        } else {
            self.still = Some(Still::Settles { until, look_at: now + QUIET_FOR, seen: done });
        }
    }

    /// How much its services have written, and its programs committed.
    fn done(&self) -> u64 {
        self.slots.values().map(|slot| slot.feed.written()).sum::<u64>() + self.keeping.commits
    }

    /// When it is to be looked again.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        match self.still {
            Some(Still::Settles { until, look_at, .. }) => Some(look_at.min(until)),
            _ => None,
        }
    }

    /// Services get what waits for them.
    pub(super) fn go_on(&mut self, out: &mut Vec<Effect>) {
        if self.still.take().is_some() {
            out.extend(self.slots.keys().cloned().map(Effect::Input));
        }
    }

    /// What a service should be given next.
    #[must_use]
    pub fn input(&self, name: &ServiceName) -> &[u8] {
        self.slots.get(name).map_or(&[], |slot| match self.still {
            None => slot.feed.input(),
            Some(Still::Settles { .. }) => slot.feed.rest_of_line(),
            Some(Still::Stands | Still::Orphaned) => &[],
        })
    }

    /// A service took so much of it.
    pub fn input_taken(&mut self, now: Instant, name: &ServiceName, count: usize) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.feed.input_taken(now, count);
        }
    }
}
