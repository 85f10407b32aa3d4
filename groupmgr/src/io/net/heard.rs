//! What comes in by UDP.

use std::net::SocketAddrV4;

use proto::net::IfName;

/// What came in by UDP.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Datagrams on one interface.
    Datagrams { iface: IfName, datagrams: Vec<(SocketAddrV4, Vec<u8>)> },
    /// Nobody listens where something was asked.
    Refused { addr: SocketAddrV4 },
}
