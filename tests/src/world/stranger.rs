//! Machines on a LAN that are no hosts: they listen, they say whatever they like, and they hold no key of the group
//! unless a test gives them one.

use std::net::SocketAddrV4;

use groupmgr::directory::Ask;
use proto::keys::{KeyRing, Purpose};
use proto::line::Line;

use super::parts::stranger::{Stranger, StrangerId};
use super::parts::udp::Heard;
use super::wire::Node;
use super::{LanId, World};

impl World {
    /// A machine on a LAN that belongs to nobody.
    pub fn stranger(&mut self, lan: LanId) -> StrangerId {
        let number = self.strangers.len();
        let cable = self.plug_in(Node::Stranger(number), 0, lan);
        self.strangers.push(Stranger { cables: vec![cable], heard: Vec::new() });
        StrangerId(number)
    }

    /// Everything it has heard.
    #[must_use]
    pub fn recording(&self, stranger: StrangerId) -> Vec<Heard> {
        self.strangers[stranger.0].heard.clone()
    }

    /// How much it has heard.
    #[must_use]
    pub fn recorded(&self, stranger: StrangerId) -> usize {
        self.strangers[stranger.0].heard.len()
    }

    /// One thing it has heard.
    #[must_use]
    pub fn record(&self, stranger: StrangerId, number: usize) -> Option<Heard> {
        self.strangers[stranger.0].heard.get(number).cloned()
    }

    /// The key ring of another group, which every stranger may have.
    #[must_use]
    pub const fn foreign_ring(&self) -> &KeyRing {
        &self.foreign_ring
    }

    /// The id of the key that the group signs with, which every datagram tells.
    #[must_use]
    pub fn signing_key(&self) -> proto::KeyId {
        self.ring.signing()
    }

    /// It broadcasts something.
    pub fn stranger_shouts(&mut self, stranger: StrangerId, bytes: &[u8]) {
        let cable = self.strangers[stranger.0].cables[0];
        self.broadcast(cable, bytes.into());
    }

    /// It says something to one address.
    pub fn stranger_says(&mut self, stranger: StrangerId, to: SocketAddrV4, bytes: &[u8]) {
        self.datagram(Node::Stranger(stranger.0), proto::PORT, to, bytes.into(), false);
    }

    /// The group's own key ring: for a stranger that has stolen it, and for messages no host would send.
    #[must_use]
    pub const fn stolen_ring(&self) -> &KeyRing {
        &self.ring
    }

    /// A line signed with the group's key.
    #[must_use]
    pub fn signed(&self, purpose: Purpose, line: &Line) -> Vec<u8> {
        self.ring.seal(purpose, line)
    }

    /// Says something in the name of a host, from its own address.
    pub fn say_as(&mut self, host: &str, ask: Ask) {
        let host = self.host_number(host);
        self.datagram(Node::Host(host), proto::PORT, ask.to, ask.bytes.into(), false);
    }
}
