//! What this host says of itself without being asked: host messages every twenty seconds, at start and on
//! change, and a beacon on every interface every 50 ms.
//!
//! Owns the sequence numbers, the beacon's hash chain and both schedules. Refuses to know who listens.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proto::alp::AnchorNote;
use proto::beacon::{self, Beacon};
use proto::chain::Chain;
use proto::digest::DigestVersion;
use proto::host_message::{HostMessage, INTERFACES_MAX, INTERFACES_PER_MESSAGE, Label, Load, Vitals};
use proto::keys::{KeyRing, Purpose};
use proto::lack::Lacks;
use proto::net::{IfName, Interface};
use proto::time::{Duration, earliest};
use proto::version::Version;
use proto::{BootId, HostName, Instant, MachineId, StoreId, WallTime};

use proto::rng::SecretRng;

/// How often a host message is due when nothing changes.
pub const MESSAGE_INTERVAL: Duration = Duration::from_secs(20);

/// Changes that come quicker than this share one host message.
const CHANGE_PAUSE: Duration = Duration::from_millis(200);

/// Values of one hash chain: six hours of beacons at the full rate. A new chain costs its length in hashes
/// (about 50 ms), once.
pub const CHAIN_LEN: usize = 432_000;

/// What of a host does not change while it runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The host's name, unique in the group.
    pub host: HostName,
    /// This run of it.
    pub boot: BootId,
    /// The machine it runs on: hosts of one machine fail together.
    pub machine: MachineId,
    /// The rack, as the operator calls it; empty where nobody said.
    pub rack: Label,
    /// The site, as the operator calls it; empty where nobody said.
    pub site: Label,
    /// The data store it uses.
    pub store: Label,
    /// Whether sessions outlive the daemon.
    pub keep: bool,
    /// Whether terminals may speak to it without TLS.
    pub plain: bool,
    /// The port it serves, of TCP and UDP.
    pub port: u16,
    /// Processors of its machine.
    pub cpus: u16,
    /// Their clock, MHz.
    pub clock: u32,
    /// Values in the beacons' hash chain; [`CHAIN_LEN`] unless a simulation of many hosts wants fewer.
    pub chain_len: usize,
}

impl Identity {
    /// A host of which nothing else was said: its sessions end with its daemon, it speaks TLS alone at the usual port,
    /// and has one processor of unknown speed.
    #[must_use]
    pub fn new(host: HostName, boot: BootId, machine: MachineId) -> Self {
        Self {
            host,
            boot,
            machine,
            rack: Label::default(),
            site: Label::default(),
            store: Label::default(),
            keep: false,
            plain: false,
            port: proto::PORT,
            cpus: 1,
            clock: 0,
            chain_len: CHAIN_LEN,
        }
    }
}

/// One datagram to broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// On which interface.
    pub iface: IfName,
    /// The signed line, ready to be sent.
    pub bytes: Vec<u8>,
}

/// The announcing half of a group manager.
#[derive(Debug)]
pub struct Announcer {
    id: Identity,
    interfaces: Vec<Interface>,
    /// Per interface: announcements and beacons sent. Never forgotten while the host runs, or an interface
    /// that comes back would speak with numbers its hearers have passed.
    sent: BTreeMap<IfName, Sent>,
    load: Load,
    /// The operator's word.
    drain: bool,
    store_id: Option<StoreId>,
    lacks: Lacks,
    began: Instant,
    digest: Option<DigestVersion>,
    every: Duration,
    chain: Chain,
    tick: u64,
    message_due: Instant,
    message_sent: Option<Instant>,
    beacon_due: Instant,
    /// Before [`Announcer::begin`] it says nothing.
    has_begun: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    messages: u64,
    beacons: u64,
}

impl Announcer {
    /// An announcer that says nothing before [`Announcer::begin`].
    #[must_use]
    pub fn new(now: Instant, id: Identity, entropy: &mut SecretRng) -> Self {
        let chain = Chain::new(entropy.bytes(), id.chain_len);
        Self {
            id,
            interfaces: Vec::new(),
            sent: BTreeMap::new(),
            load: Load::default(),
            drain: false,
            store_id: None,
            lacks: Lacks::none(),
            began: now,
            digest: None,
            every: beacon::INTERVAL,
            chain,
            tick: 0,
            message_due: now,
            message_sent: None,
            beacon_due: now,
            has_begun: false,
        }
    }

    /// It speaks from now on.
    pub fn begin(&mut self, now: Instant) {
        self.has_begun = true;
        self.message_due = now;
        self.beacon_due = now;
    }

    /// What does not change.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.id
    }

    /// The interfaces last announced.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The primary address: that of the first interface.
    #[must_use]
    pub fn primary(&self) -> Ipv4Addr {
        self.interfaces.first().map_or(Ipv4Addr::UNSPECIFIED, |interface| interface.ip)
    }

    /// The load last announced.
    #[must_use]
    pub const fn load(&self) -> Load {
        self.load
    }

    /// Whether this host takes no new sessions: its operator has drained it, or it lacks something.
    #[must_use]
    pub fn drain(&self) -> bool {
        self.drain || !self.lacks.is_empty()
    }

    /// Whether its operator has drained it.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.drain
    }

    /// What it lacks to make sessions.
    #[must_use]
    pub const fn lacks(&self) -> &Lacks {
        &self.lacks
    }

    /// The present interval of the beacons.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// By what a DTU checks the beacons from now on.
    #[must_use]
    pub fn anchor(&mut self) -> AnchorNote {
        let chain_value = self.chain.reveal(self.tick).unwrap_or_else(|| self.chain.anchor());
        AnchorNote { boot: self.id.boot, tick: self.tick, chain_value, every: self.every }
    }

    /// Takes in the interfaces of the present moment. A change is announced at once.
    pub fn set_interfaces(&mut self, now: Instant, mut interfaces: Vec<Interface>) {
        interfaces.truncate(INTERFACES_MAX);
        if interfaces != self.interfaces {
            if self.interfaces.is_empty() {
                // Nobody has heard anything lately.
                self.beacon_due = now;
            }
            self.interfaces = interfaces;
            self.announce_soon(now);
        }
    }

    /// Takes in a sample of the load; it is told with the next beacon or message.
    pub const fn set_load(&mut self, load: Load) {
        self.load = load;
    }

    /// Takes in how far the digest has come; it is told with the next beacon.
    pub const fn set_digest(&mut self, digest: Option<DigestVersion>) {
        self.digest = digest;
    }

    /// Starts or ends draining, which is announced at once.
    pub fn set_drain(&mut self, now: Instant, drain: bool) {
        if drain != self.drain {
            self.drain = drain;
            self.announce_soon(now);
        }
    }

    /// The data store this host uses, once that has said which it is.
    #[must_use]
    pub const fn store_id(&self) -> Option<StoreId> {
        self.store_id
    }

    /// Takes in which data store this host uses. A change is announced at once.
    pub fn set_store_id(&mut self, now: Instant, id: StoreId) {
        if self.store_id.replace(id) != Some(id) {
            self.announce_soon(now);
        }
    }

    /// Takes in what this host lacks to make sessions, which is announced at once.
    pub fn set_lacks(&mut self, now: Instant, lacks: Lacks) {
        if lacks != self.lacks {
            self.lacks = lacks;
            self.announce_soon(now);
        }
    }

    /// Takes in the size of the group, which decides the beacon's interval.
    pub fn set_group_size(&mut self, hosts: usize) {
        self.every = beacon::interval_for(hosts);
    }

    /// Makes a host message due now, or a moment after the last one.
    pub fn announce_soon(&mut self, now: Instant) {
        let earliest_at = self.message_sent.map_or(now, |at| at + CHANGE_PAUSE);
        self.message_due = self.message_due.min(now.max(earliest_at));
    }

    /// When [`Announcer::speak`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        earliest(Some(self.message_due), Some(self.beacon_due)).filter(|_| self.has_begun)
    }

    /// Says what is due. Returns whether a new hash chain began, which every DTU must be told of.
    pub fn speak(
        &mut self,
        now: Instant,
        wall: WallTime,
        ring: &KeyRing,
        entropy: &mut SecretRng,
        out: &mut Vec<Announcement>,
    ) -> bool {
        if !self.has_begun {
            return false;
        }
        if now >= self.message_due {
            self.message_due = now + MESSAGE_INTERVAL;
            if !self.interfaces.is_empty() {
                self.message_sent = Some(now);
            }
            self.say_messages(now, wall, ring, out);
        }
        if now < self.beacon_due {
            return false;
        }
        // Rounds that were missed are not made up for: a burst of beacons says no more than one.
        let next = self.beacon_due + self.every;
        self.beacon_due = if next > now { next } else { now + self.every };
        self.say_beacons(ring, entropy, out)
    }

    fn say_messages(&mut self, now: Instant, wall: WallTime, ring: &KeyRing, out: &mut Vec<Announcement>) {
        let names: Vec<IfName> = self.interfaces.iter().map(|i| i.name.clone()).collect();
        for iface in names {
            self.sent.entry(iface.clone()).or_default().messages += 1;
            let parts = self.newest_message(now, wall, ring, &iface);
            out.extend(parts.into_iter().map(|bytes| Announcement { iface: iface.clone(), bytes }));
        }
    }

    /// The newest host message of an interface in its parts, as it was broadcast: for a host that has just met
    /// this one and must not wait for the next round. Empty before the first round.
    #[must_use]
    pub fn newest_message(
        &self,
        now: Instant,
        wall: WallTime,
        ring: &KeyRing,
        iface: &IfName,
    ) -> Vec<Vec<u8>> {
        let Some(seq) = self.sent.get(iface).map(|sent| sent.messages).filter(|seq| *seq > 0) else {
            return Vec::new();
        };
        let parts = self.interfaces.chunks(INTERFACES_PER_MESSAGE);
        let message = |part: &[Interface]| self.message((now, wall), iface, seq, part.to_vec());
        parts.map(|part| ring.seal(Purpose::HostMessage, &message(part).to_line())).collect()
    }

    fn message(
        &self,
        (now, wall): (Instant, WallTime),
        iface: &IfName,
        seq: u64,
        part: Vec<Interface>,
    ) -> HostMessage {
        HostMessage {
            host: self.id.host.clone(),
            addr: self.primary(),
            time: wall.as_secs(),
            numifs: u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX),
            flags: 0,
            cpus: self.id.cpus,
            clock: self.id.clock,
            interfaces: part,
            vitals: Some(Vitals {
                ver: Version::CURRENT,
                boot: self.id.boot,
                seq,
                iface: iface.clone(),
                port: self.id.port,
                load: self.load,
                machine: self.id.machine,
                rack: self.id.rack.clone(),
                site: self.id.site.clone(),
                drain: self.drain(),
                keep: self.id.keep,
                plain: self.id.plain,
                store: self.id.store.clone(),
                store_id: self.store_id,
                lacks: self.lacks.clone(),
                up_ms: u64::try_from(now.since(self.began).as_millis()).ok(),
            }),
        }
    }

    fn say_beacons(&mut self, ring: &KeyRing, entropy: &mut SecretRng, out: &mut Vec<Announcement>) -> bool {
        let mut renewed = false;
        self.tick += 1;
        let chain_value = self.chain.reveal(self.tick).unwrap_or_else(|| {
            self.chain = Chain::new(entropy.bytes(), self.id.chain_len);
            self.tick = 1;
            renewed = true;
            self.chain.reveal(1).unwrap_or_else(|| self.chain.anchor())
        });
        for interface in &self.interfaces {
            let sent = self.sent.entry(interface.name.clone()).or_default();
            sent.beacons += 1;
            let beacon = Beacon {
                host: self.id.host.clone(),
                ver: Version::CURRENT,
                boot: self.id.boot,
                seq: sent.beacons,
                iface: interface.name.clone(),
                every: self.every,
                load: self.load.run_queue,
                sessions: self.load.sessions,
                drain: self.drain(),
                tick: self.tick,
                chain_value,
                digest: self.digest,
            };
            let bytes = ring.seal(Purpose::Beacon, &beacon.to_line());
            out.push(Announcement { iface: interface.name.clone(), bytes });
        }
        renewed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::keys::GroupKey;

    fn interface(name: &str, ip: [u8; 4]) -> Interface {
        let [a, b, c, _] = ip;
        Interface {
            name: name.parse().unwrap(),
            ip: ip.into(),
            mask: [255, 255, 255, 0].into(),
            bcast: [a, b, c, 255].into(),
        }
    }

    fn announcer(interfaces: usize) -> (Announcer, KeyRing, SecretRng) {
        let mut entropy = SecretRng::new([1; 32]);
        let id = Identity { chain_len: 512, ..Identity::new("a".parse().unwrap(), BootId(1), MachineId(1)) };
        let mut announcer = Announcer::new(Instant::ZERO, id, &mut entropy);
        announcer.begin(Instant::ZERO);
        let all =
            (0..interfaces).map(|n| interface(&format!("eth{n}"), [10, 0, u8::try_from(n).unwrap(), 1]));
        announcer.set_interfaces(Instant::ZERO, all.collect());
        (announcer, KeyRing::new(GroupKey::new(&[1; 32]).unwrap(), Vec::new()), entropy)
    }

    fn run(
        a: &mut Announcer,
        ring: &KeyRing,
        e: &mut SecretRng,
        until: Instant,
    ) -> Vec<(Instant, Announcement)> {
        let mut all = Vec::new();
        while let Some(at) = a.poll_at().filter(|at| *at < until) {
            let mut out = Vec::new();
            a.speak(at, WallTime::from_secs(1), ring, e, &mut out);
            all.extend(out.into_iter().map(|x| (at, x)));
        }
        all
    }

    #[test]
    fn a_host_message_goes_out_at_start_and_every_twenty_seconds_and_a_beacon_every_fifty_milliseconds() {
        let (mut a, ring, mut e) = announcer(1);
        let said = run(&mut a, &ring, &mut e, Instant::ZERO + Duration::from_secs(60));
        let messages = said.iter().filter(|(_, x)| x.bytes.starts_with(b"host=")).count();
        let beacons = said.iter().filter(|(_, x)| x.bytes.starts_with(b"beacon ")).count();
        assert_eq!((messages, beacons), (3, 1_200));
    }

    #[test]
    fn a_changed_interface_is_announced_at_once() {
        let (mut a, ring, mut e) = announcer(1);
        run(&mut a, &ring, &mut e, Instant::ZERO + Duration::from_secs(5));
        let now = Instant::ZERO + Duration::from_secs(5);
        a.set_interfaces(now, vec![interface("eth9", [10, 9, 0, 1])]);
        let said = run(&mut a, &ring, &mut e, now + Duration::from_millis(1));
        assert!(said.iter().any(|(_, x)| x.bytes.starts_with(b"host=") && x.iface.as_str() == "eth9"));
    }

    #[test]
    fn many_interfaces_go_into_several_datagrams_of_one_sequence_number() {
        let (mut a, ring, mut e) = announcer(20);
        let said = run(&mut a, &ring, &mut e, Instant::from_micros(1));
        let first: Vec<_> = said
            .iter()
            .filter(|(_, x)| x.iface.as_str() == "eth0" && x.bytes.starts_with(b"host="))
            .map(|(_, x)| {
                assert!(x.bytes.len() <= proto::host_message::DATAGRAM_MAX, "{} bytes", x.bytes.len());
                let line = ring.open(Purpose::HostMessage, &x.bytes).unwrap().into_inner();
                HostMessage::from_line(&line).unwrap()
            })
            .collect();
        assert_eq!(first.iter().map(|m| m.interfaces.len()).collect::<Vec<_>>(), [8, 8, 4]);
        assert!(first.iter().all(|m| m.numifs == 20 && m.vitals.as_ref().unwrap().seq == 1));
    }

    #[test]
    fn when_the_hash_chain_ends_a_new_one_begins_and_the_dtus_must_hear_of_it() {
        let (mut a, ring, mut e) = announcer(1);
        let mut renewed = 0;
        for _ in 0..600 {
            let at = a.poll_at().unwrap();
            renewed += u32::from(a.speak(at, WallTime::default(), &ring, &mut e, &mut Vec::new()));
        }
        assert_eq!(renewed, 1);
    }
}
