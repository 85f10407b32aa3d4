//! IPv4 addresses as the wire prints them, and a host's interface as one row of the topology table.

use core::fmt;
use core::str::FromStr;
use std::net::Ipv4Addr;
use std::sync::Arc;

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

/// The name of a network interface: what Linux allows (at most 15 bytes, no space, no slash), and nothing
/// that would need an escape in a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(Arc<str>);

impl IfName {
    /// Longest accepted name, in bytes.
    pub const LEN_MAX: usize = 15;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = crate::ids::BadName;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let fits = !s.is_empty()
            && s.len() <= Self::LEN_MAX
            && s.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'=' | b'\\'));
        if fits {
            Ok(Self(s.into()))
        } else {
            Err(crate::ids::BadName {
                what: "interface name",
                text: s.chars().take(64).collect(),
                rule: "1 to 15 printable characters other than '/', '=' and '\\'",
            })
        }
    }
}

impl TryFrom<String> for IfName {
    type Error = crate::ids::BadName;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.as_str().into()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One network interface of a host (seed 003, the "host message" and Table A).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interface {
    /// Its name on its host.
    pub name: IfName,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its netmask.
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
