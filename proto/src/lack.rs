//! What keeps a host from making sessions, as it announces it (`lacks=spawner,memory` in a host message).
//!
//! A host that lacks something counts as drained, which its beacons say; the reason is in its messages, for operators.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeSet;

/// One thing without which no session can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lack {
    /// Its spawner is gone or does not answer.
    Spawner,
    /// Its run directory is gone or incomplete.
    RunDir,
    /// The account that its sessions are to run as does not exist.
    Account,
    /// The kernel gives it no more processes.
    Processes,
    /// Its file descriptors are used up.
    Descriptors,
    /// The kernel's terminals are used up.
    Terminals,
    /// Its memory is used up.
    Memory,
    /// A disk that it needs is full.
    Disk,
    /// Another host of the same name was there first.
    Name,
}

impl Lack {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 9] = [
        Self::Spawner,
        Self::RunDir,
        Self::Account,
        Self::Processes,
        Self::Descriptors,
        Self::Terminals,
        Self::Memory,
        Self::Disk,
        Self::Name,
    ];

    /// Its word on the wire and for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Spawner => "spawner",
            Self::RunDir => "rundir",
            Self::Account => "account",
            Self::Processes => "processes",
            Self::Descriptors => "descriptors",
            Self::Terminals => "terminals",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Name => "name",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Everything that a host lacks; nothing, when it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks(BTreeSet<Lack>);

impl Lacks {
    /// Nothing is lacking.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Lack> {
        self.0.iter().copied()
    }
}

impl FromIterator<Lack> for Lacks {
    fn from_iter<I: IntoIterator<Item = Lack>>(lacks: I) -> Self {
        Self(lacks.into_iter().collect())
    }
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, lack) in self.0.iter().enumerate() {
            write!(f, "{}{lack}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Lacks {
    type Err = core::convert::Infallible;

    /// Words that only a newer version knows are left out: that something is lacking is said by `drain` too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Lack::ALL.into_iter().filter(|lack| text.split(',').any(|word| word == lack.word())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lacks_are_read_as_they_are_written_and_unknown_words_are_left_out() {
        let all: Lacks = Lack::ALL.into_iter().collect();
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!(
            "memory,gravity,spawner".parse::<Lacks>().map(|l| l.to_string()),
            Ok("spawner,memory".into())
        );
        assert_eq!("".parse(), Ok(Lacks::none()));
    }
}
