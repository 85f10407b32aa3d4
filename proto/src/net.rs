//! IPv4 addresses as the wire prints them, and a host's interface as one row of the topology table.

use core::fmt;
use core::str::FromStr;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// An IPv4 address printed as eight hex digits in network order: 192.0.2.11 is `c000020b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexIp(pub Ipv4Addr);

impl fmt::Display for HexIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::encode(&self.0.octets()))
    }
}

impl FromStr for HexIp {
    type Err = ();
    /// Takes either case.
    fn from_str(s: &str) -> Result<Self, ()> {
        crate::hex::decode::<4>(s.as_bytes()).map(|octets| Self(octets.into())).ok_or(())
    }
}

crate::text_name! {
    /// The name of a network interface: what Linux allows (no space, no slash), and nothing that would need an escape
    /// in a message.
    IfName, "interface name", 15, "1 to 15 printable characters other than '/', '=' and '\\'",
    |s| s.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'=' | b'\\'))
}

/// One network interface of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interface {
    /// Its name on its host.
    pub name: IfName,
    /// The address of this host on it.
    pub ip: Ipv4Addr,
    /// The netmask of the subnet.
    pub mask: Ipv4Addr,
    /// Its broadcast address.
    pub bcast: Ipv4Addr,
}

impl Interface {
    /// Whether `address` lies on this interface's subnet. A mask with holes (the wire allows one) is applied
    /// bit by bit; one of zero length holds nothing, or a default route would claim every DTU.
    #[must_use]
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        let mask = self.mask.to_bits();
        mask != 0 && address.to_bits() & mask == self.ip.to_bits() & mask
    }

    /// Whether both are on subnets with the same numbers; the wires may still be different ones.
    #[must_use]
    pub fn same_subnet(&self, other: &Self) -> bool {
        self.mask == other.mask && self.holds(other.ip)
    }

    /// The subnet, when the mask is one without holes.
    #[must_use]
    pub fn subnet(&self) -> Option<Ipv4Net> {
        Ipv4Net::with_netmask(self.ip, self.mask).ok().map(|net| net.trunc())
    }
}
