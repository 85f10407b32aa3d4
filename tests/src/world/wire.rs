//! LANs as broadcast domains, the links of machines to them, and what goes wrong on the way.
//!
//! A datagram leaves by one link, crosses one LAN (or two and the router between them) and arrives by another.
//! Each link has a rule for either way; a LAN can be split in two.

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
pub(super) struct LinkId(pub(super) usize);

/// Whoever has links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Host(usize),
    Desk(usize),
    Stranger(usize),
}

/// What becomes of what passes a link one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Nothing passes.
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

/// The ways of a link, as its machine sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the machine.
    Out,
    /// To the machine.
    In,
    /// Both.
    Both,
}

#[derive(Debug)]
pub(super) struct Lan {
    pub(super) name: String,
    net: Ipv4Addr,
    prefix: u8,
    /// Whether the router has a leg here.
    pub(super) routed: bool,
    pub(super) links: Vec<LinkId>,
    by_ip: BTreeMap<Ipv4Addr, LinkId>,
    /// While it is split: the links on the smaller side. Nothing passes between the sides.
    aside: Vec<LinkId>,
    /// Pairs between which nothing passes.
    apart: Vec<(LinkId, LinkId)>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: Node,
    pub(super) lan: LanId,
    pub(super) iface: IfName,
    pub(super) ip: Ipv4Addr,
    pub(super) out: Rule,
    pub(super) into: Rule,
    /// Whether the plug is in. Without it the machine knows that it has no carrier.
    pub(super) carrier: bool,
}

/// All LANs and links.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) lans: Vec<Lan>,
    pub(super) links: Vec<Link>,
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
        Self { lans: Vec::new(), links: Vec::new(), dice }
    }

    pub(super) fn add_lan(&mut self, name: &str, net: Ipv4Addr, prefix: u8) -> LanId {
        self.lans.push(Lan {
            name: name.to_owned(),
            net,
            prefix,
            routed: false,
            links: Vec::new(),
            by_ip: BTreeMap::new(),
            aside: Vec::new(),
            apart: Vec::new(),
        });
        LanId(self.lans.len() - 1)
    }

    pub(super) fn lan(&self, lan: LanId) -> &Lan {
        &self.lans[lan.0]
    }

    pub(super) fn link(&self, link: LinkId) -> &Link {
        &self.links[link.0]
    }

    pub(super) fn link_mut(&mut self, link: LinkId) -> &mut Link {
        &mut self.links[link.0]
    }

    pub(super) fn attach(&mut self, node: Node, lan: LanId, iface: IfName, ip: Ipv4Addr) -> LinkId {
        let id = LinkId(self.links.len());
        let rule = Rule::default();
        self.links.push(Link { node, lan, iface, ip, out: rule, into: rule, carrier: true });
        self.lans[lan.0].links.push(id);
        self.lans[lan.0].by_ip.insert(ip, id);
        id
    }

    /// The interface has another address from now on.
    pub(super) fn move_to(&mut self, link: LinkId, ip: Ipv4Addr) {
        let lan = self.link(link).lan;
        let by_ip = &mut self.lans[lan.0].by_ip;
        by_ip.retain(|_, there| *there != link);
        by_ip.insert(ip, link);
        self.link_mut(link).ip = ip;
    }

    /// Whether something that is sent often enough passes between two links, both ways.
    pub(super) fn is_open(&self, a: LinkId, b: LinkId) -> bool {
        let (from, to) = (self.link(a), self.link(b));
        let is_cut = [from.out, from.into, to.out, to.into].iter().any(|rule| rule.cut);
        !is_cut && from.carrier && to.carrier && (from.lan != to.lan || self.same_side(a, b))
    }

    /// The interface that a link is to its machine.
    pub(super) fn interface(&self, link: LinkId) -> Interface {
        let link = self.link(link);
        let lan = self.lan(link.lan);
        let mask = lan.mask();
        let bcast = Ipv4Addr::from_bits(lan.net.to_bits() | !mask.to_bits());
        Interface { name: link.iface.clone(), ip: link.ip, mask, bcast }
    }

    /// Puts the links on the other side of a split through the LAN; none heals it.
    pub(super) fn split(&mut self, lan: LanId, aside: Vec<LinkId>) {
        self.lans[lan.0].aside = aside;
    }

    fn rule(&self, link: LinkId, way: Way) -> Rule {
        let link = self.link(link);
        if way == Way::Out { link.out } else { link.into }
    }

    /// How much later than usual something passes a link; `None` when it is lost there.
    pub(super) fn passes(&mut self, link: LinkId, way: Way) -> Option<Duration> {
        let rule = self.rule(link, way);
        let lost = rule.cut || !self.link(link).carrier || self.dice.happens(rule.loss);
        (!lost).then(|| rule.delay + self.some_of(rule.jitter))
    }

    /// A time up to this one.
    fn some_of(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            return most;
        }
        Duration::from_micros(self.dice.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Whether a datagram that passes a link arrives once more, and how much later than the first time.
    pub(super) fn echoes(&mut self, link: LinkId, way: Way) -> Option<Duration> {
        let rule = self.rule(link, way);
        self.dice.happens(rule.twice).then(|| ECHO + self.some_of(rule.jitter))
    }

    /// Whether a link is as it should be: no rule, its plug in, its LAN in one piece.
    pub(super) fn is_sound(&self, link: LinkId) -> bool {
        let Link { lan, out, into, carrier, .. } = self.link(link);
        *carrier && *out == Rule::default() && *into == Rule::default() && self.lan(*lan).aside.is_empty()
    }

    /// Nothing passes between these two links of one LAN from now on.
    pub(super) fn keep_apart(&mut self, a: LinkId, b: LinkId) {
        let lan = self.link(a).lan;
        self.lans[lan.0].apart.push((a, b));
    }

    /// Whether both links are on one side of their LAN, and not kept apart.
    pub(super) fn same_side(&self, a: LinkId, b: LinkId) -> bool {
        let lan = self.lan(self.link(a).lan);
        if lan.apart.iter().any(|pair| *pair == (a, b) || *pair == (b, a)) {
            return false;
        }
        lan.aside.is_empty() || lan.aside.contains(&a) == lan.aside.contains(&b)
    }

    /// The way from a machine with these links to an address: out by the first, in by the second. As in a
    /// kernel, the first interface whose subnet holds the address is the way, whoever is there.
    pub(super) fn route(&self, from: &[LinkId], to: Ipv4Addr) -> Option<(LinkId, LinkId)> {
        let plugged = || from.iter().copied().filter(|l| self.link(*l).carrier);
        let lan_of = |l: &LinkId| self.lan(self.link(*l).lan);
        if let Some(direct) = plugged().find(|l| lan_of(l).holds(to)) {
            let there = lan_of(&direct).by_ip.get(&to)?;
            return Some((direct, *there));
        }
        let leg = plugged().find(|l| lan_of(l).routed)?;
        let there = self.lans.iter().filter(|lan| lan.routed).find_map(|lan| lan.by_ip.get(&to))?;
        Some((leg, *there))
    }

    /// How long the way takes; `None` when it is lost on it.
    pub(super) fn crosses(&mut self, from: LinkId, to: LinkId) -> Option<Duration> {
        let same_lan = self.link(from).lan == self.link(to).lan;
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
