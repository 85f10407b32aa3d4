//! The objects of sessions that hosts keep for each other.
//!
//! | File | What |
//! |---|---|
//! | this, [`kept`] | what this host keeps for others |
//! | [`primary`], [`phase`], [`primaries`] | the sessions that run here, and who keeps each of them |
//! | [`choose`] | which host that should be |
//! | [`cookie`] | what a DTU is told of that |
//! | [`view`] | all of that as operators see it |
//! | [`fetches`] | what this host fetches of sessions that it takes over |
//! | [`handed`] | what others hand over to it |
//! | [`watched`] | what it goes on with unasked |

mod choose;
mod cookie;
mod fetches;
mod handed;
mod kept;
mod phase;
mod primaries;
mod primary;
mod view;
mod watched;

pub(super) use cookie::Cookies;
pub(super) use fetches::FETCHES_MAX;
pub(super) use handed::HANDED_MAX;
pub(super) use kept::Kept;

use continuity::Encoded;
use proto::alp::Cookie;
use proto::{Epoch, HostName, Instant, SessionId};
use sessiond::control::Part;

use super::driver::Effect;
use super::env::Local;
use super::note::Note;
use super::out::Out;
use super::step::{
    Began, LookedUp, NotFetched, PresentationId, ToAttachments, ToKeeping, ToPresentations, ToRecords,
    ToSessions, Unasked,
};
use crate::keep::Message;
use crate::keep::copies::{Limits, Wanted};
use crate::topology::Row;
use fetches::{Fetches, Told};
use handed::Handed;
use phase::{Order, Why};
use primaries::{Orders, Primaries};
use primary::Primary;
use watched::Watched;

/// The machine that keeps objects of sessions.
#[derive(Debug)]
pub(super) struct Keeping {
    kept: Kept,
    primaries: Primaries,
    fetches: Fetches,
    cookies: Cookies,
    handed: Handed,
    watched: Watched,
}

impl Keeping {
    pub(super) fn new() -> Self {
        Self {
            kept: Kept::new(Limits::USUAL),
            primaries: Primaries::default(),
            fetches: Fetches::default(),
            cookies: Cookies::default(),
            handed: Handed::default(),
            watched: Watched::default(),
        }
    }

    pub(super) const fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(super) const fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// Sessions that are to be gone on with unasked.
    pub(super) fn doubted(&self) -> usize {
        self.watched.len()
    }

    /// Sessions that others hand over.
    pub(super) fn handed(&self) -> usize {
        self.handed.len()
    }

    /// Sessions that are being fetched.
    pub(super) fn fetches(&self) -> usize {
        self.fetches.len()
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 4] {
        [
            ("session whose home may be gone", self.watched.poll_at()),
            ("doubted copy", self.kept.copies.poll_at()),
            ("objects of a session", self.fetches.poll_at()),
            ("secondary of a session", self.primaries.poll_at()),
        ]
    }

    pub(super) fn handle(
        &mut self,
        local: &Local<'_>,
        is_store_up: bool,
        step: ToKeeping,
        out: &mut Out<'_>,
    ) {
        let (now, mut orders) = (local.now, Orders::new());
        match step {
            ToKeeping::Began(began) => {
                let Began { session, token, epoch, replication, secondary } = *began;
                self.kept.copies.remove(session);
                self.cookies.set(session, None);
                self.tell_handed(session, true, out);
                self.watched.end(session);
                let primary = Primary::new(now, (session, epoch), token, replication);
                self.primaries.begin(local, primary, secondary, &mut orders);
            }
            ToKeeping::Said { session, part, update } => {
                let is_good = self.primaries.with(now, session, &mut orders, |primary, orders| {
                    Some(primary.said(now, part, update, orders))
                });
                if is_good == Some(false) {
                    out.refused("version_of_a_session");
                }
            }
            ToKeeping::Parts { session, parts } => {
                self.primaries.with(now, session, &mut orders, |primary, orders| {
                    primary.list(now, parts, orders);
                });
            }
            ToKeeping::Ended { session } => {
                self.primaries.end(session, &mut orders);
                self.cookies.set(session, None);
            }
            ToKeeping::Still { session } => {
                self.primaries.with(now, session, &mut orders, |p, orders| p.stands_still(now, orders));
            }
            ToKeeping::Adjust { session, replication } => {
                self.primaries.with(now, session, &mut orders, |p, orders| p.adjust(replication, orders));
            }
            ToKeeping::NotGoneOn { session } => self.not_gone_on(local, session, out),
            ToKeeping::Drained => self.primaries.drain(now),
            ToKeeping::Recorded { session, secondary, result } => {
                self.primaries.with(now, session, &mut orders, |primary, orders| {
                    primary.recorded(now, secondary.as_ref(), result, orders);
                });
            }
            ToKeeping::Record { session, result } => self.on_record(local, session, result, out),
            ToKeeping::Group(change) => {
                if let Some(host) = change.lost() {
                    self.doubt_home(now, host);
                }
                self.primaries.on_change(local, &change, &mut orders);
            }
            ToKeeping::WasAway(gap) => self.primaries.was_away(gap),
            ToKeeping::Fetch { id, session, epoch, floor, secondary } => {
                self.fetch(local, id, Wanted { session, epoch, floor }, secondary, out);
            }
            ToKeeping::TookOver { session } => drop(self.kept.copies.remove(session)),
            ToKeeping::Peer { host, message } => self.on_message(local, host, *message, &mut orders, out),
            ToKeeping::PeerLost { host } => self.on_peer_lost(now, &host, &mut orders, out),
            ToKeeping::Due => self.on_due(local, is_store_up, &mut orders, out),
        }
        self.carry_out(local, orders, out);
    }

    /// What was said to a host may not have come, nor what it says.
    fn on_peer_lost(&mut self, now: Instant, host: &HostName, orders: &mut Orders, out: &mut Out<'_>) {
        self.primaries.lost(now, host, Why::Lost, orders);
        self.doubt_home(now, host);
        while let Some(told) = self.fetches.lost(host) {
            tell(told, out);
        }
    }

    fn on_due(&mut self, local: &Local<'_>, is_store_up: bool, orders: &mut Orders, out: &mut Out<'_>) {
        let now = local.now;
        self.primaries.on_due(local, is_store_up, orders);
        while let Some(unasked) = self.watched.due(now) {
            out.step(ToPresentations::GoOn(Box::new(unasked)));
        }
        while let Some(session) = self.kept.copies.doubted(now) {
            out.step(ToRecords::LookUp { session });
        }
        while let Some(told) = self.fetches.overdue(now) {
            tell(told, out);
        }
    }

    /// A host may be gone: those of its sessions that want it are gone on with here.
    fn doubt_home(&mut self, now: Instant, home: &HostName) {
        for (session, token, epoch) in self.kept.copies.watched(home) {
            let (token, home) = (token.clone(), home.clone());
            self.watched.doubt(now, Unasked { session, token, home, epoch, is_handed_over: false });
        }
    }

    /// This host does not go on with a session after all.
    fn not_gone_on(&mut self, local: &Local<'_>, session: SessionId, out: &mut Out<'_>) {
        self.tell_handed(session, false, out);
        let is_up = |host: &HostName| local.members.row(host).is_some_and(Row::is_up);
        self.watched.again(local.now, session, self.kept.copies.is_watched(session), is_up);
    }

    /// Does what the sessions of this host want.
    fn carry_out(&mut self, local: &Local<'_>, orders: Orders, out: &mut Out<'_>) {
        for (session, order) in orders {
            match order {
                Order::Tell(message) => out.step(ToSessions::Keep { session, message: Box::new(message) }),
                Order::Say(host, message) => say(host, message, out),
                Order::Record(secondary) => out.step(ToRecords::Secondary { session, secondary }),
                Order::Shun(_) => out.refused("secondary_failed"),
                Order::Kept(at) => {
                    out.done("session_protected");
                    out.note(Note::Kept { session, at });
                }
                Order::Bare(why) => out.note(Note::Unprotected { session, why }),
                Order::HandOver(host, objects) => self.hand_over(local, session, host, objects, out),
                Order::Stays => drop(self.kept.copies.remove(session)),
                Order::Moved => out.step(ToRecords::Check { session }),
                Order::Named => {
                    self.cookies.set(session, self.cookie(local, session));
                    out.step(ToAttachments::Named { session });
                }
            }
        }
    }

    /// Asks a host to go on with a session of this one, which keeps the same from then on. Without room for that it is not
    /// asked: the session stays when the time is over.
    fn hand_over(
        &mut self,
        local: &Local<'_>,
        session: SessionId,
        host: HostName,
        objects: Vec<(Part, Encoded)>,
        out: &mut Out<'_>,
    ) {
        let Some(primary) = self.primaries.get(session) else { return };
        let (epoch, token) = (primary.epoch, primary.token.clone());
        self.kept.note_token(&local.config.ring, &token);
        let copies = &mut self.kept.copies;
        let is_kept = objects.into_iter().all(|(part, object)| {
            let answer =
                copies.whole(local.now, local.name(), (session, epoch), token.clone(), (part, object));
            matches!(answer, Message::Kept { .. })
        });
        if is_kept {
            say(host, Message::HandOver { session, epoch }, out);
        }
    }

    /// Tells whoever has handed a session over what came of it.
    fn tell_handed(&mut self, session: SessionId, done: bool, out: &mut Out<'_>) {
        if let Some((host, message)) = self.handed.end(session, done) {
            out.done(if done { "session_moved_here" } else { "session_not_moved_here" });
            say(host, message, out);
        }
    }

    /// What whoever shows a session of this host is told of it.
    fn cookie(&self, local: &Local<'_>, session: SessionId) -> Option<Cookie> {
        let primary = self.primaries.get(session)?;
        Some(Cookie {
            epoch: primary.epoch,
            version: primary.sent_versions,
            primary: local.name().clone(),
            secondary: primary.phase().named().cloned(),
        })
    }

    /// Gets the objects of a session that this host is about to take over.
    fn fetch(
        &mut self,
        local: &Local<'_>,
        id: PresentationId,
        wanted: Wanted,
        secondary: HostName,
        out: &mut Out<'_>,
    ) {
        let Wanted { session, epoch, floor } = wanted;
        if secondary == *local.name() {
            let objects = match self.kept.copies.fetch(local.now, &secondary, wanted) {
                Ok(objects) if objects.is_empty() => Err(NotFetched::Nothing),
                Ok(objects) => Ok(Box::new(objects)),
                Err(_) => Err(NotFetched::Stale),
            };
            return out.step(ToPresentations::Fetched { id, session, objects });
        }
        match self.fetches.begin(local.now, id, (session, epoch), &secondary) {
            Ok(false) => {}
            Ok(true) => say(secondary, Message::Fetch { session, epoch, floor }, out),
            Err(why) => out.step(ToPresentations::Fetched { id, session, objects: Err(why) }),
        }
    }

    fn on_message(
        &mut self,
        local: &Local<'_>,
        host: HostName,
        message: Message,
        orders: &mut Orders,
        out: &mut Out<'_>,
    ) {
        if let Message::Whole { token, .. } = &message {
            self.kept.note_token(&local.config.ring, token);
        }
        let now = local.now;
        match message {
            Message::Kept { session, part, stamp } => {
                let took = self.primaries.with(now, session, orders, |primary, orders| {
                    let asked = primary.waits_since().filter(|_| primary.peer() == Some(&host));
                    primary.kept(now, &host, part, stamp, orders);
                    asked.filter(|asked| primary.waits_since() != Some(*asked)).map(|asked| now.since(asked))
                });
                if let Some(took) = took {
                    self.primaries.measured(&host, took);
                }
            }
            Message::Want { session, part } => {
                out.done("copy_wanted_whole");
                self.primaries
                    .with(now, session, orders, |primary, orders| primary.wanted(&host, part, orders));
            }
            Message::Full { session, epoch } => self.refuses(now, &host, (session, epoch), Why::Full, orders),
            Message::Stale { session, epoch } => {
                if let Some(told) = self.fetches.stale(&host, session) {
                    tell(told, out);
                }
                self.refuses(now, &host, (session, epoch), Why::Stale, orders);
            }
            Message::HandedOver { session, epoch, done } => {
                self.primaries.with(now, session, orders, |primary, orders| {
                    if primary.epoch == epoch {
                        primary.handed_over(now, &host, done, orders);
                    }
                });
            }
            Message::Object { session, part, object } => self.fetches.object(&host, session, part, object),
            Message::Fetched { session, epoch, objects } => {
                if let Some(told) = self.fetches.complete(&host, session, epoch, objects) {
                    tell(told, out);
                }
            }
            other => self.on_keepers_message(now, host, other, out),
        }
    }

    /// What the record says of a session that is kept here and of which nobody has spoken for long.
    fn on_record(&mut self, local: &Local<'_>, session: SessionId, result: LookedUp, out: &mut Out<'_>) {
        let is_needed = match result {
            // Who cannot know gives up nothing.
            Err(_) => true,
            Ok(record) => record.is_some_and(|(_, secondary)| secondary.as_ref() == Some(local.name())),
        };
        if !is_needed && self.kept.copies.remove(session) {
            out.done("copy_outlived");
        }
    }

    /// A secondary does not take what it is sent in this epoch.
    fn refuses(
        &mut self,
        now: Instant,
        host: &HostName,
        (session, epoch): (SessionId, Epoch),
        why: Why,
        orders: &mut Orders,
    ) {
        self.primaries.with(now, session, orders, |primary, orders| {
            if primary.epoch == epoch {
                primary.lost(now, host, why, orders);
            }
        });
    }

    /// What is said to this host as the keeper of a session.
    fn on_keepers_message(&mut self, now: Instant, host: HostName, message: Message, out: &mut Out<'_>) {
        let copies = &mut self.kept.copies;
        match message {
            // Two hosts run it: who has the later epoch is right.
            Message::Whole { session, epoch, .. }
            | Message::Delta { session, epoch, .. }
            | Message::Compare { session, epoch, .. }
                if self.primaries.get(session).is_some_and(|primary| epoch <= primary.epoch) =>
            {
                reply(host, Message::Stale { session, epoch }, out);
            }
            Message::Whole { session, epoch, token, part, object } => {
                let answer = copies.whole(now, &host, (session, epoch), token, (part, object));
                reply(host, answer, out);
            }
            Message::Delta { session, epoch, part, delta } => {
                let answer = copies.delta(now, &host, (session, epoch), (part, &delta));
                reply(host, answer, out);
            }
            Message::Compare { session, epoch, parts } => {
                for answer in copies.compare(now, &host, (session, epoch), parts) {
                    reply(host.clone(), answer, out);
                }
            }
            Message::HandOver { session, epoch } => match copies.hand_over(now, &host, (session, epoch)) {
                Some(token) if self.handed.begin(session, host.clone(), epoch) => {
                    let is_handed_over = true;
                    let unasked = Unasked { session, token, home: host, epoch, is_handed_over };
                    out.step(ToPresentations::GoOn(Box::new(unasked)));
                }
                _ => say(host, Message::HandedOver { session, epoch, done: false }, out),
            },
            Message::Watch { session, epoch } => copies.watch(&host, (session, epoch)),
            Message::Drop { session, epoch } => {
                if copies.drop_session(session, epoch) {
                    out.done("copy_dropped");
                }
            }
            Message::Fetch { session, epoch, floor } => {
                match copies.fetch(now, &host, Wanted { session, epoch, floor }) {
                    Err(_) => reply(host, Message::Stale { session, epoch }, out),
                    Ok(objects) => {
                        let count = u16::try_from(objects.len()).unwrap_or(u16::MAX);
                        for (part, object) in objects {
                            say(host.clone(), Message::Object { session, part, object }, out);
                        }
                        say(host, Message::Fetched { session, epoch, objects: count }, out);
                    }
                }
            }
            _ => out.refused("word_of_copies"),
        }
    }
}

/// Tells who waited what came of it.
fn tell((session, waiting, objects): Told, out: &mut Out<'_>) {
    for id in waiting {
        out.step(ToPresentations::Fetched { id, session, objects: objects.clone() });
    }
}

fn say(host: HostName, message: Message, out: &mut Out<'_>) {
    out.effect(Effect::Peer { host, message: Box::new(message) });
}

/// The same, counted.
fn reply(host: HostName, message: Message, out: &mut Out<'_>) {
    match message {
        Message::Kept { .. } => out.done("copy_kept"),
        Message::Want { .. } => out.refused("copy_gap"),
        Message::Stale { .. } => out.refused("copy_stale"),
        Message::Full { .. } => out.refused("copy_full"),
        _ => {}
    }
    say(host, message, out);
}
