//! People flip between the displays of their sessions.

use std::collections::BTreeMap;

use proto::{Instant, ServiceName, SessionId};

use super::people::People;
use crate::world::{DeskId, Observation, TestRng, World, ms};

/// Between two flips at some desk, at most.
const PAUSE_MAX_MS: u64 = 2_000;

/// A flip that has not shown anything yet.
#[derive(Debug)]
struct Flip {
    session: SessionId,
    from: Option<ServiceName>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Flips {
    dice: TestRng,
    next_at: Instant,
    pending: BTreeMap<DeskId, Flip>,
}

impl Flips {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self { dice: TestRng::new(seed ^ 0x0066_6c69_7073), next_at: now, pending: BTreeMap::new() }
    }

    /// Somebody flips, if it is time.
    pub(super) fn act(&mut self, w: &mut World, people: &People) {
        if w.now() < self.next_at {
            return;
        }
        self.next_at = w.now() + ms(self.dice.below(PAUSE_MAX_MS));
        let seat = self.dice.below(people.seats.len() as u64) as usize;
        let desk = people.seats[seat].desk;
        let (status, shown) = (w.status(desk), w.shown_at(desk));
        let Some(shown) = shown.filter(|_| status.displays > 1 && !self.pending.contains_key(&desk)) else {
            return;
        };
        self.pending.insert(desk, Flip { session: shown.session, from: status.service });
        w.see(Observation::Flips { desk });
        w.flip(desk);
    }

    /// Says of every flip when the other display is there.
    pub(super) fn look(&mut self, w: &mut World) {
        let mut done = Vec::new();
        self.pending.retain(|desk, Flip { session, from }| {
            let shown = w.shown_at(*desk);
            let is_there = w.status(*desk).service != *from && w.can_read(*desk, "$");
            if is_there {
                done.push(*desk);
            }
            !is_there && shown.is_none_or(|shown| shown.session == *session)
        });
        done.into_iter().for_each(|desk| w.see(Observation::Flipped { desk }));
    }
}
