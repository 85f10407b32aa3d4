//! A host: the machine, the daemon on it (the real [`Host`]) and what its processes are connected to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;

use groupmgr::announce::{Announcement, Identity};
use groupmgr::host::admin::{Command, Reply};
use groupmgr::host::{AdminReq, ConnId, Datagram, Effect, Host, HostConfig, Input};
use proto::line::{Line, LineError};
use proto::time::{Duration, earliest};
use proto::{BootId, MachineId, SessionId};

use super::parts::links::LinkEnd;
use super::parts::machine::{Daemon, Running, ToDaemon};
use super::parts::observation::{End, Fate, Observation};
use super::parts::process::ToProcess;
use super::parts::store::StoreLink;
use super::parts::tcp::{ConnKey, Kind, Owner, Seg, Side};
use super::parts::udp::Speaks;
use super::process::LOCAL;
use super::wire::Node;
use super::{Event, World};

/// The port that questions are asked from.
const ASKING_PORT: u16 = 40_000;

/// A machine that asks this often in a row to be called at once, and does nothing, hangs.
const IDLE_CALLS_MAX: u32 = 10_000;

/// How long a spawner may take to tell the next daemon of all that was kept, in microseconds: a drawn time.
const TOLD_WITHIN_US: u64 = 40_000;

impl World {
    /// Starts a daemon.
    pub(super) fn boot(&mut self, host: usize) {
        let boot = BootId(self.dice.u64());
        let seed = self.dice.seed();
        let machine = &mut self.machines[host];
        // It starts a spawner with it.
        machine.is_spawner_gone = false;
        let plan = &machine.plan;
        let machine_id = MachineId(plan.machine.unwrap_or(host as u64 + 1_000));
        let identity = Identity {
            keep: plan.keep,
            plain: plan.plain,
            cpus: plan.cpus,
            clock: plan.clock,
            chain_len: plan.chain_len,
            rack: plan.rack.clone(),
            site: plan.site.clone(),
            ..Identity::new(self.names[host].clone(), boot, machine_id)
        };
        let ring = if plan.speaks == Speaks::Foreign { &self.foreign_ring } else { &self.ring };
        let config = HostConfig {
            sessions_max: plan.sessions_max,
            kept: machine.processes.len(),
            guests: plan.guests,
            pair: plan.pair.as_ref().and_then(|host| host.parse().ok()),
            ..HostConfig::new(identity, ring.clone())
        };
        let own_now = machine.own_time(self.now);
        machine.daemon = Daemon::Alive(Box::new(Running {
            boot,
            core: Host::new(own_now, config, seed),
            store: StoreLink::new(own_now),
            links: BTreeMap::new(),
            link_asked: BTreeMap::new(),
            no_way: BTreeSet::new(),
            is_stopped: false,
            listens: false,
            held: VecDeque::new(),
            datagrams_held: 0,
            wake: None,
            idle_calls: (self.now, 0),
        }));
        let kept: Vec<SessionId> = machine.processes.keys().copied().collect();
        let spawner_tells =
            Duration::from_micros(if kept.is_empty() { 0 } else { self.dice.below(TOLD_WITHIN_US) });
        self.history.tell(self.now, || format!("{} starts, boot {boot}", self.machines[host].name));
        self.saw_fate(host, Fate::Starts(boot));
        self.tell_load(host);
        self.feed(host, Input::StoreLink { up: false, store: None });
        for session in kept {
            let what = ToDaemon::Input(Box::new(Input::SessionSpawned { session, kept: true }));
            let told_at = self.now + spawner_tells + LOCAL;
            self.queue.put(told_at, Event::Daemon { host, boot: Some(boot), what });
        }
        self.drive_store(host, |client, now, out| client.timeout(now, out));
    }

    /// Says how busy a host is: run queue per processor times 100, and MiB free.
    pub fn set_load(&mut self, host: &str, run_queue: u32, mem_mib: u32) {
        let host = self.host_number(host);
        self.machines[host].load = (run_queue, mem_mib);
        self.tell_load(host);
    }

    fn tell_load(&mut self, host: usize) {
        let (run_queue, mem_mib) = self.machines[host].load;
        self.reach_daemon(host, ToDaemon::Input(Box::new(Input::Vitals { run_queue, mem_mib })));
    }

    /// What the kernel says of the interfaces now.
    pub(super) fn tell_interfaces(&mut self, host: usize) {
        if !self.machines[host].daemon.listens() {
            return;
        }
        let cables = self.machines[host].cables.iter().copied().filter(|l| self.wire.cable(*l).carrier);
        let interfaces = cables.map(|cable| self.wire.interface(cable)).collect();
        self.reach_daemon(host, ToDaemon::Input(Box::new(Input::Interfaces(interfaces))));
    }

    pub(super) fn reach_daemon(&mut self, host: usize, what: ToDaemon) {
        match &mut self.machines[host].daemon {
            Daemon::Dead => {}
            Daemon::Alive(running) if running.is_stopped => running.hold(what),
            Daemon::Alive(_) => self.daemon_takes(host, what),
        }
    }

    pub(super) fn daemon_takes(&mut self, host: usize, what: ToDaemon) {
        match what {
            ToDaemon::Input(input) => self.feed(host, *input),
            ToDaemon::Datagram { iface, from, bytes } => {
                let at = self.machines[host].own_time(self.now);
                let datagrams = vec![Datagram { at, from, bytes: bytes.to_vec() }];
                self.feed(host, Input::Datagrams { iface, datagrams });
            }
            ToDaemon::Seg(key, seg) => self.daemon_takes_seg(host, key, seg),
            ToDaemon::Store(news) => self.on_store_news(host, news),
            ToDaemon::Link(stream, seg) => self.daemon_takes_link(host, stream, seg),
            ToDaemon::ReadsLink(stream) => self.daemon_reads_link(host, stream),
            ToDaemon::ReadsCopies(stream) => self.daemon_reads_copies(host, stream),
            ToDaemon::NoWay(to) => self.no_way_to(host, to),
        }
    }

    pub(super) fn seg_to_daemon(&mut self, host: usize, key: ConnKey, seg: Seg) {
        self.reach_daemon(host, ToDaemon::Seg(key, seg));
    }

    fn daemon_takes_seg(&mut self, host: usize, key: ConnKey, seg: Seg) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let (id, kind, plain, proved) = (ConnId(key.0), conn.kind, conn.is_plain, conn.key);
        match (seg, kind) {
            (Seg::Hello, Kind::Control) if plain && !self.machines[host].plan.plain => {
                self.close_from_host(key);
            }
            (Seg::Hello, Kind::Control) => {
                conn.owner = Owner::Daemon;
                let port = 32_768 + u16::try_from(key.0 % 28_000).unwrap_or(0);
                let peer = SocketAddrV4::new(self.wire.cable(conn.near).ip, port);
                self.transmit(key, Side::Desk, Seg::HelloBack([0; 32]));
                self.feed(host, Input::Opened { conn: id, peer, plain, key: proved });
            }
            (Seg::Hello, Kind::Display(target)) => {
                conn.owner = Owner::Daemon;
                self.feed(host, Input::Display { conn: id, session: target.session });
            }
            (Seg::Data(bytes), Kind::Control) => {
                let mut lines: Vec<Result<Line, LineError>> = Vec::new();
                conn.host_lines.push(&bytes, |line| lines.push(line));
                for line in lines {
                    // Lines of a connection that was closed meanwhile are nobody's.
                    if self.conns.get(&key).is_some_and(|conn| conn.owner == Owner::Daemon) {
                        self.feed(host, Input::Line { conn: id, line });
                    }
                }
            }
            (Seg::Fin | Seg::Rst, Kind::Control) => {
                let was_open = conn.owner == Owner::Daemon;
                self.forget_conn(key);
                if was_open {
                    self.feed(host, Input::Closed { conn: id });
                }
            }
            (Seg::Fin | Seg::Rst, Kind::Display(_)) => self.forget_conn(key),
            _ => {}
        }
    }

    /// Hands an input to the daemon's machine and does what it says.
    pub(super) fn feed(&mut self, host: usize, input: Input) {
        let machine = &mut self.machines[host];
        let (now, wall) = (machine.own_time(self.now), machine.wall(self.now));
        let mut effects = Vec::new();
        let is_timeout = matches!(input, Input::Timeout);
        self.timed(|w| {
            if let Some(running) = w.machines[host].daemon.running() {
                running.core.handle(now, wall, input, &mut effects);
            }
        });
        self.note_idle_calls(host, is_timeout && effects.is_empty());
        for effect in effects {
            self.perform(host, effect);
        }
        self.rearm(host);
        if let Daemon::Alive(running) = &mut self.machines[host].daemon
            && running.core.is_ready()
            && !core::mem::replace(&mut running.listens, true)
        {
            self.tell_interfaces(host);
        }
    }

    /// A machine that wants to be called at a moment that has passed, over and over, would stop the world.
    fn note_idle_calls(&mut self, host: usize, idle: bool) {
        let now = self.now;
        let Some(running) = self.machines[host].daemon.running() else { return };
        let (at, calls) = running.idle_calls;
        running.idle_calls = if idle && at == now { (at, calls + 1) } else { (now, 0) };
        if running.idle_calls.1 > IDLE_CALLS_MAX {
            let due = running.core.deadlines().into_iter().next();
            self.fail(&format!("{} hangs: it wants to be called at {due:?}", self.machines[host].name));
        }
    }

    /// Puts the daemon's next deadline into the queue.
    pub(super) fn rearm(&mut self, host: usize) {
        let machine = &self.machines[host];
        let Some(running) = machine.daemon.alive().filter(|r| !r.is_stopped) else { return };
        let links = running.links.values().filter_map(LinkEnd::poll_at).min();
        let due = earliest(earliest(running.core.poll_at(), running.store.client.poll_at()), links);
        let Some(due) = due.map(|at| machine.world_time(at).max(self.now)) else { return };
        let boot = running.boot;
        let Some(running) = self.machines[host].daemon.running() else { return };
        if running.wake.is_none_or(|wake| wake > due) {
            running.wake = Some(due);
            self.queue.put(due, Event::Due { host, boot });
        }
    }

    pub(super) fn on_due(&mut self, host: usize, boot: BootId) {
        let machine = &mut self.machines[host];
        let own_now = machine.own_time(self.now);
        let now = self.now;
        let Some(running) = machine.daemon.running().filter(|r| r.boot == boot) else { return };
        running.wake.take_if(|at| *at <= now);
        let core_is_due = running.core.poll_at().is_some_and(|at| at <= own_now);
        if running.store.client.poll_at().is_some_and(|at| at <= own_now) {
            self.drive_store(host, |client, now, out| client.timeout(now, out));
        }
        self.links_are_due(host);
        if core_is_due {
            self.feed(host, Input::Timeout);
        } else {
            self.rearm(host);
        }
    }

    fn perform(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Broadcast(Announcement { iface, bytes }) => {
                if let Some(cable) = self.cable_named(host, &iface) {
                    self.broadcast(cable, bytes.into());
                }
            }
            Effect::Datagram { to, bytes, .. } => {
                self.datagram(Node::Host(host), proto::PORT, to, bytes.into(), false);
            }
            Effect::Ask(ask) => self.datagram(Node::Host(host), ASKING_PORT, ask.to, ask.bytes.into(), true),
            Effect::Send { conn, message } => {
                self.saw_host_say(host, ConnKey(conn.0), &message);
                let mut text = message.to_line().to_string();
                text.push('\n');
                self.transmit(ConnKey(conn.0), Side::Desk, Seg::Data(text.into_bytes()));
            }
            Effect::Close { conn } => self.close_from_host(ConnKey(conn.0)),
            Effect::HandOver { conn, session } => {
                self.tell_process(host, session, ToProcess::Display(ConnKey(conn.0)));
            }
            Effect::Store { req, request } => self.ask_store(host, req, *request),
            Effect::Spawn(spec) => self.spawn(host, *spec),
            Effect::Kill(session) => self.process_gone(host, session, End::Ended),
            Effect::Tell { session, message } => {
                self.saw_told(host, session, &message);
                self.tell_process(host, session, ToProcess::Told(message));
            }
            Effect::Peer { host: to, message } => self.say_of_copies(host, &to, *message),
            Effect::Answer { req, reply } => {
                if let Some(reply) = self.answered_on_link(host, req, *reply) {
                    self.machines[host].replies.insert(req, reply);
                }
            }
            Effect::Note(note) => {
                self.history.tell(self.now, || format!("{}: {note:?}", self.machines[host].name));
                self.observe(|w| Some(Observation::Logs { host: w.names[host].clone(), note: note.clone() }));
                self.machines[host].notes.push((self.now, note));
            }
            Effect::Ready => {}
            Effect::Refuse { at } => {
                self.history.tell(self.now, || {
                    format!("{} does not start: its name is taken at {at}", self.machines[host].name)
                });
                let boot = self.machines[host].daemon.boot();
                self.queue.put(self.now, Event::Stopped { host, boot });
            }
            Effect::Stop => {
                let boot = self.machines[host].daemon.boot();
                self.queue.put(self.now, Event::Stopped { host, boot });
            }
        }
    }

    /// Asks a host as an operator does, and waits for the answer.
    ///
    /// # Panics
    /// When the host does not answer within a second.
    pub fn ask(&mut self, host: &str, command: Command) -> Reply {
        let number = self.host_number(host);
        let machine = &mut self.machines[number];
        machine.asked += 1;
        let req = AdminReq(machine.asked);
        self.reach_daemon(number, ToDaemon::Input(Box::new(Input::Admin { req, command })));
        let answered = move |w: &Self| w.machines[number].replies.contains_key(&req);
        self.expect_that(&format!("{host} answers its operator"), answered).within(Duration::from_secs(1));
        match self.machines[number].replies.remove(&req) {
            Some(reply) => reply,
            None => self.fail("the reply is gone"),
        }
    }
}
