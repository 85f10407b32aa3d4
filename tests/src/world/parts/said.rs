//! What the program of a service says of itself on its state socket: the real machine, and one program that speaks to it.
//!
//! The program keeps a text, and pays: an operation with an effect, which it repeats when its host died half-way.

use std::collections::VecDeque;

use continuity::session::{Effect, Program, StateSession, Ticket};
use continuity::stream::{self, Stream};
use continuity::{Encoded, Object, Place, Restored, Stamp, Status};
use datastore::{Answer, Request, StoreError};
use proto::time::WallTime;
use proto::{Epoch, Instant, Line};

const PROGRAM: Program = Program(1);

/// So often an effect is said again of which nobody knows whether it has happened.
const TRIES_MAX: u32 = 3;

/// What it wants done.
#[derive(Debug)]
pub(in crate::world) enum Wants {
    /// A version is committed.
    Commit(Encoded),
    /// This is for the person at the screen.
    Print(String),
    /// The data store is asked.
    Ask(Ticket, Box<Request>),
}

/// What the program does about an answer.
#[derive(Debug)]
enum Awaits {
    Nothing,
    /// Prints this if it is granted, or else the other.
    Outcome(String, String),
    /// Pays this, with so many tries behind it.
    Effect(String, u32),
}

/// See the module's text.
#[derive(Debug)]
pub(in crate::world) struct Said {
    state: StateSession,
    heard: Stream,
    awaits: VecDeque<Awaits>,
    wants: Vec<Wants>,
}

fn line(word: &str, key: &str) -> Line {
    Line::new(word).with("pool", Place::Application).with("key", key)
}

impl Said {
    /// That of a service which begins with `object`, in `epoch`; restored or new.
    pub(in crate::world) fn new(object: Object, epoch: Epoch, is_restored: bool) -> Self {
        let restored = is_restored.then(Restored::default);
        let mut state = StateSession::new(object, epoch, restored.as_ref());
        state.open(PROGRAM);
        Self { state, heard: Stream::default(), awaits: VecDeque::new(), wants: Vec::new() }
    }

    pub(in crate::world) fn version(&self) -> Option<Encoded> {
        self.state.object().encode().ok()
    }

    /// The text under a key.
    pub(in crate::world) fn text(&self, key: &str) -> Option<String> {
        let value = self.state.object().get(&Place::Application, &key.parse().ok()?)?;
        value.as_raw().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub(in crate::world) fn take_wants(&mut self) -> Vec<Wants> {
        core::mem::take(&mut self.wants)
    }

    fn say(&mut self, now: Instant, line: Line, text: Option<&str>, awaits: Awaits) {
        let mut bytes = Vec::new();
        stream::emit(line, text.map(str::as_bytes), &mut bytes);
        self.awaits.push_back(awaits);
        self.state.heard(now, WallTime::default(), PROGRAM, &bytes);
        self.settle(now);
    }

    /// Keeps a text.
    pub(in crate::world) fn keep(&mut self, now: Instant, text: &str) {
        let awaits = Awaits::Outcome(format!("kept={text}"), format!("lost={text}"));
        self.say(now, line("put", "text"), Some(text), awaits);
    }

    /// Pays this, once, whatever becomes of its host.
    pub(in crate::world) fn pay(&mut self, now: Instant, text: &str) {
        self.say(now, line("put", "due"), Some(text), Awaits::Nothing);
        self.say(now, Line::new("begin").with("name", "pay"), None, Awaits::Nothing);
        self.do_pay(now, text.to_owned(), 0);
    }

    /// Repeats what a lost host has begun and not brought to its end.
    pub(in crate::world) fn repeat(&mut self, now: Instant) {
        let last = self.state.object().head.operation.as_ref();
        if last.is_some_and(|last| last.status == Status::Begun)
            && let Some(text) = self.text("due")
        {
            self.say(now, Line::new("begin").with("name", "pay").with("again", true), None, Awaits::Nothing);
            self.do_pay(now, text, 0);
        }
    }

    fn do_pay(&mut self, now: Instant, text: String, tries: u32) {
        let effect = Line::new("effect").with("do", "put").with("key", format!("paid/{text}"));
        self.say(now, effect, Some(&text.clone()), Awaits::Effect(text, tries));
    }

    fn hear(&mut self, now: Instant, answer: &Line) {
        let is_granted = answer.command() == "ok";
        match self.awaits.pop_front() {
            Some(Awaits::Outcome(good, bad)) => {
                self.wants.push(Wants::Print(if is_granted { good } else { bad }));
            }
            Some(Awaits::Effect(text, _)) if is_granted => {
                self.say(now, line("put", "paid"), Some(&text), Awaits::Nothing);
                let outcome = Awaits::Outcome(format!("paid={text}"), format!("unpaid={text}"));
                self.say(now, Line::new("commit"), None, outcome);
            }
            Some(Awaits::Effect(text, tries))
                if answer.get("code") == Some("unavailable") && tries < TRIES_MAX =>
            {
                self.do_pay(now, text, tries + 1);
            }
            Some(Awaits::Effect(text, _)) => {
                self.say(now, Line::new("abort"), None, Awaits::Nothing);
                self.wants.push(Wants::Print(format!("unpaid={text}")));
            }
            Some(Awaits::Nothing) | None => {}
        }
    }

    /// Versions up to this one are as safe as the class promises.
    pub(in crate::world) fn safe(&mut self, now: Instant, upto: Stamp) {
        self.state.safe(now, WallTime::default(), upto);
        self.settle(now);
    }

    /// The data store has answered, or will not.
    pub(in crate::world) fn answered(
        &mut self,
        now: Instant,
        ticket: Ticket,
        outcome: Result<Answer, StoreError>,
    ) {
        self.state.answered(now, WallTime::default(), ticket, outcome);
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        for effect in self.state.take_effects() {
            match effect {
                Effect::Say { bytes, .. } => self.heard.push(&bytes),
                Effect::Close(_) | Effect::Call { .. } | Effect::Reply { .. } => {}
                Effect::Committed(version) => self.wants.push(Wants::Commit(version)),
                Effect::Ask { ticket, request } => self.wants.push(Wants::Ask(ticket, request)),
            }
        }
        while let Ok(Some(Ok(packet))) = self.heard.next_packet() {
            self.hear(now, &packet.line);
        }
    }
}
