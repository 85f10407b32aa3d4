//! What is kept of a session at another host, and how far an answer waits for that.

use core::fmt;

use continuity::Times;
use continuity::limits::{DELTA_MAX, OBJECT_MAX};
use proto::time::Duration;
use proto::{Epoch, HostName, ServiceName};
use serde::{Deserialize, Serialize};

use super::Bytes;

/// What an object is about, within its service. Later kinds are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// What programs have said of themselves on the state socket.
    State,
    /// What the service's terminal contributes by itself.
    Screen,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::State => "state",
            Self::Screen => "screen",
        })
    }
}

/// One of the objects of a session: each has versions of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The service it belongs to.
    pub service: ServiceName,
    /// What it is about.
    pub kind: Kind,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.kind)
    }
}

/// A version of a part on its way to whoever keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Update {
    /// All of it: the bytes of a [`continuity::Encoded`].
    Whole(Bytes),
    /// What makes it from the version that was sent before: the bytes of a [`continuity::Delta`].
    Delta(Bytes),
}

impl Update {
    /// Whether it is as short as what it stands for can be.
    pub(super) const fn fits(&self) -> bool {
        match self {
            Self::Whole(object) => object_fits(object),
            Self::Delta(delta) => delta.0.len() <= DELTA_MAX,
        }
    }
}

/// Whether an object has at most [`OBJECT_MAX`] bytes.
pub(super) const fn object_fits(object: &Bytes) -> bool {
    object.0.len() <= OBJECT_MAX
}

/// How a session is protected, and so what waits. Answers are those of the state socket; what a terminal shows waits as they
/// do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// Nobody keeps a copy: nothing is sent, and nothing waits.
    Alone,
    /// A secondary is being filled: the whole of each part is sent, then every version. Nothing waits.
    Filling,
    /// Every version is sent, and what comes after it waits until the secondary keeps it.
    Each,
    /// Versions are sent together; nothing waits.
    Batch {
        /// The oldest version that was not sent is no older than this. To the millisecond.
        #[serde(with = "millis")]
        every: Duration,
        /// Nor are there more of them.
        versions: u32,
    },
    /// No secondary can be had, and nothing may be shown without: nothing is sent, and all waits.
    Held,
}

/// How a session of the class `replicated` begins here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The epoch of the session at this host.
    pub epoch: Epoch,
    /// The host that had the session before and is gone; `None` for one that begins for the first time.
    pub lost: Option<HostName>,
    /// What is sent, and what waits, from the beginning on.
    pub protection: Protection,
}

/// How long it took from the commits of a session's programs until the secondary had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// How many there were.
    pub count: u64,
    /// What half of them took at most, in microseconds, to a thirty-second.
    pub p50_us: u64,
    /// What 99 of 100 took at most, in microseconds, to a thirty-second.
    pub p99_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
}

impl Acknowledged {
    /// What has been counted.
    #[must_use]
    pub fn of(times: &Times) -> Self {
        Self { count: times.count(), p50_us: times.at(50), p99_us: times.at(99), max_us: times.longest() }
    }
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50_us, p99_us, max_us } = self;
        write!(
            f,
            "{count} acknowledged, half within {p50_us} us, 99 of 100 within {p99_us} us, all within {max_us} us"
        )
    }
}

/// A stamp as the bytes it has everywhere.
pub(super) mod stamp {
    use continuity::Stamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(stamp: &Stamp, s: S) -> Result<S::Ok, S::Error> {
        stamp.to_bytes().serialize(s)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Stamp, D::Error> {
        <[u8; Stamp::LEN]>::deserialize(d).map(Stamp::from_bytes)
    }
}

mod millis {
    use proto::time::Duration;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
        u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u32::deserialize(d).map(|millis| Duration::from_millis(millis.into()))
    }
}
