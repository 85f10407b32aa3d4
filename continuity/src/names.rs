//! Names within an object, and what tells one version of it from another.

use core::fmt;
use core::str::FromStr;

use proto::Epoch;
use proto::ids::{BadName, is_word};

proto::text_name! {
    /// What a value is called within its pool.
    Key, "key", 64, "1 to 64 of letters, digits and ._:/@-", |s| is_word(s, "._:/@-")
}

proto::text_name! {
    /// The name of a step: of a composite one on the stack, or of a simple one within it.
    StepName, "step", 32, "1 to 32 of letters, digits and ._-", |s| is_word(s, "._-")
}

proto::text_name! {
    /// For what an object is good, as its service says: a path, which means something to that service alone.
    Scope, "scope", 128, "1 to 128 of letters, digits and ._:/@-, beginning with /",
    |s| s.starts_with('/') && is_word(s, "._:/@-")
}

impl Default for Scope {
    fn default() -> Self {
        Self("/".into())
    }
}

/// Counts the commits to an object. The first commit makes version 1. It goes on rising when the session moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one version of an object: who was the primary, and which of its commits it is. Printed `epoch/version`.
///
/// It is ordered by the epoch first: what a primary says whose session has moved on is old, whatever its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// In which epoch of the session it was committed.
    pub epoch: Epoch,
    /// Which commit it is.
    pub version: Version,
}

impl Stamp {
    /// Bytes of its encoding.
    pub const LEN: usize = 16;

    /// Generation and counter of the epoch and the version, big endian, so that bytes are ordered as stamps are.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.epoch.generation.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.epoch.counter.to_be_bytes());
        bytes[8..].copy_from_slice(&self.version.0.to_be_bytes());
        bytes
    }

    /// What [`Self::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let all = u128::from_be_bytes(bytes);
        let part = |shift: u32| u32::try_from(all >> shift & u128::from(u32::MAX)).unwrap_or_default();
        Self {
            epoch: Epoch { generation: part(96), counter: part(64) },
            version: Version(u64::from(part(32)) << 32 | u64::from(part(0))),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.version)
    }
}

impl FromStr for Stamp {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("stamp", s, "an epoch and a version with a / between them");
        let (epoch, version) = s.split_once('/').ok_or_else(bad)?;
        Ok(Self {
            epoch: epoch.parse().map_err(|_| bad())?,
            version: Version(version.parse().map_err(|_| bad())?),
        })
    }
}

/// A pool of values: what a key is looked up in.
///
/// Written `global`, `composite`, `step:NAME`, `interactive` and `application`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Values of the service as a whole.
    Global,
    /// Values of the composite step on top of the stack.
    Composite,
    /// Values of one of its simple steps.
    Step(StepName),
    /// Values of what the user is being asked.
    Interactive,
    /// Values of the application.
    Application,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Composite => f.write_str("composite"),
            Self::Step(name) => write!(f, "step:{name}"),
            Self::Interactive => f.write_str("interactive"),
            Self::Application => f.write_str("application"),
        }
    }
}

impl FromStr for Place {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let rule = "global, composite, step:NAME, interactive or application";
        match (s, s.split_once(':')) {
            ("global", _) => Ok(Self::Global),
            ("composite", _) => Ok(Self::Composite),
            ("interactive", _) => Ok(Self::Interactive),
            ("application", _) => Ok(Self::Application),
            (_, Some(("step", name))) => name.parse().map(Self::Step),
            _ => Err(BadName::new("pool", s, rule)),
        }
    }
}

/// Which pools have states 1 to N, between which one goes back and forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesName {
    /// The composite step on top of the stack, with its simple steps.
    Composite,
    /// The interactive pool.
    Interactive,
    /// The application's pool.
    Application,
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Composite => "composite",
            Self::Interactive => "interactive",
            Self::Application => "application",
        })
    }
}

impl FromStr for SeriesName {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        match s {
            "composite" => Ok(Self::Composite),
            "interactive" => Ok(Self::Interactive),
            "application" => Ok(Self::Application),
            _ => Err(BadName::new("pool with states", s, "composite, interactive or application")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_ordered_by_its_epoch_and_then_by_its_version_and_so_are_its_bytes() {
        let stamps: Vec<Stamp> =
            ["1.7/9", "1.7/256", "1.8/0", "2.1/0"].iter().map(|s| s.parse().unwrap()).collect();
        for pair in stamps.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_bytes() < pair[1].to_bytes());
        }
        for stamp in stamps {
            assert_eq!(Stamp::from_bytes(stamp.to_bytes()), stamp);
            assert_eq!(stamp.to_string().parse(), Ok(stamp));
        }
        for bad in ["", "1.7", "1/7", "1.7/", "1.7/-1", "1.7/1/1"] {
            assert!(bad.parse::<Stamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pool_reads_back_as_it_is_written() {
        for text in ["global", "composite", "step:pay.now", "interactive", "application"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for bad in ["", "Global", "step", "step:", "step:a b", "global:x"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
