//! Sessions that this host goes on with though nobody presents their tokens here: it keeps them, and their home has handed
//! them over, or seems to be gone: then that is asked first, as for a card. The token is admitted as at a desk, except that no card is asked. What is in the way ends it: whoever
//! wanted it decides whether to try again.

use std::net::Ipv4Addr;

use authmgr::Presentation;
use proto::Serial;
use proto::alp::Cause;
use proto::frame::Size;

use super::super::driver::ConnId;
use super::super::env::Ctx;
use super::super::out::Out;
use super::super::session_record::SessionRecord;
use super::super::step::{ClaimRead, PresentationId, ToKeeping, Unasked};
use super::Presentations;
use super::stage::{Decision, NewClaim, Stage};
use crate::directory::Found;
use crate::reach::Dtu;

impl Presentations {
    /// An id for a decision that no DTU waits for.
    pub(super) const fn of_nobody(&mut self) -> PresentationId {
        self.last += 1;
        PresentationId { conn: ConnId(u64::MAX - self.last), number: self.last }
    }

    pub(super) fn go_on(&mut self, unasked: Unasked, out: &mut Out<'_>) {
        let Ok(serial) = "none".parse::<Serial>() else { return };
        if self.is_stopping {
            return out.step(ToKeeping::NotGoneOn { session: unasked.session });
        }
        let (id, token) = (self.of_nobody(), unasked.token.clone());
        let (addr, size) = (Ipv4Addr::UNSPECIFIED, Size::default());
        let presented = Presentation {
            token_seq: 0,
            token: token.clone(),
            serial,
            key: None,
            addr,
            real_ip: None,
            cause: Cause::Insert,
            ticket: None,
            size,
            avoid: None,
        };
        let mut decision = Decision::new(id, presented, Dtu { addr, plain: false }, Stage::Admitting);
        decision.unasked = Some(Box::new(unasked));
        self.decisions.insert(id.conn, decision);
        self.ask_admission(id, token, out);
    }

    /// Whoever was asked has answered: the home, if it lives.
    pub(super) fn on_unasked_found(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        found: Box<Found>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Some(session) = decision.unasked.as_ref().map(|unasked| unasked.session) else { return };
        let is_there = found.answers.iter().flat_map(|a| &a.sessions).any(|note| note.session == session);
        decision.found = Some(found);
        if is_there {
            self.remove(id.conn, out);
        } else {
            self.read_claim(ctx, id, out);
        }
    }

    /// The claim of the token names the session, or another one: then the session has one of its own.
    pub(super) fn on_unasked_claim(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        read: ClaimRead,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Some(session) = decision.unasked.as_ref().map(|unasked| unasked.session) else { return };
        let named = read.record.filter(|record| record.session == session);
        decision.is_second = named.is_none();
        let heir = Some(session);
        let swap = match named {
            Some(record) => NewClaim::Swap { expected: read.value, epoch: record.epoch, heir },
            None => NewClaim::Swap { expected: None, epoch: proto::Epoch::default(), heir },
        };
        self.create(ctx, id, swap, out);
    }
}

impl Unasked {
    /// Whether the record says what the home has said.
    pub(super) fn is_as_told(&self, ctx: &Ctx<'_>, record: &SessionRecord) -> bool {
        record.home == self.home
            && record.epoch == self.epoch
            && record.secondary.as_ref() == Some(ctx.name())
    }
}
