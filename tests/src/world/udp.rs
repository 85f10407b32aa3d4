//! Datagrams: broadcasts, which everybody on the LAN hears, and those to one address.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use proto::beacon::Beacon;
use proto::keys::Purpose;
use proto::line::Line;

use super::parts::machine::ToDaemon;
use super::parts::plan::HostPlan;
use super::parts::udp::{Datagram, Speaks};
use super::wire::{CableId, Node, Way, Wire};
use super::{Event, World};

impl HostPlan {
    /// It is of the version before this one.
    #[must_use]
    pub fn older(mut self) -> Self {
        self.speaks = Speaks::AsTheVersionBefore;
        self
    }
}

impl World {
    /// Sends a broadcast from a cable.
    pub(super) fn broadcast(&mut self, cable: CableId, bytes: Rc<[u8]>) {
        let from = SocketAddrV4::new(self.wire.cable(cable).ip, proto::PORT);
        self.count_sent(self.wire.cable(cable).node, &bytes);
        if self.is_beacon_lost(cable, &bytes) {
            return;
        }
        let Some(delay) = self.wire.passes(cable, Way::Out) else { return };
        let at = self.now + Wire::lan_delay() + delay;
        if let Some(echo) = self.wire.echoes(cable, Way::Out) {
            self.queue.put(at + echo, Event::Broadcast { cable, from, bytes: Rc::clone(&bytes) });
        }
        self.queue.put(at, Event::Broadcast { cable, from, bytes });
    }

    fn is_beacon_lost(&self, cable: CableId, bytes: &[u8]) -> bool {
        let Node::Host(host) = self.wire.cable(cable).node else { return false };
        bytes.starts_with(b"beacon ") && self.now < self.machines[host].beacons_lost_until
    }

    pub(super) fn on_broadcast(&mut self, from_cable: CableId, from: SocketAddrV4, bytes: &Rc<[u8]>) {
        let lan = self.wire.cable(from_cable).lan;
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, proto::PORT);
        // Read once, however many DTUs hear it.
        let mut beacon: Option<Option<Beacon>> = None;
        for n in 0..self.wire.lan(lan).cables.len() {
            let cable = self.wire.lan(lan).cables[n];
            if cable == from_cable || !self.wire.same_side(from_cable, cable) {
                continue;
            }
            let Some(late) = self.wire.passes(cable, Way::In) else { continue };
            if let Some(echo) = self.wire.echoes(cable, Way::In) {
                let datagram = Datagram { from, to, bytes: Rc::clone(bytes), asker: None };
                self.queue.put(self.now + late + echo, Event::Datagram { cable, datagram });
            }
            if !late.is_zero() {
                let datagram = Datagram { from, to, bytes: Rc::clone(bytes), asker: None };
                self.queue.put(self.now + late, Event::Datagram { cable, datagram });
            } else if let Node::Desk(desk) = self.wire.cable(cable).node {
                let beacon = beacon.get_or_insert_with(|| read_beacon(bytes));
                if let Some(beacon) = beacon {
                    self.desk_hears_beacon(desk, beacon, *from.ip());
                }
            } else {
                self.arrive(cable, Datagram { from, to, bytes: Rc::clone(bytes), asker: None });
            }
        }
    }

    /// Sends a datagram from a machine to one address.
    pub(super) fn datagram(&mut self, node: Node, port: u16, to: SocketAddrV4, bytes: Rc<[u8]>, asks: bool) {
        let Some((near, far)) = self.wire.route(self.cables_of(node), *to.ip()) else { return };
        let from = SocketAddrV4::new(self.wire.cable(near).ip, port);
        let bytes = self.as_its_version_says(node, bytes);
        self.count_sent(node, &bytes);
        let asker = match node {
            Node::Host(host) if asks => Some(host),
            _ => None,
        };
        let Some(delay) = self.wire.crosses(near, far) else { return };
        let (at, datagram) = (self.now + delay, Datagram { from, to, bytes, asker });
        let echoes = [self.wire.echoes(near, Way::Out), self.wire.echoes(far, Way::In)];
        for echo in echoes.into_iter().flatten() {
            self.queue.put(at + echo, Event::Datagram { cable: far, datagram: datagram.clone() });
        }
        self.queue.put(at, Event::Datagram { cable: far, datagram });
    }

    /// What an older host leaves out of its answers is taken out of them.
    fn as_its_version_says(&self, node: Node, bytes: Rc<[u8]>) -> Rc<[u8]> {
        let is_older = |host: usize| self.machines[host].plan.speaks == Speaks::AsTheVersionBefore;
        if !matches!(node, Node::Host(host) if is_older(host)) || !bytes.starts_with(b"tokenR ") {
            return bytes;
        }
        let Ok(said) = self.ring.open(Purpose::Peer, &bytes) else { return bytes };
        let mut line = Line::new("tokenR");
        for (key, value) in said.get().pairs() {
            if !["load", "mem", "sessions", "drain", "kid", "sig"].contains(&key) {
                line.push(key, value);
            }
        }
        self.ring.seal(Purpose::Peer, &line).into()
    }

    /// A datagram arrives at the machine of a cable.
    pub(super) fn arrive(&mut self, cable: CableId, datagram: Datagram) {
        match self.wire.cable(cable).node {
            Node::Host(host) => self.arrive_at_host(host, cable, datagram),
            Node::Desk(desk) => self.desk_hears(desk, datagram),
            Node::Stranger(stranger) => self.strangers[stranger].hear(datagram),
        }
    }

    fn arrive_at_host(&mut self, host: usize, cable: CableId, datagram: Datagram) {
        let machine = &self.machines[host];
        if !machine.has_power {
            return;
        }
        if !machine.daemon.listens() {
            if let Some(asker) = datagram.asker {
                self.refuse(host, asker, &datagram);
            }
            return;
        }
        let iface = self.wire.cable(cable).iface.clone();
        let Datagram { from, bytes, .. } = datagram;
        if self.machines[host].plan.speaks == Speaks::AsTheVersionBefore && bytes.starts_with(b"coming ") {
            return;
        }
        self.count_received(&bytes);
        self.reach_daemon(host, ToDaemon::Datagram { iface, from, bytes });
    }

    /// The machine is there and its daemon is not: ICMP says so to whoever asked.
    fn refuse(&mut self, host: usize, asker: usize, datagram: &Datagram) {
        let way = self.wire.route(&self.machines[host].cables, *datagram.from.ip());
        if let Some(delay) = way.and_then(|(near, far)| self.wire.crosses(near, far)) {
            self.queue.put(self.now + delay, Event::Refused { host: asker, addr: datagram.to });
        }
    }
}

/// The beacon in a datagram, as a DTU reads it: its signature is not for it.
pub(super) fn read_beacon(bytes: &[u8]) -> Option<Beacon> {
    if !bytes.starts_with(b"beacon ") {
        return None;
    }
    Beacon::from_line(&Line::parse(bytes).ok()?).ok()
}
