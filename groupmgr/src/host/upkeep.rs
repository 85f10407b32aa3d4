//! The claims of many sessions are looked after a few at a time.
//!
//! When the data store is back after it was away, when a backup was put in its place or a host was out of sight, there
//! may be thousands to look at. All at once they would keep waiting those who put in a card just then, whose questions
//! the store would answer too late, which counts as being away: and when it is back there are thousands to look at.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use datastore::{Key, Value};
use proto::time::Duration;
use proto::{Instant, SessionId, Token};
use sessiond::manager::Session;

use super::claims::ClaimRecord;
use super::driver::Effect;
use super::{Clock, Host};

/// Questions of this kind under way at once: the store writes so many in one go.
const UNDER_WAY_MAX: usize = 64;

/// The claim of each session that is shown is looked at once in this time: another host that did not hear us may have
/// taken it over, and nothing that we see need tell of it.
const ROUND: u32 = 30;
/// Rounds from one in which also the claims of sessions that are not shown are looked at to the next.
const REST_EVERY: u32 = 10;
/// A part of the round.
const STEP: Duration = Duration::from_secs(1);

/// What a claim needs. What stands later does what stands before it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Care {
    /// Whether the session still has it.
    Check,
    /// The session is offered.
    Offer,
    /// It is written anew, if it is still the session's.
    Renew,
}

/// Whose claims are to be looked after: of each session here once at most, and of what has ended while the store was
/// away.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    due: BTreeMap<SessionId, Care>,
    /// Claims of sessions that are over, to be given back.
    pub(super) releases: VecDeque<(Token, ClaimRecord)>,
    /// Claims of whatever host that name no session, and what was read of them: of one page.
    pub(super) strays: VecDeque<(Key, Value)>,
    under_way: usize,
    /// How far the round has come.
    at: Option<SessionId>,
    rounds: u32,
    step_at: Option<Instant>,
}

impl Upkeep {
    pub(super) const fn began(&mut self) {
        self.under_way += 1;
    }

    pub(super) const fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The session is over.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.due.remove(&session);
    }

    /// Nothing else is done any more: the host stops.
    pub(super) fn give_all_back(&mut self, claims: Vec<(Token, ClaimRecord)>) {
        self.due.clear();
        self.strays.clear();
        self.releases.extend(claims);
        self.step_at = None;
    }

    /// Whether everything has been done and answered.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0 && self.releases.is_empty() && self.due.is_empty()
    }

    const fn has_room(&self) -> bool {
        self.under_way < UNDER_WAY_MAX
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.step_at
    }
}

impl Host {
    /// Has a claim looked after at its turn.
    pub(super) fn care_for(&mut self, session: SessionId, care: Care) {
        let due = self.store.upkeep.due.entry(session).or_insert(care);
        *due = care.max(*due);
    }

    /// The same for the claims of all these sessions.
    pub(super) fn care_for_all(&mut self, care: Care, which: impl Fn(&Session) -> bool) {
        let due: Vec<SessionId> = self.sessions.iter().filter(|s| which(s)).map(|s| s.id).collect();
        due.into_iter().for_each(|session| self.care_for(session, care));
    }

    /// While the data store is away everything waits.
    pub(super) fn go_on_with_claims(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        while self.has_room_for_upkeep()
            && let Some((token, record)) = self.store.upkeep.releases.pop_front()
        {
            self.release_claim(clock.now, &token, record, out);
        }
        while self.has_room_for_upkeep()
            && let Some((key, read)) = self.store.upkeep.strays.pop_front()
        {
            self.remove_stray(clock.now, key, read, out);
        }
        while self.has_room_for_upkeep()
            && let Some((session, care)) = self.store.upkeep.due.pop_first()
        {
            match care {
                Care::Check => self.check_claim(clock.now, session, out),
                Care::Renew => self.renew_claim(clock, session, out),
                Care::Offer => {
                    if let Some(token) = self.sessions.get(session).map(|s| s.token.clone()) {
                        self.offer(clock.now, &token, session, out);
                    }
                }
            }
        }
    }

    /// Goes a step further in the round of all claims.
    pub(super) fn go_round_claims(&mut self, now: Instant) {
        if self.stopping || self.store.upkeep.step_at.is_some_and(|at| at > now) {
            return;
        }
        self.store.upkeep.step_at = Some(now + STEP);
        let step = self.sessions.len().div_ceil(ROUND as usize);
        let from = self.store.upkeep.at.map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<(SessionId, bool)> =
            self.sessions.from(from).take(step).map(|s| (s.id, s.shown.is_some())).collect();
        // Behind the last it begins anew.
        self.store.upkeep.at = next.last().map(|(session, _)| *session);
        self.store.upkeep.rounds += u32::from(next.is_empty());
        let all = self.store.upkeep.rounds.is_multiple_of(REST_EVERY);
        for (session, _) in next.into_iter().filter(|(_, is_shown)| *is_shown || all) {
            self.care_for(session, Care::Check);
        }
    }

    const fn has_room_for_upkeep(&self) -> bool {
        self.store.is_up() && self.store.upkeep.has_room()
    }
}
