//! The operation in hand: changes that are made all together, or not at all.

use std::collections::BTreeSet;

use proto::Epoch;
use proto::time::{Duration, Instant};

use crate::edit::{Edit, Refusal};
use crate::head::{Operation, Status};
use crate::limits::{LATER_MAX, OBJECT_MAX, VALUES_MAX};
use crate::names::{Stamp, StepName};
use crate::object::Object;
use crate::value::Value;

/// An operation that has not come to its end after this long is given up when another program begins one.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// Changes of one operation at most: as many as there can be values.
const EDITS_MAX: usize = VALUES_MAX;
/// Bytes of the values of one operation at most: no more can be committed.
const BYTES_MAX: usize = OBJECT_MAX;

/// Why a change is not taken into an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdded {
    /// The change would be refused now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It has as many as it may have.
    #[error("an operation has at most {EDITS_MAX} changes and {BYTES_MAX} bytes of values")]
    TooLarge,
}

/// Why an operation is not committed. Nothing of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCommitted {
    /// One of its changes was refused when it was asked for.
    #[error("one of its changes was refused")]
    Spoilt,
    /// It is not known of one of its effects that it has happened.
    #[error("one of its effects was refused, or is under way: say it again first")]
    Unsettled,
    /// What others have changed leaves no room for one of its changes.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What a program has begun and not brought to its end.
#[derive(Debug)]
pub(crate) struct InHand<P> {
    program: P,
    is_kept: bool,
    since: Instant,
    edits: Vec<Edit>,
    bytes: usize,
    is_spoilt: bool,
    /// Effects that were asked for, and of which nobody has said that they have happened.
    unsettled: BTreeSet<u8>,
    /// The object with the changes, as it was at `seen_at`.
    seen: Object,
    seen_at: Stamp,
}

/// The later field with the epoch in which the operation in hand was begun, if that is not the object's.
const BEGUN_IN: u8 = 1;

impl Object {
    /// Begins the next operation of the service.
    pub(crate) fn begin_operation(&mut self, name: StepName) {
        let number = self.head.operation.as_ref().map_or(0, |last| last.number);
        let number = number.saturating_add(1);
        self.head.operation = Some(Operation { number, name, status: Status::Begun });
        self.later.remove(&BEGUN_IN);
    }

    /// The operation in hand comes to its end.
    pub(crate) fn end_operation(&mut self, status: Status) {
        if let Some(operation) = self.head.operation.as_mut() {
            operation.status = status;
        }
        self.later.remove(&BEGUN_IN);
    }

    /// Another home of the session goes on with it, in this epoch. An operation in hand stays one of the epoch in which it
    /// was begun: what was lost of that epoch may have had operations with the numbers of those that follow.
    pub(crate) fn enter(&mut self, epoch: Epoch) {
        let is_in_hand = self.head.operation.as_ref().is_some_and(|last| last.status == Status::Begun);
        if is_in_hand && epoch != self.head.stamp.epoch && self.later.len() < LATER_MAX {
            let begun = self.operation_epoch();
            let bytes = [begun.generation.to_be_bytes(), begun.counter.to_be_bytes()].concat();
            self.later.insert(BEGUN_IN, bytes.into());
        }
        self.head.stamp.epoch = epoch;
    }

    /// The epoch in which the operation in hand was begun.
    pub(crate) fn operation_epoch(&self) -> Epoch {
        let kept = self.later.get(&BEGUN_IN).and_then(|bytes| bytes.split_first_chunk::<4>());
        let numbers = kept.and_then(|(generation, rest)| Some((generation, rest.first_chunk::<4>()?)));
        numbers.map_or(self.head.stamp.epoch, |(generation, counter)| Epoch {
            generation: u32::from_be_bytes(*generation),
            counter: u32::from_be_bytes(*counter),
        })
    }
}

impl<P: Copy + PartialEq> InHand<P> {
    /// One of `program` on `object`. If it `is_kept`, it goes on when the program is gone, and another may take it over.
    pub(crate) fn new(program: P, is_kept: bool, since: Instant, object: &Object) -> Self {
        let (seen, seen_at) = (object.clone(), object.head.stamp);
        Self {
            program,
            is_kept,
            since,
            edits: Vec::new(),
            bytes: 0,
            is_spoilt: false,
            unsettled: BTreeSet::new(),
            seen,
            seen_at,
        }
    }

    pub(crate) const fn program(&self) -> P {
        self.program
    }

    pub(crate) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// From now on it is that of another program.
    pub(crate) const fn hand_to(&mut self, program: P) {
        self.program = program;
    }

    /// One of its effects is asked for.
    pub(crate) fn asks(&mut self, step: u8) {
        self.unsettled.insert(step);
    }

    /// One of its effects has happened.
    pub(crate) fn has(&mut self, step: u8) {
        self.unsettled.remove(&step);
    }

    /// Whether others need not wait for it any longer.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        now.since(self.since) >= LEASE
    }

    /// Adds a change to an operation on `object`. If it is refused, so is the operation in the end: a program may have
    /// sent all of it before it reads an answer.
    pub(crate) fn add(&mut self, object: &Object, edit: Edit) -> Result<(), NotAdded> {
        let added = self.try_add(object, edit);
        self.is_spoilt |= added.is_err();
        added
    }

    fn try_add(&mut self, object: &Object, edit: Edit) -> Result<(), NotAdded> {
        let bytes = match &edit {
            Edit::Put { value: Value::Raw(bytes), .. } => bytes.len(),
            _ => 0,
        };
        if self.edits.len() >= EDITS_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(NotAdded::TooLarge);
        }
        self.catch_up(object);
        self.seen.apply(edit.clone())?;
        self.edits.push(edit);
        self.bytes += bytes;
        Ok(())
    }

    /// The object with the changes, as far as others have left room for them.
    pub(crate) fn seen(&mut self, object: &Object) -> &Object {
        self.catch_up(object);
        &self.seen
    }

    /// The object with all changes, and the operation committed.
    pub(crate) fn result(&self, object: &Object) -> Result<Object, NotCommitted> {
        if self.is_spoilt {
            return Err(NotCommitted::Spoilt);
        }
        if !self.unsettled.is_empty() {
            return Err(NotCommitted::Unsettled);
        }
        let mut next = object.clone();
        for edit in &self.edits {
            next.apply(edit.clone())?;
        }
        next.end_operation(Status::Committed);
        Ok(next)
    }

    fn catch_up(&mut self, object: &Object) {
        if self.seen_at != object.head.stamp {
            self.seen = object.clone();
            self.seen_at = object.head.stamp;
            for edit in &self.edits {
                // What no longer fits is refused when the operation is committed.
                let _ = self.seen.apply(edit.clone());
            }
        }
    }
}
