//! Which interfaces of the machine the host uses.
//!
//! Used is what is up, has a carrier, an IPv4 address and a broadcast address. The loopback interface is used
//! only when an address of it is asked for (`--bind 127.0.N.1`): then several hosts can share a machine.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nix::ifaddrs::InterfaceAddress;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;
use proto::net::{IfName, Interface};

/// An interface as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) kind: Kind,
    /// Whether it is up and has a carrier.
    pub(crate) is_running: bool,
    pub(crate) addresses: Vec<Ipv4Net>,
}

/// What an interface can do for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Broadcast,
    Loopback,
    /// It has no broadcast address.
    PointToPoint,
}

/// An interface this host uses, with what is needed to open sockets on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// As it is announced.
    pub interface: Interface,
    /// The kernel's number for it.
    pub index: u32,
    /// The kernel's name for it; a second address of a device is announced under a name of its own.
    pub device: String,
    /// Whether another of our interfaces has the same subnet, on another wire. Then the routing table cannot
    /// tell them apart and every socket is bound to its device; otherwise none is, so that programs on
    /// this machine can reach it.
    pub has_twin: bool,
}

/// Why an address that was asked for cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// No interface has it.
    #[error("--bind {wanted}: no interface of this machine has the address; it has {has}")]
    NotHere {
        /// The address that was asked for.
        wanted: Ipv4Addr,
        /// Those there are.
        has: String,
    },
    /// Its interface is down.
    #[error(
        "--bind {wanted}: its interface {device} is down or has no carrier; bring it up (ip link set {device} up)"
    )]
    Down {
        /// The address that was asked for.
        wanted: Ipv4Addr,
        /// The interface that has it.
        device: String,
    },
    /// Its interface cannot broadcast.
    #[error("--bind {wanted}: its interface {device} cannot broadcast; use an address on a LAN")]
    NoBroadcast {
        /// The address that was asked for.
        wanted: Ipv4Addr,
        /// The interface that has it.
        device: String,
    },
    /// Nothing was asked for and nothing is there.
    #[error(
        "no interface is up with a carrier and an IPv4 address; connect the network, or try the group on this machine alone with --bind 127.0.1.1"
    )]
    Nothing,
}

/// What the kernel has now; `None` when it does not say, as a process that has no descriptors left learns nothing.
/// Every machine has a loopback interface, and every interface a number.
#[must_use]
pub(crate) fn list() -> Option<Vec<Found>> {
    let mut all: Vec<Found> = Vec::new();
    // One entry for each address of an interface, of whatever family.
    for entry in nix::ifaddrs::getifaddrs().ok()? {
        let known = all.iter().position(|found| found.name == entry.interface_name);
        let at = if let Some(at) = known {
            at
        } else {
            all.push(without_addresses(&entry)?);
            all.len() - 1
        };
        all[at].addresses.extend(ipv4_net(&entry));
    }
    (!all.is_empty()).then_some(all)
}

fn without_addresses(entry: &InterfaceAddress) -> Option<Found> {
    let kind = if entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
        Kind::Loopback
    } else if entry.flags.contains(InterfaceFlags::IFF_BROADCAST) {
        Kind::Broadcast
    } else {
        Kind::PointToPoint
    };
    Some(Found {
        kind,
        is_running: entry.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING),
        addresses: Vec::new(),
        index: if_nametoindex(entry.interface_name.as_str()).ok()?,
        name: entry.interface_name.clone(),
    })
}

fn ipv4_net(entry: &InterfaceAddress) -> Option<Ipv4Net> {
    let ipv4 = |address: Option<SockaddrStorage>| Some(address?.as_sockaddr_in()?.ip());
    Ipv4Net::with_netmask(ipv4(entry.address)?, ipv4(entry.netmask)?).ok()
}

/// The interfaces to use: those that have a `wanted` address, or all when none is wanted.
#[must_use]
pub(crate) fn choose(found: &[Found], wanted: &[Ipv4Addr]) -> Vec<Wire> {
    let mut wires = if wanted.is_empty() {
        all(found)
    } else {
        wanted.iter().filter_map(|ip| named(found, *ip).ok()).collect()
    };
    name_apart(&mut wires);
    mark_twins(&mut wires);
    wires
}

/// Checks that everything `wanted` can be used, and that there is something to use.
///
/// # Errors
/// The first address that cannot.
pub(crate) fn check(found: &[Found], wanted: &[Ipv4Addr]) -> Result<(), BindError> {
    for ip in wanted {
        named(found, *ip)?;
    }
    if choose(found, wanted).is_empty() { Err(BindError::Nothing) } else { Ok(()) }
}

fn all(found: &[Found]) -> Vec<Wire> {
    let mut wires: Vec<Wire> = Vec::new();
    for device in found.iter().filter(|d| d.is_running && d.kind == Kind::Broadcast) {
        for address in &device.addresses {
            // A second address on the same subnet is no second way to reach us.
            let known = wires
                .iter()
                .any(|w| device_of(&device.name) == w.device && w.interface.holds(address.addr()));
            if !known && address.prefix_len() <= 30 {
                wires.extend(wire(device, *address));
            }
        }
    }
    wires
}

fn named(found: &[Found], wanted: Ipv4Addr) -> Result<Wire, BindError> {
    let has = |d: &&Found| match d.kind {
        // The whole subnet of the loopback interface is this machine.
        Kind::Loopback => d.addresses.iter().any(|net| net.contains(&wanted)),
        _ => d.addresses.iter().any(|net| net.addr() == wanted),
    };
    let Some(device) = found.iter().find(has) else {
        let mut has: Vec<String> =
            found.iter().flat_map(|d| &d.addresses).map(|net| net.addr().to_string()).collect();
        has.dedup();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        return Err(BindError::NotHere { wanted, has });
    };
    let down = BindError::Down { wanted, device: device.name.clone() };
    if !device.is_running {
        return Err(down);
    }
    let no_broadcast = BindError::NoBroadcast { wanted, device: device.name.clone() };
    let net = device
        .addresses
        .iter()
        .find(|net| net.contains(&wanted) && (device.kind == Kind::Loopback || net.addr() == wanted))
        .and_then(|net| Ipv4Net::new(wanted, net.prefix_len()).ok())
        .filter(|net| device.kind != Kind::PointToPoint && net.prefix_len() <= 30)
        .ok_or_else(|| no_broadcast.clone())?;
    wire(device, net).ok_or(no_broadcast)
}

/// `None` when the kernel's name of the device cannot be announced.
fn wire(device: &Found, address: Ipv4Net) -> Option<Wire> {
    let name: IfName = device.name.parse().ok()?;
    Some(Wire {
        interface: Interface {
            name,
            ip: address.addr(),
            mask: address.netmask(),
            bcast: address.broadcast(),
        },
        index: device.index,
        device: device_of(&device.name).to_owned(),
        has_twin: false,
    })
}

/// An alias (`eth0:1`) is an address with a label; sockets know its device only.
fn device_of(name: &str) -> &str {
    name.split_once(':').map_or(name, |(device, _)| device)
}

/// Rows of the topology table are told apart by the interface's name, so two addresses of one device need two.
fn name_apart(wires: &mut Vec<Wire>) {
    let mut taken: Vec<IfName> = Vec::new();
    wires.retain_mut(|wire| {
        let free = |name: &IfName| !taken.contains(name);
        let own = wire.interface.name.clone();
        let aliases = (1..64).filter_map(|n| format!("{}:{n}", wire.device).parse().ok());
        let Some(name) = std::iter::once(own).chain(aliases).find(free) else { return false };
        taken.push(name.clone());
        wire.interface.name = name;
        true
    });
}

fn mark_twins(wires: &mut [Wire]) {
    let twin = |a: &Wire, b: &Wire| a.device != b.device && a.interface.same_subnet(&b.interface);
    let marks: Vec<bool> = wires.iter().map(|wire| wires.iter().any(|other| twin(wire, other))).collect();
    for (wire, mark) in wires.iter_mut().zip(marks) {
        wire.has_twin = mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, kind: Kind, is_running: bool, addresses: &[&str]) -> Found {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Found { name: name.into(), index: 1, kind, is_running, addresses }
    }

    fn machine() -> Vec<Found> {
        vec![
            found("lo", Kind::Loopback, true, &["127.0.0.1/8"]),
            found("eth0", Kind::Broadcast, true, &["10.0.0.5/24", "10.0.0.6/24", "192.168.7.1/16"]),
            found("docker0", Kind::Broadcast, false, &["172.17.0.1/16"]),
            found("tun0", Kind::PointToPoint, true, &["10.8.0.2/32"]),
        ]
    }

    fn names(wires: &[Wire]) -> Vec<String> {
        wires.iter().map(|w| format!("{} {}", w.interface.name, w.interface.ip)).collect()
    }

    #[test]
    fn loopback_and_what_has_no_carrier_or_no_broadcast_is_not_used_unasked() {
        assert_eq!(names(&choose(&machine(), &[])), ["eth0 10.0.0.5", "eth0:1 192.168.7.1"]);
    }

    #[test]
    fn any_loopback_address_can_be_asked_for() {
        let wires = choose(&machine(), &["127.0.3.1".parse().unwrap()]);
        let lo = &wires[0].interface;
        assert_eq!(lo.name.as_str(), "lo");
        assert_eq!((lo.ip, lo.mask, lo.bcast).0, Ipv4Addr::new(127, 0, 3, 1));
        assert_eq!((lo.mask, lo.bcast), (Ipv4Addr::new(255, 0, 0, 0), Ipv4Addr::new(127, 255, 255, 255)));
    }

    #[test]
    fn an_address_asked_for_restricts_to_the_interface_that_has_it() {
        assert_eq!(names(&choose(&machine(), &["10.0.0.6".parse().unwrap()])), ["eth0 10.0.0.6"]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_remedy() {
        let text = |ip: &str| check(&machine(), &[ip.parse().unwrap()]).unwrap_err().to_string();
        assert!(text("10.9.9.9").contains("it has 127.0.0.1, 10.0.0.5"), "{}", text("10.9.9.9"));
        assert!(text("172.17.0.1").contains("ip link set docker0 up"));
        assert!(text("10.8.0.2").contains("cannot broadcast"));
        let only_lo = vec![found("lo", Kind::Loopback, true, &["127.0.0.1/8"])];
        assert_eq!(check(&only_lo, &[]), Err(BindError::Nothing));
    }

    #[test]
    fn equal_private_subnets_on_separate_wires_are_marked() {
        let mut machine = machine();
        machine.push(found("eth1", Kind::Broadcast, true, &["10.0.0.9/24"]));
        let twins: Vec<bool> = choose(&machine, &[]).iter().map(|w| w.has_twin).collect();
        assert_eq!(twins, [true, false, true]);
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        assert!(list().unwrap().iter().any(|d| d.kind == Kind::Loopback && d.is_running));
    }
}
