//! The version of what hosts say to each other, with one line of history for each.

/// A protocol version (`ver=`). A group may run two neighbouring versions at once, so that it can be
/// upgraded host by host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Version(pub u16);

impl Version {
    /// 1: host messages, beacons, hostQ/hostR, tokenQ/tokenR, shown, goodbye.
    ///
    /// 2: digests (`dig` in beacons, digest, digestQ); who announces none is asked for every token. Added without a new version, and ignored
    /// by those that do not know it: the load in tokenR, coming.
    pub const CURRENT: Self = Self(2);

    /// Whether a host of this version and one of `other` may work in one group.
    #[must_use]
    pub const fn speaks_with(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= 1
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl core::str::FromStr for Version {
    type Err = core::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}
