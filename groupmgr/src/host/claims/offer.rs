//! Sessions without a claim are offered to the store as their tokens'.

use datastore::{Answer, Expected, Response, StoreError, Value};
use proto::time::Duration;
use proto::{Instant, SessionId, Token};
use sessiond::manager::{Claim, Session};

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::liveness::Liveness;
use super::super::note::Note;
use super::super::out::Out;
use super::queue::ClaimTask;
use super::{Claims, InTheWay, Wanted, claim_of, in_this_generation};

/// How often sessions without a claim are offered to the store.
const OFFER_EVERY: Duration = Duration::from_secs(2);
/// The same for a session that is attached while another session has the claim: nobody tells when that one ends.
const OFFER_SHOWN_EVERY: Duration = Duration::from_secs(10);

impl Claims {
    /// Offers all that have none, one after the other.
    pub(super) fn offer_unclaimed(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        if ctx.store.is_up() {
            self.tasks.release_again();
        }
        if self.is_stopping {
            self.offer_at = None;
            return;
        }
        let mut are_all_settled = true;
        let mut unclaimed = Vec::new();
        for (session, own) in &self.own {
            let is_usable = |s: &&Session| s.is_usable();
            let Some(s) = ctx.sessions.get(*session).filter(is_usable) else { continue };
            let is_settled = own.claim == Claim::Superseded && s.shown.is_some();
            if own.claim == Claim::Unclaimed || is_settled {
                unclaimed.push(*session);
                are_all_settled &= is_settled;
            }
        }
        let pause = if are_all_settled { OFFER_SHOWN_EVERY } else { OFFER_EVERY };
        self.offer_at = (!unclaimed.is_empty()).then(|| ctx.now + pause);
        if ctx.store.is_up() {
            unclaimed.into_iter().for_each(|session| self.schedule(session, ClaimTask::Offer));
        } else if let Some(session) = unclaimed.first() {
            // One offer finds out whether it is back.
            self.offer(ctx, *session, out);
        }
    }

    /// Offers a session to the store as its token's. Its epoch is its own, so that it never falls; one that has none yet,
    /// or one of before a backup was restored, gets the next.
    pub(super) fn offer(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        let Some(own) = self.ready(session) else { return };
        let token = own.token.clone();
        let least = if own.may_have_risen { own.epoch.next(own.epoch.generation) } else { own.epoch };
        let record = claim_of(ctx, session, in_this_generation(ctx, least), own.is_replicated);
        self.offer_in_place_of(ctx, Expected::Absent, &token, record, out);
    }

    /// Offers a session in the place of what the store is expected to have.
    pub(super) fn offer_in_place_of(
        &mut self,
        ctx: &Ctx<'_>,
        expected: Expected,
        token: &Token,
        record: ClaimRecord,
        out: &mut Out<'_>,
    ) {
        let wanted = Wanted::Offer { token: token.clone(), record: record.clone() };
        self.swap(ctx, expected, token, record, wanted, out);
    }

    pub(super) fn on_offered(
        &mut self,
        ctx: &Ctx<'_>,
        token: &Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let session = record.session;
        let Some((own, is_replicated)) = self.own.get(&session).map(|own| (own.epoch, own.is_replicated))
        else {
            // It has ended meanwhile.
            return self.forget_claim(ctx, token.clone(), record, outcome, out);
        };
        // What became of it is not known: it may well be claimed now.
        let Ok(response) = outcome else { return self.claim_again(ctx, record, out) };
        match response.answer {
            Answer::Swapped => {
                self.set_claim(session, Claim::Held, record.epoch, out);
                self.renew_outdated(ctx, session);
            }
            Answer::Lost { current: Some(current) } => {
                let Ok(held) = ClaimRecord::parse(current.as_bytes()) else {
                    // Nobody can read it: it is replaced, by an epoch that no session here had before.
                    let record = ClaimRecord { epoch: own.max(record.epoch), ..record };
                    return self.offer_in_place_of(ctx, Expected::Exactly(current), token, record, out);
                };
                if held.session == session {
                    return self.find_own_claim(ctx, token, held, current, out);
                }
                match self.liveness(ctx, &held) {
                    Liveness::Alive => self.supersede(ctx, token, record, out),
                    Liveness::Dead | Liveness::Absent => {
                        let risen = own.max(held.epoch).next(response.generation.0);
                        // That of a replicated session rises with its home alone.
                        let epoch = if is_replicated { record.epoch } else { risen };
                        let record = ClaimRecord { epoch, ..record };
                        if held.is_replicated {
                            let (token, read) = (token.clone(), current);
                            return self.ask_for_keeper(ctx, InTheWay { token, record, held, read }, out);
                        }
                        self.offer_in_place_of(ctx, Expected::Exactly(current), token, record, out);
                    }
                    Liveness::Unknown(_) | Liveness::Doubtful | Liveness::Restarting => {
                        self.claim_again(ctx, record, out);
                    }
                }
            }
            _ => self.claim_again(ctx, record, out),
        }
    }

    /// The store has a claim of this very session: this host's own word, whose answer was lost, or one of an earlier
    /// run of it or of before a backup. It stands if it is as it should be, and is else written anew.
    pub(super) fn find_own_claim(
        &mut self,
        ctx: &Ctx<'_>,
        token: &Token,
        held: ClaimRecord,
        stored: Value,
        out: &mut Out<'_>,
    ) {
        if self.has_moved(ctx, &held) {
            return self.move_away(held.session, out);
        }
        let own = self.own.get(&held.session);
        let (epoch, is_replicated) =
            own.map_or((held.epoch, held.is_replicated), |own| (own.epoch, own.is_replicated));
        let epoch = in_this_generation(ctx, epoch.max(held.epoch));
        let record = claim_of(ctx, held.session, epoch, is_replicated);
        if record == held {
            self.set_claim(held.session, Claim::Held, held.epoch, out);
        } else {
            self.offer_in_place_of(ctx, Expected::Exactly(stored), token, record, out);
        }
    }

    /// A session has no claim, as far as is known, and is offered.
    pub(super) fn claim_again(&mut self, ctx: &Ctx<'_>, record: ClaimRecord, out: &mut Out<'_>) {
        let Some(own) = self.own.get(&record.session) else { return };
        // A replicated session may have another home: without the store's word it is in no other epoch.
        let epoch = if own.is_replicated { own.epoch } else { record.epoch };
        self.set_claim(record.session, Claim::Unclaimed, epoch, out);
        self.offer_soon(ctx.now);
    }

    pub(super) fn offer_soon(&mut self, now: Instant) {
        self.offer_by(now + OFFER_EVERY);
    }

    /// Another session has the claim. This one has an epoch all the same, and a record.
    pub(super) fn supersede(&mut self, ctx: &Ctx<'_>, token: &Token, record: ClaimRecord, out: &mut Out<'_>) {
        let session = record.session;
        let Some(own) = self.own.get(&session) else { return };
        let is_news = own.claim != Claim::Superseded;
        let epoch = in_this_generation(ctx, own.epoch);
        self.set_claim(session, Claim::Superseded, epoch, out);
        self.offer_by(ctx.now + OFFER_SHOWN_EVERY);
        if is_news {
            out.note(Note::Superseded { token: token.clone(), session });
        }
    }
}
