//! What a session process decides: which services run, which DTU may see them, and when the session is over.
//!
//! A pure machine; the process around it is `io::session`. Owns the services and their display feeds, the
//! present attachment and its ticket. Refuses to know about sockets, processes and certificates: it is told what
//! happened and says what is to be done.
//!
//! ```text
//!   Running ── End, all required services ended, one cannot be started, alone ──▶ HangingUp ─ all gone ─▶ Over
//!                                                                                     │ HANGUP_GRACE       ▲
//!                                                                              Terminating ── all gone ────┤
//!                                                                                     │ TERMINATE_GRACE    │
//!                                                                                 Killing ── all gone, ────┘
//!                                                                                            KILL_WITHIN
//! ```

mod displays;
mod effect;
mod keeping;
mod still;

use std::collections::{BTreeMap, BTreeSet};

use proto::frame::{Frame, Size};
use proto::time::{Duration, earliest};
use proto::{Instant, Nonce, Serial, ServiceName};

pub use effect::{Change, ConnId, Effect};
pub use keeping::NotOurs;

use crate::control::{
    Description, EndReason, Exit, Fingerprint, FromSession, Gone, ServiceState, SessionSpec, ToSession, short,
};
use crate::display::{DisplayFeed, Extent};
use crate::template::{Display, SERVICES_MAX, Service};
use displays::{carry_over, lose_viewer};
use keeping::{Keeping, Returning, ScreenVersions};
use still::Still;

/// How long programs may take to end, and to save what they hold, after SIGHUP and before SIGTERM.
pub const HANGUP_GRACE: Duration = Duration::from_secs(1);
/// And after SIGTERM before they are killed.
pub const TERMINATE_GRACE: Duration = Duration::from_secs(1);
/// How long the kernel may take to end what was killed before it is left to the spawner.
pub const KILL_WITHIN: Duration = Duration::from_secs(2);
/// A ticket that was not used by then is void: a DTU opens its displays as soon as it has read connInf.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// Empties a screen and puts its terminal into its first state (RIS).
const CLEAR: &[u8] = b"\x1bc";

#[derive(Debug)]
struct Slot {
    service: Service,
    state: ServiceState,
    stop: Option<Stop>,
    feed: DisplayFeed,
    viewer: Option<Viewer>,
    /// What was made of its screen for another host, once it has run.
    versions: Option<ScreenVersions>,
    /// How it starts the first time, if it ran at another host.
    returning: Option<Returning>,
}

impl Slot {
    /// Puts a line on the display of a service that does not run: which it is, and why.
    fn say_instead(&mut self, text: &str) {
        let line: String = text.chars().filter(|c| !c.is_control()).collect();
        self.feed.output(CLEAR);
        self.feed.output(line.as_bytes());
    }

    /// Whether nothing runs that would read what is typed, nor is about to.
    fn reads_nothing(&self) -> bool {
        match self.state {
            ServiceState::Idle => !self.service.required,
            ServiceState::Failed(_) => true,
            ServiceState::Running { .. } | ServiceState::Stopping { .. } | ServiceState::Exited(_) => false,
        }
    }
}

/// A service that was told to end: what is done next if it does not.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Terminate { at: Instant },
    Kill { at: Instant },
}

impl Stop {
    const fn at(self) -> Instant {
        match self {
            Self::Terminate { at } | Self::Kill { at } => at,
        }
    }
}

#[derive(Debug)]
struct Viewer {
    conn: ConnId,
    serial: Serial,
}

#[derive(Debug)]
struct Attachment {
    ticket: Nonce,
    serial: Serial,
    void_at: Instant,
    used: BTreeSet<ServiceName>,
}

/// How far the session's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    /// It has not begun.
    Running,
    HangingUp {
        terminate_at: Instant,
    },
    Terminating {
        kill_at: Instant,
    },
    Killing {
        give_up_at: Instant,
    },
    Over,
}

/// A session, as its process sees it.
#[derive(Debug)]
pub struct SessionCore {
    spec: SessionSpec,
    pid: u32,
    fingerprint: Fingerprint,
    /// Streams are numbered from here on, each used once.
    next_stream: Nonce,
    size: Size,
    slots: BTreeMap<ServiceName, Slot>,
    attachment: Option<Attachment>,
    shutdown: Shutdown,
    /// Whether all that a session begins with was there once.
    is_ready: bool,
    reason: Option<EndReason>,
    keeping: Keeping,
    /// It is about to move to another host.
    still: Option<Still>,
}

impl SessionCore {
    /// A session that has not started anything yet. `streams` is drawn at random by the caller.
    #[must_use]
    pub fn new(spec: SessionSpec, pid: u32, streams: Nonce) -> Self {
        let mut core = Self {
            size: spec.size,
            pid,
            fingerprint: Fingerprint([0; 32]),
            next_stream: streams,
            slots: BTreeMap::new(),
            attachment: None,
            shutdown: Shutdown::Running,
            is_ready: false,
            reason: None,
            keeping: Keeping::default(),
            still: None,
            spec,
        };
        for service in core.spec.services.clone() {
            core.add(service);
        }
        core
    }

    fn add(&mut self, service: Service) {
        let mut slot = Slot {
            feed: DisplayFeed::new(self.new_stream(), Extent::Cells(self.size)),
            state: ServiceState::Idle,
            stop: None,
            viewer: None,
            versions: None,
            returning: None,
            service,
        };
        if !slot.service.required {
            let (name, session) = (&slot.service.name, self.spec.session.short());
            let text =
                format!("{name} is not started. Start it with: groupmgr service start {session} {name}");
            slot.say_instead(&text);
        }
        self.slots.insert(slot.service.name.clone(), slot);
    }

    fn new_stream(&mut self) -> Nonce {
        // All zeros stands for no stream.
        let next = self.next_stream.0.wrapping_add(1).max(1);
        core::mem::replace(&mut self.next_stream, Nonce(next))
    }

    /// Starts the required services: at once, not at the first connection, so that a DTU finds them ready. Those of a
    /// session that is replicated wait for [`SessionCore::begin_kept`].
    pub fn begin(&mut self, out: &mut Vec<Effect>) {
        self.start_required(out);
    }

    /// The session can be attached: its certificate has this fingerprint.
    pub fn ready(&mut self, fingerprint: Fingerprint, out: &mut Vec<Effect>) {
        self.fingerprint = fingerprint;
        if self.shutdown == Shutdown::Running {
            self.is_ready = true;
            out.push(Effect::Tell(FromSession::Ready(Box::new(self.describe()))));
        }
    }

    /// What the session is and how it stands.
    #[must_use]
    pub fn describe(&self) -> Description {
        Description {
            spec: self.spec.clone(),
            pid: self.pid,
            fingerprint: self.fingerprint,
            services: self.slots.iter().map(|(name, slot)| (name.clone(), slot.state.clone())).collect(),
            attached: self.attachment.as_ref().map(|a| a.serial.clone()),
        }
    }

    fn start_required(&mut self, out: &mut Vec<Effect>) {
        let required: Vec<_> = self
            .slots
            .values()
            .filter(|slot| slot.service.required)
            .map(|s| s.service.name.clone())
            .collect();
        for name in required {
            self.start(&name, out);
        }
    }

    /// Starts a service that does not run.
    fn start(&mut self, name: &ServiceName, out: &mut Vec<Effect>) {
        if self.shutdown != Shutdown::Running || !self.has_begun() {
            return;
        }
        let stream = self.new_stream();
        let Some(slot) = self.slots.get_mut(name) else { return };
        match slot.state {
            ServiceState::Running { .. } | ServiceState::Stopping { .. } => return,
            // A DTU that looks at the line sees it go, and the service's output instead.
            ServiceState::Idle if slot.service.required || slot.returning.is_some() => {}
            ServiceState::Idle | ServiceState::Failed(_) => slot.feed.output(CLEAR),
            ServiceState::Exited(_) => {
                let old =
                    core::mem::replace(&mut slot.feed, DisplayFeed::new(stream, Extent::Cells(self.size)));
                slot.feed = old.restarted(stream);
            }
        }
        slot.feed.resize(Extent::Cells(self.size), &mut Vec::new());
        let mut service = slot.service.clone();
        if let Some(Returning { directory, variables }) = slot.returning.take() {
            service.cwd = directory.or(service.cwd);
            for (name, value) in variables {
                service.env.entry(name).or_insert(value);
            }
        }
        out.push(Effect::Start { service: Box::new(service), size: self.size });
    }

    /// A service runs.
    pub fn started(&mut self, name: &ServiceName, pid: u32, out: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.state = ServiceState::Running { pid };
        self.keep_screen(name, out);
        out.push(Effect::Tell(FromSession::ServiceStarted { service: name.clone(), pid }));
    }

    /// A service could not be started. Where no other required one runs that ends the session: it would show
    /// nothing, and every DTU that came would try again.
    pub fn failed(&mut self, now: Instant, name: &ServiceName, reason: String, out: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let reason = short(reason);
        let required = slot.service.required;
        slot.state = ServiceState::Failed(reason.clone());
        slot.say_instead(&format!("{name} could not be started: {reason}"));
        out.push(Effect::Tell(FromSession::ServiceFailed { service: name.clone(), reason: reason.clone() }));
        let runs = |slot: &Slot| slot.service.required && matches!(slot.state, ServiceState::Running { .. });
        if required && !(self.is_ready && self.slots.values().any(runs)) {
            self.end(now, EndReason::CouldNotStart(reason), out);
        }
    }

    /// A service's process ended; all it wrote was handed over before.
    pub fn exited(&mut self, now: Instant, name: &ServiceName, exit: Exit, out: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let asked = matches!(slot.state, ServiceState::Stopping { .. });
        slot.state = ServiceState::Exited(exit);
        slot.stop = None;
        slot.feed.end(exit.code());
        out.push(Effect::Tell(FromSession::ServiceExited { service: name.clone(), exit }));
        if asked {
            // What it has started and left behind goes with it.
            out.push(Effect::Kill(Some(name.clone())));
        }
        let by_itself = |slot: &Slot| matches!(slot.state, ServiceState::Exited(Exit::Status(_)));
        let mut required = self.slots.values().filter(|slot| slot.service.required).peekable();
        // One that was stopped or crashed is started again by the next connection; that is no reason to end.
        if !asked && required.peek().is_some() && required.all(by_itself) {
            self.end(now, EndReason::Finished(exit), out);
        }
    }

    /// The daemon says something other than [`ToSession::Display`], which brings a connection, [`ToSession::Renew`],
    /// [`ToSession::Restore`] and [`ToSession::Begin`]: these are the shell's.
    pub fn control(&mut self, now: Instant, message: ToSession, out: &mut Vec<Effect>) {
        match message {
            ToSession::Attach { ticket, serial, size } => self.attach(now, ticket, serial, size, out),
            ToSession::Detach => {
                if self.attachment.take().is_some() {
                    out.push(Effect::Change(Change::Disconnect));
                }
                self.close_displays(None, Gone::Detached, &[], out);
            }
            ToSession::End => self.end(now, EndReason::Asked, out),
            ToSession::StartService(service) => self.start_service(*service, out),
            ToSession::StopService(name) => self.stop_service(now, &name, out),
            ToSession::SetMeta(meta) => self.spec.meta = meta,
            ToSession::DataPart { client, part } => out.push(Effect::Data { client, part, last: false }),
            ToSession::DataReply { client, reply } => {
                out.push(Effect::Data { client, part: reply, last: true });
            }
            ToSession::Describe => {
                self.taken_up(now, out);
                out.push(Effect::ForgetData);
                out.push(Effect::Tell(FromSession::Described(Box::new(self.describe()))));
            }
            ToSession::Notice(text) => {
                for slot in self.slots.values_mut() {
                    slot.feed.notice(&text);
                }
            }
            ToSession::Whole(part) => self.whole(now, &part, out),
            ToSession::Protected { part, stamp } => self.protected(now, &part, stamp, out),
            ToSession::Protect { how, why } => self.protect(now, how, why, out),
            ToSession::Still(stands) => self.stand_still(now, stands, out),
            ToSession::Moved => self.moves_here(),
            ToSession::Display { .. }
            | ToSession::Renew
            | ToSession::Restore { .. }
            | ToSession::Begin(_) => {}
        }
    }

    fn attach(&mut self, now: Instant, ticket: Nonce, serial: Serial, size: Size, out: &mut Vec<Effect>) {
        if self.shutdown != Shutdown::Running {
            return;
        }
        // The same DTU keeps its picture until it has opened the display again.
        let elsewhere = [Frame::Notice("This session is now shown at another desk.".into())];
        self.close_displays(Some(&serial), Gone::Detached, &elsewhere, out);
        out.push(Effect::Change(Change::Connect(serial.clone())));
        self.attachment =
            Some(Attachment { ticket, serial, void_at: now + TICKET_LIFE, used: BTreeSet::new() });
        self.size = Size::clamped(size.cols, size.rows);
        // Who redraws itself for a new size can do so while the DTU is still connecting.
        let mut feed_effects = Vec::new();
        for (name, slot) in &mut self.slots {
            if slot.viewer.is_none() && slot.service.display == Display::Terminal {
                slot.feed.resize(Extent::Cells(self.size), &mut feed_effects);
                carry_over(name, &mut feed_effects, out);
            }
        }
        self.start_required(out);
    }

    fn close_displays(&mut self, except: Option<&Serial>, why: Gone, last: &[Frame], out: &mut Vec<Effect>) {
        for (name, slot) in &mut self.slots {
            if slot.viewer.as_ref().is_some_and(|viewer| Some(&viewer.serial) != except) {
                lose_viewer(name, slot, why, last, out);
            }
        }
    }

    fn start_service(&mut self, service: Service, out: &mut Vec<Effect>) {
        let name = service.name.clone();
        if !self.slots.contains_key(&name) {
            if self.slots.len() >= SERVICES_MAX {
                let reason = format!("the session has {SERVICES_MAX} services already");
                out.push(Effect::Tell(FromSession::ServiceFailed { service: name, reason }));
                return;
            }
            self.spec.services.push(service.clone());
            self.add(service);
        }
        self.start(&name, out);
    }

    fn stop_service(&mut self, now: Instant, name: &ServiceName, out: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if let ServiceState::Running { pid } = slot.state {
            slot.state = ServiceState::Stopping { pid };
            slot.stop = Some(Stop::Terminate { at: now + HANGUP_GRACE });
            out.push(Effect::Hangup(Some(name.clone())));
        }
    }

    fn end(&mut self, now: Instant, reason: EndReason, out: &mut Vec<Effect>) {
        if self.shutdown == Shutdown::Running {
            self.shutdown = Shutdown::HangingUp { terminate_at: now + HANGUP_GRACE };
            self.reason = Some(reason);
            self.attachment = None;
            self.keep_no_longer(now, out);
            out.push(Effect::Change(Change::End));
            out.push(Effect::Hangup(None));
        }
    }

    /// Neither daemon nor spawner is there any more, or the spawner says to end. The displays are closed before
    /// anything else and without a last word: to its DTU this host is dead, and each millisecond until it notices
    /// is one later at another.
    pub fn alone(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for (name, slot) in &mut self.slots {
            lose_viewer(name, slot, Gone::Detached, &[], out);
        }
        self.end(now, EndReason::Alone, out);
    }

    /// No process that the session started is left. Says nothing new unless the session is ending.
    pub fn all_gone(&mut self, out: &mut Vec<Effect>) {
        match self.shutdown {
            Shutdown::HangingUp { .. } | Shutdown::Terminating { .. } | Shutdown::Killing { .. } => {
                self.over(true, out);
            }
            Shutdown::Running | Shutdown::Over => {}
        }
    }

    /// Whether [`SessionCore::all_gone`] is waited for.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.shutdown != Shutdown::Running
    }

    fn over(&mut self, clean: bool, out: &mut Vec<Effect>) {
        self.shutdown = Shutdown::Over;
        if let Some(reason) = self.reason.take() {
            out.push(Effect::Tell(FromSession::Ended(reason)));
        }
        out.push(Effect::Quit { clean });
    }

    /// When [`SessionCore::on_timeout`] has something to do.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let due = match self.shutdown {
            Shutdown::HangingUp { terminate_at } => Some(terminate_at),
            Shutdown::Terminating { kill_at } => Some(kill_at),
            Shutdown::Killing { give_up_at } => Some(give_up_at),
            Shutdown::Running | Shutdown::Over => None,
        };
        self.slots.values().fold(earliest(due, earliest(self.keep_at(), self.settles_at())), |at, slot| {
            earliest(at, slot.stop.map(Stop::at))
        })
    }

    /// Does what is due.
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.send_due(now, out);
        self.settle(now, out);
        for (name, slot) in &mut self.slots {
            match slot.stop {
                Some(Stop::Terminate { at }) if at <= now => {
                    slot.stop = Some(Stop::Kill { at: now + TERMINATE_GRACE });
                    out.push(Effect::Terminate(Some(name.clone())));
                }
                Some(Stop::Kill { at }) if at <= now => {
                    slot.stop = None;
                    out.push(Effect::Kill(Some(name.clone())));
                }
                _ => {}
            }
        }
        match self.shutdown {
            Shutdown::HangingUp { terminate_at } if terminate_at <= now => {
                self.shutdown = Shutdown::Terminating { kill_at: now + TERMINATE_GRACE };
                out.push(Effect::Terminate(None));
            }
            Shutdown::Terminating { kill_at } if kill_at <= now => {
                self.shutdown = Shutdown::Killing { give_up_at: now + KILL_WITHIN };
                out.push(Effect::Kill(None));
            }
            Shutdown::Killing { give_up_at } if give_up_at <= now => self.over(false, out),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
