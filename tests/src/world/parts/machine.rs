//! A machine of a host: its daemon, its processes, its clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;
use std::rc::Rc;

use groupmgr::host::admin::Reply;
use groupmgr::host::{AdminReq, Host, Input, Note};
use proto::link::ChannelId;
use proto::net::IfName;
use proto::time::Duration;
use proto::{BootId, HostName, Instant, SessionId, WallTime};

use super::super::wire::CableId;
use super::links::{LinkEnd, StreamId};
use super::plan::HostPlan;
use super::process::Process;
use super::store::{StoreLink, StoreNews};
use super::tcp::{ConnKey, Seg};

/// The wall clock of the world at its beginning: in seconds since 1970.
pub(in crate::world) const EPOCH_SECS: u64 = 950_739_941;

/// Datagrams that wait for a stopped daemon: about what a socket's buffer holds.
pub(in crate::world) const DATAGRAMS_HELD_MAX: usize = 2_000;

/// What comes for a daemon.
#[derive(Debug)]
pub(in crate::world) enum ToDaemon {
    Input(Box<Input>),
    Datagram {
        iface: IfName,
        from: SocketAddrV4,
        bytes: Rc<[u8]>,
    },
    Seg(ConnKey, Seg),
    Store(StoreNews),
    Link(StreamId, Seg),
    /// It comes to reading what a link has brought.
    ReadsLink(StreamId),
    /// It comes to what another host has said of copies.
    ReadsCopies(StreamId),
    /// It has tried in vain to open a link to a host.
    NoWay(HostName),
}

/// The daemon of a host.
#[derive(Debug)]
pub(in crate::world) enum Daemon {
    Dead,
    Alive(Box<Running>),
}

#[derive(Debug)]
pub(in crate::world) struct Running {
    pub(in crate::world) boot: BootId,
    pub(in crate::world) core: Host,
    pub(in crate::world) store: StoreLink,
    pub(in crate::world) links: BTreeMap<StreamId, LinkEnd>,
    /// Questions that came over links, and how long each was: so long is the answer at least.
    pub(in crate::world) link_asked: BTreeMap<AdminReq, (StreamId, ChannelId, usize)>,
    /// Hosts to which it tries to open a link, and cannot.
    pub(in crate::world) no_way: BTreeSet<HostName>,
    pub(in crate::world) is_stopped: bool,
    /// Its sockets are open, and it knows its interfaces.
    pub(in crate::world) listens: bool,
    pub(in crate::world) held: VecDeque<ToDaemon>,
    pub(in crate::world) datagrams_held: usize,
    pub(in crate::world) wake: Option<Instant>,
    pub(in crate::world) idle_calls: (Instant, u32),
}

impl Daemon {
    pub(in crate::world) const fn is_dead(&self) -> bool {
        matches!(self, Self::Dead)
    }

    /// Whether its sockets are open: else the kernel refuses for it.
    pub(in crate::world) const fn listens(&self) -> bool {
        matches!(self, Self::Alive(running) if running.listens)
    }

    pub(in crate::world) fn boot(&self) -> Option<BootId> {
        match self {
            Self::Dead => None,
            Self::Alive(running) => Some(running.boot),
        }
    }

    pub(in crate::world) fn running(&mut self) -> Option<&mut Running> {
        match self {
            Self::Alive(running) if !running.is_stopped => Some(running),
            _ => None,
        }
    }

    pub(in crate::world) fn alive(&self) -> Option<&Running> {
        match self {
            Self::Alive(running) => Some(running),
            Self::Dead => None,
        }
    }
}

/// A machine with a daemon and session processes.
#[derive(Debug)]
pub(in crate::world) struct Machine {
    pub(in crate::world) name: String,
    pub(in crate::world) plan: HostPlan,
    pub(in crate::world) cables: Vec<CableId>,
    pub(in crate::world) has_power: bool,
    /// How often it has lost it.
    pub(in crate::world) outages: u32,
    /// All its processes are stopped.
    pub(in crate::world) is_frozen: bool,
    pub(in crate::world) daemon: Daemon,
    pub(in crate::world) processes: BTreeMap<SessionId, Process>,
    pub(in crate::world) conns: BTreeSet<ConnKey>,
    /// Its wall clock, ahead of or behind the world's, in milliseconds.
    pub(in crate::world) wall_off_ms: i64,
    /// How much it gains in a second, in microseconds; since the world's beginning.
    pub(in crate::world) wall_drift_ppm: i64,
    /// Its monotonic clock counts from elsewhere than the world's.
    pub(in crate::world) clock_from: Duration,
    /// Nothing passes between it and the data store.
    pub(in crate::world) is_store_cut: bool,
    /// Nobody makes session processes for its daemon.
    pub(in crate::world) is_spawner_gone: bool,
    /// Until then nobody hears its beacons.
    pub(in crate::world) beacons_lost_until: Instant,
    pub(in crate::world) load: (u32, u32),
    pub(in crate::world) notes: Vec<(Instant, Note)>,
    pub(in crate::world) replies: BTreeMap<AdminReq, Reply>,
    pub(in crate::world) asked: u64,
    /// Its daemon is to start as soon as it has ended.
    pub(in crate::world) starts_again: bool,
}

impl Machine {
    pub(in crate::world) fn new(plan: HostPlan, cables: Vec<CableId>, clock_from: Duration) -> Self {
        Self {
            name: plan.name.clone(),
            plan,
            cables,
            has_power: true,
            outages: 0,
            is_frozen: false,
            daemon: Daemon::Dead,
            processes: BTreeMap::new(),
            conns: BTreeSet::new(),
            wall_off_ms: 0,
            wall_drift_ppm: 0,
            clock_from,
            is_store_cut: false,
            is_spawner_gone: false,
            beacons_lost_until: Instant::ZERO,
            load: (10, 4_000),
            notes: Vec::new(),
            replies: BTreeMap::new(),
            asked: 0,
            starts_again: false,
        }
    }

    pub(in crate::world) fn own_time(&self, now: Instant) -> Instant {
        now + self.clock_from
    }

    pub(in crate::world) fn world_time(&self, at: Instant) -> Instant {
        at - self.clock_from
    }

    pub(in crate::world) fn wall(&self, now: Instant) -> WallTime {
        let run = now.as_micros() as i64;
        let off = self.wall_off_ms * 1_000 + run / 1_000_000 * self.wall_drift_ppm;
        let micros = EPOCH_SECS as i64 * 1_000_000 + run + off;
        WallTime::from_micros(micros.max(0) as u64)
    }
}

impl Running {
    /// Keeps what comes for a stopped daemon; of datagrams as many as a socket's buffer holds.
    pub(in crate::world) fn hold(&mut self, what: ToDaemon) {
        if matches!(what, ToDaemon::Datagram { .. }) {
            if self.datagrams_held == DATAGRAMS_HELD_MAX {
                return;
            }
            self.datagrams_held += 1;
        }
        self.held.push_back(what);
    }

    /// It runs again: what was held for it.
    pub(in crate::world) fn resume(&mut self) -> VecDeque<ToDaemon> {
        self.is_stopped = false;
        self.wake = None;
        self.datagrams_held = 0;
        core::mem::take(&mut self.held)
    }
}
