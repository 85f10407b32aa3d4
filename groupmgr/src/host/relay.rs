//! Requests to the data store from inside a session: confined to the data of the session's owner.
//!
//! A program in the session speaks the store's own frames to the session's process, which passes their payloads
//! here as they are. Watching needs a connection of its own and is refused.

use datastore::confine::Confinement;
use datastore::wire::{self, Call, FromStore};
use datastore::{Answer, Generation, Guard, Refusal, Request, RequestId, Response, Revision, StoreError};
use proto::{Instant, SessionId};
use sessiond::control::{Bytes, DATA_MAX, ToSession};

use super::driver::{Effect, Port};
use super::env::Ctx;
use super::out::Out;
use super::port::{Arrival, StorePort, away, unanswered};
use super::session_record::SessionRecord;
use super::step::{ToRecords, ToRelay};

/// Who waits for the store's answer to a request from inside a session.
#[derive(Clone, Debug)]
struct Asker {
    session: SessionId,
    client: u32,
    owner: String,
    id: RequestId,
}

/// The machine that carries the sessions' own requests to the data store.
#[derive(Debug)]
pub(super) struct Relay {
    port: StorePort<Asker>,
}

impl Relay {
    pub(super) const fn new() -> Self {
        Self { port: StorePort::new(Port::Relay) }
    }

    /// Requests under way.
    pub(super) fn pending(&self) -> usize {
        self.port.len()
    }

    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.port.awaits(seq)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 1] {
        [("request of a session, unanswered", self.port.poll_at())]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToRelay, out: &mut Out<'_>) {
        match step {
            ToRelay::Data { session, owner, client, request } => {
                self.ask(ctx, session, owner, client, &request, out);
            }
            ToRelay::Stored { seq, outcome } => {
                if let Some(Arrival::InTime(asker)) = self.port.arrived(seq) {
                    if matches!(*outcome, Err(StoreError::Refused(Refusal::Fenced))) {
                        out.refused("write_of_a_former_home");
                        out.step(ToRecords::Check { session: asker.session });
                    }
                    answer(ctx, &asker, *outcome, out);
                }
            }
            ToRelay::Due => {
                while let Some(asker) = self.port.overdue(ctx.now, out) {
                    answer(ctx, &asker, Err(unanswered()), out);
                }
            }
        }
    }

    /// A program of a session asks the store: on its owner's data only.
    fn ask(
        &mut self,
        ctx: &Ctx<'_>,
        session: SessionId,
        owner: String,
        client: u32,
        request: &Bytes,
        out: &mut Out<'_>,
    ) {
        match inward(&owner, &request.0) {
            Ok((id, request)) => {
                let asker = Asker { session, client, owner, id };
                let request = match (guard_of(ctx, session), request) {
                    (Some(guard), request) => request.guarded(guard),
                    // Without the record nothing would remember that it was done.
                    (None, Request::Once { .. }) => {
                        return answer(ctx, &asker, Err(away("the session has no record there yet")), out);
                    }
                    (None, request) => request,
                };
                let refused = if ctx.store.is_up() {
                    self.port.ask(ctx.now, asker, request, out).err()
                } else {
                    Some(asker)
                };
                if let Some(asker) = refused {
                    answer(ctx, &asker, Err(away("the host has lost it")), out);
                }
            }
            Err(id) => {
                let asker = Asker { session, client, owner, id };
                answer(ctx, &asker, Err(Refusal::NotHere.into()), out);
            }
        }
    }
}

/// What stands before a session's writes: not before its record is known to be there.
fn guard_of(ctx: &Ctx<'_>, session: SessionId) -> Option<Guard> {
    let s = ctx.sessions.get(session).filter(|s| s.is_recorded)?;
    Some(Guard::new(SessionRecord::key(session)?, s.epoch))
}

fn answer(ctx: &Ctx<'_>, asker: &Asker, outcome: Result<Response, StoreError>, out: &mut Out<'_>) {
    let generation = Generation(ctx.store.generation());
    let reply = Bytes(outward(&asker.owner, asker.id, generation, outcome));
    let message = ToSession::DataReply { client: asker.client, reply };
    out.effect(Effect::Tell { session: asker.session, message: Box::new(message) });
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
