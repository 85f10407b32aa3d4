//! What an operation changes outside of the object, once: what the data store is asked for, and what it answers.
//!
//! The store remembers what was done by service, operation and step. So another home of the session that repeats the
//! operation under its number learns what has happened already. Nothing is asked for before it is safe that the operation was
//! begun: else that number could be given out again.

use std::collections::BTreeMap;

use datastore::once::{Deed, EffectId, Past};
use datastore::{Answer, Refusal, Request, StoreError};
use proto::{Epoch, Line};

use crate::names::Stamp;
use crate::object::Object;
use crate::words;

/// What is asked for and not answered, at most: of programs that have gone meanwhile, too.
const OPEN_MAX: usize = 64;

/// Names something that was asked for on behalf of a program, until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u32);

/// What programs wait for.
#[derive(Debug)]
pub(crate) struct Asked<P> {
    next: u32,
    open: BTreeMap<Ticket, Open<P>>,
}

impl<P> Default for Asked<P> {
    fn default() -> Self {
        Self { next: 0, open: BTreeMap::new() }
    }
}

#[derive(Debug)]
pub(crate) struct Open<P> {
    pub(crate) program: P,
    /// The operation that it belongs to, and which of its effects it is.
    pub(crate) operation: u64,
    pub(crate) step: u8,
    /// What must be safe first, until it is and this was asked for.
    waits: Option<(Stamp, Box<Request>)>,
}

impl<P: Copy> Asked<P> {
    /// A number that nothing else has that is asked for.
    pub(crate) const fn new_ticket(&mut self) -> Ticket {
        self.next = self.next.wrapping_add(1);
        Ticket(self.next)
    }

    /// Whether there may be another one.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < OPEN_MAX
    }

    /// An effect of the operation that `object` has in hand, asked for by `program`. Nothing, if there is none in hand.
    pub(crate) fn add(&mut self, program: P, object: &Object, deed: Deed, step: u8) -> Option<Ticket> {
        let operation = object.head.operation.as_ref()?.number;
        let Epoch { generation, counter } = object.operation_epoch();
        let service = object.head.service.clone();
        let effect = EffectId { service, epoch: (generation, counter), operation, step };
        let request = Box::new(Request::Once { guard: None, effect, deed });
        let ticket = self.new_ticket();
        let waits = Some((object.head.stamp, request));
        self.open.insert(ticket, Open { program, operation, step, waits });
        Some(ticket)
    }

    /// What need not wait any longer, when versions up to `safe` are safe.
    pub(crate) fn due(&mut self, safe: Stamp) -> Vec<(Ticket, Box<Request>)> {
        let due = self.open.iter_mut().filter_map(|(ticket, open)| {
            let (_, request) = open.waits.take_if(|(stamp, _)| *stamp <= safe)?;
            Some((*ticket, request))
        });
        due.collect()
    }

    /// What waits is not asked for: whose it was.
    pub(crate) fn give_up(&mut self) -> Vec<(Ticket, P)> {
        let mut given_up = Vec::new();
        self.open.retain(|ticket, open| {
            if open.waits.is_some() {
                given_up.push((*ticket, open.program));
            }
            open.waits.is_none()
        });
        given_up
    }

    /// What was asked for is answered: whose it was.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> Option<Open<P>> {
        self.open.remove(&ticket)
    }
}

/// When it has happened, what the answer was, and what came of it as somebody has said.
type Said = (&'static str, &'static str, Option<String>);

/// What a program is told of what the data store has answered, or why it is refused.
pub(crate) fn said(outcome: Result<Answer, StoreError>) -> Result<Said, Line> {
    let past = |past: Past| match past {
        Past::Stored => ("stored", None),
        Past::Swapped => ("swapped", None),
        Past::Deleted { existed: true } => ("deleted", None),
        Past::Deleted { existed: false } => ("absent", None),
        Past::Begun => ("begun", None),
        Past::Ended(outcome) => ("done", Some(String::from_utf8_lossy(outcome.as_bytes()).into_owned())),
    };
    let answer = outcome.and_then(|answer| match answer {
        Answer::Failed(error) => Err(error),
        answer => Ok(answer),
    });
    match answer {
        Ok(Answer::Already(before)) => {
            let (answer, text) = past(before);
            Ok(("before", answer, text))
        }
        Ok(Answer::Stored) => Ok(("now", "stored", None)),
        Ok(Answer::Deleted { existed }) => Ok(("now", past(Past::Deleted { existed }).0, None)),
        Ok(Answer::Begun) => Ok(("now", "begun", None)),
        Ok(Answer::Ended) => Ok(("now", "done", None)),
        Ok(_) => Err(words::error("unavailable", "the group's data store does not know effects")),
        Err(error) => Err(words::error(code(&error), &error)),
    }
}

/// The code of an answer that the data store has refused.
fn code(error: &StoreError) -> &'static str {
    match error {
        StoreError::Refused(Refusal::Fenced | Refusal::Superseded) => "fenced",
        StoreError::TooLarge { .. } => "tooLarge",
        StoreError::Refused(Refusal::NotHere) => "unreadable",
        _ => "unavailable",
    }
}
