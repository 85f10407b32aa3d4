//! Who keeps a copy of a session is written into its record, and read there by whoever keeps one.
//!
//! A secondary stands in the record only as long as it has all of the session: a home that goes on without it strikes it
//! first. So whether it stands there must be known, and not only that it was asked for.

use datastore::{Request, Response, StoreError};
use proto::{HostName, SessionId};
use sessiond::manager::Session;

use super::super::env::Ctx;
use super::super::out::Out;
use super::super::port::{not_asked, value_of};
use super::super::session_record::SessionRecord;
use super::super::step::{Began, Recorded, ToKeeping};
use super::slot::{Slot, Which};
use super::{Records, Wanted};

impl Records {
    /// From now on this host keeps a copy of the session, or none does.
    pub(super) fn set_secondary(
        &mut self,
        ctx: &Ctx<'_>,
        session: SessionId,
        secondary: Option<HostName>,
        out: &mut Out<'_>,
    ) {
        let Some(s) = ctx.sessions.get(session) else { return };
        let Some(slot) = self.slots.get_mut(&(session, Which::Record)) else {
            return out.step(ToKeeping::Recorded { session, secondary, result: Recorded::Lost });
        };
        if secondary.is_some() {
            // What it had of earlier homes is not enough any more.
            slot.floor = Some(s.epoch);
        }
        slot.secondary.clone_from(&secondary);
        slot.awaited = Some(secondary);
        if ctx.store.is_up() {
            self.settle(ctx, session, Which::Record, out);
        } else {
            slot.answer(session, Recorded::Away, out);
        }
    }

    /// What the record of a session says, for who keeps a copy and has not heard of it for long.
    pub(super) fn look_up(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        match SessionRecord::key(session).filter(|_| ctx.store.is_up()) {
            Some(key) => self.ask(ctx, Wanted::LookUp(session), Request::Get { key }, out),
            None => out.step(ToKeeping::Record { session, result: Err(not_asked()) }),
        }
    }

    pub(super) fn on_looked_up(session: SessionId, outcome: Result<Response, StoreError>, out: &mut Out<'_>) {
        let result = value_of(outcome).map(|value| {
            let record = SessionRecord::parse(value?.as_bytes()).ok()?;
            // A home that took it over from what it kept itself, and has not begun it, keeps it still.
            Some((record.epoch, record.secondary.or(Some(record.home))))
        });
        out.step(ToKeeping::Record { session, result });
    }
}

impl Slot {
    /// The record stands as it should. Whoever waits for that hears of it; and of a session that has begun to run.
    pub(super) fn stands(&mut self, s: &Session, out: &mut Out<'_>) {
        self.answer(s.id, Recorded::Done, out);
        if !s.is_running() || !s.is_replicated() || self.began == Some(s.epoch) {
            return;
        }
        self.began = Some(s.epoch);
        // What this host has kept itself has been told to its process.
        if core::mem::take(&mut self.is_inherited) {
            out.step(ToKeeping::TookOver { session: s.id });
        }
        let (session, token, epoch) = (s.id, s.token.clone(), s.epoch);
        let (replication, secondary) = (s.replication, self.secondary.clone());
        out.step(ToKeeping::Began(Box::new(Began { session, token, replication, epoch, secondary })));
    }

    /// Says what became of the secondary that was asked for.
    pub(super) fn answer(&mut self, session: SessionId, result: Recorded, out: &mut Out<'_>) {
        let Some(secondary) = self.awaited.take() else { return };
        if result != Recorded::Done {
            // It may stand there all the same: as soon as that can be, it does not.
            self.secondary = None;
        }
        out.step(ToKeeping::Recorded { session, secondary, result });
    }
}
