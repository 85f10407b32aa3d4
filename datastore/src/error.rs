//! Why a request was not done, said so that the caller knows whose fault it is and whether anything changed.
//!
//! One vocabulary for all implementations and for the wire, so that nothing is lost when a session's request
//! is relayed through its host.

use proto::exit::Exit;
use serde::{Deserialize, Serialize};

use crate::quota;
use crate::value::ValueTooLarge;

/// Why a request was not done. The order of variants is the wire form: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StoreError {
    /// There is no connection, or a read's answer did not come. Nothing was changed; the network or the data
    /// store's machine is at fault. May be tried again.
    #[error("the data store at {at} cannot be reached: {why}; nothing was changed")]
    Unreachable {
        /// Where the data store is.
        at: String,
        /// What was seen.
        why: String,
    },
    /// A write was sent and its answer did not come: it may have been done, may be done yet, or never. Only
    /// a read tells. Never retried by this crate.
    #[error(
        "a write was sent to the data store at {at}, and then {why}: it may or may not have been done; read the key before writing again"
    )]
    OutcomeUnknown {
        /// Where the data store is.
        at: String,
        /// What was seen.
        why: String,
    },
    /// The data store answered no. Nothing was changed.
    #[error("the data store refused: {0}; nothing was changed")]
    Refused(Refusal),
    /// More bytes than fit. Nothing was changed; the caller is at fault.
    #[error("{}", too_large(what, *bytes, *max))]
    TooLarge {
        /// `value` or `key`, or what a quota is for.
        what: String,
        /// How many bytes there are.
        bytes: u32,
        /// How many may be.
        max: u32,
    },
    /// One side could not prove that it belongs to the group. Nothing was changed; a key directory is old,
    /// of another group, or missing.
    #[error(
        "no trust between this host and the data store at {at}: {why}; nothing was changed. Give both the same key directory"
    )]
    NotTrusted {
        /// Where the data store is.
        at: String,
        /// Who failed to prove what.
        why: String,
    },
    /// The other side said something that is no message of ours. Whether a write was done is unknown.
    #[error("the data store at {at} does not speak this program's protocol: {why}")]
    Malformed {
        /// Where the data store is.
        at: String,
        /// What was wrong.
        why: String,
    },
}

/// Why a data store says no to a well-formed request. The order of variants is the wire form: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// As much is under way as may be. Try again.
    #[error("too many requests are under way; try again")]
    Busy,
    /// This connection watches as many prefixes as it may.
    #[error("this connection watches as many prefixes as it may")]
    TooManyWatches,
    /// Not a request for this place, as `status` inside a session.
    #[error("this is not to be asked here")]
    NotHere,
    /// The disk failed. Reads are served from what was safe; writes need a restart of the data store, or, when the disk
    /// is full ([`Refusal::is_for_want_of_room`]), room.
    #[error("{}", disk_failed(why))]
    Failed {
        /// What the system said.
        why: String,
    },
    /// It is being stopped.
    #[error("it is being stopped")]
    Stopping,
    /// The write's guard does not admit it: the session has a later home, or is over.
    #[error("the session has moved to another host or is over")]
    Fenced,
    /// The effect belongs to an operation before the last one of its service: what became of it is not remembered.
    #[error("the service has gone on to a later operation")]
    Superseded,
}

impl Refusal {
    /// That of a store whose disk is full.
    #[must_use]
    pub fn no_room() -> Self {
        Self::Failed { why: NO_ROOM.to_owned() }
    }

    /// Whether the store goes on by itself as soon as its disk has room.
    #[must_use]
    pub fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Failed { why } if why == NO_ROOM)
    }
}

/// Why a store whose disk is full refuses. On the wire it is told from other failures by this text, which programs of
/// before print as it is.
const NO_ROOM: &str = "it is full";

fn disk_failed(why: &str) -> String {
    if why == NO_ROOM {
        "its disk is full: it takes no writes until there is room again, and then goes on by itself"
            .to_owned()
    } else {
        format!("its disk failed ({why}) and it takes no writes until it is restarted on a good one")
    }
}

fn too_large(what: &str, bytes: u32, max: u32) -> String {
    if what == quota::OF_USER || what == quota::OF_TOKENS {
        format!(
            "a {what} of {bytes} bytes is more than the quota of {max}; nothing was changed. Delete something (datastore \
             rm KEY), or ask for a larger quota (datastore serve --quota)"
        )
    } else {
        format!("a {what} of {bytes} bytes is too large: at most {max}; nothing was changed")
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ValueTooLarge> for StoreError {
    fn from(error: ValueTooLarge) -> Self {
        Self::too_large("value", error.bytes, crate::Value::LEN_MAX)
    }
}

impl StoreError {
    pub(crate) fn too_large(what: &str, bytes: usize, max: usize) -> Self {
        let cap = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Self::TooLarge { what: what.into(), bytes: cap(bytes), max: cap(max) }
    }

    /// The exit code of a command that this ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Nobody,
            Self::OutcomeUnknown { .. } | Self::Malformed { .. } => Exit::Unknown,
            Self::Refused(Refusal::NotHere) => Exit::NotAllowed,
            Self::Refused(_) => Exit::No,
            Self::TooLarge { .. } => Exit::Usage,
            Self::NotTrusted { .. } => Exit::NotAllowed,
        }
    }

    /// Whether the request, if it was a write, may have been done all the same.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::Malformed { .. })
    }
}
