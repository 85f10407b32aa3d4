//! Writes that hold only while their writer is what it believes to be: the present home of a session.
//!
//! A host that was cut off does not know that another one has taken its session over. Its programs' writes carry the
//! epoch that they are made in, and the store compares it with that of the session's record, in the same batch.

use proto::Epoch;
use proto::line::Line;
use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::message::{Expected, Request};
use crate::value::Value;

/// Under which record a write is made, and in which epoch its writer believes to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The key of the record.
    pub key: Key,
    /// How often the store had been restored from a backup when the epoch was given out.
    pub generation: u32,
    /// The epoch's counter within the generation.
    pub counter: u32,
}

impl Guard {
    /// A guard of the record under `key`.
    #[must_use]
    pub const fn new(key: Key, epoch: Epoch) -> Self {
        Self { key, generation: epoch.generation, counter: epoch.counter }
    }

    /// Whether a write in this epoch may be made while the record is `record`. It is a line with the key `epoch`, the one
    /// thing that the store reads of a value. Without a record nobody may write.
    #[must_use]
    pub fn admits(&self, record: Option<&Value>) -> bool {
        let line = record.and_then(|record| Line::parse(record.as_bytes()).ok());
        let held = line.and_then(|line| line.need::<Epoch>("epoch").ok());
        held.is_some_and(|held| held <= Epoch { generation: self.generation, counter: self.counter })
    }
}

/// A write that a guard stands before: as [`Request`] has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// As [`Request::Put`] has it: stored whatever was there.
    Put {
        /// Under which key.
        key: Key,
        /// The value to store.
        value: Value,
    },
    /// As [`Request::Swap`] has it: only if the key is as expected.
    Swap {
        /// The key whose value is to change.
        key: Key,
        /// As it must be found.
        expected: Expected,
        /// As it shall be: `None` deletes.
        new: Option<Value>,
    },
    /// As [`Request::Delete`] has it: the key has no value then.
    Delete {
        /// The key that is to have no value.
        key: Key,
    },
}

impl Write {
    /// The key that it writes.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Swap { key, .. } | Self::Delete { key } => key,
        }
    }
}

impl From<Write> for Request {
    fn from(write: Write) -> Self {
        match write {
            Write::Put { key, value } => Self::Put { key, value },
            Write::Swap { key, expected, new } => Self::Swap { key, expected, new },
            Write::Delete { key } => Self::Delete { key },
        }
    }
}

impl TryFrom<Request> for Write {
    type Error = Request;

    /// The write that a request is, unless something stands before it.
    fn try_from(request: Request) -> Result<Self, Request> {
        Ok(match request {
            Request::Put { key, value } => Self::Put { key, value },
            Request::Swap { key, expected, new } => Self::Swap { key, expected, new },
            Request::Delete { key } => Self::Delete { key },
            other => return Err(other),
        })
    }
}

impl Request {
    /// The same write or effect behind a guard. What writes nothing needs none.
    #[must_use]
    pub fn guarded(self, guard: Guard) -> Self {
        match Write::try_from(self) {
            Ok(write) => Self::Guarded { guard, write },
            Err(Self::Once { effect, deed, .. }) => Self::Once { guard: Some(guard), effect, deed },
            Err(other) => other,
        }
    }

    /// The same write without a guard, for a store that knows of none. Such a store does nothing once: of an effect it is
    /// only asked whether it lives, and nobody takes that answer for the effect's.
    #[must_use]
    pub fn unguarded(self) -> Self {
        match self {
            Self::Guarded { write, .. } => write.into(),
            Self::Once { .. } => Self::Ping,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_admits_the_epoch_of_the_record_and_later_ones() {
        let value = |text: &str| Value::new(text.as_bytes()).unwrap();
        let guard =
            |generation, counter| Guard::new("session/1".parse().unwrap(), Epoch { generation, counter });
        let record = value("session host=b epoch=2.3 colour=red");
        for (of, admitted) in
            [((2, 3), true), ((2, 4), true), ((3, 1), true), ((2, 2), false), ((1, 9), false)]
        {
            assert_eq!(guard(of.0, of.1).admits(Some(&record)), admitted, "{of:?}");
        }
        for unreadable in ["", "session host=b", "session epoch=x"] {
            assert!(!guard(9, 9).admits(Some(&value(unreadable))), "{unreadable:?}");
        }
        assert!(!guard(9, 9).admits(None), "its session is over");
    }
}
