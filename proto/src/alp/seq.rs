//! The number of a presentation.

use std::sync::Arc;

/// The number that a DTU gives to a presentation of a token and wants back with whatever answers it. Terminals count; a host need not understand it, and echoes what is no number as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSeq(Arc<str>);

impl TokenSeq {
    /// Longest one, in bytes.
    pub const MAX: usize = 32;
}

impl From<u32> for TokenSeq {
    fn from(number: u32) -> Self {
        Self(number.to_string().into())
    }
}

impl core::str::FromStr for TokenSeq {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        let fits = !s.is_empty() && s.len() <= Self::MAX && s.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(s.into())) } else { Err(()) }
    }
}

impl core::fmt::Display for TokenSeq {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}
