//! Sessions start a few at a time, and in the order in which they were asked for.
//!
//! In a storm a host is asked for a thousand at once. Begun all together none of them would start before it is given up;
//! one after the other each starts as fast as the machine can.

use std::collections::{BTreeSet, VecDeque};

use proto::{Instant, SessionId};

use super::{START_WITHIN, SessionEffect, SessionPhase, Sessions, turn};
use crate::control::SessionSpec;

/// Processes that are started at once: enough to keep many processors busy, and few enough that each is there soon.
pub const STARTING_MAX: usize = 32;

/// Sessions that may be queued: as many as a host starts in a minute. More are refused, as by a host
/// that is full.
pub const WAITING_MAX: usize = 16_384;

/// Sessions whose processes are being started, and those that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct StartQueue {
    starting: BTreeSet<SessionId>,
    waiting: VecDeque<Box<SessionSpec>>,
}

impl StartQueue {
    pub(super) const fn new() -> Self {
        Self { starting: BTreeSet::new(), waiting: VecDeque::new() }
    }

    /// A session is to start: its phase, and its process if its turn has come.
    pub(super) fn enter(&mut self, now: Instant, spec: SessionSpec) -> (SessionPhase, Option<SessionEffect>) {
        if self.starting.len() >= STARTING_MAX {
            self.waiting.push_back(Box::new(spec));
            return (SessionPhase::Queued, None);
        }
        self.starting.insert(spec.session);
        (
            SessionPhase::Starting { give_up_at: now + START_WITHIN },
            Some(SessionEffect::Spawn(Box::new(spec))),
        )
    }
}

impl Sessions {
    /// How many sessions wait for their turn to start.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.starts.waiting.len()
    }

    /// A session starts no more, or waits no more: the next has its turn.
    pub(super) fn leave_queue(&mut self, now: Instant, id: SessionId, out: &mut Vec<SessionEffect>) {
        if !self.starts.starting.remove(&id) {
            self.starts.waiting.retain(|spec| spec.session != id);
        }
        while self.starts.starting.len() < STARTING_MAX
            && let Some(spec) = self.starts.waiting.pop_front()
        {
            if let Some(session) = self.table.get_mut(&spec.session) {
                self.starts.starting.insert(spec.session);
                turn(&mut self.due, session, SessionPhase::Starting { give_up_at: now + START_WITHIN });
                out.push(SessionEffect::Spawn(spec));
            }
        }
    }
}
