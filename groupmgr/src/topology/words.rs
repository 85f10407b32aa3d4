//! What goes into the table and comes out of it, and when a host leaves it.

use std::net::SocketAddrV4;

use proto::lack::Lacks;
use proto::net::IfName;
use proto::time::Duration;
use proto::{BootId, HostName, Instant, Nonce, WallTime};
use serde::{Deserialize, Serialize};

/// Not heard for this long, a host or an interface is out of the table's service.
pub const DOWN_AFTER: Duration = Duration::from_secs(60);

/// A host that is down or has left for this long leaves the table by itself.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Two hosts of one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Double {
    /// The name that both use.
    pub host: HostName,
    /// Where the one is that was there first, as far as is known.
    pub first: SocketAddrV4,
    /// Where the other one is.
    pub second: SocketAddrV4,
}

/// What an observer of the table wants to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A run of a host has proved itself, or was heard again.
    Up(HostName),
    /// Three beacons missed.
    Silent(HostName),
    /// Not heard for [`DOWN_AFTER`].
    Down(HostName),
    /// It said goodbye.
    Left(HostName),
    /// Another run of it took over: what the old one had is gone, unless it keeps its sessions.
    Restarted(HostName),
    /// What it announces of itself changed.
    Changed(HostName),
    /// One interface of a host that is up was declared down, or was heard again.
    Interface {
        /// The host whose interface it is.
        host: HostName,
        /// The interface, by the name that the host gives it.
        iface: IfName,
        /// Whether it is down now.
        down: bool,
    },
    /// It was gone for [`FORGOTTEN_AFTER`], and left the table.
    Forgotten(HostName),
    /// What it lacks to make sessions changed; nothing when it is well again.
    Lacks(HostName, Lacks),
    /// Two hosts have one name.
    Two(Double),
    /// And no longer have.
    OneAgain(HostName),
}

impl Change {
    /// The host of which a run is gone by this, or seems to be.
    #[must_use]
    pub const fn lost(&self) -> Option<&HostName> {
        match self {
            Self::Silent(host) | Self::Down(host) | Self::Left(host) | Self::Restarted(host) => Some(host),
            Self::Up(_)
            | Self::Changed(_)
            | Self::Interface { .. }
            | Self::Forgotten(_)
            | Self::Lacks(..)
            | Self::Two(_)
            | Self::OneAgain(_) => None,
        }
    }
}

/// What to send so that a run of a host proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofWanted {
    /// Where its message came from.
    pub addr: SocketAddrV4,
    /// The run that is meant.
    pub to: BootId,
    /// To be sent back.
    pub nonce: Nonce,
}

/// Where and when a datagram came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// When, by our monotonic clock.
    pub now: Instant,
    /// When, by our wall clock.
    pub wall: WallTime,
    /// Which of our interfaces it came in on.
    pub iface: &'a IfName,
    /// Who sent it.
    pub from: SocketAddrV4,
}
