//! Requests to the data store from inside a session: confined to the data of the session's owner.
//!
//! A program in the session speaks the store's own frames to the session's process, which passes their payloads
//! here as they are. Watching needs a connection of its own and is refused.

use datastore::confine::Confinement;
use datastore::wire::{self, Call, FromStore};
use datastore::{Answer, Generation, Refusal, Request, RequestId, Response, Revision, StoreError};
use proto::SessionId;
use sessiond::control::{Bytes, DATA_MAX, ToSession};

use super::driver::Effect;
use super::store::Errand;
use super::{Clock, Host};

/// Who waits for the store's answer to a request from inside a session.
#[derive(Clone, Debug)]
pub(super) struct DataAsker {
    session: SessionId,
    client: u32,
    owner: String,
    id: RequestId,
}

impl Host {
    /// A program of a session asks the store: on its owner's data only.
    pub(super) fn on_data(
        &mut self,
        clock: Clock,
        session: SessionId,
        client: u32,
        request: &Bytes,
        out: &mut Vec<Effect>,
    ) {
        let Some(owner) = self.sessions.get(session).map(|s| s.owner.clone()) else { return };
        match inward(&owner, &request.0) {
            Ok((id, request)) => {
                let asker = DataAsker { session, client, owner, id };
                let asked = self.store.is_up()
                    && self.ask_store(clock.now, Errand::Data(asker.clone()), request, out);
                if !asked {
                    let away = StoreError::Unreachable { at: "-".into(), why: "the host has lost it".into() };
                    self.answer_data(&asker, Err(away), out);
                }
            }
            Err(id) => {
                let asker = DataAsker { session, client, owner, id };
                self.answer_data(&asker, Err(Refusal::NotHere.into()), out);
            }
        }
    }

    pub(super) fn answer_data(
        &self,
        asker: &DataAsker,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let generation = Generation(self.store.generation());
        let reply = Bytes(outward(&asker.owner, asker.id, generation, outcome));
        let message = ToSession::DataReply { client: asker.client, reply };
        out.push(Effect::Tell { session: asker.session, message: Box::new(message) });
    }
}

fn confinement(owner: &str) -> Option<Confinement> {
    Confinement::new(owner.parse().ok()?).ok()
}

/// Reads a request of the owner of `owner` (a prefix that ends with `/`) as the store shall see it.
///
/// # Errors
/// The request's id, when it can be read and must be refused; 0 when it cannot be read.
fn inward(owner: &str, payload: &[u8]) -> Result<(RequestId, Request), RequestId> {
    let call: Call = wire::decode(payload).map_err(|_| RequestId(0))?;
    if matches!(call.request, Request::Watch { .. } | Request::Unwatch { .. }) {
        return Err(call.id);
    }
    let confined = confinement(owner).and_then(|c| c.inward(call.request).ok());
    confined.map(|request| (call.id, request)).ok_or(call.id)
}

/// The store's answer as the session's program shall see it.
fn outward(
    owner: &str,
    id: RequestId,
    generation: Generation,
    outcome: Result<Response, StoreError>,
) -> Vec<u8> {
    let failed = |error| Response { generation, revision: Revision(0), answer: Answer::Failed(error) };
    let response = match (outcome, confinement(owner)) {
        (Ok(response), Some(confinement)) => confinement.outward(response),
        (Ok(_), None) => failed(Refusal::NotHere.into()),
        (Err(error), _) => failed(error),
    };
    let payload = payload_of(&FromStore::Reply { id, response });
    if payload.len() <= DATA_MAX {
        return payload;
    }
    let too_large = StoreError::TooLarge {
        what: "answer".into(),
        bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        max: DATA_MAX as u32,
    };
    payload_of(&FromStore::Reply { id, response: failed(too_large) })
}

fn payload_of(message: &FromStore) -> Vec<u8> {
    let mut frame = Vec::new();
    match wire::encode(message, &mut frame) {
        Ok(()) => frame.split_off(wire::HEADER_LEN),
        Err(_) => Vec::new(),
    }
}
