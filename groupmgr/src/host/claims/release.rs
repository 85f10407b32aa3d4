//! Claims of sessions that are over are given back, again and again until the data store has answered: while one
//! stands, its host is asked for a session that it does not have.

use datastore::{Answer, Expected, Request, Response, StoreError, Value};
use proto::Token;
use sessiond::manager::Claim;

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::out::Out;
use super::{Claims, Own, Wanted, claim_of};

impl Claims {
    /// Gives a claim back, if it is still that of this session.
    pub(super) fn release(&mut self, ctx: &Ctx<'_>, token: &Token, record: ClaimRecord, out: &mut Out<'_>) {
        if let Ok(value) = record.value() {
            self.release_stored(ctx, token, record, value, out);
        }
    }

    /// The same with the claim's bytes as the store has them, which may hold fields of a later version.
    fn release_stored(
        &mut self,
        ctx: &Ctx<'_>,
        token: &Token,
        record: ClaimRecord,
        stored: Value,
        out: &mut Out<'_>,
    ) {
        let Some(key) = ClaimRecord::key(token) else { return };
        let request = Request::Swap { key, expected: Expected::Exactly(stored), new: None };
        self.ask(ctx, Wanted::Release { token: token.clone(), record }, request, out);
    }

    /// A claim was asked for that nobody needs any more: it is given back if it was made, or may have been.
    pub(super) fn forget_claim(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        match outcome.map(|response| response.answer) {
            Ok(Answer::Swapped) => self.release(ctx, &token, record, out),
            Ok(_) => {}
            Err(_) => self.release_later(ctx, token, record),
        }
    }

    pub(super) fn on_released(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        match outcome.map(|response| response.answer) {
            // Written anew by this host, which never had an answer, or with fields of a later version: it is given back as
            // it stands.
            Ok(Answer::Lost { current: Some(current) }) => {
                let held = ClaimRecord::parse(current.as_bytes()).ok();
                // That of another host which goes on with the session is not.
                let is_own = |held: &ClaimRecord| held.session == record.session && held.host == record.host;
                if let Some(held) = held.filter(is_own) {
                    self.release_stored(ctx, &token, held, current, out);
                }
            }
            Ok(_) => {}
            Err(_) => self.release_later(ctx, token, record),
        }
    }

    /// The host stops, and its sessions with it: all their claims are given back, but for those of sessions that another host
    /// can go on with.
    pub(super) fn give_all_back(&mut self, ctx: &Ctx<'_>) {
        if ctx.store.is_up() {
            self.tasks.release_again();
        }
        (self.is_stopping, self.gives_back) = (true, true);
        self.offer_at = None;
        self.round.end();
        self.sweep.end();
        let is_over = |own: &Own| own.claim != Claim::Superseded && !own.is_replicated;
        let claimed = self.own.iter().filter(|(_, own)| is_over(own));
        self.tasks.give_all_back(
            claimed.map(|(id, own)| (own.token.clone(), claim_of(ctx, *id, own.epoch, own.is_replicated))),
        );
    }

    fn release_later(&mut self, ctx: &Ctx<'_>, token: Token, record: ClaimRecord) {
        self.tasks.release_later(token, record);
        if !self.is_stopping {
            self.offer_soon(ctx.now);
        }
    }
}
