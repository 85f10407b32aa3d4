//! An offer finds the claim of a session whose home is gone, and that outlives its home: it stays for whoever presents the
//! token when the session offered is over. Only where nobody can go on with that session the offer takes its place.

use datastore::{Expected, Request, Response, StoreError};

use super::super::env::Ctx;
use super::super::liveness::{Liveness, liveness};
use super::super::note::Note;
use super::super::out::Out;
use super::super::port::value_of;
use super::super::session_record::SessionRecord;
use super::{Claims, InTheWay, Wanted};

impl Claims {
    /// Asks whether anybody keeps the session that has the claim.
    pub(super) fn ask_for_keeper(&mut self, ctx: &Ctx<'_>, found: InTheWay, out: &mut Out<'_>) {
        if let Some(key) = SessionRecord::key(found.held.session) {
            self.ask(ctx, Wanted::Keeper(Box::new(found)), Request::Get { key }, out);
        }
    }

    pub(super) fn on_keeper(
        &mut self,
        ctx: &Ctx<'_>,
        found: InTheWay,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let InTheWay { token, record, held, read } = found;
        let Ok(value) = value_of(outcome) else { return self.claim_again(ctx, record, out) };
        let theirs = value.and_then(|value| SessionRecord::parse(value.as_bytes()).ok());
        let session = held.session;
        let is_gone = |theirs: &SessionRecord| {
            matches!(liveness(ctx, &theirs.as_claim(session), None), Liveness::Dead | Liveness::Absent)
        };
        // Also by this host, where it was about to go on with it.
        let is_kept = |theirs: &SessionRecord| {
            theirs.secondary.is_some() || theirs.home == *ctx.name() && ctx.kept.has(session, theirs.epoch)
        };
        if let Some(theirs) = theirs.filter(is_gone) {
            if is_kept(&theirs) {
                return self.supersede(ctx, &token, record, out);
            }
            if self.own.contains_key(&record.session) {
                out.note(Note::StateLost { token: token.clone(), session, why: theirs.unkept() });
            }
        }
        self.offer_in_place_of(ctx, Expected::Exactly(read), &token, record, out);
    }
}
