//! How many files the programs of a session, and the spawner itself, may have open.

use std::fmt;
use std::io;
use std::str::FromStr;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// A soft and a hard limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What programs begin with.
    pub soft: rlim_t,
    /// What they may raise it to.
    pub hard: rlim_t,
}

impl OpenFiles {
    /// The limits of this process. A daemon that raises its own asks before.
    #[must_use]
    pub fn present() -> Option<Self> {
        getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, hard)| Self { soft, hard })
    }

    pub(super) fn set(self) -> io::Result<()> {
        Ok(setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard)?)
    }
}

impl fmt::Display for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.soft, self.hard)
    }
}

impl FromStr for OpenFiles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once(':')
            .and_then(|(soft, hard)| Some(Self { soft: soft.parse().ok()?, hard: hard.parse().ok()? }));
        parsed.ok_or_else(|| format!("{text:?} is not SOFT:HARD, two numbers"))
    }
}

/// Raises the soft limit of open files to the hard one, since every session takes one, and says what it was.
pub(super) fn raise_limits() -> Option<OpenFiles> {
    let before = OpenFiles::present()?;
    OpenFiles { soft: before.hard, ..before }.set().ok()?;
    Some(before)
}
