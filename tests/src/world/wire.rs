//! LANs as broadcast domains, the cables of machines to them, and what goes wrong on the way.
//!
//! A datagram leaves by one cable, crosses one LAN (or two and the router between them) and arrives by another.
//! Each cable has a rule for either way; a LAN can be split in two.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proto::net::{IfName, Interface};
use proto::time::Duration;

use super::rng::TestRng;

/// How long a LAN takes to carry a datagram.
const LAN_DELAY: Duration = Duration::from_micros(100);
/// What arrives twice does so this much later at the earliest.
const ECHO: Duration = Duration::from_micros(50);
/// How long a router takes.
const ROUTER_DELAY: Duration = Duration::from_micros(300);

/// A LAN of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LanId(pub(super) usize);

/// A machine's connection to a LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CableId(pub(super) usize);

/// Whoever has cables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Host(usize),
    Desk(usize),
    Stranger(usize),
}

/// What becomes of what passes a cable one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Whether nothing passes at all.
    pub cut: bool,
    /// The chance of each datagram to be lost.
    pub loss: f64,
    /// What passes is late by this.
    pub delay: Duration,
    /// And by up to this more, each datagram by another time: some overtake others.
    pub jitter: Duration,
    /// The chance of each datagram to arrive twice.
    pub twice: f64,
}

/// The ways of a cable, as its machine sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the machine.
    Out,
    /// To the machine.
    In,
    /// In both directions.
    Both,
}

#[derive(Debug)]
pub(super) struct Lan {
    pub(super) name: String,
    net: Ipv4Addr,
    prefix: u8,
    /// Whether the router has a leg here.
    pub(super) routed: bool,
    pub(super) cables: Vec<CableId>,
    by_ip: BTreeMap<Ipv4Addr, CableId>,
    /// While it is split: the cables on the smaller side. Nothing passes between the sides.
    aside: Vec<CableId>,
    /// Pairs between which nothing passes.
    apart: Vec<(CableId, CableId)>,
}

#[derive(Debug)]
pub(super) struct Cable {
    pub(super) node: Node,
    pub(super) lan: LanId,
    pub(super) iface: IfName,
    pub(super) ip: Ipv4Addr,
    pub(super) out: Rule,
    pub(super) into: Rule,
    /// Whether the plug is in. Without it the machine knows that it has no carrier.
    pub(super) carrier: bool,
}

/// All LANs and cables.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) lans: Vec<Lan>,
    pub(super) cables: Vec<Cable>,
    dice: TestRng,
}

impl Lan {
    fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    fn holds(&self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & self.mask().to_bits() == self.net.to_bits()
    }

    /// Whether it has room for thousands.
    pub(super) const fn is_large(&self) -> bool {
        self.prefix < 16
    }

    /// The address number `n` of the LAN.
    pub(super) fn address(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.net.to_bits() + n)
    }
}

impl Wire {
    pub(super) const fn new(dice: TestRng) -> Self {
        Self { lans: Vec::new(), cables: Vec::new(), dice }
    }

    pub(super) fn add_lan(&mut self, name: &str, net: Ipv4Addr, prefix: u8) -> LanId {
        self.lans.push(Lan {
            name: name.to_owned(),
            net,
            prefix,
            routed: false,
            cables: Vec::new(),
            by_ip: BTreeMap::new(),
            aside: Vec::new(),
            apart: Vec::new(),
        });
        LanId(self.lans.len() - 1)
    }

    pub(super) fn lan(&self, lan: LanId) -> &Lan {
        &self.lans[lan.0]
    }

    pub(super) fn cable(&self, cable: CableId) -> &Cable {
        &self.cables[cable.0]
    }

    pub(super) fn cable_mut(&mut self, cable: CableId) -> &mut Cable {
        &mut self.cables[cable.0]
    }

    pub(super) fn attach(&mut self, node: Node, lan: LanId, iface: IfName, ip: Ipv4Addr) -> CableId {
        let id = CableId(self.cables.len());
        let rule = Rule::default();
        self.cables.push(Cable { node, lan, iface, ip, out: rule, into: rule, carrier: true });
        self.lans[lan.0].cables.push(id);
        self.lans[lan.0].by_ip.insert(ip, id);
        id
    }

    /// The interface has another address from now on.
    pub(super) fn move_to(&mut self, cable: CableId, ip: Ipv4Addr) {
        let lan = self.cable(cable).lan;
        let by_ip = &mut self.lans[lan.0].by_ip;
        by_ip.retain(|_, there| *there != cable);
        by_ip.insert(ip, cable);
        self.cable_mut(cable).ip = ip;
    }

    /// Whether something that is sent often enough passes between two cables, both ways.
    pub(super) fn is_open(&self, a: CableId, b: CableId) -> bool {
        let (from, to) = (self.cable(a), self.cable(b));
        let is_cut = [from.out, from.into, to.out, to.into].iter().any(|rule| rule.cut);
        !is_cut && from.carrier && to.carrier && (from.lan != to.lan || self.same_side(a, b))
    }

    /// The interface that a cable is to its machine.
    pub(super) fn interface(&self, cable: CableId) -> Interface {
        let cable = self.cable(cable);
        let lan = self.lan(cable.lan);
        let mask = lan.mask();
        let bcast = Ipv4Addr::from_bits(lan.net.to_bits() | !mask.to_bits());
        Interface { name: cable.iface.clone(), ip: cable.ip, mask, bcast }
    }

    /// Puts the cables on the other side of a split through the LAN; none heals it.
    pub(super) fn split(&mut self, lan: LanId, aside: Vec<CableId>) {
        self.lans[lan.0].aside = aside;
    }

    fn rule(&self, cable: CableId, way: Way) -> Rule {
        let cable = self.cable(cable);
        if way == Way::Out { cable.out } else { cable.into }
    }

    /// How much later than usual something passes a cable; `None` when it is lost there.
    pub(super) fn passes(&mut self, cable: CableId, way: Way) -> Option<Duration> {
        let rule = self.rule(cable, way);
        let lost = rule.cut || !self.cable(cable).carrier || self.dice.happens(rule.loss);
        (!lost).then(|| rule.delay + self.some_of(rule.jitter))
    }

    /// A time up to this one.
    fn some_of(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            return most;
        }
        Duration::from_micros(self.dice.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Whether a datagram that passes a cable arrives once more, and how much later than the first time.
    pub(super) fn echoes(&mut self, cable: CableId, way: Way) -> Option<Duration> {
        let rule = self.rule(cable, way);
        self.dice.happens(rule.twice).then(|| ECHO + self.some_of(rule.jitter))
    }

    /// Whether a cable is as it should be: no rule, its plug in, its LAN in one piece.
    pub(super) fn is_sound(&self, cable: CableId) -> bool {
        let Cable { lan, out, into, carrier, .. } = self.cable(cable);
        *carrier && *out == Rule::default() && *into == Rule::default() && self.lan(*lan).aside.is_empty()
    }

    /// Nothing passes between these two cables of one LAN from now on.
    pub(super) fn keep_apart(&mut self, a: CableId, b: CableId) {
        let lan = self.cable(a).lan;
        self.lans[lan.0].apart.push((a, b));
    }

    /// Whether both cables are on one side of their LAN, and not kept apart.
    pub(super) fn same_side(&self, a: CableId, b: CableId) -> bool {
        let lan = self.lan(self.cable(a).lan);
        if lan.apart.iter().any(|pair| *pair == (a, b) || *pair == (b, a)) {
            return false;
        }
        lan.aside.is_empty() || lan.aside.contains(&a) == lan.aside.contains(&b)
    }

    /// The way from a machine with these cables to an address: out by the first, in by the second. As in a
    /// kernel, the first interface whose subnet holds the address is the way, whoever is there.
    pub(super) fn route(&self, from: &[CableId], to: Ipv4Addr) -> Option<(CableId, CableId)> {
        let plugged = || from.iter().copied().filter(|l| self.cable(*l).carrier);
        let lan_of = |l: &CableId| self.lan(self.cable(*l).lan);
        if let Some(direct) = plugged().find(|l| lan_of(l).holds(to)) {
            let there = lan_of(&direct).by_ip.get(&to)?;
            return Some((direct, *there));
        }
        let leg = plugged().find(|l| lan_of(l).routed)?;
        let there = self.lans.iter().filter(|lan| lan.routed).find_map(|lan| lan.by_ip.get(&to))?;
        Some((leg, *there))
    }

    /// How long the way takes; `None` when it is lost on it.
    pub(super) fn crosses(&mut self, from: CableId, to: CableId) -> Option<Duration> {
        let same_lan = self.cable(from).lan == self.cable(to).lan;
        if same_lan && !self.same_side(from, to) {
            return None;
        }
        let way = if same_lan { LAN_DELAY } else { LAN_DELAY * 2 + ROUTER_DELAY };
        Some(way + self.passes(from, Way::Out)? + self.passes(to, Way::In)?)
    }

    /// How long a LAN takes to carry a broadcast.
    pub(super) const fn lan_delay() -> Duration {
        LAN_DELAY
    }
}
