//! The interfaces a DTU may speak and listen on, as the kernel has them now.

use std::net::Ipv4Addr;

use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{SockaddrLike as _, SockaddrStorage};

/// One address of one interface that can broadcast.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Netif {
    pub(super) name: String,
    /// Our address there.
    pub(super) ip: Ipv4Addr,
    /// Where everybody on its subnet is reached.
    pub(super) bcast: Ipv4Addr,
    pub(super) is_loopback: bool,
}

/// The interfaces that are up; with `bind`, the one whose subnet holds that address.
pub(super) fn interfaces(bind: Option<Ipv4Addr>) -> Vec<Netif> {
    let Ok(addresses) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut found: Vec<_> = addresses
        .filter(|a| a.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|a| {
            let (ip, mask) = (ipv4(a.address)?, ipv4(a.netmask)?);
            let is_loopback = a.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            is_loopback.then_some(()).or(a.flags.contains(InterfaceFlags::IFF_BROADCAST).then_some(()))?;
            netif(a.interface_name, ip, mask, is_loopback, bind)
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn netif(
    name: String,
    ip: Ipv4Addr,
    mask: Ipv4Addr,
    is_loopback: bool,
    bind: Option<Ipv4Addr>,
) -> Option<Netif> {
    let subnet = |ip: Ipv4Addr| ip.to_bits() & mask.to_bits();
    let bcast = Ipv4Addr::from_bits(ip.to_bits() | !mask.to_bits());
    match bind {
        // All of 127/8 is ours without being listed.
        Some(bind) if is_loopback && subnet(bind) == subnet(ip) => {
            Some(Netif { name, ip: bind, bcast, is_loopback })
        }
        Some(bind) => (bind == ip).then_some(Netif { name, ip, bcast, is_loopback }),
        None => Some(Netif { name, ip, bcast, is_loopback }),
    }
}

fn ipv4(address: Option<SockaddrStorage>) -> Option<Ipv4Addr> {
    let address = address?;
    let v4 = address.as_sockaddr_in()?;
    debug_assert_eq!(address.family(), Some(nix::sys::socket::AddressFamily::Inet));
    Some(v4.ip())
}

/// The hardware address of the first interface that has one, as 12 hex digits.
pub(super) fn hardware_address() -> Option<String> {
    let mut found: Vec<_> = nix::ifaddrs::getifaddrs()
        .ok()?
        .filter(|a| !a.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|a| {
            let address = a.address?;
            let mac = address.as_link_addr()?.addr()?;
            (mac != [0; 6]).then(|| (a.interface_name, proto::hex::encode(&mac)))
        })
        .collect();
    found.sort();
    found.into_iter().next().map(|(_, mac)| mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_loopback_address_broadcasts_to_all_of_loopback() {
        let bind = Ipv4Addr::new(127, 0, 200, 7);
        let all = interfaces(Some(bind));
        let [netif] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((netif.ip, netif.bcast), (bind, Ipv4Addr::new(127, 255, 255, 255)));
    }

    #[test]
    fn an_address_that_is_not_ours_has_no_interface() {
        assert_eq!(interfaces(Some(Ipv4Addr::new(203, 0, 113, 9))), []);
    }
}
