//! The simulated world: real hosts ([`groupmgr::host::Host`]), real DTUs ([`dtu_emu::dtu::Dtu`]), real session
//! cores and store clients, in virtual time; networks, machines, processes and faults are modelled.
//!
//! ```text
//!  desk ── Dtu ──▶ udp, tcp ──▶ wire ──▶ machine ── Host ──▶ process ── SessionCore + shell
//!                                           └── Client ──▶ store
//! ```
//!
//! Everything that is said is encoded, signed, carried as bytes and read again. One queue orders what happens by
//! time and then by the order it was put in; whoever has a deadline is looked at when it is due, nobody else. Every
//! choice is drawn from the seed: the same seed and the same calls make the same run.
//!
//! A run that fails prints its story: [`World::story`].

#![allow(clippy::panic, reason = "a world that cannot go on is a failed test")]

mod desk;
mod expect;
mod faults;
mod hand;
mod history;
mod keep;
mod kernel;
mod links;
mod look;
mod machine;
mod meter;
mod observation;
mod parts;
mod process;
mod queue;
mod rng;
mod second;
mod shell;
mod store;
mod stranger;
mod tcp;
mod udp;
mod wire;

use core::str::FromStr;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use datastore::wire::Call;
use groupmgr::host::Input;
use groupmgr::topology::Standing;
use proto::keys::{GroupKey, KeyRing};
use proto::{BootId, HostName, Instant, SessionId};

pub use expect::{Expect, Goal, HostExpect};
pub use parts::desk::{DeskId, DeskPlan};
pub use parts::links::{Outcome, QuestionId};
pub use parts::meter::Meter;
pub use parts::observation::{End, Fate, Observation, Shown};
pub use parts::plan::HostPlan;
pub use parts::store::Backup;
pub use parts::stranger::StrangerId;
pub use parts::udp::Heard;
pub use proto::time::Duration;
pub use rng::TestRng;
pub use wire::{LanId, Rule, Way};

use history::History;
use parts::desk::Desk;
use parts::links::{Stream, StreamId};
use parts::machine::{Machine, ToDaemon};
use parts::observation::Observations;
use parts::process::{Order, ToProcess};
use parts::store::StoreNode;
use parts::stranger::Stranger;
use parts::tcp::{Conn, ConnKey, Seg, Side};
use parts::udp::{Datagram, Speaks};
use queue::Queue;
use wire::{CableId, Node, Wire};

/// So many milliseconds.
#[must_use]
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many seconds.
#[must_use]
pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Things that may happen at one moment.
const BUSY_MAX: u32 = 5_000_000;

/// Something that is going to happen.
enum Event {
    /// A daemon asked to be called.
    Due { host: usize, boot: BootId },
    /// A desk did.
    DeskDue { desk: usize },
    /// A broadcast is heard.
    Broadcast { cable: CableId, from: SocketAddrV4, bytes: Rc<[u8]> },
    /// A datagram arrives.
    Datagram { cable: CableId, datagram: Datagram },
    /// ICMP says that nobody listens there.
    Refused { host: usize, addr: SocketAddrV4 },
    /// A part of a connection's bytes arrives.
    Segment { conn: ConnKey, to: Side, seg: Seg },
    /// What was lost of a connection's bytes is sent again.
    Resend { conn: ConnKey, to: Side },
    /// A part of a link's bytes arrives, at the end with this number.
    LinkSegment { stream: StreamId, to: usize, seg: Seg },
    /// What was lost of it is sent again.
    LinkResend { stream: StreamId, to: usize },
    /// The kernel of a desk's machine looks after a connection.
    DeskKernel { conn: ConnKey },
    /// A session process is there.
    Spawned { host: usize, order: Box<Order> },
    /// Something happens to a session process.
    Process { host: usize, session: SessionId, what: ToProcess },
    /// Something of its own machine reaches a daemon, if it is still the same.
    Daemon { host: usize, boot: Option<BootId>, what: ToDaemon },
    /// A call arrives at the data store.
    StoreCall { host: usize, number: u64, call: Box<Call> },
    /// A write has reached the data store's disk.
    StoreCommit { host: usize, number: u64, call: Box<Call> },
    /// A daemon has ended by itself.
    Stopped { host: usize, boot: Option<BootId> },
}

/// The simulated world. See the module's text.
pub struct World {
    now: Instant,
    queue: Queue<Event>,
    dice: TestRng,
    wire: Wire,
    ring: KeyRing,
    /// That of another group on the same LANs.
    foreign_ring: KeyRing,
    machines: Vec<Machine>,
    names: Vec<HostName>,
    by_name: BTreeMap<String, usize>,
    desks: Vec<Desk>,
    strangers: Vec<Stranger>,
    conns: BTreeMap<ConnKey, Conn>,
    streams: BTreeMap<StreamId, Stream>,
    link_answers: BTreeMap<QuestionId, Outcome>,
    next_question: u64,
    store: StoreNode,
    history: History,
    observations: Observations,
    meter: Meter,
    seed: u64,
    next_conn: u64,
    next_pid: u32,
    /// Things that have happened at the present moment.
    busy: u32,
    /// Of everything that has happened, in its order.
    digest: u64,
    /// The next free address of each LAN, of hosts and of everybody else.
    addresses: BTreeMap<LanId, (u32, u32)>,
}

/// One step of a digest.
const fn mix(digest: u64, value: u64) -> u64 {
    (digest ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

impl Event {
    /// What it is and whose, as a number.
    fn kind(&self) -> u64 {
        let (kind, of) = match self {
            Self::Due { host, .. } => (1, *host as u64),
            Self::DeskDue { desk } => (2, *desk as u64),
            Self::Broadcast { cable, bytes, .. } => (3 + ((bytes.len() as u64) << 8), cable.0 as u64),
            Self::Datagram { cable, datagram } => (4 + ((datagram.bytes.len() as u64) << 8), cable.0 as u64),
            Self::Refused { host, .. } => (5, *host as u64),
            Self::Segment { conn, .. } => (6, conn.0),
            Self::Resend { conn, .. } => (7, conn.0),
            Self::Spawned { host, order } => (8 + (*host as u64), order.spec.session.0 as u64),
            Self::Process { host, session, .. } => (9 + (*host as u64), session.0 as u64),
            Self::Daemon { host, .. } => (10, *host as u64),
            Self::StoreCall { host, number, .. } => (11 + (*host as u64), *number),
            Self::StoreCommit { host, number, .. } => (12 + (*host as u64), *number),
            Self::Stopped { host, .. } => (13, *host as u64),
            Self::DeskKernel { conn } => (14, conn.0),
            Self::LinkSegment { stream, .. } => (15, stream.0),
            Self::LinkResend { stream, .. } => (16, stream.0),
        };
        mix(kind, of)
    }

    /// What it is and whose, for a run that does not go on.
    fn name(&self) -> String {
        match self {
            Self::Due { host, .. } => format!("host {host} is due"),
            Self::DeskDue { desk } => format!("desk {desk} is due"),
            Self::Broadcast { from, .. } => format!("a broadcast of {from}"),
            Self::Datagram { datagram, .. } => format!("a datagram {} to {}", datagram.from, datagram.to),
            Self::Refused { host, addr } => format!("host {host} is refused at {addr}"),
            Self::Segment { conn, to, seg } => format!("{conn:?} to {to:?}: {seg:?}"),
            Self::Resend { conn, to } => format!("{conn:?} to {to:?} again"),
            Self::Spawned { host, .. } => format!("a process on host {host}"),
            Self::Process { host, session, what } => format!("{session} on host {host}: {what:?}"),
            Self::Daemon { host, what, .. } => format!("host {host} hears of {what:?}"),
            Self::StoreCall { host, call, .. } | Self::StoreCommit { host, call, .. } => {
                format!("host {host} asks the store {:?}", call.request)
            }
            Self::Stopped { host, .. } => format!("host {host} ends"),
            Self::LinkSegment { stream, to, seg } => format!("{stream:?} to {to}: {seg:?}"),
            Self::LinkResend { stream, to } => format!("{stream:?} to {to} again"),
            Self::DeskKernel { conn } => format!("a kernel looks after {conn:?}"),
        }
    }
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = TestRng::new(seed);
        let mut ring = || match GroupKey::new(&dice.seed()) {
            Ok(key) => KeyRing::new(key, Vec::new()),
            Err(short) => panic!("32 bytes: {short}"),
        };
        let (ring, foreign_ring) = (ring(), ring());
        Self {
            now: Instant::from_micros(1_000_000),
            queue: Queue::new(),
            wire: Wire::new(TestRng::new(dice.u64())),
            dice,
            ring,
            foreign_ring,
            machines: Vec::new(),
            names: Vec::new(),
            by_name: BTreeMap::new(),
            desks: Vec::new(),
            strangers: Vec::new(),
            conns: BTreeMap::new(),
            streams: BTreeMap::new(),
            link_answers: BTreeMap::new(),
            next_question: 0,
            store: StoreNode::new(),
            history: History::new(),
            observations: Observations::default(),
            meter: Meter::default(),
            seed,
            next_conn: 0,
            next_pid: 1_000,
            busy: 0,
            digest: seed,
            addresses: BTreeMap::new(),
        }
    }

    /// A world with one LAN, a data store and so many hosts, `h1` and up, that know each other.
    #[must_use]
    pub fn of(hosts: usize) -> Self {
        Self::of_hosts((1..=hosts).map(|n| HostPlan::named(&format!("h{n}"))))
    }

    /// The same with these hosts, all on the one LAN.
    #[must_use]
    pub fn of_hosts(plans: impl IntoIterator<Item = HostPlan>) -> Self {
        let mut world = Self::new(1);
        let lan = world.add_lan("lan", "10.0.0.0", 16);
        for plan in plans {
            world.add_host(plan.on(lan));
            // Machines are not switched on in one moment.
            let pause = world.dice.below(90_000);
            world.run_for(Duration::from_micros(pause));
        }
        world.settle();
        world
    }

    /// The first LAN.
    #[must_use]
    pub const fn lan(&self) -> LanId {
        LanId(0)
    }

    /// Adds a LAN.
    pub fn add_lan(&mut self, name: &str, net: &str, prefix: u8) -> LanId {
        let net: Ipv4Addr = self.parsed(net);
        self.wire.add_lan(name, net, prefix)
    }

    /// A router joins these LANs.
    pub fn route(&mut self, lans: &[LanId]) {
        for lan in lans {
            self.wire.lans[lan.0].routed = true;
        }
    }

    /// Adds a host and starts it.
    pub fn add_host(&mut self, plan: HostPlan) {
        let number = self.machines.len();
        let name: HostName = self.parsed(plan.called.as_ref().unwrap_or(&plan.name));
        self.by_name.insert(plan.name.clone(), number);
        self.names.push(name);
        let cables = plan.lans.iter().enumerate().map(|(n, lan)| self.plug_in(Node::Host(number), n, *lan));
        let cables = cables.collect();
        // Monotonic clocks of different machines have nothing to do with each other.
        let clock_from = Duration::from_micros(self.dice.below(1_000_000_000));
        let mut machine = Machine::new(plan, cables, clock_from);
        machine.wall_off_ms = i64::try_from(self.dice.below(4_000)).unwrap_or(0) - 2_000;
        let is_off = machine.plan.is_off;
        self.machines.push(machine);
        if !is_off {
            self.boot(number);
        }
    }

    /// Adds a desk on a LAN and switches it on.
    pub fn desk(&mut self, name: &str, lan: LanId) -> DeskId {
        self.add_desk(DeskPlan::named(name, lan))
    }

    fn plug_in(&mut self, node: Node, n: usize, lan: LanId) -> CableId {
        let ip = self.free_address(node, lan);
        let iface = self.parsed(&format!("eth{n}"));
        self.wire.attach(node, lan, iface, ip)
    }

    fn free_address(&mut self, node: Node, lan: LanId) -> Ipv4Addr {
        let (hosts, others) = self.addresses.entry(lan).or_insert((1, 0));
        let address = if matches!(node, Node::Host(_)) {
            *hosts += 1;
            *hosts - 1
        } else {
            *others += 1;
            // After the first two hundred, or on the largest LANs the first two thousand, which are for hosts.
            *others + if self.wire.lan(lan).is_large() { 1_999 } else { 199 }
        };
        self.wire.lan(lan).address(address)
    }

    fn cables_of(&self, node: Node) -> &[CableId] {
        match node {
            Node::Host(n) => &self.machines[n].cables,
            Node::Desk(n) => &self.desks[n].cables,
            Node::Stranger(n) => &self.strangers[n].cables,
        }
    }

    /// Runs until all hosts that run know each other, and have read what the data store has for them.
    ///
    /// # Panics
    /// When they do not within two seconds.
    pub fn settle(&mut self) {
        let all_up = |w: &Self| {
            let alive = |n: &usize| w.machines[*n].daemon.alive().is_some();
            let hosts: Vec<usize> = (0..w.machines.len()).filter(alive).collect();
            let pairs = hosts.iter().flat_map(|a| hosts.iter().map(move |b| (*a, *b)));
            let is_foreign = |n: usize| w.machines[n].plan.speaks == Speaks::Foreign;
            let one_group = |a: usize, b: usize| {
                is_foreign(a) == is_foreign(b) && w.names[a] != w.names[b] && w.share_a_lan(a, b)
            };
            let mut pairs = pairs.filter(|(a, b)| a != b && one_group(*a, *b));
            pairs.all(|(a, b)| w.standing_at(a, b) == Some(Standing::Up))
        };
        self.expect_that("all hosts know each other", all_up).within(secs(2));
        self.run_for(ms(200));
    }

    fn share_a_lan(&self, a: usize, b: usize) -> bool {
        let lans = |n: usize| self.machines[n].plan.lans.iter();
        lans(a).any(|lan| lans(b).any(|other| lan == other))
    }

    /// The present moment.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Things that have been put into the queue so far: the work done.
    #[must_use]
    pub const fn work(&self) -> u64 {
        self.queue.count()
    }

    /// A digest of what has happened so far, and when: two runs that are the same have the same one.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Lets time pass until something holds, at most so much; says how much it was.
    pub fn run_until(&mut self, within: Duration, holds: impl Fn(&Self) -> bool) -> Option<Duration> {
        let (start, until) = (self.now, self.now + within);
        loop {
            if holds(self) {
                return Some(self.now.since(start));
            }
            if !self.step(until) {
                self.now = until;
                return None;
            }
        }
    }

    /// Lets the next thing happen, if it does by `until`.
    fn step(&mut self, until: Instant) -> bool {
        let Some((at, event)) = self.queue.pop_by(until) else { return false };
        self.busy = if at > self.now { 0 } else { self.busy + 1 };
        if self.busy > BUSY_MAX {
            self.fail(&format!(
                "time stands still: things go on happening at one moment, now {}",
                event.name()
            ));
        }
        self.now = at;
        self.digest = mix(mix(self.digest, at.as_micros()), event.kind());
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Due { host, boot } => self.on_due(host, boot),
            Event::DeskDue { desk } => self.on_desk_due(desk),
            Event::Broadcast { cable, from, bytes } => self.on_broadcast(cable, from, &bytes),
            Event::Datagram { cable, datagram } => self.arrive(cable, datagram),
            Event::Refused { host, addr } => {
                self.reach_daemon(host, ToDaemon::Input(Box::new(Input::Refused { addr })));
            }
            Event::Segment { conn, to, seg } => self.on_segment(conn, to, seg),
            Event::Resend { conn, to } => self.on_resend(conn, to),
            Event::DeskKernel { conn } => self.on_desk_kernel(conn),
            Event::LinkSegment { stream, to, seg } => self.on_link_segment(stream, to, seg),
            Event::LinkResend { stream, to } => self.on_link_resend(stream, to),
            Event::Spawned { host, order } => self.on_spawned(host, *order),
            Event::Process { host, session, what } => self.reach_process(host, session, what),
            Event::Daemon { host, boot, what } if self.machines[host].daemon.boot() == boot => {
                self.reach_daemon(host, what);
            }
            Event::Daemon { .. } => {}
            Event::StoreCall { host, number, call } => self.on_store_call(host, number, *call),
            Event::StoreCommit { host, number, call } => self.on_store_commit(host, number, *call),
            Event::Stopped { host, boot } => self.on_stopped(host, boot),
        }
    }

    fn host_number(&self, host: &str) -> usize {
        match self.by_name.get(host) {
            Some(number) => *number,
            None => self.fail(&format!("there is no host {host}")),
        }
    }

    fn parsed<T: FromStr>(&self, text: &str) -> T {
        match text.parse() {
            Ok(value) => value,
            Err(_) => self.fail(&format!("{text:?} cannot be read")),
        }
    }

    /// What happened, line by line, the newest last.
    #[must_use]
    pub fn story(&self) -> String {
        self.history.text(usize::MAX)
    }

    /// Adds a line to the story.
    pub fn tell(&mut self, line: &str) {
        self.history.tell(self.now, || format!("— {line}"));
    }

    /// Keeps no story: for large worlds.
    pub const fn without_story(&mut self) {
        self.history.is_kept = false;
    }

    /// Ends the test with the story of the run.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        panic!("{what}\nseed {}, now {}\n{}", self.seed, self.now, self.history.end_of_it())
    }
}
