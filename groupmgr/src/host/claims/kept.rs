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
        let is_gone = |record: &SessionRecord| {
            matches!(liveness(ctx, &record.as_claim(held.session), None), Liveness::Dead | Liveness::Absent)
        };
        if theirs.as_ref().is_some_and(|theirs| theirs.secondary.is_some() && is_gone(theirs)) {
            return self.supersede(ctx, &token, record, out);
        }
        if theirs.as_ref().is_some_and(is_gone) && self.own.contains_key(&record.session) {
            let (session, why) =
                (held.session, format!("host {} is gone, and no other had a copy", held.host));
            out.note(Note::StateLost { token: token.clone(), session, why });
        }
        self.offer_in_place_of(ctx, Expected::Exactly(read), &token, record, out);
    }
}
