//! Drives DTUs, one or thousands, in one loop that owns them all: it takes what happened to each, carries out
//! what each wants, and wakes each when it asked for it. Connections run in tasks of their own; nothing is
//! locked. Where there are thousands they have processors of their own as well: a DTU that heard a beacon only after
//! all others had shaken hands would take a living host for a dead one.
//!
//! What waits is taken before deadlines are looked at, so that an answer that has arrived is never judged as
//! silence.

mod beacon_cache;
mod slot;
mod telling;
mod view;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

use proto::card::Card;
use proto::frame::Size;
use proto::io::tls::dtu::DtuIdentity;
use proto::{Instant, Serial};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::canary::Canary;
use super::clock::Clock;
use super::conn::{self, Note, Notes};
use super::discovery_socket::{DiscoverySocket, DiscoverySocketConfig, Heard};
use super::trust::Trust;
use crate::dtu::{Config, DtuEvent, DtuInput, Effect};
pub use view::{Look, View};

use beacon_cache::{BeaconCache, Wants};
use slot::{Dirty, Slot};

/// A DTU of a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DtuId(pub usize);

/// A DTU to be added to a shell.
#[derive(Clone, Debug)]
pub struct NewDtu {
    /// What it is told.
    pub config: Config,
    /// The address its connections come from, if it is another than the shell's.
    pub bind: Option<Ipv4Addr>,
    /// Whether what it shows is kept, to be looked at.
    pub screen: bool,
    /// The card that is in it when it is switched on.
    pub card: Option<Card>,
    /// The key that it proves to its hosts; none for a terminal without.
    pub identity: Option<DtuIdentity>,
}

/// What is common to all DTUs of a shell.
#[derive(Clone, Debug)]
pub struct Options {
    /// By what they know their hosts.
    pub trust: Trust,
    /// The address, and with it the interface, that they listen and ask on; all interfaces without it.
    pub bind: Option<Ipv4Addr>,
    /// The port of hosts and beacons.
    pub port: u16,
    /// A multicast group on which beacons are sent, besides each interface's broadcast address.
    pub multicast: Option<Ipv4Addr>,
    /// Where connections run; without it, where the shell does.
    pub workers: Option<Handle>,
}

/// An event of a DTU.
#[derive(Clone, Debug)]
pub struct Told {
    /// The DTU that tells it.
    pub desk: DtuId,
    /// The serial of the DTU that tells it.
    pub serial: Serial,
    /// When, on the shell's clock.
    pub at: Instant,
    /// What the DTU's machine reported.
    pub event: DtuEvent,
}

enum Command {
    Add { desk: Box<NewDtu>, reply: oneshot::Sender<DtuId> },
    Do { desk: DtuId, deed: Deed },
    Look { desk: DtuId, reply: oneshot::Sender<Look> },
    View { desk: DtuId, reply: oneshot::Sender<(Vec<u8>, broadcast::Receiver<View>)> },
    Changes { desk: DtuId, reply: oneshot::Sender<watch::Receiver<u64>> },
}

enum Deed {
    Insert(Card),
    Remove,
    Flip,
    Type(Vec<u8>),
    Resize(Size),
}

/// The way to a running shell. It stops when the last of its handles is dropped.
#[derive(Clone)]
pub struct ShellHandle {
    commands: mpsc::Sender<Command>,
}

impl ShellHandle {
    /// Adds a DTU and switches it on. `None` when the shell has stopped.
    pub async fn add(&self, desk: NewDtu) -> Option<DtuId> {
        self.ask(|reply| Command::Add { desk: Box::new(desk), reply }).await
    }

    /// Puts a card in.
    pub async fn insert(&self, desk: DtuId, card: Card) {
        self.tell(desk, Deed::Insert(card)).await;
    }

    /// Takes it out.
    pub async fn remove(&self, desk: DtuId) {
        self.tell(desk, Deed::Remove).await;
    }

    /// Shows the next display of its session.
    pub async fn flip(&self, desk: DtuId) {
        self.tell(desk, Deed::Flip).await;
    }

    /// Types these bytes, as if they came from the DTU's keyboard.
    pub async fn type_keys(&self, desk: DtuId, keys: Vec<u8>) {
        self.tell(desk, Deed::Type(keys)).await;
    }

    /// Gives its screen another size.
    pub async fn resize(&self, desk: DtuId, size: Size) {
        self.tell(desk, Deed::Resize(size)).await;
    }

    /// What it looks like. `None` when there is no such DTU.
    pub async fn look(&self, desk: DtuId) -> Option<Look> {
        self.ask(|reply| Command::Look { desk, reply }).await
    }

    /// What draws its screen now, and every change from here on.
    pub async fn view(&self, desk: DtuId) -> Option<(Vec<u8>, broadcast::Receiver<View>)> {
        self.ask(|reply| Command::View { desk, reply }).await
    }

    /// Says when its screen or its state may have changed.
    pub async fn changes(&self, desk: DtuId) -> Option<watch::Receiver<u64>> {
        self.ask(|reply| Command::Changes { desk, reply }).await
    }

    async fn tell(&self, desk: DtuId, deed: Deed) {
        // A shell that has stopped has no DTUs to do anything.
        let _ = self.commands.send(Command::Do { desk, deed }).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Notes taken before deadlines are looked at.
const BATCH: usize = 1024;

/// See the module's text.
pub struct Shell {
    options: Options,
    workers: Handle,
    clock: Clock,
    slots: Vec<Slot>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    commands: mpsc::Receiver<Command>,
    notes: mpsc::Receiver<(usize, Note)>,
    notes_to: mpsc::Sender<(usize, Note)>,
    heard: mpsc::Receiver<Heard>,
    beacons: BeaconCache,
    /// For each slot, whose beacons it wants at once.
    wants: Vec<Wants>,
    discovery: DiscoverySocket,
    told: mpsc::UnboundedSender<Told>,
    canary: Option<Canary>,
    /// The canary has come back: beacons that came before it are taken first.
    is_canary_back: bool,
    /// DTUs that wait for the canary that is out, and those that wait for the next one.
    judging: [Vec<usize>; 2],
    touched: Vec<usize>,
    effects: Vec<Effect>,
}

impl Shell {
    /// A shell without DTUs, to be run as a task, and the way to it. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(options: Options, clock: Clock, told: mpsc::UnboundedSender<Told>) -> (Self, ShellHandle) {
        let (command, commands) = mpsc::channel(256);
        let (notes_to, notes) = mpsc::channel(4096);
        let (to_heard, heard) = mpsc::channel(1024);
        let workers = options.workers.clone().unwrap_or_else(Handle::current);
        let canary = {
            // It takes the way of what connections hear.
            let _entered = workers.enter();
            Canary::new(Notes { desk: usize::MAX, to: notes_to.clone() })
        };
        let Options { bind, port, multicast, .. } = options;
        let shell = Self {
            options,
            workers,
            clock,
            slots: Vec::new(),
            timers: BinaryHeap::new(),
            commands,
            notes,
            notes_to,
            heard,
            beacons: BeaconCache::default(),
            wants: Vec::new(),
            discovery: DiscoverySocket::start(DiscoverySocketConfig { bind, port, multicast }, to_heard),
            told,
            // Without one, DTUs judge by their own lateness alone.
            canary: canary.ok(),
            is_canary_back: false,
            judging: [Vec::new(), Vec::new()],
            touched: Vec::new(),
            effects: Vec::new(),
        };
        (shell, ShellHandle { commands: command })
    }

    /// Runs until the last handle is dropped.
    pub async fn run(mut self) {
        loop {
            let wake = self.timers.peek().map(|Reverse((at, _))| self.clock.to_tokio(*at));
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some((desk, note)) = self.notes.recv() => self.note(desk, note),
                Some(heard) = self.heard.recv() => self.heard(heard),
                () = sleep => {}
            }
            for _ in 0..BATCH {
                let Ok((desk, note)) = self.notes.try_recv() else { break };
                self.note(desk, note);
            }
            while let Ok(heard) = self.heard.try_recv() {
                self.heard(heard);
            }
            if core::mem::take(&mut self.is_canary_back) {
                self.canary_is_back();
            }
            self.wake_due();
            self.show();
            // Sockets on which beacons lie are read by tasks beside this one, which in a storm has always more to do.
            tokio::task::yield_now().await;
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add { desk, reply } => {
                let NewDtu { config, bind, screen, card, identity } = *desk;
                let trust = self.options.trust.proving(identity.as_ref());
                let desk = self.add(config, bind, screen, trust);
                let _ = reply.send(desk);
                if let Some(card) = card {
                    self.input(desk.0, DtuInput::CardInserted(card));
                }
                self.input(desk.0, DtuInput::Boot);
            }
            Command::Do { desk, deed } => match deed {
                Deed::Insert(card) => self.input(desk.0, DtuInput::CardInserted(card)),
                Deed::Remove => self.input(desk.0, DtuInput::CardRemoved),
                Deed::Flip => self.input(desk.0, DtuInput::Flip),
                Deed::Type(keys) => self.input(desk.0, DtuInput::Typed(&keys)),
                Deed::Resize(size) => {
                    if let Some(slot) = self.slots.get_mut(desk.0) {
                        slot.screen.iter_mut().for_each(|screen| screen.resize(size));
                        if slot.touch(Dirty::Screen) {
                            self.touched.push(desk.0);
                        }
                    }
                    self.input(desk.0, DtuInput::Resized(size));
                }
            },
            Command::Look { desk, reply } => {
                if let Some(slot) = self.slots.get(desk.0) {
                    let _ = reply.send(slot.look());
                }
            }
            Command::View { desk, reply } => {
                // What was painted before is in what draws everything and must not come again.
                self.show();
                if let Some(slot) = self.slots.get_mut(desk.0) {
                    let _ = reply.send(slot.view());
                }
            }
            Command::Changes { desk, reply } => {
                if let Some(slot) = self.slots.get(desk.0) {
                    let _ = reply.send(slot.changes.subscribe());
                }
            }
        }
    }

    fn add(&mut self, config: Config, bind: Option<Ipv4Addr>, screen: bool, trust: Trust) -> DtuId {
        self.slots.push(Slot::new(config, bind.or(self.options.bind), screen, trust));
        self.wants.push(Wants::Nobody);
        DtuId(self.slots.len() - 1)
    }

    fn note(&mut self, desk: usize, note: Note) {
        if let Note::ControlClosed { conn, .. } | Note::DisplayClosed { conn, .. } = &note
            && let Some(slot) = self.slots.get_mut(desk)
        {
            slot.conns.retain(|(known, _)| known != conn);
        }
        match note {
            Note::ControlReached { conn } => self.input(desk, DtuInput::ControlReached { conn }),
            Note::ControlOpened { conn, local } => self.input(desk, DtuInput::ControlOpened { conn, local }),
            Note::ControlLine { conn, line } => self.input(desk, DtuInput::ControlLine { conn, line: &line }),
            Note::ControlClosed { conn, fault } => self.input(desk, DtuInput::ControlClosed { conn, fault }),
            Note::DisplayOpened { conn } => self.input(desk, DtuInput::DisplayOpened { conn }),
            Note::DisplayHeard { conn } => self.input(desk, DtuInput::DisplayHeard { conn }),
            Note::DisplayFrame { conn, frame } => self.input(desk, DtuInput::DisplayFrame { conn, frame }),
            Note::DisplayClosed { conn, fault } => self.input(desk, DtuInput::DisplayClosed { conn, fault }),
            Note::Canary => self.is_canary_back = true,
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Beacon { beacon, from } => {
                let number = self.beacons.number_of(&beacon.host);
                self.beacons.put(beacon, from, self.clock.now());
                for desk in 0..self.slots.len() {
                    match self.wants[desk] {
                        Wants::One(host) if number == Some(host) => self.tell_newest(desk),
                        Wants::Everybody => self.catch_up(desk),
                        Wants::Nobody | Wants::One(_) => continue,
                    }
                    self.settle(desk);
                }
            }
            Heard::ServerR(answer) => {
                for desk in 0..self.slots.len() {
                    self.input(desk, DtuInput::ServerR(&answer));
                }
            }
        }
    }

    fn wake_due(&mut self) {
        let now = self.clock.now();
        while let Some(Reverse((at, desk))) =
            self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.timers.pop();
            let slot = &mut self.slots[desk];
            // An entry that an earlier one has replaced.
            if slot.armed != Some(at) {
                continue;
            }
            slot.armed = None;
            if slot.dtu.judges_at().is_some_and(|at| at <= now) && self.canary.is_some() {
                slot.judging = true;
                self.judging[1].push(desk);
            } else if slot.dtu.poll_at().is_some_and(|due| due <= now) {
                self.input(desk, DtuInput::Timeout);
            } else {
                self.arm(desk);
            }
        }
        self.send_canary();
    }

    fn send_canary(&mut self) {
        if !self.judging[0].is_empty() || self.judging[1].is_empty() {
            return;
        }
        self.judging.swap(0, 1);
        if !self.canary.as_ref().is_some_and(Canary::send) {
            self.canary = None;
            self.canary_is_back();
        }
    }

    fn canary_is_back(&mut self) {
        for desk in core::mem::take(&mut self.judging[0]) {
            self.slots[desk].judging = false;
            self.input(desk, DtuInput::Timeout);
        }
        self.send_canary();
    }

    /// A deadline that moved away leaves its entry: a beacon then costs no change of the heap.
    fn arm(&mut self, desk: usize) {
        let slot = &mut self.slots[desk];
        if let Some(due) = slot.dtu.poll_at()
            && !slot.judging
            && slot.armed.is_none_or(|armed| due < armed)
        {
            slot.armed = Some(due);
            self.timers.push(Reverse((due, desk)));
        }
    }

    fn input(&mut self, desk: usize, input: DtuInput<'_>) {
        if desk < self.slots.len() {
            self.catch_up(desk);
            self.hand_in(desk, input);
            self.settle(desk);
        }
    }

    /// It has had its input.
    fn settle(&mut self, desk: usize) {
        let heeds = self.slots[desk].dtu.heeds(self.clock.now());
        self.wants[desk] = self.beacons.wants(heeds);
        self.arm(desk);
    }

    fn hand_in(&mut self, desk: usize, input: DtuInput<'_>) {
        let now = self.clock.now();
        let slot = &mut self.slots[desk];
        let mut effects = core::mem::take(&mut self.effects);
        let owed = slot.dtu.unacknowledged() > 0;
        slot.dtu.handle(now, input, &mut effects);
        // Whoever waits for the session to take what was typed looks again.
        if owed && slot.dtu.unacknowledged() == 0 && matches!(slot.dirty, Dirty::No) {
            slot.touch(Dirty::State);
            self.touched.push(desk);
        }
        for effect in effects.drain(..) {
            self.perform(now, desk, effect);
        }
        self.effects = effects;
    }

    fn perform(&mut self, now: Instant, desk: usize, effect: Effect) {
        let slot = &mut self.slots[desk];
        let notes = || Notes { desk, to: self.notes_to.clone() };
        match effect {
            Effect::BroadcastServerQ => self.discovery.ask(slot.dtu.serial()),
            Effect::OpenControl { conn, addr } => {
                let trust = slot.trust.clone();
                let sender = conn::open_control(&self.workers, notes(), conn, addr, slot.bind, trust);
                slot.conns.push((conn, sender));
            }
            Effect::OpenDisplay { conn, target } => {
                let sender = conn::open_display(&self.workers, notes(), conn, target, slot.bind);
                slot.conns.push((conn, sender));
            }
            Effect::SendControl { conn, line } => slot.send(conn, format!("{line}\n").into_bytes()),
            Effect::SendDisplay { conn, frame } => {
                let mut bytes = Vec::new();
                frame.emit(&mut bytes);
                slot.send(conn, bytes);
            }
            Effect::CloseControl { conn } | Effect::CloseDisplay { conn } => {
                slot.conns.retain(|(known, _)| *known != conn);
            }
            Effect::Paint(paint) => {
                if slot.paint(&paint) {
                    self.touched.push(desk);
                }
            }
            Effect::Report(event) => {
                if matches!(slot.dirty, Dirty::No) && slot.touch(Dirty::State) {
                    self.touched.push(desk);
                }
                let serial = slot.dtu.serial().clone();
                let _ = self.told.send(Told { desk: DtuId(desk), serial, at: now, event });
            }
        }
    }

    /// Sends to viewers what was painted.
    fn show(&mut self) {
        for desk in self.touched.drain(..) {
            self.slots[desk].show();
        }
    }
}
