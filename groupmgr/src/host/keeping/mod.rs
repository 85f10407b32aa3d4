//! The objects of sessions that hosts keep for each other: what this host keeps for others, and what it fetches of a
//! session that it takes over.

mod fetches;
mod kept;

pub(super) use fetches::FETCHES_MAX;
pub(super) use kept::Kept;

use proto::{Epoch, HostName, Instant, SessionId};

use super::driver::Effect;
use super::env::Local;
use super::out::Out;
use super::step::{NotFetched, PresentationId, ToKeeping, ToPresentations};
use crate::keep::Message;
use crate::keep::copies::Limits;
use fetches::{Fetches, Told};

/// The machine that keeps objects of sessions.
#[derive(Debug)]
pub(super) struct Keeping {
    kept: Kept,
    fetches: Fetches,
}

impl Keeping {
    pub(super) fn new() -> Self {
        Self { kept: Kept::new(Limits::USUAL), fetches: Fetches::default() }
    }

    pub(super) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Sessions that are being fetched.
    pub(super) fn fetches(&self) -> usize {
        self.fetches.len()
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 1] {
        [("objects of a session", self.fetches.poll_at())]
    }

    pub(super) fn handle(&mut self, local: &Local<'_>, step: ToKeeping, out: &mut Out<'_>) {
        match step {
            ToKeeping::Fetch { id, session, epoch, secondary } => {
                self.fetch(local, id, session, epoch, secondary, out);
            }
            ToKeeping::TookOver { session } => drop(self.kept.copies.remove(session)),
            // Nothing is sent to a secondary yet.
            ToKeeping::Began(_)
            | ToKeeping::Ended { .. }
            | ToKeeping::Recorded { .. }
            | ToKeeping::Record { .. } => {}
            ToKeeping::Peer { host, message } => self.on_message(local, host, *message, out),
            ToKeeping::PeerLost { host } => {
                while let Some(told) = self.fetches.lost(&host) {
                    tell(told, out);
                }
            }
            ToKeeping::Due => {
                while let Some(told) = self.fetches.overdue(local.now) {
                    tell(told, out);
                }
            }
        }
    }

    /// Gets the objects of a session that this host is about to take over.
    fn fetch(
        &mut self,
        local: &Local<'_>,
        id: PresentationId,
        session: SessionId,
        epoch: Epoch,
        secondary: HostName,
        out: &mut Out<'_>,
    ) {
        if secondary == *local.name() {
            let objects = match self.kept.copies.fetch(local.now, &secondary, session, epoch) {
                Ok(objects) if objects.is_empty() => Err(NotFetched::Nothing),
                Ok(objects) => Ok(Box::new(objects)),
                Err(_) => Err(NotFetched::Stale),
            };
            return out.step(ToPresentations::Fetched { id, session, objects });
        }
        match self.fetches.begin(local.now, id, (session, epoch), &secondary) {
            Ok(false) => {}
            Ok(true) => say(secondary, Message::Fetch { session, epoch }, out),
            Err(why) => out.step(ToPresentations::Fetched { id, session, objects: Err(why) }),
        }
    }

    fn on_message(&mut self, local: &Local<'_>, host: HostName, message: Message, out: &mut Out<'_>) {
        if let Message::Whole { token, .. } = &message {
            self.kept.note_token(&local.config.ring, token);
        }
        let (now, copies) = (local.now, &mut self.kept.copies);
        match message {
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
            Message::Drop { session, epoch } => {
                if copies.drop_session(session, epoch) {
                    out.done("copy_dropped");
                }
            }
            Message::Fetch { session, epoch } => match copies.fetch(now, &host, session, epoch) {
                Err(_) => reply(host, Message::Stale { session, epoch }, out),
                Ok(objects) => {
                    let count = u16::try_from(objects.len()).unwrap_or(u16::MAX);
                    for (part, object) in objects {
                        say(host.clone(), Message::Object { session, part, object }, out);
                    }
                    say(host, Message::Fetched { session, epoch, objects: count }, out);
                }
            },
            Message::Object { session, part, object } => self.fetches.object(&host, session, part, object),
            Message::Fetched { session, epoch, objects } => {
                if let Some(told) = self.fetches.complete(&host, session, epoch, objects) {
                    tell(told, out);
                }
            }
            Message::Stale { session, .. } => {
                if let Some(told) = self.fetches.stale(&host, session) {
                    tell(told, out);
                }
            }
            Message::Kept { .. } | Message::Want { .. } | Message::Full { .. } | Message::Other => {
                out.refused("word_of_copies");
            }
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
