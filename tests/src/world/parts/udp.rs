//! Datagrams on their way between machines, and what a socket that asked something takes.

use std::net::SocketAddrV4;
use std::rc::Rc;

/// A datagram as it is on a LAN.
#[derive(Clone, Debug)]
pub(in crate::world) struct Datagram {
    pub(in crate::world) from: SocketAddrV4,
    pub(in crate::world) to: SocketAddrV4,
    pub(in crate::world) bytes: Rc<[u8]>,
    /// The host that asked from a connected socket, and is told when it is refused.
    pub(in crate::world) asker: Option<usize>,
}

/// One that was heard on a LAN, for a recording.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Who sent it, as the receiver sees it.
    pub from: SocketAddrV4,
    /// What it said.
    pub bytes: Vec<u8>,
}

/// How a host speaks to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::world) enum Speaks {
    /// As this version does, with the key of the group.
    AsWeDo,
    /// Its answers tell no load, and it does not know what `coming` means.
    AsTheVersionBefore,
    /// With the key of another group.
    Foreign,
}
