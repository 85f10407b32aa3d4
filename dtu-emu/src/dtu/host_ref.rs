//! A host as a DTU can name it.

use std::net::SocketAddrV4;

use proto::HostName;

/// A host as a DTU can name it: a configured server has no name until it says one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRef {
    /// The host's name; none before it has said one.
    pub name: Option<HostName>,
    /// Where it listens.
    pub addr: SocketAddrV4,
}

impl core::fmt::Display for HostRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.addr),
            None => write!(f, "{}", self.addr),
        }
    }
}
