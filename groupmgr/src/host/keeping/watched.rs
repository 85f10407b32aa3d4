//! Sessions that this host keeps and goes on with unasked when their home is gone (`promote = "ping"`).
//!
//! The home is watched on the link and by its beacons; each is no more than a reason to look. Whether it lives is asked once
//! more, and whether its record still names it. What is in the way is tried again as long as the home is not there.

use std::collections::BTreeMap;

use proto::time::Duration;
use proto::{HostName, Instant, SessionId};

use super::super::step::Unasked;

/// Sessions that are gone on with at a time: a host may have kept thousands of the one that died.
const UNDER_WAY_MAX: usize = 16;
/// How soon it is tried again, and after twice as long each time.
const AGAIN_FIRST: Duration = Duration::from_millis(150);
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// How often that is, where the home is there.
const TRIES_MAX: u32 = 3;

/// A session whose home may be gone.
#[derive(Debug)]
struct Attempt {
    of: Unasked,
    /// When it is tried; none while it is being tried.
    at: Option<Instant>,
    tries: u32,
    pause: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Watched {
    attempts: BTreeMap<SessionId, Attempt>,
}

impl Watched {
    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// There is reason to look whether the home of a session is gone.
    pub(super) fn doubt(&mut self, now: Instant, of: Unasked) {
        let fresh = |of: &Unasked| Attempt { of: of.clone(), at: Some(now), tries: 0, pause: AGAIN_FIRST };
        let attempt = self.attempts.entry(of.session).or_insert_with(|| fresh(&of));
        if attempt.of.epoch < of.epoch {
            *attempt = fresh(&of);
        } else if attempt.at.is_some() {
            attempt.at = Some(now);
        }
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let has_room = self.attempts.values().filter(|attempt| attempt.at.is_none()).count() < UNDER_WAY_MAX;
        self.attempts.values().filter(|_| has_room).filter_map(|attempt| attempt.at).min()
    }

    /// The next session to be gone on with.
    pub(super) fn due(&mut self, now: Instant) -> Option<Unasked> {
        if self.poll_at()? > now {
            return None;
        }
        let attempt = self.attempts.values_mut().find(|attempt| attempt.at.is_some_and(|at| at <= now))?;
        attempt.at = None;
        Some(attempt.of.clone())
    }

    /// It was not gone on with. `needed` says whether it is still kept here for its home, and `is_up` whether that is there.
    pub(super) fn again(
        &mut self,
        now: Instant,
        session: SessionId,
        needed: bool,
        is_up: impl Fn(&HostName) -> bool,
    ) {
        let Some(attempt) = self.attempts.get_mut(&session) else { return };
        attempt.tries += 1;
        if !needed || (attempt.tries >= TRIES_MAX && is_up(&attempt.of.home)) {
            self.attempts.remove(&session);
            return;
        }
        attempt.at = Some(now + attempt.pause);
        attempt.pause = (attempt.pause * 2).min(AGAIN_MAX);
    }

    /// It runs here.
    pub(super) fn end(&mut self, session: SessionId) {
        self.attempts.remove(&session);
    }
}
