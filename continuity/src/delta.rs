//! What makes one version of an object from another.

use crate::codec::{Reader, Writer};
use crate::encoded::{Encoded, HEADER_LEN, Hash, PREFIX_LEN};
use crate::limits::{DELTA_MAX, OBJECT_MAX};
use crate::names::Stamp;
use crate::patch;

/// What a delta begins with: magic and format.
const MAGIC: [u8; 4] = *b"HDD\x01";

/// The difference between two versions. It is good for a copy that is exactly the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    base: Stamp,
    result: Stamp,
    hash: Hash,
    runs: Vec<u8>,
}

/// Bytes that are no delta. Whoever sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a delta")]
pub struct BadDelta;

/// Why a version was not taken. What is held is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The version is not above the held one: there is nothing to do.
    #[error("{result} is not above {held}")]
    Stale {
        /// What was offered.
        result: Stamp,
        /// What is held.
        held: Stamp,
    },
    /// The delta is for another version than the held one: the whole object is needed.
    #[error("a delta from {base}, where {held:?} is held")]
    Gap {
        /// What it is for.
        base: Stamp,
        /// What is held, if anything is.
        held: Option<Stamp>,
    },
    /// What it makes is not what was meant: the copies differ, and the whole object is needed.
    #[error("a delta to {result} that makes something else of {held}")]
    Corrupt {
        /// What was meant.
        result: Stamp,
        /// What is held.
        held: Stamp,
    },
}

impl Delta {
    /// The difference between any two versions. It can be applied where `result` is above `base`.
    #[must_use]
    pub fn between(base: &Encoded, result: &Encoded) -> Self {
        let mut runs = Writer::default();
        patch::diff(base.body(), result.body(), &mut runs);
        Self { base: base.stamp(), result: result.stamp(), hash: result.hash(), runs: runs.0 }
    }

    /// The version it is for.
    #[must_use]
    pub const fn base(&self) -> Stamp {
        self.base
    }

    /// The version it makes.
    #[must_use]
    pub const fn result(&self) -> Stamp {
        self.result
    }

    /// The hash of what it makes.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The version that it makes of `held`.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn apply(&self, held: &Encoded) -> Result<Encoded, Refused> {
        let (held_stamp, result) = (held.stamp(), self.result);
        if result <= held_stamp {
            return Err(Refused::Stale { result, held: held_stamp });
        }
        if self.base != held_stamp {
            return Err(Refused::Gap { base: self.base, held: Some(held_stamp) });
        }
        self.make(held)
            .filter(|made| made.hash() == self.hash)
            .ok_or(Refused::Corrupt { result, held: held_stamp })
    }

    fn make(&self, held: &Encoded) -> Option<Encoded> {
        let body = patch::patch(held.body(), &self.runs, OBJECT_MAX - HEADER_LEN)?;
        let mut bytes = Encoded::header(held.format(), self.result).to_vec();
        bytes.extend_from_slice(&body);
        Encoded::open(&bytes).ok()
    }

    /// Its bytes, at most [`DELTA_MAX`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.fixed(&MAGIC);
        writer.fixed(&self.base.to_bytes());
        writer.fixed(&self.result.to_bytes());
        writer.fixed(&self.hash.0);
        writer.fixed(&self.runs);
        writer.0
    }

    /// What [`Self::to_bytes`] wrote. Its runs are looked at when it is applied.
    ///
    /// # Errors
    /// [`BadDelta`] if they do not begin as a delta does, or are too many.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadDelta> {
        let mut reader = Reader(bytes);
        let mut read = || {
            let is_delta = bytes.len() <= DELTA_MAX && reader.fixed()? == MAGIC;
            let base = Stamp::from_bytes(reader.fixed()?);
            let result = Stamp::from_bytes(reader.fixed()?);
            let hash = Hash(reader.fixed()?);
            is_delta.then(|| Self { base, result, hash, runs: reader.0.to_vec() })
        };
        read().ok_or(BadDelta)
    }
}

const _: () = assert!(PREFIX_LEN == MAGIC.len());
