//! One LAN's switch as a pure machine: it learns addresses, applies rules and holds frames back.
//!
//! It is told the time and draws chance from a seed, so that a run with the same frames at the same times
//! makes the same decisions. The thread that moves the bytes is in [`super::wire`].

use std::collections::{BTreeMap, BTreeSet};

use proto::Instant;
use proto::rng::SecretRng;

use super::rule::{Counts, End, Rule, Way};

/// A port, unique within one network.
pub(super) type PortId = u16;

/// An Ethernet address.
type Mac = [u8; 6];

/// Bytes of an Ethernet header; anything shorter is no frame.
const HEADER_LEN: usize = 14;

/// Frames held at most, so that a delay on a flooded LAN cannot take all memory.
const HELD_MAX: usize = 16_384;

/// Addresses learnt at most; a host that makes them up loses only its own LAN's unicast.
const ADDRESSES_MAX: usize = 4_096;

/// A frame on its way to a port.
pub(super) type Held = (PortId, Box<[u8]>);

/// The state of one LAN.
#[derive(Debug)]
pub(super) struct Fabric {
    ports: BTreeSet<PortId>,
    mute: BTreeSet<PortId>,
    deaf: BTreeSet<PortId>,
    addresses: BTreeMap<Mac, PortId>,
    rules: BTreeMap<(End<PortId>, End<PortId>), Rule>,
    held: BTreeMap<(Instant, u64), Held>,
    held_so_far: u64,
    rng: SecretRng,
    /// What has been done so far.
    pub(super) counts: Counts,
}

impl Fabric {
    /// A switch without ports; `seed` decides all chances.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            ports: BTreeSet::new(),
            mute: BTreeSet::new(),
            deaf: BTreeSet::new(),
            addresses: BTreeMap::new(),
            rules: BTreeMap::new(),
            held: BTreeMap::new(),
            held_so_far: 0,
            rng: SecretRng::new(core::array::from_fn(|at| seed.to_be_bytes()[at % 8])),
            counts: Counts::default(),
        }
    }

    /// Adds a port.
    pub(super) fn add_port(&mut self, port: PortId) {
        self.ports.insert(port);
    }

    /// Sets what happens to frames from `from` to `to`; a plain rule makes an exception from a wider one.
    ///
    /// The rule that names both ports wins over one that names the sender, that over one that names the
    /// receiver, and that over the one for the whole LAN.
    pub(super) fn set_rule(&mut self, from: End<PortId>, to: End<PortId>, rule: Rule) {
        self.rules.insert((from, to), rule);
    }

    /// Removes every rule; cut ports stay cut.
    pub(super) fn clear_rules(&mut self) {
        self.rules.clear();
    }

    /// Cuts a port, on top of whatever rules there are.
    pub(super) fn cut(&mut self, port: PortId, way: Way) {
        if way != Way::In {
            self.mute.insert(port);
        }
        if way != Way::Out {
            self.deaf.insert(port);
            // What is still on its way to a cut port does not arrive.
            self.held.retain(|_, (to, _)| *to != port);
        }
    }

    /// Undoes [`Fabric::cut`], both ways.
    pub(super) fn heal(&mut self, port: PortId) {
        self.mute.remove(&port);
        self.deaf.remove(&port);
    }

    /// Takes a frame that `from` has sent; pushes a port for every copy that is to be delivered at once.
    pub(super) fn on_frame(&mut self, now: Instant, from: PortId, frame: &[u8], out: &mut Vec<PortId>) {
        let Some((to_mac, from_mac)) = addresses(frame) else { return };
        self.counts.sent += 1;
        if self.mute.contains(&from) {
            self.counts.cut += 1;
            return;
        }
        if !is_group(from_mac)
            && (self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&from_mac))
        {
            self.addresses.insert(from_mac, from);
        }
        match self.addresses.get(&to_mac).copied() {
            Some(to) if to == from => {}
            Some(to) => self.pass(now, from, to, frame, out),
            None => {
                let ports: Vec<PortId> = self.ports.iter().copied().filter(|&p| p != from).collect();
                for to in ports {
                    self.pass(now, from, to, frame, out);
                }
            }
        }
    }

    /// Hands over the held frames whose time has come.
    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Vec<Held>) {
        while let Some(entry) = self.held.first_entry() {
            if entry.key().0 > now {
                break;
            }
            self.counts.delivered += 1;
            out.push(entry.remove());
        }
    }

    /// When [`Fabric::on_timeout`] has something to do next.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.held.first_key_value().map(|((at, _), _)| *at)
    }

    fn pass(&mut self, now: Instant, from: PortId, to: PortId, frame: &[u8], out: &mut Vec<PortId>) {
        let rule = self.rule(from, to);
        if rule.cut || self.deaf.contains(&to) {
            self.counts.cut += 1;
            return;
        }
        if self.rng.happens(rule.loss) {
            self.counts.lost += 1;
            return;
        }
        let copies = if self.rng.happens(rule.duplicate) { 2 } else { 1 };
        self.counts.duplicated += copies - 1;
        for _ in 0..copies {
            let mut wait = rule.delay + self.rng.up_to(rule.jitter);
            if self.rng.happens(rule.reorder) {
                wait += Rule::REORDER_HOLD;
            }
            if wait.is_zero() {
                self.counts.delivered += 1;
                out.push(to);
            } else if self.held.len() < HELD_MAX {
                self.counts.held += 1;
                self.held_so_far += 1;
                self.held.insert((now + wait, self.held_so_far), (to, frame.into()));
            } else {
                self.counts.overflow += 1;
            }
        }
    }

    fn rule(&self, from: PortId, to: PortId) -> Rule {
        if self.rules.is_empty() {
            return Rule::default();
        }
        [
            (End::Is(from), End::Is(to)),
            (End::Is(from), End::Any),
            (End::Any, End::Is(to)),
            (End::Any, End::Any),
        ]
        .iter()
        .find_map(|pair| self.rules.get(pair).copied())
        .unwrap_or_default()
    }
}

/// Receiver and sender of a frame.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let header = frame.get(..HEADER_LEN)?;
    Some((header[..6].try_into().ok()?, header[6..12].try_into().ok()?))
}

/// Whether an address stands for many receivers (broadcast is one of them).
fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const A: PortId = 1;
    const B: PortId = 2;
    const C: PortId = 3;

    fn mac(port: PortId) -> Mac {
        [2, 0, 0, 0, 0, u8::try_from(port).unwrap()]
    }

    fn frame(to: Mac, from: PortId) -> Vec<u8> {
        let mut bytes = to.to_vec();
        bytes.extend(mac(from));
        bytes.extend([0x08, 0x00, 1, 2, 3]);
        bytes
    }

    fn lan() -> Fabric {
        let mut lan = Fabric::new(1);
        for port in [A, B, C] {
            lan.add_port(port);
        }
        lan
    }

    fn send(lan: &mut Fabric, to: Mac, from: PortId) -> Vec<PortId> {
        let mut out = Vec::new();
        lan.on_frame(Instant::ZERO, from, &frame(to, from), &mut out);
        out
    }

    #[test]
    fn a_broadcast_reaches_everybody_else_and_a_learnt_address_one_port() {
        let mut lan = lan();
        assert_eq!(send(&mut lan, [255; 6], A), [B, C]);
        assert_eq!(send(&mut lan, mac(C), A), [B, C], "not learnt yet");
        assert_eq!(send(&mut lan, mac(A), C), [A]);
        assert_eq!(send(&mut lan, mac(C), A), [C]);
    }

    #[test]
    fn a_cut_works_each_way_by_itself() {
        let mut lan = lan();
        lan.cut(A, Way::Out);
        assert!(send(&mut lan, [255; 6], A).is_empty());
        assert_eq!(send(&mut lan, [255; 6], B), [A, C]);
        lan.heal(A);
        lan.cut(A, Way::In);
        assert_eq!(send(&mut lan, [255; 6], A), [B, C]);
        assert_eq!(send(&mut lan, [255; 6], B), [C]);
        lan.heal(A);
        assert_eq!(send(&mut lan, [255; 6], B), [A, C]);
    }

    #[test]
    fn the_rule_that_names_more_wins() {
        let mut lan = lan();
        lan.set_rule(End::Any, End::Any, Rule::cut());
        lan.set_rule(End::Is(A), End::Is(B), Rule { loss: 0.0, ..Rule::default() });
        assert_eq!(send(&mut lan, [255; 6], A), [B]);
        lan.clear_rules();
        assert_eq!(send(&mut lan, [255; 6], A), [B, C]);
    }

    #[test]
    fn loss_takes_about_its_share_and_the_same_seed_takes_the_same_frames() {
        let run = || -> Vec<bool> {
            let mut lan = lan();
            lan.set_rule(End::Is(A), End::Any, Rule::loss(0.2));
            send(&mut lan, [255; 6], B);
            (0..2_000).map(|_| send(&mut lan, mac(B), A).is_empty()).collect()
        };
        let first = run();
        let lost = first.iter().filter(|&&lost| lost).count();
        assert!((300..500).contains(&lost), "{lost} of 2000");
        assert_eq!(first, run());
    }

    #[test]
    fn a_delayed_frame_arrives_at_its_time_and_not_at_all_when_the_link_is_cut_meanwhile() {
        let mut lan = lan();
        lan.set_rule(End::Any, End::Is(B), Rule::delay(Duration::from_millis(7)));
        assert_eq!(send(&mut lan, [255; 6], A), [C]);
        let due = Instant::from_micros(7_000);
        assert_eq!(lan.poll_at(), Some(due));
        let mut out = Vec::new();
        lan.on_timeout(Instant::from_micros(6_999), &mut out);
        assert!(out.is_empty());
        lan.on_timeout(due, &mut out);
        assert_eq!(out.pop(), Some((B, frame([255; 6], A).into())));

        send(&mut lan, [255; 6], A);
        lan.cut(B, Way::Both);
        assert_eq!(lan.poll_at(), None);
    }

    #[test]
    fn duplication_and_reordering_do_what_they_say() {
        let mut lan = lan();
        lan.set_rule(End::Any, End::Is(B), Rule { duplicate: 1.0, ..Rule::default() });
        lan.set_rule(End::Any, End::Is(C), Rule { reorder: 1.0, ..Rule::default() });
        assert_eq!(send(&mut lan, [255; 6], A), [B, B]);
        assert_eq!(lan.poll_at(), Some(Instant::ZERO + Rule::REORDER_HOLD));
        assert_eq!((lan.counts.duplicated, lan.counts.held), (1, 1));
    }

    #[test]
    fn what_is_held_is_bounded_and_what_is_no_frame_is_ignored() {
        let mut lan = lan();
        lan.set_rule(End::Any, End::Any, Rule::delay(Duration::from_secs(1)));
        for _ in 0..HELD_MAX {
            send(&mut lan, [255; 6], A);
        }
        assert_eq!(lan.held.len(), HELD_MAX);
        assert_eq!(lan.counts.overflow, HELD_MAX as u64);
        let mut out = Vec::new();
        lan.on_frame(Instant::ZERO, A, &[1, 2, 3], &mut out);
        assert!(out.is_empty());
    }
}
