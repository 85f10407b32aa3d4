//! How far a session's state outlives its host, and at what price.

use core::fmt;
use core::str::FromStr;

use proto::ids::BadName;
use proto::time::Duration;
use serde::{Deserialize, Serialize};

/// Who keeps a session's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Continuity {
    /// The data store only: after its host's death the session starts afresh with its permanent data.
    #[default]
    Restart,
    /// A secondary host.
    Replicated,
    /// The DTU, a relay or several peers.
    Carried,
    /// Two or more hosts run the services at once.
    Continuous,
    /// Process images and an input log at a secondary.
    Checkpoint,
}

impl Continuity {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("restart", Self::Restart),
        ("replicated", Self::Replicated),
        ("carried", Self::Carried),
        ("continuous", Self::Continuous),
        ("checkpoint", Self::Checkpoint),
    ];

    /// Whether hosts can make a session of this class.
    #[must_use]
    pub const fn is_implemented(self) -> bool {
        matches!(self, Self::Restart | Self::Replicated)
    }

    /// Its name in a template.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Replicated => "replicated",
            Self::Carried => "carried",
            Self::Continuous => "continuous",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl FromStr for Continuity {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let known = Self::ALL.into_iter().find(|(name, _)| *name == s).map(|(_, class)| class);
        known.ok_or_else(|| BadName::new("continuity class", s, "one that a template may name"))
    }
}

impl fmt::Display for Continuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a session of the class [`Continuity::Replicated`] waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// When its secondary is told of a version.
    pub ack: Ack,
    /// What becomes of it while it has no secondary.
    pub protect: Protect,
    /// When its secondary goes on with it.
    #[serde(default)]
    pub promote: Promote,
}

/// When the secondary is told of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ack {
    /// At once; what comes after it is shown when the secondary has it.
    #[default]
    Each,
    /// Together with others; what comes after it is shown at once.
    Batch {
        /// No version waits longer, in whole seconds from 1 to [`Ack::EVERY_MAX`].
        every: Duration,
        /// Nor do more of them wait, from 1 to [`Ack::VERSIONS_MAX`].
        versions: u32,
    },
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => f.write_str("each"),
            Self::Batch { every, versions } => write!(f, "batch/{}/{versions}", every.as_secs()),
        }
    }
}

impl FromStr for Ack {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let batch = || {
            let (secs, versions) = s.strip_prefix("batch/")?.split_once('/')?;
            Some(Self::Batch {
                every: Duration::from_secs(secs.parse().ok()?),
                versions: versions.parse().ok()?,
            })
        };
        let found = if s == "each" { Some(Self::Each) } else { batch() };
        found.ok_or_else(|| BadName::new("acknowledgement", s, "each, or batch/SECONDS/VERSIONS"))
    }
}

impl Ack {
    /// Whether no version waits longer, nor more of them, than may be.
    #[must_use]
    pub fn is_within_bounds(self) -> bool {
        match self {
            Self::Each => true,
            Self::Batch { every, versions } => {
                (Duration::from_secs(1)..=Self::EVERY_MAX).contains(&every)
                    && (1..=Self::VERSIONS_MAX).contains(&versions)
            }
        }
    }

    /// Versions that wait longer than this are no protection.
    pub const EVERY_MAX: Duration = Duration::from_secs(3600);
    /// Most versions that wait.
    pub const VERSIONS_MAX: u32 = 100_000;
    /// How long versions wait unless a template says otherwise.
    pub const EVERY: Duration = Duration::from_secs(10);
    /// How many of them wait unless a template says otherwise.
    pub const VERSIONS: u32 = 100;
}

/// What becomes of a session that has no secondary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protect {
    /// It goes on unprotected, and says so.
    #[default]
    Best,
    /// Nothing more of it is shown until it has one again.
    Must,
}

impl Protect {
    pub(super) const ALL: [(&'static str, Self); 2] = [("best", Self::Best), ("must", Self::Must)];

    /// Its name in a template.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Must => "must",
        }
    }
}

impl FromStr for Protect {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == s);
        found.map(|(_, protect)| protect).ok_or_else(|| BadName::new("protection", s, "best or must"))
    }
}

/// When a secondary goes on with a session whose home is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Promote {
    /// When somebody presents its card.
    #[default]
    Card,
    /// Unasked: it watches the home.
    Ping,
}

impl Promote {
    pub(super) const ALL: [(&'static str, Self); 2] = [("card", Self::Card), ("ping", Self::Ping)];

    /// Its name in a template.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Ping => "ping",
        }
    }
}

impl FromStr for Promote {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == s);
        found.map(|(_, promote)| promote).ok_or_else(|| BadName::new("promotion", s, "card or ping"))
    }
}
