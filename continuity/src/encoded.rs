//! An object as bytes, for whoever keeps it without reading it.

use core::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::limits::OBJECT_MAX;
use crate::names::Stamp;

/// What an encoding begins with.
const MAGIC: [u8; 3] = *b"HDO";
/// Bytes before the stamp: the magic and the format.
pub(crate) const PREFIX_LEN: usize = MAGIC.len() + 1;
/// Bytes of the header: what every format begins with.
pub(crate) const HEADER_LEN: usize = PREFIX_LEN + Stamp::LEN;

/// The first 16 bytes of SHA-256 of an encoding.
///
/// It finds copies that differ by accident, which happens unseen once in 2^128 times. It need not withstand who looks
/// for two objects with one hash (2^64 tries): the session's user makes both, and would mislead nobody else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; Self::LEN]);

impl Hash {
    /// Bytes of a hash.
    pub const LEN: usize = 16;

    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; Self::LEN];
        for (to, from) in hash.iter_mut().zip(Sha256::digest(bytes)) {
            *to = from;
        }
        Self(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&proto::hex::encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// Bytes that are no object. Whoever sent them is at fault; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEncoded {
    /// More than [`OBJECT_MAX`] bytes.
    #[error("an object of {0} bytes is longer than {OBJECT_MAX}")]
    TooLong(usize),
    /// They do not begin as an object does.
    #[error("not an object")]
    NoObject,
}

/// An object as bytes, of whatever format: its header is understood, the rest is not looked at. Cloning shares the
/// bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    bytes: Arc<[u8]>,
    hash: Hash,
}

impl Encoded {
    /// Takes bytes whose header is one.
    ///
    /// # Errors
    /// See [`NotEncoded`].
    pub fn open(bytes: &[u8]) -> Result<Self, NotEncoded> {
        if bytes.len() > OBJECT_MAX {
            return Err(NotEncoded::TooLong(bytes.len()));
        }
        let has_format = bytes.len() >= HEADER_LEN && bytes[PREFIX_LEN - 1] != 0;
        if !has_format || !bytes.starts_with(&MAGIC) {
            return Err(NotEncoded::NoObject);
        }
        Ok(Self { bytes: bytes.into(), hash: Hash::of(bytes) })
    }

    /// What an encoding of `format` with this stamp begins with.
    pub(crate) fn header(format: u8, stamp: Stamp) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..MAGIC.len()].copy_from_slice(&MAGIC);
        header[PREFIX_LEN - 1] = format;
        header[PREFIX_LEN..].copy_from_slice(&stamp.to_bytes());
        header
    }

    /// All of its bytes, as they are sent and stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which version it is.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let mut stamp = [0; Stamp::LEN];
        stamp.copy_from_slice(&self.bytes[PREFIX_LEN..HEADER_LEN]);
        Stamp::from_bytes(stamp)
    }

    /// The format of what follows the header.
    #[must_use]
    pub fn format(&self) -> u8 {
        self.bytes[PREFIX_LEN - 1]
    }

    /// Its hash, by which two hosts compare what they hold.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// What follows the header.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({}, {} bytes, {})", self.stamp(), self.bytes.len(), self.hash)
    }
}
