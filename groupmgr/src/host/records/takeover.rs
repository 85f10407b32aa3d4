//! Records are read and taken over for a card that is presented, before the claim is swapped that points to them.

use datastore::{Answer, Request, Response, StoreError};
use proto::{SessionId, Token};

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::out::Out;
use super::super::port::not_asked;
use super::super::session_record::SessionRecord;
use super::super::step::{PresentationId, TakeOver, Taken, ToPresentations};
use super::slot::{Slot, Which};
use super::{Records, Wanted};

/// Other sessions of a token that are looked for.
const SECONDS_MAX: u16 = sessiond::manager::SESSIONS_PER_TOKEN_MAX as u16;

impl Records {
    /// What the store has of a session.
    pub(super) fn read(&mut self, ctx: &Ctx<'_>, id: PresentationId, session: SessionId, out: &mut Out<'_>) {
        let slot = self.slots.get(&(session, Which::Record));
        if slot.is_some_and(|slot| !slot.is_coming) && ctx.sessions.get(session).is_none() {
            // It has ended here, and its record is about to be removed.
            return out.step(ToPresentations::Record { id, session, result: Box::new(Ok(None)) });
        }
        match SessionRecord::key(session).filter(|_| ctx.store.is_up()) {
            Some(key) => self.ask(ctx, Wanted::Read(id, session), Request::Get { key }, out),
            None => out.step(ToPresentations::Record { id, session, result: Box::new(Err(not_asked())) }),
        }
    }

    /// Makes this host the home of a session, in the place of what was read.
    pub(super) fn take_over(&mut self, ctx: &Ctx<'_>, taking: Box<TakeOver>, out: &mut Out<'_>) {
        let (Some(key), Ok(value)) = (SessionRecord::key(taking.session), taking.record.value()) else {
            return;
        };
        let expected = taking.expected.clone().into();
        self.ask(ctx, Wanted::Take(taking), Request::Swap { key, expected, new: Some(value) }, out);
    }

    pub(super) fn on_taken(
        &mut self,
        taking: TakeOver,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let TakeOver { id, session, expected, record } = taking;
        let result = match outcome.map(|response| response.answer) {
            Ok(Answer::Swapped) => Taken::Won,
            Ok(_) => Taken::Lost,
            Err(_) => Taken::Away,
        };
        if matches!(result, Taken::Won)
            && let Some(key) = SessionRecord::key(session)
        {
            if let Some(key) = ClaimRecord::second_key(&record.token, session).filter(|_| expected.is_some())
            {
                // Its home before may have left a claim of its own behind.
                let slot = Slot { is_coming: true, ..Slot::unread(key) };
                self.slots.insert((session, Which::Second), slot);
            }
            let SessionRecord { secondary, floor, .. } = record.clone();
            let (stored, is_inherited) = (record.value().ok(), expected.is_some());
            let slot = Slot { stored, is_coming: true, secondary, floor, is_inherited, ..Slot::new(key) };
            self.slots.insert((session, Which::Record), slot);
        }
        out.step(ToPresentations::RecordTaken { id, session, result });
    }

    /// Which other sessions the token has. A host has at most as many of one token.
    pub(super) fn find_seconds(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        token: &Token,
        out: &mut Out<'_>,
    ) {
        if let Some(prefix) = ClaimRecord::seconds(token) {
            let request = Request::Scan { prefix, after: None, limit: SECONDS_MAX };
            self.ask(ctx, Wanted::Seconds(id), request, out);
        }
    }

    pub(super) fn on_seconds(id: PresentationId, outcome: Result<Response, StoreError>, out: &mut Out<'_>) {
        let Ok(Response { answer: Answer::Page(page), .. }) = outcome else { return };
        let claims = page.entries.iter().filter_map(|(_, value)| ClaimRecord::parse(value.as_bytes()).ok());
        let claims: Vec<ClaimRecord> = claims.filter(|claim| claim.is_replicated).collect();
        if !claims.is_empty() {
            out.step(ToPresentations::Seconds { id, claims });
        }
    }

    /// A session was not made after all. One that is new leaves nothing behind; one that had a home before may have
    /// another one.
    pub(super) fn give_up(&mut self, session: SessionId) {
        let of = (session, Which::Record);
        if self.slots.get(&of).is_some_and(|slot| slot.is_inherited) {
            self.slots.remove(&of);
            self.slots.remove(&(session, Which::Second));
        }
        self.came(session);
    }
}
