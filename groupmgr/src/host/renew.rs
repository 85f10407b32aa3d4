//! Whether sessions still have their claims: asked after a session was taken up from an earlier daemon, after this
//! host was out of the others' sight, and after the data store was restored from a backup.
//!
//! A backup knows nothing of what was claimed after it was made, and may hold claims of sessions that have ended
//! since. So each host renews its claims when it notices that the store's generation has risen, and writes the new
//! generation into them; one that nobody has renewed by then points nowhere (DESIGN 8).

use datastore::{Answer, Expected, Request, Response, StoreError, Value};
use proto::time::Duration;
use proto::{Instant, SessionId, Token};
use sessiond::manager::Claim;

use super::claims::{ClaimRecord, Life};
use super::driver::Effect;
use super::store::Errand;
use super::upkeep::Care;
use super::{Clock, Host};

/// Every host has noticed by then that a backup was restored, since each reads the registry every 10 s.
const RENEWED_WITHIN: Duration = Duration::from_secs(12);

/// The claim of a session that was made so short a time ago is not looked at again.
const JUST_CLAIMED: Duration = Duration::from_secs(2);

impl Host {
    /// Takes in the generation of an answer of the store.
    pub(super) fn note_generation(&mut self, clock: Clock, generation: u32) {
        if self.store.is_new_generation(clock.now, generation) {
            self.renew_all_claims();
            self.sweep_soon(clock.now);
        }
    }

    /// Finds out whether a session still has its claim: after it was taken up from an earlier daemon, whose run
    /// the claim names, and after this host was out of the others' sight, who may have taken it over.
    pub(super) fn renew_claim(&mut self, clock: Clock, session: SessionId, out: &mut Vec<Effect>) {
        let Some(s) = self.sessions.get(session) else { return };
        let (token, record) = (s.token.clone(), self.claim_of(session, s.epoch));
        match (s.claim, record.value()) {
            (Claim::Superseded, _) | (_, Err(_)) => {}
            (Claim::Unclaimed, _) => self.store.offer_at_once(clock.now),
            (Claim::Held, Ok(value)) => {
                let epoch = self.in_this_generation(record.epoch);
                let record = ClaimRecord { epoch, ..record };
                let errand = |token, record| Errand::Renew { token, record };
                self.swap_claim(clock.now, Expected::Exactly(value), &token, record, errand, out);
            }
        }
    }

    /// Finds out by a look whether a session still has its claim: a host that was never in sight may
    /// have taken it over and died since. Only where the look says so is anything written.
    pub(super) fn check_claim(&mut self, now: Instant, session: SessionId, out: &mut Vec<Effect>) {
        let Some(s) = self.sessions.get(session).filter(|s| s.claim == Claim::Held) else { return };
        if self.store.is_up()
            && now.since(s.since) > JUST_CLAIMED
            && let Some(key) = ClaimRecord::key(&s.token)
        {
            self.ask_store(now, Errand::Check { session }, Request::Get { key }, out);
        }
    }

    pub(super) fn check_all_claims(&mut self) {
        self.care_for_all(Care::Check, |s| s.claim == Claim::Held);
    }

    pub(super) fn on_checked(
        &mut self,
        clock: Clock,
        session: SessionId,
        claim: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        let Ok(claim) = claim else { return };
        let held = claim.and_then(|value| ClaimRecord::parse(value.as_bytes()).ok());
        // Whose it is now is judged like any claim that stands in the way of an offer.
        if held.is_none_or(|held| held.session != session)
            && let Some(token) = self.sessions.get(session).map(|s| s.token.clone())
        {
            self.offer(clock.now, &token, session, out);
        }
    }

    pub(super) fn renew_all_claims(&mut self) {
        self.care_for_all(Care::Renew, |s| s.claim == Claim::Held);
    }

    pub(super) fn on_renewed(
        &mut self,
        clock: Clock,
        token: &Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let session = record.session;
        if self.sessions.get(session).is_none() {
            // It has ended meanwhile.
            return self.forget_claim(clock.now, token, record, outcome, out);
        }
        match outcome.map(|response| response.answer) {
            Ok(Answer::Swapped) => self.set_claim(clock, session, Claim::Held, record.epoch, out),
            Ok(Answer::Lost { current: Some(current) }) => match ClaimRecord::parse(current.as_bytes()) {
                // The same session in a new run of its host: nobody's epoch changes.
                Ok(held) if held.session == session => self.find_own_claim(clock, token, held, current, out),
                Ok(held) if self.is_of_a_backup(&held) => self.claim_again(clock, record, out),
                Ok(_) => self.supersede(clock, token, record, out),
                Err(_) => self.claim_again(clock, record, out),
            },
            // Nobody has it any more, or it cannot be found out now: it is offered again.
            _ => self.claim_again(clock, record, out),
        }
    }

    /// A session has no claim, as far as is known, and is offered.
    pub(super) fn claim_again(&mut self, clock: Clock, record: ClaimRecord, out: &mut Vec<Effect>) {
        self.set_claim(clock, record.session, Claim::Unclaimed, record.epoch, out);
        self.offer_soon(clock.now);
    }

    fn is_of_a_backup(&self, claim: &ClaimRecord) -> bool {
        claim.epoch.generation < self.store.generation()
    }

    /// Whether the session that a claim names is there: its host may be up and the claim that of a session which
    /// had ended before a backup brought it back.
    pub(super) fn life_since_backup(&self, now: Instant, claim: &ClaimRecord) -> Life {
        let restored = self.store.restored_at().filter(|_| self.is_of_a_backup(claim));
        match (self.life_of(now, claim), restored) {
            (Life::There, Some(at)) if now.since(at) < RENEWED_WITHIN => Life::Perhaps,
            (Life::There, Some(_)) => Life::Gone,
            (life, _) => life,
        }
    }
}
