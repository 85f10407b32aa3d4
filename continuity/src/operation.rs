//! The operation in hand: changes that are made all together, or not at all.

use proto::time::{Duration, Instant};

use crate::edit::{Edit, Refusal};
use crate::head::{Operation, Status};
use crate::limits::{OBJECT_MAX, VALUES_MAX};
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
    /// The object with the changes, as it was at `seen_at`.
    seen: Object,
    seen_at: Stamp,
}

/// The next operation of a service.
pub(crate) fn next_operation(object: &Object, name: StepName) -> Operation {
    let number = object.head.operation.as_ref().map_or(0, |last| last.number);
    Operation { number: number.saturating_add(1), name, status: Status::Begun }
}

impl<P: Copy + PartialEq> InHand<P> {
    /// One of `program` on `object`. If it `is_kept`, it goes on when the program is gone, and another may take it over.
    pub(crate) fn new(program: P, is_kept: bool, since: Instant, object: &Object) -> Self {
        let (seen, seen_at) = (object.clone(), object.head.stamp);
        Self { program, is_kept, since, edits: Vec::new(), bytes: 0, is_spoilt: false, seen, seen_at }
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
        let mut next = object.clone();
        for edit in &self.edits {
            next.apply(edit.clone())?;
        }
        if let Some(operation) = next.head.operation.as_mut() {
            operation.status = Status::Committed;
        }
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
