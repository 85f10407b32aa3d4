//! A host's digest: for which tokens it has sessions, in few bytes, so that in a large group a tokenQ goes only
//! where it may succeed.
//!
//! A digest is a list of [`ShortTag`]s that only grows: what stands at a place of one generation of one run
//! never changes, so a part that is lost, repeated, late or replayed cannot make a receiver believe anything
//! wrong; it can only know too little, and its [`DigestVersion`] says so. When too much of the list is of tokens
//! that have gone, a new generation begins.
//!
//! Why a list of tags and no Bloom filter: a filter has to be sized in advance and sent whole, while a list is
//! told of by what was added; and 32 bits a token make one needless question in 65,000 at a host with 65,536
//! tokens, for which a filter would need 23 bits a token.

use core::fmt;
use core::str::FromStr;

use crate::ids::{KeyId, TokenTag};
use crate::line::{FieldError, Line};

/// Tags in one part, so that the datagram stays below
/// [`DATAGRAM_MAX`](crate::host_message::DATAGRAM_MAX).
pub const TAGS_PER_PART: usize = 128;

/// Tags in a digest: 256 KiB at whoever holds it. A host with more has no digest, and is always asked.
pub const TAGS_MAX: usize = 65_536;

/// Parts of the largest digest.
pub const PARTS_MAX: usize = TAGS_MAX / TAGS_PER_PART;

/// Parts that one digestQ asks for.
pub const PARTS_ASKED_MAX: usize = 64;

/// The first 32 bits of a [`TokenTag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortTag(pub u32);

impl From<TokenTag> for ShortTag {
    fn from(tag: TokenTag) -> Self {
        let [a, b, c, d, ..] = tag.0.to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

/// How far a host's digest has come in its present run. The later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DigestVersion {
    /// How often the list has begun anew.
    pub generation: u32,
    /// How long it is, at most [`TAGS_MAX`].
    pub count: u32,
}

impl DigestVersion {
    /// How many parts it has.
    #[must_use]
    pub const fn parts(self) -> usize {
        (self.count as usize).div_ceil(TAGS_PER_PART)
    }

    /// How many tags part `number` holds; 0 for one that there is not.
    #[must_use]
    pub fn len_of(self, number: u16) -> usize {
        let before = usize::from(number) * TAGS_PER_PART;
        (self.count as usize).saturating_sub(before).min(TAGS_PER_PART)
    }
}

impl fmt::Display for DigestVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.count)
    }
}

/// Text that is no version of a digest, or of one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest's version")]
pub struct BadVersion;

impl FromStr for DigestVersion {
    type Err = BadVersion;
    fn from_str(s: &str) -> Result<Self, BadVersion> {
        let (generation, count) = s.split_once('.').ok_or(BadVersion)?;
        let number = |text: &str| text.parse().map_err(|_| BadVersion);
        let version = Self { generation: number(generation)?, count: number(count)? };
        if version.count as usize > TAGS_MAX { Err(BadVersion) } else { Ok(version) }
    }
}

/// One part of a digest, whole as of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestPart {
    /// The key the tags were made with.
    pub tagged: KeyId,
    /// The digest's version.
    pub version: DigestVersion,
    /// The number of the part, from 0.
    pub number: u16,
    /// Its tags, as many as [`DigestVersion::len_of`] says, in the order of their places.
    pub tags: Vec<ShortTag>,
}

impl DigestPart {
    pub(crate) fn from_line(line: &Line) -> Result<Self, FieldError> {
        let (version, number): (DigestVersion, u16) = (line.need("dig")?, line.need("part")?);
        let digits = line.get("tags").ok_or(FieldError::Missing("tags"))?.as_bytes();
        if digits.is_empty() || digits.len() != version.len_of(number) * 8 {
            return Err(FieldError::Bad("tags"));
        }
        let tag = |digits| crate::hex::decode(digits).map(|bytes| ShortTag(u32::from_be_bytes(bytes)));
        let tags: Option<Vec<ShortTag>> = digits.chunks_exact(8).map(tag).collect();
        Ok(Self { tagged: line.need("tagged")?, version, number, tags: tags.ok_or(FieldError::Bad("tags"))? })
    }

    pub(crate) fn append_to(&self, line: Line) -> Line {
        let bytes: Vec<u8> = self.tags.iter().flat_map(|tag| tag.0.to_be_bytes()).collect();
        line.with("tagged", self.tagged)
            .with("dig", self.version)
            .with("part", self.number)
            .with("tags", crate::hex::encode(&bytes))
    }
}

/// The parts that a digestQ asks for.
pub(crate) fn parts_asked(line: &Line) -> Result<Vec<u16>, FieldError> {
    let parts: Result<Vec<u16>, FieldError> =
        line.all("part").map(|part| part.parse().map_err(|_| FieldError::Bad("part"))).collect();
    let parts = parts?;
    let fits = !parts.is_empty()
        && parts.len() <= PARTS_ASKED_MAX
        && parts.iter().all(|part| usize::from(*part) < PARTS_MAX);
    if fits { Ok(parts) } else { Err(FieldError::Bad("part")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_cut_into_full_parts_and_a_rest() {
        let version = DigestVersion { generation: 1, count: 300 };
        assert_eq!(
            (version.parts(), version.len_of(0), version.len_of(2), version.len_of(3)),
            (3, 128, 44, 0)
        );
        assert_eq!(DigestVersion::default().parts(), 0);
        let largest = DigestVersion { generation: 1, count: TAGS_MAX as u32 };
        assert_eq!(largest.parts(), PARTS_MAX);
    }

    #[test]
    fn a_version_longer_than_a_digest_may_be_is_refused() {
        assert_eq!("7.65536".parse(), Ok(DigestVersion { generation: 7, count: 65_536 }));
        for bad in ["7.65537", "7", "7.", ".7", "7.-1", "4294967296.0", ""] {
            assert_eq!(bad.parse::<DigestVersion>(), Err(BadVersion), "{bad:?}");
        }
    }
}
