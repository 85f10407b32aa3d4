//! Whether sessions still have their claims: asked after a session was taken up from an earlier daemon, after this
//! host was out of the others' sight, and after the data store was restored from a backup.
//!
//! A backup knows nothing of what was claimed after it was made, and may hold claims of sessions that have ended
//! since. So each host renews its claims when it notices that the store's generation has risen, and writes the new
//! generation into them; one that nobody has renewed by then points nowhere.

use datastore::{Answer, Expected, Request, Response, StoreError};
use proto::time::Duration;
use proto::{SessionId, Token};
use sessiond::manager::Claim;

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::out::Out;
use super::super::port::value_of;
use super::super::step::ToRecords;
use super::queue::ClaimTask;
use super::{Claims, Own, Wanted, claim_of, in_this_generation};

/// The claim of a session that was made so short a time ago is not looked at again.
const JUST_CLAIMED: Duration = Duration::from_secs(2);

impl Claims {
    /// Finds out whether a session still has its claim: after it was taken up from an earlier daemon, whose run
    /// the claim names, and after this host was out of the others' sight, who may have taken it over.
    pub(super) fn renew(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        let Some(own) = self.ready(session) else { return };
        let token = own.token.clone();
        let record = claim_of(ctx, session, own.epoch, own.is_replicated);
        match (own.claim, record.value()) {
            (Claim::Superseded, _) | (_, Err(_)) => {}
            (Claim::Unclaimed, _) => self.offer_at = Some(ctx.now),
            (Claim::Held, Ok(value)) => {
                let epoch = in_this_generation(ctx, record.epoch);
                let record = ClaimRecord { epoch, ..record };
                let wanted = Wanted::Renew { token: token.clone(), record: record.clone() };
                self.swap(ctx, Expected::Exactly(value), &token, record, wanted, out);
            }
        }
    }

    /// A claim may have been asked for before it was known that a backup was restored, and be of the generation before.
    pub(super) fn renew_outdated(&mut self, ctx: &Ctx<'_>, session: SessionId) {
        let is_outdated =
            |own: &&Own| own.claim == Claim::Held && own.epoch.generation < ctx.store.generation();
        if self.own.get(&session).filter(is_outdated).is_some() {
            self.tasks.schedule(session, ClaimTask::Renew);
        }
    }

    /// Two hosts show sessions of a token: it is found out at once whose the claim is.
    pub(super) fn renew_contested(&mut self, ctx: &Ctx<'_>, token: &Token, out: &mut Out<'_>) {
        let has_claim = |id: &SessionId| self.own.get(id).is_some_and(|own| own.claim == Claim::Held);
        let here = ctx.sessions.of_token(token).into_iter().map(|s| s.id).filter(has_claim);
        for session in here.collect::<Vec<_>>() {
            self.renew(ctx, session, out);
        }
    }

    /// Finds out by a look whether a session still has its claim: a host that was never in sight may
    /// have taken it over and died since. Only where the look says so is anything written.
    pub(super) fn check(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        let Some(own) = self.ready(session).filter(|own| own.claim == Claim::Held) else { return };
        let is_settled = |s: &sessiond::manager::Session| ctx.now.since(s.since) > JUST_CLAIMED;
        if ctx.store.is_up()
            && ctx.sessions.get(session).is_some_and(is_settled)
            && let Some(key) = ClaimRecord::key(&own.token)
        {
            self.ask(ctx, Wanted::Check { session }, Request::Get { key }, out);
            // Who has taken this host for dead may have removed the record as well.
            out.step(ToRecords::Check { session });
        }
    }

    pub(super) fn check_all(&mut self) {
        self.schedule_all(ClaimTask::Check, |own, _| own.claim == Claim::Held);
    }

    pub(super) fn renew_all(&mut self) {
        self.schedule_all(ClaimTask::Renew, |own, _| own.claim == Claim::Held);
    }

    pub(super) fn on_checked(
        &mut self,
        ctx: &Ctx<'_>,
        session: SessionId,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let Ok(claim) = value_of(outcome) else { return };
        let held = claim.and_then(|value| ClaimRecord::parse(value.as_bytes()).ok());
        // Whose it is now is judged like any claim that stands in the way of an offer.
        if held.is_none_or(|held| held.session != session || self.has_moved(ctx, &held)) {
            self.offer(ctx, session, out);
        }
    }

    pub(super) fn on_renewed(
        &mut self,
        ctx: &Ctx<'_>,
        token: &Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let session = record.session;
        if !self.own.contains_key(&session) {
            // It has ended meanwhile.
            return self.forget_claim(ctx, token.clone(), record, outcome, out);
        }
        match outcome.map(|response| response.answer) {
            Ok(Answer::Swapped) => self.set_claim(session, Claim::Held, record.epoch, out),
            Ok(Answer::Lost { current: Some(current) }) => match ClaimRecord::parse(current.as_bytes()) {
                // The same session in a new run of its host: nobody's epoch changes.
                Ok(held) if held.session == session => self.find_own_claim(ctx, token, held, current, out),
                Ok(held) if held.epoch.generation < ctx.store.generation() => {
                    // It is of a backup.
                    self.claim_again(ctx, record, out);
                }
                Ok(_) => self.supersede(ctx, token, record, out),
                Err(_) => self.claim_again(ctx, record, out),
            },
            // Nobody has it any more, or it cannot be found out now: it is offered again.
            _ => self.claim_again(ctx, record, out),
        }
    }
}
