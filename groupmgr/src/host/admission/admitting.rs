//! Tokens of which is asked whether they may come, until both is known: what is registered about the token, and whether
//! the DTU that presents it is the one that its serial belongs to. Both are read at the same time.
//!
//! ```text
//!  Admit ─┬─▶ the token's record ────┬─▶ refused ─▶ the verdict
//!         └─▶ the DTU's pinned key ──┘
//!                                    └─▶ admitted, and the DTU is new ─▶ its key is pinned ─▶ the verdict
//! ```
//!
//! A key is pinned by a swap against what was read, so of two DTUs with one serial that come at once, one is refused. This
//! costs a DTU one round trip to the data store, the first time that it is ever admitted.

use authmgr::admission::{DtuLookup, Standing};
use datastore::Expected;

use super::entrants::Entrant;
use super::{
    Answer, Asker, Ctx, DtuProof, Gatekeeper, Lookup, Note, Out, Request, Response, StoreError, Token, Value,
    Verdict, Wanted, dtu_key,
};

impl Gatekeeper {
    /// Begins to find out whether a token may come, and the DTU that presents it, if one does.
    pub(super) fn admit(
        &mut self,
        ctx: &Ctx<'_>,
        asker: Asker,
        token: Token,
        dtu: Option<Box<DtuProof>>,
        out: &mut Out<'_>,
    ) {
        let lookup = self.admission.begin(ctx.now, &token);
        // Nothing is asked about the DTU of a token that is refused at once, and an operator has none.
        let (Some(dtu), false) = (dtu, matches!(lookup, Lookup::Decided(Verdict::Refuse(_)))) else {
            return self.look_up_token(ctx, asker, token, lookup, out);
        };
        let of_dtu = self.admission.begin_dtu(ctx.now, &dtu);
        self.entrants.0.insert(asker, Entrant { token: None, dtu, standing: None });
        match of_dtu {
            DtuLookup::Decided(standing) => self.on_dtu_judged(ctx, asker, standing, out),
            DtuLookup::Read { key } => self.ask(ctx, Wanted::Pinned(asker), Request::Get { key }, out),
        }
        self.look_up_token(ctx, asker, token, lookup, out);
    }

    fn look_up_token(
        &mut self,
        ctx: &Ctx<'_>,
        asker: Asker,
        token: Token,
        lookup: Lookup,
        out: &mut Out<'_>,
    ) {
        match lookup {
            Lookup::Decided(verdict) => self.on_token_judged(ctx, asker, verdict, out),
            Lookup::Read { key } => self.ask(ctx, Wanted::Record(asker, token), Request::Get { key }, out),
        }
    }

    pub(super) fn on_token_judged(
        &mut self,
        ctx: &Ctx<'_>,
        asker: Asker,
        verdict: Verdict,
        out: &mut Out<'_>,
    ) {
        match self.entrants.0.get_mut(&asker) {
            Some(entrant) => {
                entrant.token = Some(verdict);
                self.conclude(ctx, asker, out);
            }
            None => self.tell_verdict(ctx, asker, verdict, out),
        }
    }

    fn on_dtu_judged(&mut self, ctx: &Ctx<'_>, asker: Asker, standing: Standing, out: &mut Out<'_>) {
        if let Some(entrant) = self.entrants.0.get_mut(&asker) {
            entrant.standing = Some(standing);
            self.conclude(ctx, asker, out);
        }
    }

    /// What is pinned to the serial of a DTU was read.
    pub(super) fn on_pinned_read(
        &mut self,
        ctx: &Ctx<'_>,
        asker: Asker,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let Some(dtu) = self.entrants.0.get(&asker).map(|entrant| entrant.dtu.clone()) else { return };
        let found = self.newest_of(&dtu_key(&dtu.serial), outcome);
        let standing = self.admission.on_pin(ctx.now, &dtu, found);
        self.on_dtu_judged(ctx, asker, standing, out);
    }

    /// Goes on when both is known: a token that may come at a DTU that may.
    fn conclude(&mut self, ctx: &Ctx<'_>, asker: Asker, out: &mut Out<'_>) {
        let Some(entrant) = self.entrants.0.get_mut(&asker) else { return };
        if entrant.token.is_none() || entrant.standing.is_none() {
            return;
        }
        let may_come = !matches!(entrant.token, Some(Verdict::Refuse(_)));
        match entrant.standing.replace(Standing::Good) {
            Some(Standing::Refused(why)) if may_come => entrant.token = Some(Verdict::Refuse(why)),
            Some(Standing::New { expected }) if may_come && ctx.store.is_up() => {
                match self.admission.pin(ctx.now, &entrant.dtu, ctx.name().as_str()) {
                    Some(new) => return self.pin(ctx, asker, expected, new, out),
                    None => out.refused("key_not_pinned"),
                }
            }
            _ => {}
        }
        self.tell_entrant(ctx, asker, out);
    }

    fn pin(&mut self, ctx: &Ctx<'_>, asker: Asker, expected: Option<Value>, new: Value, out: &mut Out<'_>) {
        let Some(entrant) = self.entrants.0.get(&asker) else { return };
        let key = dtu_key(&entrant.dtu.serial);
        let request = Request::Swap { key, expected: Expected::from(expected), new: Some(new.clone()) };
        self.ask(ctx, Wanted::Pin(asker, new), request, out);
    }

    /// A key was pinned, or another one was quicker, or the data store is away: then the next presentation tries again.
    pub(super) fn on_pin_tried(
        &mut self,
        ctx: &Ctx<'_>,
        asker: Asker,
        new: Value,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let Some(entrant) = self.entrants.0.get_mut(&asker) else { return };
        match outcome.map(|response| response.answer) {
            Ok(Answer::Swapped) => {
                let DtuProof { serial, key, .. } = (*entrant.dtu).clone();
                self.admission.on_pin(ctx.now, &entrant.dtu, Ok(Some(new)));
                if let Some(key) = key {
                    out.done("dtu_pinned");
                    out.note(Note::DtuPinned { serial, key });
                }
            }
            // Somebody was quicker.
            Ok(Answer::Lost { current }) => {
                if let Standing::Refused(why) = self.admission.on_pin(ctx.now, &entrant.dtu, Ok(current)) {
                    entrant.token = Some(Verdict::Refuse(why));
                }
            }
            _ => {}
        }
        self.tell_entrant(ctx, asker, out);
    }

    fn tell_entrant(&mut self, ctx: &Ctx<'_>, asker: Asker, out: &mut Out<'_>) {
        if let Some(Entrant { token: Some(verdict), .. }) = self.entrants.0.remove(&asker) {
            self.tell_verdict(ctx, asker, verdict, out);
        }
    }
}
