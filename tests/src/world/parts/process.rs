//! A session process and its shells.

use std::collections::{BTreeMap, VecDeque};

use continuity::Object;
use continuity::session::Ticket;
use datastore::wire::{self, Call, FromStore};
use datastore::{RequestId, StoreError};
use proto::frame::{Frame, FrameBuffer};
use proto::{BootId, Epoch, Instant, ServiceName, Token};
use sessiond::control::{Beginning, Bytes, Exit, FromSession, Kind, Part, SessionSpec, ToSession};
use sessiond::screen::Whereabouts;
use sessiond::session::{ConnId, Effect, SessionCore};

use super::super::shell::{Does, Shell};
use super::said::{Said, Wants};
use super::tcp::{ConnKey, Seg};

/// What happens to a session process.
#[derive(Debug)]
pub(in crate::world) enum ToProcess {
    /// Its first moment.
    Begin,
    /// It has its certificate.
    Ready,
    /// The daemon says something.
    Told(Box<ToSession>),
    /// It is handed a display connection.
    Display(ConnKey),
    /// Something comes on one.
    Seg(ConnKey, Seg),
    /// It asked to be called now.
    Due,
}

/// A session process.
#[derive(Debug)]
pub(in crate::world) struct Process {
    pub(in crate::world) core: SessionCore,
    pub(in crate::world) token: Token,
    /// What it was told to go on with, and how it began, once it has.
    pub(in crate::world) restored: Vec<(Part, Vec<u8>)>,
    pub(in crate::world) begun: Option<Beginning>,
    pub(in crate::world) fingerprint: [u8; 32],
    pub(in crate::world) shells: BTreeMap<ServiceName, Shell>,
    /// Which shell asked the data store, by the number of its connection; and the parts of an answer.
    pub(in crate::world) askers: BTreeMap<u32, (ServiceName, Vec<u8>)>,
    pub(in crate::world) asked: u32,
    pub(in crate::world) conns: BTreeMap<ConnKey, Display>,
    pub(in crate::world) wake: Option<Instant>,
    pub(in crate::world) is_stopped: bool,
    pub(in crate::world) held: VecDeque<ToProcess>,
    /// What its programs keep, and what is restored before it begins.
    pub(in crate::world) kept: Kept,
}

#[derive(Debug, Default)]
pub(in crate::world) struct Display {
    pub(in crate::world) frames: FrameBuffer,
    pub(in crate::world) has_said_hello: bool,
}

/// What a spawner was asked for.
#[derive(Debug)]
pub(in crate::world) struct Order {
    /// In which run of the daemon.
    pub(in crate::world) by: Option<BootId>,
    /// How often the machine had lost its power.
    pub(in crate::world) outages: u32,
    pub(in crate::world) spec: SessionSpec,
}

/// What the programs of a session keep, each service one text.
#[derive(Debug, Default)]
pub(in crate::world) struct Kept {
    restoring: BTreeMap<Part, Bytes>,
    epoch: Epoch,
    said: BTreeMap<ServiceName, Said>,
    /// For whom the data store was asked, by the number of the connection.
    asked: BTreeMap<u32, (ServiceName, Ticket)>,
}

impl Process {
    /// Remembers what it is told of its beginning.
    pub(in crate::world) fn note(&mut self, told: &ToSession) {
        match told {
            ToSession::Restore { part, object } => self.restored.push((part.clone(), object.0.clone())),
            ToSession::Begin(beginning) => self.begun = Some((**beginning).clone()),
            _ => {}
        }
    }

    /// The daemon says something.
    pub(in crate::world) fn told(&mut self, now: Instant, message: ToSession, out: &mut Vec<Effect>) {
        match message {
            ToSession::Restore { part, object } => drop(self.kept.restoring.insert(part, object)),
            ToSession::Begin(beginning) => self.begin(now, &beginning, out),
            message => self.core.control(now, message, out),
        }
    }

    fn begin(&mut self, now: Instant, beginning: &Beginning, out: &mut Vec<Effect>) {
        self.kept.epoch = beginning.epoch;
        let mut states = Vec::new();
        for (part, bytes) in core::mem::take(&mut self.kept.restoring) {
            match (self.core.open_kept(&part, &bytes), part.kind) {
                (Err(_), _) => self.core.not_returned(&part),
                (Ok(object), Kind::Screen) => self.core.returned(beginning, &object, None),
                (Ok(object), Kind::State) => {
                    let said = Said::new(object, beginning.epoch, true);
                    states.extend(said.version().map(|version| (part.service.clone(), version)));
                    self.kept.said.insert(part.service, said);
                }
            }
        }
        self.core.begin_kept(now, beginning, out);
        for (service, version) in states {
            self.core.committed(now, &service, version, out);
            self.speak(now, &service, |said| said.repeat(now), out);
        }
    }

    /// The program of a service says something of itself, or is answered.
    fn speak(
        &mut self,
        now: Instant,
        name: &ServiceName,
        what: impl FnOnce(&mut Said),
        out: &mut Vec<Effect>,
    ) {
        let (session, epoch) = (self.core.describe().spec.session, self.kept.epoch);
        let fresh = || Said::new(Object::new(session, name.clone()), epoch, false);
        let said = self.kept.said.entry(name.clone()).or_insert_with(fresh);
        what(said);
        for wants in said.take_wants() {
            match wants {
                Wants::Commit(version) => self.core.committed(now, name, version, out),
                Wants::Print(text) => self.print(name, &text),
                Wants::Ask(ticket, request) => {
                    self.asked += 1;
                    self.kept.asked.insert(self.asked, (name.clone(), ticket));
                    self.ask(&Call { id: RequestId(1), request: *request }, out);
                }
            }
        }
    }

    /// Asks the data store, by the connection that has the last number.
    fn ask(&self, call: &Call, out: &mut Vec<Effect>) {
        let mut frame = Vec::new();
        if wire::encode(call, &mut frame).is_ok() {
            let request = Bytes(frame.split_off(wire::HEADER_LEN));
            out.push(Effect::Tell(FromSession::Data { client: self.asked, request }));
        }
    }

    /// What was asked of an earlier daemon is not answered.
    fn forget_data(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.askers.clear();
        for (name, ticket) in core::mem::take(&mut self.kept.asked).into_values() {
            let lost = StoreError::OutcomeUnknown { at: "-".into(), why: "another daemon".into() };
            self.speak(now, &name, |said| said.answered(now, ticket, Err(lost)), out);
        }
    }

    fn print(&mut self, name: &ServiceName, text: &str) {
        if let Some(Does::Print(text)) = self.shells.get(name).map(|shell| shell.says(text)) {
            self.core.output(name, text.as_bytes());
        }
    }

    /// Makes those versions of screens for which it is time.
    pub(in crate::world) fn keep_screens(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for name in self.core.screens_due(now) {
            let directory = self.shells.contains_key(&name).then(|| "/home".to_owned());
            self.core.screen_is(now, &name, Whereabouts { directory, ..Whereabouts::default() }, out);
        }
    }

    pub(in crate::world) fn start(&mut self, name: &ServiceName, shell: Shell, more: &mut Vec<Effect>) {
        self.core.started(name, shell.pid, more);
        self.core.output(name, shell.prompt().as_bytes());
        self.shells.insert(name.clone(), shell);
    }

    pub(in crate::world) fn take_seg(&mut self, now: Instant, key: ConnKey, seg: Seg, out: &mut Vec<Effect>) {
        match seg {
            Seg::Data(bytes) => {
                let Some(display) = self.conns.get_mut(&key) else { return };
                display.frames.push(&bytes);
                while let Some(display) = self.conns.get_mut(&key)
                    && let Ok(Some(frame)) = display.frames.next_frame()
                {
                    match (core::mem::replace(&mut display.has_said_hello, true), frame) {
                        (false, Frame::Hello(hello)) => self.core.hello(now, ConnId(key.0), &hello, out),
                        (false, _) => out.push(Effect::Close(ConnId(key.0), Vec::new())),
                        (true, frame) => self.core.frame(now, ConnId(key.0), frame, out),
                    }
                }
            }
            Seg::Fin | Seg::Rst => {
                self.conns.remove(&key);
                self.core.lost(ConnId(key.0), out);
                out.push(Effect::Close(ConnId(key.0), Vec::new()));
            }
            _ => {}
        }
    }

    /// What concerns nobody but the process and its shells.
    pub(in crate::world) fn do_locally(&mut self, now: Instant, effect: Effect, more: &mut Vec<Effect>) {
        match effect {
            Effect::Input(name) => self.give_input(now, &name, more),
            Effect::Safe(name, stamp) => self.speak(now, &name, |said| said.safe(now, stamp), more),
            Effect::ForgetData => self.forget_data(now, more),
            Effect::Hangup(Some(name)) => self.end_shell(now, &name, Exit::Signal(1), more),
            Effect::Kill(Some(name)) => self.end_shell(now, &name, Exit::Signal(9), more),
            Effect::Terminate(Some(name)) => self.end_shell(now, &name, Exit::Signal(15), more),
            Effect::Hangup(None) | Effect::Terminate(None) | Effect::Kill(None) => {
                for name in self.shells.keys().cloned().collect::<Vec<_>>() {
                    self.end_shell(now, &name, Exit::Signal(1), more);
                }
                self.core.all_gone(more);
            }
            Effect::Data { client, part: Bytes(part), last } => {
                if let Some((name, ticket)) = self.kept.asked.remove(&client) {
                    let outcome = match wire::decode(&part) {
                        Ok(FromStore::Reply { response, .. }) => Ok(response.answer),
                        _ => Err(StoreError::OutcomeUnknown { at: "-".into(), why: "unreadable".into() }),
                    };
                    return self.speak(now, &name, |said| said.answered(now, ticket, outcome), more);
                }
                let Some((name, mut payload)) = self.askers.remove(&client) else { return };
                payload.extend(part);
                if last {
                    self.answer(&name, &payload);
                } else {
                    self.askers.insert(client, (name, payload));
                }
            }
            _ => {}
        }
    }

    pub(in crate::world) fn answer(&mut self, name: &ServiceName, payload: &[u8]) {
        let Some(shell) = self.shells.get(name) else { return };
        let does = match wire::decode(payload) {
            Ok(FromStore::Reply { response, .. }) => shell.answered(Ok(response)),
            other => Does::Print(format!("{other:?}\r\n")),
        };
        if let Does::Print(text) = does {
            self.core.output(name, text.as_bytes());
        }
    }

    pub(in crate::world) fn give_input(&mut self, now: Instant, name: &ServiceName, more: &mut Vec<Effect>) {
        loop {
            let typed = self.core.input(name).to_vec();
            if typed.is_empty() {
                return;
            }
            self.core.input_taken(now, name, typed.len());
            let does = self.shells.get_mut(name).map(|shell| shell.take(&typed)).unwrap_or_default();
            for does in does {
                match does {
                    Does::Print(text) => self.core.output(name, text.as_bytes()),
                    Does::Keep(text) => self.speak(now, name, |said| said.keep(now, &text), more),
                    Does::Pay(text) => self.speak(now, name, |said| said.pay(now, &text), more),
                    Does::TellKept => {
                        let text = self.kept.said.get(name).and_then(|said| said.text("text"));
                        self.print(name, &format!("has={}", text.unwrap_or_default()));
                    }
                    Does::Exit(status) => return self.end_shell(now, name, Exit::Status(status), more),
                    Does::Ask(call) => {
                        self.asked += 1;
                        self.askers.insert(self.asked, (name.clone(), Vec::new()));
                        self.ask(&call, more);
                    }
                }
            }
        }
    }

    pub(in crate::world) fn end_shell(
        &mut self,
        now: Instant,
        name: &ServiceName,
        exit: Exit,
        more: &mut Vec<Effect>,
    ) {
        if self.shells.remove(name).is_some() {
            self.core.exited(now, name, exit, more);
        }
    }
}
