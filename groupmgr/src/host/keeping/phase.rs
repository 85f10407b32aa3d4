//! How far a session is protected, what follows from a step of it, and why a secondary is given up.

use std::collections::BTreeMap;

use continuity::{Encoded, Held};
use proto::time::Duration;
use proto::{HostName, Instant};
use sessiond::control::{Part, Protection, ToSession};
use sessiond::template::Ack;

use crate::keep::Message;

/// What follows from a step of a session.
#[derive(Debug)]
pub(super) enum Order {
    /// Tell its process.
    Tell(ToSession),
    /// Say something to another host.
    Say(HostName, Message),
    /// Have the record name this host, or nobody.
    Record(Option<HostName>),
    /// A host was given up for what it did not do: others come first for a while.
    Shun(HostName),
    /// A host keeps all of the session from now on.
    Kept(HostName),
    /// No host keeps it any more, and this is why.
    Bare(String),
    /// Another host than before keeps all of it, or none does any more.
    Named,
    /// Keep this, and ask a host to go on with the session.
    HandOver(HostName, Vec<(Part, Encoded)>),
    /// It is not handed over after all.
    Stays,
    /// It runs at its secondary, as that says: the record says the rest.
    Moved,
}

/// Why a secondary is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It did not acknowledge in time.
    Late,
    /// What it was told may not have come.
    Lost,
    /// It is down, silent, or has begun anew.
    Gone,
    /// It knows of a later primary.
    Stale,
    /// It has no room.
    Full,
    /// It acknowledged what it was not sent.
    Lies,
    /// There is a better place, on another machine or at the host that this one is paired with.
    Better,
    /// The session's own process has not said what it has.
    Unsaid,
    /// It was handed the session and does not go on with it.
    Declined,
}

impl Why {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Late => "does not acknowledge",
            Self::Lost => "cannot be reached",
            Self::Gone => "is gone",
            Self::Stale => "was asked for it by another host",
            Self::Full => "has no room for it",
            Self::Lies => "acknowledges what it was not sent",
            Self::Better => "gives way to one in a better place",
            Self::Unsaid => "was not sent anything by its process",
            Self::Declined => "does not go on with it",
        }
    }

    /// Whether the host is to be chosen again at once.
    pub(super) const fn is_excused(self) -> bool {
        matches!(self, Self::Gone | Self::Stale | Self::Better | Self::Unsaid | Self::Declined)
    }
}

/// How far it is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No host keeps it, and the record names none.
    Lacking { choose_at: Instant },
    /// A host is sent all of it. `named` says whether the record names it already, since an earlier primary.
    Filling { host: HostName, until: Instant, named: bool },
    /// It has all, and the record is to name it.
    Naming { host: HostName },
    /// It has all, and the record names it. It is struck at `doubt_at`, since it is silent.
    Protected { host: HostName, compare_at: Instant, doubt_at: Option<Instant> },
    /// The same, and its process was told to stand still: the session is to move there.
    Settling { host: HostName, until: Instant },
    /// It was asked to go on with the session, and may be doing so.
    Leaving { host: HostName, until: Instant },
    /// It has failed, and may be named in the record. `again` is when the store is asked next, unless an answer is awaited.
    Striking { host: HostName, why: Why, again: Option<Instant> },
    /// The record says that another host has the session.
    Superseded,
}

impl Phase {
    /// The host that the record names as the keeper of the session, and that has not failed.
    pub(super) const fn named(&self) -> Option<&HostName> {
        match self {
            Self::Protected { host, .. }
            | Self::Settling { host, .. }
            | Self::Leaving { host, .. }
            | Self::Filling { host, named: true, .. } => Some(host),
            Self::Filling { .. }
            | Self::Naming { .. }
            | Self::Lacking { .. }
            | Self::Striking { .. }
            | Self::Superseded => None,
        }
    }
}

/// How far a session is on its way to another host.
#[derive(Clone, Debug, Default)]
pub(super) struct Move {
    /// From when its process was told to stand still.
    pub(super) is_under_way: bool,
    /// When it may be tried again, after it could not be done.
    pub(super) again_at: Option<Instant>,
    pub(super) pause: Option<Duration>,
    /// What was sent to the secondary meanwhile.
    pub(super) sent: BTreeMap<Part, Held>,
}

/// How a session is protected by a secondary that has all of it.
pub(super) const fn how(ack: Ack) -> Protection {
    match ack {
        Ack::Each => Protection::Each,
        Ack::Batch { every, versions } => Protection::Batch { every, versions },
    }
}
