//! What the session's process itself asks of the data store, on behalf of its user: by the same way as programs do on the
//! data socket, and with the same rights.

use std::collections::BTreeMap;

use continuity::session::Ticket;
use datastore::wire::{self, Call, FromStore};
use datastore::{Answer, Request, RequestId, StoreError};
use proto::ServiceName;

use crate::control::{Bytes, REPLY_MAX};

/// Connections of the data socket have numbers below this, and what is asked here from here on.
pub(super) const OWN: u32 = 1 << 31;

/// For whom it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A program of this service, which does something once.
    Effect(ServiceName, Ticket),
    /// The session itself, which looks up a reference of what the programs of this service have said elsewhere.
    Reference(ServiceName, usize),
}

/// What came of it.
pub(super) type Outcome = Result<Answer, StoreError>;

/// What was asked and is not answered.
#[derive(Debug, Default)]
pub(super) struct Asking {
    next: u32,
    open: BTreeMap<u32, (Asker, Vec<u8>)>,
}

/// What a question comes to that nobody will answer. It may have been done.
pub(super) fn unanswered(why: &str) -> StoreError {
    StoreError::OutcomeUnknown { at: "-".into(), why: why.into() }
}

impl Asking {
    /// The number and the payload of a question.
    pub(super) fn ask(&mut self, asker: Asker, request: Request) -> (u32, Bytes) {
        let client = OWN | self.next;
        self.next = self.next.wrapping_add(1) & !OWN;
        self.open.insert(client, (asker, Vec::new()));
        let mut frame = Vec::new();
        // What is within its bounds fits a frame; the host refuses what is none.
        let _ = wire::encode(&Call { id: RequestId(1), request }, &mut frame);
        let payload = frame.get(wire::HEADER_LEN..).unwrap_or_default();
        (client, Bytes(payload.to_vec()))
    }

    /// A part of an answer has come: who asked, and the whole of it, if it was the last one.
    pub(super) fn answered(&mut self, client: u32, part: &[u8], is_last: bool) -> Option<(Asker, Outcome)> {
        let (_, parts) = self.open.get_mut(&client)?;
        parts.extend_from_slice(part);
        if !is_last && parts.len() <= REPLY_MAX {
            return None;
        }
        let (asker, parts) = self.open.remove(&client)?;
        let outcome = match wire::decode(&parts) {
            Ok(FromStore::Reply { response, .. }) => match response.answer {
                Answer::Failed(error) => Err(error),
                answer => Ok(answer),
            },
            _ => Err(unanswered("the answer cannot be read")),
        };
        Some((asker, outcome))
    }

    /// Nobody will answer this question.
    pub(super) fn give_up(&mut self, client: u32) -> Option<Asker> {
        self.open.remove(&client).map(|(asker, _)| asker)
    }

    /// Nobody will answer what was asked until now.
    pub(super) fn forget(&mut self) -> Vec<Asker> {
        core::mem::take(&mut self.open).into_values().map(|(asker, _)| asker).collect()
    }
}
