//! What is shown on which display connection: a DTU says hello with its ticket, sends frames, and is sent what is new.
//!
//! Owns the one-time ticket's check. Refuses to know how a screen is brought up to date: that is [`crate::display`].

use proto::frame::{Frame, Hello};
use proto::{Instant, ServiceName};

use super::{ConnId, Effect, SessionCore, Slot, Viewer};
use crate::control::{FromSession, Gone, Refusal};
use crate::display::{Extent, FeedEffect, Pulled};
use crate::template::Display;

impl SessionCore {
    /// A DTU says hello on a display connection.
    pub fn hello(&mut self, now: Instant, conn: ConnId, hello: &Hello, out: &mut Vec<Effect>) {
        if let Err(refusal) = self.admit(now, hello) {
            out.push(Effect::Tell(FromSession::DisplayRefused(refusal)));
            out.push(Effect::Close(conn, vec![Frame::Notice(refusal.to_string())]));
            return;
        }
        let word = self.word().map(str::to_owned);
        let Some(slot) = self.slots.get_mut(&hello.service) else { return };
        lose_viewer(&hello.service, slot, Gone::Replaced, &[], out);
        slot.viewer = Some(Viewer { conn, serial: hello.serial.clone() });
        let mut feed_effects = Vec::new();
        slot.feed.attach(hello, &mut feed_effects);
        if let Some(word) = &word {
            slot.feed.notice(word);
        }
        carry_over(&hello.service, &mut feed_effects, out);
        let connected =
            FromSession::DisplayConnected { serial: hello.serial.clone(), service: hello.service.clone() };
        out.push(Effect::Tell(connected));
    }

    fn admit(&mut self, now: Instant, hello: &Hello) -> Result<(), Refusal> {
        let attachment = self.attachment.as_mut().ok_or(Refusal::Detached)?;
        if attachment.ticket != hello.ticket {
            return Err(Refusal::WrongTicket);
        }
        if attachment.serial != hello.serial {
            return Err(Refusal::WrongSerial);
        }
        if attachment.void_at <= now {
            return Err(Refusal::OldTicket);
        }
        match self.slots.get(&hello.service) {
            Some(slot) if slot.service.display == Display::Terminal => {}
            _ => return Err(Refusal::NoSuchService),
        }
        if attachment.used.insert(hello.service.clone()) { Ok(()) } else { Err(Refusal::UsedTicket) }
    }

    /// A DTU sent a frame on a display connection that was admitted.
    pub fn frame(&mut self, now: Instant, conn: ConnId, frame: Frame, out: &mut Vec<Effect>) {
        let Some((name, slot)) = self.shown_on(conn) else { return };
        let mut feed_effects = Vec::new();
        let fault = slot.feed.frame(frame, &mut feed_effects).err();
        if slot.reads_nothing() {
            // Else it would be typed into the service when it starts, long after it was meant.
            feed_effects.retain(|effect| !matches!(effect, FeedEffect::Input));
            while !slot.feed.input().is_empty() {
                slot.feed.input_taken(now, slot.feed.input().len());
            }
        }
        let name = name.clone();
        carry_over(&name, &mut feed_effects, out);
        if let (Some(fault), Some((_, slot))) = (fault, self.shown_on(conn)) {
            lose_viewer(&name, slot, Gone::Fault, &[Frame::Notice(fault.to_string())], out);
        }
    }

    /// A display connection is gone, by whatever cause.
    pub fn lost(&mut self, conn: ConnId, out: &mut Vec<Effect>) {
        if let Some((name, slot)) = self.shown_on(conn) {
            let name = name.clone();
            lose_viewer(&name, slot, Gone::Closed, &[], out);
        }
    }

    fn shown_on(&mut self, conn: ConnId) -> Option<(&ServiceName, &mut Slot)> {
        self.slots.iter_mut().find(|(_, slot)| slot.viewer.as_ref().is_some_and(|v| v.conn == conn))
    }

    /// Whether a service is shown on this connection.
    #[must_use]
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.slots.values().any(|slot| slot.viewer.as_ref().is_some_and(|v| v.conn == conn))
    }

    /// A service wrote something.
    pub fn output(&mut self, name: &ServiceName, bytes: &[u8]) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.feed.output(bytes);
        }
    }

    /// Brings all screens up to date; see [`crate::display::DisplayFeed::digest`]. Services whose terminals have
    /// answered them have input.
    pub fn digest(&mut self, out: &mut Vec<Effect>) {
        for (name, slot) in &mut self.slots {
            slot.feed.digest();
            if slot.feed.take_answered() {
                out.push(Effect::Input(name.clone()));
            }
        }
    }

    /// What is to be sent on a display connection that has nothing unsent; see [`crate::display::DisplayFeed::pull`].
    pub fn pull(
        &mut self,
        now: Instant,
        conn: ConnId,
        room: usize,
        bytes: &mut Vec<u8>,
        out: &mut Vec<Effect>,
    ) {
        let Some((name, slot)) = self.shown_on(conn) else { return };
        if slot.feed.pull(now, room, bytes) == Pulled::Finished {
            let name = name.clone();
            lose_viewer(&name, slot, Gone::ServiceEnded, &[], out);
        }
    }

    /// When [`SessionCore::pull`] has something to send on this connection though nothing happens. Of use only when
    /// the connection has nothing unsent.
    #[must_use]
    pub fn pull_at(&self, conn: ConnId) -> Option<Instant> {
        let shown = |slot: &&Slot| slot.viewer.as_ref().is_some_and(|v| v.conn == conn);
        self.slots.values().find(shown).and_then(|slot| slot.feed.poll_at())
    }
}

/// Takes a service's display from its DTU, which is sent `last` before its connection is closed.
pub(super) fn lose_viewer(
    name: &ServiceName,
    slot: &mut Slot,
    why: Gone,
    last: &[Frame],
    out: &mut Vec<Effect>,
) {
    let Some(viewer) = slot.viewer.take() else { return };
    slot.feed.detach();
    out.push(Effect::Close(viewer.conn, last.to_vec()));
    out.push(Effect::Tell(FromSession::DisplayGone { serial: viewer.serial, service: name.clone(), why }));
}

pub(super) fn carry_over(name: &ServiceName, from: &mut Vec<FeedEffect>, to: &mut Vec<Effect>) {
    to.extend(from.drain(..).map(|effect| match effect {
        FeedEffect::Input => Effect::Input(name.clone()),
        FeedEffect::Resize(Extent::Cells(size)) => Effect::Resize(name.clone(), size),
    }));
}
