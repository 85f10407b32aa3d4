//! Sessions that other hosts have handed over to this one, as long as it is not known what comes of it.

use std::collections::BTreeMap;

use proto::{Epoch, HostName, SessionId};

use crate::keep::Message;

/// Sessions at a time: whoever drains hands over a few at a time, and there may be several.
pub(in crate::host) const HANDED_MAX: usize = 256;

/// Who has handed over what, and in which epoch.
#[derive(Debug, Default)]
pub(super) struct Handed {
    sessions: BTreeMap<SessionId, (HostName, Epoch)>,
}

impl Handed {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns whether there is room.
    pub(super) fn begin(&mut self, session: SessionId, by: HostName, epoch: Epoch) -> bool {
        let has_room = self.sessions.len() < HANDED_MAX;
        if has_room {
            self.sessions.insert(session, (by, epoch));
        }
        has_room
    }

    /// The session runs here, or it does not. Returns who is told, and what.
    pub(super) fn end(&mut self, session: SessionId, done: bool) -> Option<(HostName, Message)> {
        let (by, epoch) = self.sessions.remove(&session)?;
        Some((by, Message::HandedOver { session, epoch, done }))
    }
}
