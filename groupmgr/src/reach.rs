//! Which hosts a DTU can reach, and at which address.
//!
//! A host reaches a DTU through an interface whose subnet holds the DTU's address. Equal private subnets on
//! separate wires are common, so if the asking host has an interface on that subnet too, it must have heard the
//! other host's interface on it lately; if it has none there, it cannot tell, and the match is second choice.
//! When nobody's subnet holds the address, the DTU is routed: then everybody is reached at the primary address.
//!
//! A DTU that speaks without TLS reaches only hosts that announce that they allow it.

use std::net::{Ipv4Addr, SocketAddrV4};

use proto::net::Interface;
use proto::peer::LoadNote;
use proto::{BootId, HostName, Instant};

use crate::topology::{Row, Topology};

/// How sure it is that a DTU reaches a host. Better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// On the DTU's subnet, and heard there by us or routed like everybody.
    First,
    /// On a subnet with the DTU's numbers, which may be another wire.
    Second,
}

/// A host a DTU can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The host that can be reached.
    pub host: HostName,
    /// The run of it that was heard.
    pub boot: BootId,
    /// Where the DTU finds it.
    pub addr: SocketAddrV4,
    /// How sure that is.
    pub choice: Choice,
}

/// A DTU, as far as it decides where it can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtu {
    /// The address that the DTU speaks from.
    pub addr: Ipv4Addr,
    /// Whether it speaks without TLS, which not every host allows.
    pub plain: bool,
}

impl Dtu {
    /// Whether this host would let it in.
    #[must_use]
    pub fn suits(self, row: &Row) -> bool {
        !self.plain || row.facts().plain
    }

    /// Whether a host of which that is known would, as it says itself when it is asked.
    #[must_use]
    pub fn is_taken(self, said: Option<LoadNote>) -> bool {
        !self.plain || said.and_then(|note| note.plain).unwrap_or(true)
    }
}

/// The hosts that are up and that a DTU can reach, other than the asking one, which has the interfaces `own`; in the
/// order of their names.
#[must_use]
pub fn reachable(now: Instant, topology: &Topology, own: &[Interface], dtu: Dtu) -> Vec<Reachable> {
    let up = || topology.up().filter(|row| dtu.suits(row));
    let Dtu { addr: dtu, .. } = dtu;
    let on_subnet: Vec<Reachable> = up().filter_map(|row| on_dtus_subnet(now, row, own, dtu)).collect();
    let local = own.iter().any(|i| i.holds(dtu));
    if !on_subnet.is_empty() || local {
        return on_subnet;
    }
    let routed = |row: &Row| Reachable {
        host: row.host().clone(),
        boot: row.boot(),
        addr: SocketAddrV4::new(row.addr(), row.facts().port),
        choice: Choice::First,
    };
    up().map(routed).collect()
}

fn on_dtus_subnet(now: Instant, row: &Row, own: &[Interface], dtu: Ipv4Addr) -> Option<Reachable> {
    let mut best: Option<(Choice, Ipv4Addr)> = None;
    for theirs in row.interfaces().iter().filter(|i| i.holds(dtu)) {
        let mut ours = own.iter().filter(|i| i.holds(dtu)).peekable();
        let choice = if ours.peek().is_none() {
            Choice::Second
        } else if ours.any(|i| row.heard_lately(now, &theirs.name, &i.name)) {
            Choice::First
        } else {
            continue;
        };
        if best.is_none_or(|(known, _)| choice < known) {
            best = Some((choice, theirs.ip));
        }
    }
    best.map(|(choice, ip)| Reachable {
        host: row.host().clone(),
        boot: row.boot(),
        addr: SocketAddrV4::new(ip, row.facts().port),
        choice,
    })
}

/// The address by which a host with the interfaces `own` answers a DTU: the one on the DTU's subnet, else the
/// primary one.
#[must_use]
pub fn own_address(own: &[Interface], dtu: Ipv4Addr) -> Option<Ipv4Addr> {
    own.iter().find(|i| i.holds(dtu)).or_else(|| own.first()).map(|i| i.ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dtu_without_tls_is_taken_unless_the_asked_host_says_no() {
        let note = |plain| LoadNote { load: proto::host_message::Load::default(), drain: false, plain };
        let taken = |plain: bool| {
            let dtu = Dtu { addr: Ipv4Addr::LOCALHOST, plain };
            [None, Some(note(None)), Some(note(Some(true))), Some(note(Some(false)))]
                .map(|said| dtu.is_taken(said))
        };
        assert_eq!((taken(true), taken(false)), ([true, true, true, false], [true; 4]));
    }
}
