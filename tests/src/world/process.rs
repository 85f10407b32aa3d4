//! The session processes of a host and the spawner that makes them: the real [`SessionCore`] around a modelled
//! shell.
//!
//! A process that is stopped keeps what comes for it until it runs again. Without `keep` the spawner ends all
//! of them as soon as the daemon is gone, however it died.

use std::collections::{BTreeMap, VecDeque};

use datastore::wire::{self, Call};
use datastore::{Request, RequestId};
use groupmgr::host::Input;
use proto::frame::Frame;
use proto::time::{Duration, earliest};
use proto::{Nonce, SessionId};
use sessiond::control::{Bytes, Fingerprint, FromSession, SessionSpec};
use sessiond::session::{ConnId, Effect, SessionCore};
use sessiond::template::Command;

use super::parts::machine::ToDaemon;
use super::parts::observation::{End, Observation};
use super::parts::process::{Display, Kept, Order, Process, ToProcess};
use super::parts::tcp::{ConnKey, Owner, Seg, Side};
use super::shell::Shell;
use super::{Event, World};

/// From the daemon's wish to a process.
const SPAWN_TIME: Duration = Duration::from_millis(2);

/// From a process to its first word.
const START_TIME: Duration = Duration::from_millis(1);

/// Between daemon and session process, either way.
pub(super) const LOCAL: Duration = Duration::from_micros(50);

/// Bytes of output given to a connection at once.
const ROOM: usize = 64 * 1024;

impl World {
    pub(super) fn spawn(&mut self, host: usize, spec: SessionSpec) {
        let gone = self.machines[host].is_spawner_gone.then(|| "the spawner is gone".to_owned());
        if let Some(reason) = gone.or_else(|| self.machines[host].plan.cannot_spawn.clone()) {
            let input = Input::SpawnFailed { session: spec.session, reason };
            return self.tell_daemon(host, ToDaemon::Input(Box::new(input)));
        }
        let machine = &self.machines[host];
        let order = Box::new(Order { by: machine.daemon.boot(), outages: machine.outages, spec });
        self.queue.put(self.now + SPAWN_TIME, Event::Spawned { host, order });
    }

    pub(super) fn on_spawned(&mut self, host: usize, Order { by, outages, spec }: Order) {
        let machine = &self.machines[host];
        // Another run of the daemon is told of it as of all that was kept.
        let kept = machine.daemon.boot() != by;
        if machine.outages != outages || (kept && !machine.plan.keep) {
            return;
        }
        let session = spec.session;
        self.observe(|w| {
            Some(Observation::Begins { host: w.names[host].clone(), session, token: spec.token.clone() })
        });
        self.next_pid += 1;
        let mut fingerprint = [0; 32];
        fingerprint[..16].copy_from_slice(&session.0.to_be_bytes());
        fingerprint[28..].copy_from_slice(&self.next_pid.to_be_bytes());
        let streams = Nonce((u128::from(self.dice.u64()) << 64) | u128::from(self.next_pid) << 32);
        let token = spec.token.clone();
        let core = SessionCore::new(spec, self.next_pid, streams);
        let process = Process {
            core,
            token,
            restored: Vec::new(),
            begun: None,
            fingerprint,
            shells: BTreeMap::new(),
            askers: BTreeMap::new(),
            asked: 0,
            conns: BTreeMap::new(),
            wake: None,
            is_stopped: self.machines[host].is_frozen,
            held: VecDeque::new(),
            kept: Kept::default(),
        };
        self.machines[host].processes.insert(session, process);
        self.tell_daemon(host, ToDaemon::Input(Box::new(Input::SessionSpawned { session, kept })));
        self.reach_process(host, session, ToProcess::Begin);
        self.queue.put(self.now + START_TIME, Event::Process { host, session, what: ToProcess::Ready });
    }

    /// Tells a session process something, a moment later.
    pub(super) fn tell_process(&mut self, host: usize, session: SessionId, what: ToProcess) {
        self.queue.put(self.now + LOCAL, Event::Process { host, session, what });
    }

    /// Tells the daemon something, a moment later.
    pub(super) fn tell_daemon(&mut self, host: usize, what: ToDaemon) {
        let boot = self.machines[host].daemon.boot();
        self.queue.put(self.now + LOCAL, Event::Daemon { host, boot, what });
    }

    fn say(&mut self, host: usize, session: SessionId, said: FromSession) {
        let input = Input::Session { session, said: Box::new(said) };
        self.tell_daemon(host, ToDaemon::Input(Box::new(input)));
    }

    /// A program of a session asks the data store.
    pub fn session_asks(&mut self, host: &str, session: SessionId) {
        let call = Call { id: RequestId(1), request: Request::Ping };
        let mut frame = Vec::new();
        if wire::encode(&call, &mut frame).is_ok() {
            let request = Bytes(frame.split_off(wire::HEADER_LEN));
            self.say(self.host_number(host), session, FromSession::Data { client: 1, request });
        }
    }

    pub(super) fn seg_to_session(&mut self, host: usize, session: SessionId, key: ConnKey, seg: Seg) {
        self.reach_process(host, session, ToProcess::Seg(key, seg));
    }

    pub(super) fn reach_process(&mut self, host: usize, session: SessionId, what: ToProcess) {
        let Some(process) = self.machines[host].processes.get_mut(&session) else {
            if let ToProcess::Display(key) = what {
                self.close_from_host(key);
            }
            return;
        };
        if process.is_stopped {
            process.held.push_back(what);
            return;
        }
        let now = self.now;
        let mut out = Vec::new();
        match what {
            ToProcess::Begin => process.core.begin(&mut out),
            ToProcess::Ready => process.core.ready(Fingerprint(process.fingerprint), &mut out),
            ToProcess::Told(message) => {
                process.note(&message);
                process.told(now, *message, &mut out);
            }
            ToProcess::Due => {
                // One that was put in for a deadline that has moved since must not undo the newer one.
                process.wake.take_if(|at| *at <= now);
                process.core.on_timeout(now, &mut out);
            }
            ToProcess::Display(key) => {
                process.conns.insert(key, Display::default());
                let fingerprint = process.fingerprint;
                if let Some(conn) = self.conns.get_mut(&key) {
                    conn.owner = Owner::Session(session);
                    self.transmit(key, Side::Desk, Seg::HelloBack(fingerprint));
                }
            }
            ToProcess::Seg(key, seg) => process.take_seg(now, key, seg, &mut out),
        }
        self.carry_out(host, session, out);
        self.pump(host, session);
    }

    fn carry_out(&mut self, host: usize, session: SessionId, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let mut more = Vec::new();
            self.carry_out_one(host, session, effect, &mut more);
            effects.extend(more);
        }
    }

    fn carry_out_one(&mut self, host: usize, session: SessionId, effect: Effect, more: &mut Vec<Effect>) {
        match effect {
            Effect::Tell(said) => self.say(host, session, said),
            Effect::Close(conn, frames) => self.close_display(host, session, ConnKey(conn.0), &frames),
            Effect::Quit { .. } => {
                self.flush(host, session);
                self.process_gone(host, session, End::Ended);
            }
            Effect::Start { service, .. } => {
                self.next_pid += 1;
                let (pid, now, name) = (self.next_pid, self.now, self.machines[host].name.clone());
                let Some(process) = self.machines[host].processes.get_mut(&session) else { return };
                // No program of a simulated machine is in this directory.
                if let Command::Words(words) = &service.command
                    && words.first().is_some_and(|program| program.starts_with("/no/"))
                {
                    process.core.failed(now, &service.name, format!("{} cannot be run", words[0]), more);
                } else {
                    process.start(&service.name, Shell::new(&name, pid), more);
                }
            }
            Effect::Resize(..) => {}
            effect => {
                let now = self.now;
                let Some(process) = self.machines[host].processes.get_mut(&session) else { return };
                process.do_locally(now, effect, more);
            }
        }
    }

    fn close_display(&mut self, host: usize, session: SessionId, key: ConnKey, frames: &[Frame]) {
        let Some(process) = self.machines[host].processes.get_mut(&session) else { return };
        process.conns.remove(&key);
        let mut bytes = Vec::new();
        for frame in frames {
            frame.emit(&mut bytes);
        }
        if !bytes.is_empty() {
            self.transmit(key, Side::Desk, Seg::Data(bytes));
        }
        self.close_from_host(key);
    }

    /// Sends what a session that is over has left to say, and closes its displays.
    fn flush(&mut self, host: usize, session: SessionId) {
        let now = self.now;
        let Some(process) = self.machines[host].processes.get_mut(&session) else { return };
        let mut last = Vec::new();
        for key in core::mem::take(&mut process.conns).into_keys() {
            let mut bytes = Vec::new();
            process.core.pull(now, ConnId(key.0), usize::MAX, &mut bytes, &mut Vec::new());
            last.push((key, bytes));
        }
        for (key, bytes) in last {
            self.transmit(key, Side::Desk, Seg::Data(bytes));
            self.close_from_host(key);
        }
    }

    /// A session process ended by itself or was killed.
    pub(super) fn process_gone(&mut self, host: usize, session: SessionId, end: End) {
        if self.machines[host].processes.remove(&session).is_none() {
            return;
        }
        self.observe(|w| Some(Observation::Gone { host: w.names[host].clone(), session, end }));
        self.orphan(host, |owner| owner == Owner::Session(session));
        self.tell_daemon(host, ToDaemon::Input(Box::new(Input::SessionExited { session })));
    }

    /// Sends what the displays of a session lack, and sees to its next deadline.
    pub(super) fn pump(&mut self, host: usize, session: SessionId) {
        let now = self.now;
        let Some(process) = self.machines[host].processes.get_mut(&session).filter(|p| !p.is_stopped) else {
            return;
        };
        // What does not get through is not added to; it is gone on with when it does.
        let is_free = |key: &ConnKey| self.conns.get(key).is_some_and(|conn| conn.flows_to(Side::Desk));
        let keys: Vec<ConnKey> = process.conns.keys().copied().filter(is_free).collect();
        let mut effects = Vec::new();
        let mut sent = Vec::new();
        for key in &keys {
            loop {
                let mut bytes = Vec::new();
                process.core.pull(now, ConnId(key.0), ROOM, &mut bytes, &mut effects);
                if bytes.is_empty() {
                    break;
                }
                sent.push((*key, bytes));
            }
        }
        process.core.digest(&mut effects);
        process.keep_screens(now, &mut effects);
        let pull_at = keys.iter().map(|key| process.core.pull_at(ConnId(key.0)));
        let due = pull_at.fold(process.core.poll_at(), earliest).map(|at| at.max(now));
        if let Some(at) = due.filter(|at| process.wake.is_none_or(|wake| wake > *at)) {
            process.wake = Some(at);
            self.queue.put(at, Event::Process { host, session, what: ToProcess::Due });
        }
        for (key, bytes) in sent {
            self.transmit(key, Side::Desk, Seg::Data(bytes));
        }
        self.carry_out(host, session, effects);
    }
}
