//! What is asked of a data store and what it answers.
//!
//! Every answer is stamped with the store's generation and revision: a restored backup has a
//! higher generation, and within one generation the revision only rises. Enums here are the wire form in
//! the order of their variants: append only.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::guard::{Guard, Write};
use crate::key::{Key, Prefix};
use crate::once::{Deed, EffectId, Past};
use crate::value::Value;

/// How often the data store was restored from a backup, plus one. Part of every session's epoch, so that no
/// epoch of before the restore is ever given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation(pub u32);

impl Generation {
    /// That of a new store.
    pub const FIRST: Self = Self(1);

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many changes the store has seen. Each change has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a request of one connection, and the watch it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// What a compare-and-swap wants to find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// The key has no value.
    Absent,
    /// The key has exactly this value.
    Exactly(Value),
}

impl Expected {
    /// Whether `current` is what is wanted.
    #[must_use]
    pub fn is(&self, current: Option<&Value>) -> bool {
        match self {
            Self::Absent => current.is_none(),
            Self::Exactly(wanted) => current == Some(wanted),
        }
    }
}

impl From<Option<Value>> for Expected {
    /// What a read found, wanted unchanged.
    fn from(found: Option<Value>) -> Self {
        found.map_or(Self::Absent, Self::Exactly)
    }
}

/// What a client asks of the store, one at a time and in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The value of a key. Answered by [`Answer::Value`].
    Get {
        /// The key whose value is wanted.
        key: Key,
    },
    /// Store a value, whatever was there. Answered by [`Answer::Stored`].
    Put {
        /// Under which key.
        key: Key,
        /// The value to store.
        value: Value,
    },
    /// Compare-and-swap: store or delete only if the key is as expected. Answered by [`Answer::Swapped`] or
    /// [`Answer::Lost`].
    Swap {
        /// The key whose value is to change.
        key: Key,
        /// As it must be found.
        expected: Expected,
        /// As it shall be: `None` deletes.
        new: Option<Value>,
    },
    /// Delete a key. Answered by [`Answer::Deleted`].
    Delete {
        /// The key that is to have no value.
        key: Key,
    },
    /// A page of keys and values in the order of keys. Answered by [`Answer::Page`].
    Scan {
        /// Only keys that begin with this.
        prefix: Prefix,
        /// Only those after this one: the last key of the page before.
        after: Option<Key>,
        /// At most so many, 1 to [`Page::ENTRIES_MAX`]; what lies outside is moved to the nearest bound.
        limit: u16,
    },
    /// Tell of every change to these keys from now on. Answered by [`Answer::Watching`]; then
    /// [`WatchEvent`]s come under the request's id.
    Watch {
        /// Only keys that begin with this.
        prefix: Prefix,
    },
    /// End a watch. Answered by [`Answer::Unwatched`], after which no more of its events come.
    Unwatch {
        /// The id of the request that began it.
        watch: RequestId,
    },
    /// Are you alive? Answered by [`Answer::Pong`], even when the disk hangs.
    Ping,
    /// What the server has counted. Answered by [`Answer::Status`].
    Status,
    /// A write that is done only if its guard admits it, and answered as without one; else [`crate::Refusal::Fenced`].
    /// Stores of version 2 do not know it.
    Guarded {
        /// What is to be found.
        guard: Guard,
        /// What is to be done.
        write: Write,
    },
    /// An effect: done if its guard admits it and it was not done before; else [`crate::Refusal::Fenced`] or
    /// [`Answer::Already`]. Stores of version 2 do not know it.
    Once {
        /// What is to be found; set by the host of the session that asks.
        guard: Option<Guard>,
        /// Which effect it is.
        effect: EffectId,
        /// What is to be done.
        deed: Deed,
    },
}

impl Request {
    /// Whether it may change the store, so that a missing answer leaves its outcome unknown.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Put { .. }
                | Self::Swap { .. }
                | Self::Delete { .. }
                | Self::Guarded { .. }
                | Self::Once { .. }
        )
    }

    /// The first page of what `prefix` holds.
    #[must_use]
    pub const fn scan(prefix: Prefix) -> Self {
        Self::Scan { prefix, after: None, limit: Page::ENTRIES_MAX }
    }
}

/// The answer to one request, and of which store in which state it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The store's generation.
    pub generation: Generation,
    /// A revision at which the answer was true. A write's own revision is at or below it. On one connection,
    /// all events up to it were sent before it.
    pub revision: Revision,
    /// What the store found or did.
    pub answer: Answer,
}

/// What a [`Request`] is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The key's value, `None` when it has none.
    Value(Option<Value>),
    /// Stored, and safe on disk.
    Stored,
    /// The key was as expected and is as wanted now, safe on disk.
    Swapped,
    /// The key was not as expected: nothing was changed.
    Lost {
        /// As it was found. Safe on disk.
        current: Option<Value>,
    },
    /// The key has no value now, safe on disk.
    Deleted {
        /// Whether it had one.
        existed: bool,
    },
    /// Keys and values.
    Page(Page),
    /// The watch has begun: every change after the response's revision will be told.
    Watching,
    /// The watch has ended.
    Unwatched,
    /// The answer to [`Request::Ping`].
    Pong,
    /// What was counted, by name.
    Status(Vec<(String, u64)>),
    /// The request was not carried out.
    Failed(StoreError),
    /// The effect had happened before, or had begun. Nothing was changed; what is said is safe on disk.
    Already(Past),
    /// It is remembered that an effect begins, safe on disk.
    Begun,
    /// It is remembered what came of an effect, safe on disk.
    Ended,
}

/// A bounded part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order of keys. At most [`Page::ENTRIES_MAX`], and no more once they hold
    /// [`Page::BYTES_MAX`] bytes.
    pub entries: Vec<(Key, Value)>,
    /// Whether there are keys after the last one.
    pub more: bool,
}

impl Page {
    /// Most entries of a page.
    pub const ENTRIES_MAX: u16 = 1000;
    /// A page that holds so many bytes of keys and values takes no further entry.
    pub const BYTES_MAX: usize = 256 * 1024;

    /// Fills a page from entries in the order of keys.
    pub(crate) fn fill<E>(
        limit: u16,
        entries: impl Iterator<Item = Result<(Key, Value), E>>,
    ) -> Result<Self, E> {
        let limit = usize::from(limit.clamp(1, Self::ENTRIES_MAX));
        let mut page = Self::default();
        let mut bytes = 0;
        for entry in entries {
            let (key, value) = entry?;
            if page.entries.len() == limit || bytes >= Self::BYTES_MAX {
                page.more = true;
                break;
            }
            bytes += key.as_str().len() + value.as_bytes().len();
            page.entries.push((key, value));
        }
        Ok(page)
    }
}

/// What a key is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key whose value changed.
    pub key: Key,
    /// Its value; `None` when it was deleted.
    pub value: Option<Value>,
}

/// A change and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The revision it made.
    pub revision: Revision,
    /// The change that the watch reports.
    pub change: Change,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchEvent {
    /// A key of the watched prefix changed. Told only when it is safe on disk.
    Changed(Event),
    /// Changes may have been missed, because the watcher was too slow or the connection broke: read the
    /// prefix anew. Changes after that reading are told as before.
    Lagged,
}
