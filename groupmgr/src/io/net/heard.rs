//! What comes in by UDP.

use std::net::SocketAddrV4;

use proto::net::IfName;

use crate::host::Datagram;

/// What came in by UDP.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Datagrams on one interface.
    Datagrams { iface: IfName, datagrams: Vec<Datagram> },
    /// Nobody listens where something was asked.
    Refused { addr: SocketAddrV4 },
}
