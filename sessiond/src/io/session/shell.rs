//! The loop around [`SessionCore`]: waits for what happens, tells it, and does what it says.
//!
//! A turn goes in the order in which a person waits for it: what was read goes in, what a service wrote goes out to
//! its DTU, and only then the screens are brought up to date.

mod asking;
mod keeping;
mod showing;

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use continuity::session::Program;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use proto::frame::Size;
use proto::time::{Duration, earliest};
use proto::{Instant, ServiceName};
use rustls::ServerConfig;

use super::asking::Asking;
use super::data::DataSocket;
use super::displays::{self, Connection, DisplayState, Identity};
use super::events::EventsSocket;
use super::services::{Running, Services, Surroundings};
use super::state::StateSockets;
use super::{CLEAN, Home, Prepared, UNCLEAN};
use crate::control::{Bytes, FromSession, Part, Refusal, ToSession};
use crate::io::Clock;
use crate::io::packets::{self, Receiver};
use crate::io::procs::{self, Reaped};
use crate::session::{Change, ConnId, Effect, SessionCore};
use crate::template::Service;

/// Messages that wait for the daemon, at most. Those beyond are lost; a daemon that has not read so many is
/// gone, and the next one asks for the whole state.
const OUTBOX_MAX: usize = 256;

/// How long the displays may take to deliver their last frames when the session is over.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Shell {
    clock: Clock,
    core: SessionCore,
    effects: Vec<Effect>,
    control: Option<OwnedFd>,
    receiver: Receiver,
    outbox: VecDeque<FromSession>,
    signals: SignalFd,
    surroundings: Surroundings,
    services: Services,
    home: Home,
    data: DataSocket,
    asking: Asking,
    state: StateSockets,
    events: EventsSocket,
    /// What was kept of it elsewhere, until it begins.
    restoring: BTreeMap<Part, Bytes>,
    /// Made ahead of need, until it is told.
    identity: Option<Identity>,
    tls: Option<Arc<ServerConfig>>,
    displays: BTreeMap<ConnId, Connection>,
    next_conn: u64,
    /// Everything is to be killed, whatever is found.
    killing: bool,
    leaving: Option<Leaving>,
}

struct Leaving {
    status: i32,
    until: Instant,
}

/// What has become ready.
#[derive(Clone)]
enum Ready {
    Signals,
    Control(PollFlags),
    Service(ServiceName, PollFlags),
    Display(ConnId, PollFlags),
    Data(Option<u32>, PollFlags),
    State(ServiceName, Option<Program>),
    Events(Option<u32>),
}

impl Shell {
    pub(super) fn new(core: SessionCore, control: OwnedFd, receiver: Receiver, ready: Prepared) -> Self {
        Self {
            clock: Clock::start(),
            core,
            effects: Vec::new(),
            control: Some(control),
            receiver,
            outbox: VecDeque::new(),
            signals: ready.begun.signals,
            surroundings: ready.surroundings,
            services: Services::new(),
            home: ready.home,
            data: ready.data,
            asking: Asking::default(),
            state: ready.state,
            events: ready.events,
            restoring: BTreeMap::new(),
            identity: ready.begun.identity,
            tls: None,
            displays: BTreeMap::new(),
            next_conn: 0,
            killing: false,
            leaving: None,
        }
    }

    /// Is the session until it is over. Returns the status to leave with.
    pub(super) fn run(mut self) -> i32 {
        self.core.begin(&mut self.effects);
        self.perform();
        // While the services start.
        match self.identity.take().map_or_else(displays::identity, Ok) {
            Ok((config, fingerprint)) => {
                self.tls = Some(config);
                self.core.ready(fingerprint, &mut self.effects);
            }
            Err(error) => tracing::error!("no certificate for the displays: {error}"),
        }
        loop {
            self.settle();
            if let Some(leaving) = &self.leaving
                && (self.displays.is_empty() || leaving.until <= self.clock.now())
            {
                self.state.clear();
                self.home.clear();
                return leaving.status;
            }
            let ready = self.wait();
            for ready in ready {
                self.on_ready(ready);
            }
            let now = self.clock.now();
            self.core.on_timeout(now, &mut self.effects);
            self.on_time(now);
        }
    }

    /// Does all there is to do before waiting again.
    fn settle(&mut self) {
        loop {
            self.perform();
            self.feed_displays();
            if self.effects.is_empty() {
                break;
            }
        }
        self.flush_outbox();
        self.core.digest(&mut self.effects);
        while self.keep() {
            self.perform();
        }
        self.perform();
        if self.core.is_ending() && self.leaving.is_none() {
            self.reap();
            self.perform();
        }
    }

    fn wait(&self) -> Vec<Ready> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut names: Vec<Ready> = vec![Ready::Signals];
        let flags = |read: bool, write: bool| {
            let read = if read { PollFlags::POLLIN } else { PollFlags::empty() };
            if write { read | PollFlags::POLLOUT } else { read }
        };
        if let Some(control) = &self.control {
            fds.push(PollFd::new(control.as_fd(), flags(true, !self.outbox.is_empty())));
            names.push(Ready::Control(PollFlags::empty()));
        }
        for (name, service) in &self.services {
            let reads = self.core.takes_output(name);
            if let Some((fd, blocked)) = service.interest().filter(|(_, blocked)| reads || *blocked) {
                fds.push(PollFd::new(fd, flags(reads, blocked)));
                names.push(Ready::Service(name.clone(), PollFlags::empty()));
            }
        }
        for (conn, display) in &self.displays {
            fds.push(PollFd::new(display.fd(), flags(true, !display.is_idle())));
            names.push(Ready::Display(*conn, PollFlags::empty()));
        }
        for interest in self.data.interest(self.outbox.is_empty()) {
            fds.push(PollFd::new(interest.fd, flags(interest.read, interest.write)));
            names.push(Ready::Data(interest.client, PollFlags::empty()));
        }
        for interest in self.state.interest() {
            fds.push(PollFd::new(interest.fd, flags(interest.read, interest.write)));
            names.push(Ready::State(interest.service, interest.program));
        }
        for (client, fd, write) in self.events.interest() {
            fds.push(PollFd::new(fd, flags(true, write)));
            names.push(Ready::Events(client));
        }
        if poll(&mut fds, self.timeout()).is_err() {
            return Vec::new();
        }
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let ready = fds.iter().map(events).zip(names).filter(|(events, _)| !events.is_empty());
        ready.map(|(events, name)| name.with(events)).collect()
    }

    fn timeout(&self) -> PollTimeout {
        let mut at = earliest(self.core.poll_at(), self.leaving.as_ref().map(|leaving| leaving.until));
        at = earliest(at, self.state.poll_at());
        for (conn, display) in &self.displays {
            at = earliest(at, display.poll_at());
            if display.is_idle() {
                at = earliest(at, self.core.pull_at(*conn));
            }
        }
        // Rounded up, or the last millisecond would be spent turning.
        let left = |at: Instant| at.since(self.clock.now()).as_micros().div_ceil(1000);
        at.map_or(PollTimeout::NONE, |at| PollTimeout::try_from(left(at)).unwrap_or(PollTimeout::MAX))
    }

    fn on_ready(&mut self, ready: Ready) {
        match ready {
            Ready::Signals => self.on_signals(),
            Ready::Control(events) => {
                if events.contains(PollFlags::POLLOUT) {
                    self.flush_outbox();
                }
                self.on_control();
            }
            Ready::Service(name, events) => {
                if events.contains(PollFlags::POLLOUT) {
                    self.effects.push(Effect::Input(name.clone()));
                }
                self.on_output(&name);
            }
            Ready::Display(conn, events) => {
                if let Some(display) =
                    self.displays.get_mut(&conn).filter(|_| events.contains(PollFlags::POLLOUT))
                {
                    display.flush(self.clock.now());
                }
                if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                    self.on_display(conn);
                }
            }
            Ready::Events(None) => self.events.accept(),
            Ready::Events(Some(client)) => self.events.on_ready(client),
            Ready::State(service, None) => self.state.accept(&service),
            Ready::State(service, Some(program)) => {
                self.state.on_ready(self.clock.now(), proto::io::wall_now(), &service, program);
            }
            Ready::Data(None, _) => self.data.accept(),
            Ready::Data(Some(client), events) => {
                if events.contains(PollFlags::POLLOUT) {
                    self.data.write(client);
                }
                if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                    self.relay(client);
                }
            }
        }
    }

    fn on_time(&mut self, now: Instant) {
        self.state.on_timeout(now, proto::io::wall_now());
        let late: Vec<ConnId> = self
            .displays
            .iter()
            .filter(|(_, d)| d.poll_at().is_some_and(|at| at <= now))
            .map(|(c, _)| *c)
            .collect();
        for conn in late {
            match self.displays.get(&conn).map(|display| display.stage) {
                Some(DisplayState::Hello { .. }) => self.refuse(conn, Refusal::Late),
                _ => drop(self.displays.remove(&conn)),
            }
        }
    }

    // Processes.

    fn on_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo == Signal::SIGTERM as u32 {
                self.core.alone(self.clock.now(), &mut self.effects);
            }
        }
        self.reap();
    }

    fn reap(&mut self) {
        loop {
            match procs::reap() {
                Reaped::Child(pid, exit) => {
                    let ended = self.services.iter_mut().find(|(_, service)| service.pid == pid);
                    let Some((name, service)) = ended else { continue };
                    let (name, mut last) = (name.clone(), Vec::new());
                    service.read_last(&mut last);
                    self.core.output(&name, &last);
                    self.core.exited(self.clock.now(), &name, exit, &mut self.effects);
                }
                Reaped::NoneYet => break,
                Reaped::NoneLeft => {
                    self.core.all_gone(&mut self.effects);
                    return;
                }
            }
        }
        if self.killing {
            // What was killed has left children, or had some that were made meanwhile.
            procs::end(&procs::below(Pid::this()));
        }
    }

    fn on_output(&mut self, name: &ServiceName) {
        let Some(service) = self.services.get_mut(name) else { return };
        let mut output = Vec::new();
        service.read(&mut output);
        self.core.output(name, &output);
    }

    fn give_input(&mut self, name: &ServiceName) {
        let Some(service) = self.services.get_mut(name) else { return };
        loop {
            let input = self.core.input(name);
            if input.is_empty() {
                return;
            }
            let taken = service.write(input);
            if taken == 0 {
                return;
            }
            self.core.input_taken(self.clock.now(), name, taken);
        }
    }

    // The daemon.

    fn on_control(&mut self) {
        while let Some(control) = &self.control {
            match self.receiver.receive::<ToSession>(control) {
                Ok(Some((ToSession::Display { already }, Some(fd)))) => self.on_handed_over(fd, &already.0),
                Ok(Some((ToSession::Renew, _))) => self.renew(),
                Ok(Some((ToSession::Restore { part, object }, _))) => self.restore(part, object),
                Ok(Some((ToSession::Begin(beginning), _))) => self.begin(&beginning),
                Ok(Some((message, _))) => self.core.control(self.clock.now(), message, &mut self.effects),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    tracing::warn!("a message of the daemon is passed over: {error}");
                }
                Ok(None) | Err(_) => {
                    self.control = None;
                    self.core.alone(self.clock.now(), &mut self.effects);
                }
            }
            // Before the next one is looked at: what was told to start runs then, and is not started again.
            self.perform();
        }
    }

    /// Somebody has removed the session's directory, or something in it.
    fn renew(&mut self) {
        let renewed = self.home.furnish().and_then(|()| {
            self.data.renew(&self.home.data())?;
            self.state.renew()?;
            self.events.renew(&self.home.events())
        });
        if let Err(error) = renewed {
            tracing::error!("the session's directory cannot be made again: {error}");
        }
    }

    /// Says whether the message will be told.
    fn tell(&mut self, message: FromSession) -> bool {
        if self.outbox.len() >= OUTBOX_MAX {
            tracing::warn!("the daemon does not read: a message to it is lost");
            return false;
        }
        self.outbox.push_back(message);
        self.flush_outbox();
        true
    }

    fn flush_outbox(&mut self) {
        let Some(control) = &self.control else {
            self.outbox.clear();
            return;
        };
        while let Some(message) = self.outbox.front() {
            match packets::send(control, message, None) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => tracing::debug!("the daemon cannot be told: {error}"),
                Ok(()) => {}
            }
            self.outbox.pop_front();
        }
    }

    // What the core says.

    fn perform(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.act(effect);
            }
        }
    }

    /// The processes of one service that was started, or of all together with what they have left behind.
    fn processes(&self, of: Option<ServiceName>) -> Vec<Pid> {
        match of {
            Some(name) => self.services.get(&name).map(Running::processes).unwrap_or_default(),
            None => procs::below(Pid::this()),
        }
    }

    fn start(&mut self, service: &Service, size: Size) {
        let state = self.state.serve(&service.name);
        if let Err(error) = &state {
            tracing::warn!("the service {} has no state socket: {error}", service.name);
        }
        match self.surroundings.start(service, size, state.as_deref().ok()) {
            Ok(running) => {
                let pid = running.pid.as_raw().unsigned_abs();
                self.services.insert(service.name.clone(), running);
                self.core.started(&service.name, pid, &mut self.effects);
            }
            Err(reason) => self.core.failed(self.clock.now(), &service.name, reason, &mut self.effects),
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Start { service, size } => self.start(&service, size),
            Effect::Hangup(which) => procs::ask_to_end(&self.processes(which), Signal::SIGHUP),
            Effect::Terminate(which) => procs::ask_to_end(&self.processes(which), Signal::SIGTERM),
            Effect::Kill(which) => {
                self.killing |= which.is_none();
                procs::end(&self.processes(which));
            }
            Effect::Resize(name, size) => {
                if let Some(service) = self.services.get(&name) {
                    service.resize(size);
                }
            }
            Effect::Input(name) => self.give_input(&name),
            Effect::Close(conn, last) => {
                if let Some(display) = self.displays.get_mut(&conn) {
                    display.close(&last, self.clock.now());
                }
            }
            Effect::Tell(message) => drop(self.tell(message)),
            Effect::Change(change) => {
                if let Change::Connect(_) | Change::Disconnect = &change {
                    let at = if let Change::Connect(at) = &change { Some(at) } else { None };
                    self.state.shown(self.clock.now(), proto::io::wall_now(), at);
                }
                self.events.tell(change);
            }
            Effect::Data { client, part, last } => self.data(client, &part, last),
            Effect::Safe(service, stamp) => {
                self.state.safe(self.clock.now(), proto::io::wall_now(), &service, stamp);
            }
            Effect::Acknowledged(service, after) => self.state.acknowledged(&service, after),
            Effect::ForgetData => self.forget_data(),
            Effect::Quit { clean } => {
                let status = if clean { CLEAN } else { UNCLEAN };
                self.leaving = Some(Leaving { status, until: self.clock.now() + LEAVE_WITHIN });
            }
        }
    }
}

impl Ready {
    fn with(self, events: PollFlags) -> Self {
        match self {
            Self::Signals => Self::Signals,
            Self::Control(_) => Self::Control(events),
            Self::Service(name, _) => Self::Service(name, events),
            Self::Display(conn, _) => Self::Display(conn, events),
            Self::Data(client, _) => Self::Data(client, events),
            Self::State(service, program) => Self::State(service, program),
            Self::Events(client) => Self::Events(client),
        }
    }
}
