//! The state socket of one service, as a machine: it owns the service's object, and answers the programs that change it.
//!
//! A change outside of an operation is a version of its own; what an operation has changed is one. What a version is
//! answered with is held back until its driver says that the version is as safe as the session's class promises
//! ([`StateSession::safe`]), and what a program asks afterwards is answered after it.

mod calls;
mod outside;

use std::collections::BTreeMap;

use proto::time::{Duration, Instant, WallTime};
use proto::{Epoch, Line, Serial};

use crate::calls::Calls;
use crate::connection::Connection;
use crate::edit::{Edit, Refusal};
use crate::effects::Asked;
use crate::head::{Head, Operation, Status};
use crate::names::Stamp;
use crate::object::Object;
use crate::operation::{InHand, NotAdded, NotCommitted};
use crate::restore::Restored;
use crate::stream::Packet;
use crate::times::Times;
use crate::told::{self, lines};
use crate::words::{self, About, BadRequest, Begin, Request};

pub use crate::connection::ANSWERS_MAX;
pub use crate::driver::{Disable, Effect, Program};
pub use crate::effects::Ticket;

/// Programs at a time. Each may have a request and unread answers in memory.
pub const PROGRAMS_MAX: usize = 16;
/// Bytes of requests that are kept while a program waits for answers.
pub const UNREAD_MAX: usize = 128 * 1024;

fn disabled() -> Line {
    words::error("disabled", "the service takes no more changes")
}

fn refused(refusal: Refusal) -> Line {
    words::error(told::code(refusal), refusal)
}

/// See the module's text.
#[derive(Debug)]
pub struct StateSession {
    object: Object,
    safe: Stamp,
    programs: BTreeMap<Program, Connection>,
    in_hand: Option<InHand<Program>>,
    shown_at: Option<Serial>,
    disabled: Option<Disable>,
    /// As what the object came from another host, and what programs that watch are told of that.
    came_as: Head,
    restored: Vec<Line>,
    /// References of it are being looked up.
    is_looking: bool,
    asked: Asked<Program>,
    calls: Calls<Program>,
    /// From a commit until another host had it.
    times: Times,
    effects: Vec<Effect>,
}

impl StateSession {
    /// That of a service which begins with `object`, in `epoch`. `restored` says what came of its references if the object
    /// comes from another host.
    #[must_use]
    pub fn new(mut object: Object, epoch: Epoch, restored: Option<&Restored>) -> Self {
        let came_as = object.head.clone();
        let restored = restored.map(|restored| told::restored(&came_as, restored)).unwrap_or_default();
        object.enter(epoch);
        Self {
            safe: object.head.stamp,
            object,
            programs: BTreeMap::new(),
            in_hand: None,
            shown_at: None,
            disabled: None,
            came_as,
            restored,
            is_looking: false,
            asked: Asked::default(),
            calls: Calls::default(),
            times: Times::default(),
            effects: Vec::new(),
        }
    }

    /// The object as it was committed last.
    #[must_use]
    pub const fn object(&self) -> &Object {
        &self.object
    }

    /// What is to be done since this was asked last.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.effects)
    }

    /// A program has connected. Returns whether there is room for it.
    pub fn open(&mut self, program: Program) -> bool {
        let has_room = self.programs.len() < PROGRAMS_MAX;
        if has_room {
            self.programs.insert(program, Connection::default());
        }
        has_room
    }

    /// A program is gone, and with it the operation that it had begun, unless it is to be kept.
    pub fn close(&mut self, program: Program) {
        self.programs.remove(&program);
        if self.calls.server == Some(program) {
            self.calls.server = None;
            self.calls.heard.clear();
        }
        if self.in_hand.as_ref().is_some_and(|in_hand| in_hand.program() == program && !in_hand.is_kept()) {
            self.abort();
        }
    }

    /// Whether more of a program is to be read now.
    #[must_use]
    pub fn reads(&self, program: Program) -> bool {
        self.programs.get(&program).is_some_and(Connection::reads)
    }

    /// A program has said something, cut anywhere. `wall` is the time by which an object expires.
    pub fn heard(&mut self, now: Instant, wall: WallTime, program: Program, bytes: &[u8]) {
        let Some(connection) = self.programs.get_mut(&program) else { return };
        connection.stream.push(bytes);
        self.read_on(now, wall, program);
    }

    /// Versions up to `stamp` are as safe as the session's class promises.
    pub fn safe(&mut self, now: Instant, wall: WallTime, stamp: Stamp) {
        self.safe = self.safe.max(stamp);
        self.ask();
        self.send_calls();
        let programs: Vec<Program> = self.programs.keys().copied().collect();
        for program in programs {
            self.flush(program);
            self.read_on(now, wall, program);
        }
    }

    /// Another host has acknowledged a version so long after it was committed.
    pub fn acknowledged(&mut self, after: Duration) {
        self.times.add(after);
    }

    /// The session is shown at a DTU, or no longer at any.
    pub fn shown(&mut self, at: Option<Serial>) {
        if self.shown_at != at {
            let event = told::shown(at.as_ref(), self.shown_at.as_ref());
            self.shown_at = at;
            self.tell(&event);
        }
    }

    /// The service takes no more changes. What was said before is not taken back.
    pub fn disable(&mut self, how: Disable) {
        if self.disabled < Some(how) {
            self.disabled = Some(how);
            self.tell(&told::disabled(how == Disable::Now));
        }
    }

    fn read_on(&mut self, now: Instant, wall: WallTime, program: Program) {
        while self.reads(program) {
            let Some(connection) = self.programs.get_mut(&program) else { return };
            match connection.stream.next_packet() {
                Ok(Some(packet)) => self.answer(now, wall, program, packet),
                Ok(None) => break,
                Err(fault) => return self.fail(program, &fault.to_string()),
            }
        }
        if self.programs.get(&program).is_some_and(|connection| connection.stream.len() > UNREAD_MAX) {
            self.fail(program, "more requests than are read before their answers");
        }
    }

    fn fail(&mut self, program: Program, why: &str) {
        let bytes = lines(&[words::error("fault", why)]);
        self.effects.extend([Effect::Say { program, bytes }, Effect::Close(program)]);
        self.close(program);
    }

    fn answer(
        &mut self,
        now: Instant,
        wall: WallTime,
        program: Program,
        packet: Result<Packet, proto::line::LineError>,
    ) {
        let request = packet.map_err(BadRequest::from).and_then(|packet| Request::read(&packet));
        let answer = match request {
            Ok(request) => self.act(now, wall, program, request),
            Err(bad) => Err(words::error(bad.code(), &bad)),
        };
        let bytes = answer.unwrap_or_else(|refused| lines(&[refused]));
        let after = self.object.head.stamp;
        if let Some(connection) = self.programs.get_mut(&program).filter(|c| c.waits.is_none()) {
            connection.answer(after, bytes);
        }
        self.flush(program);
    }

    fn act(
        &mut self,
        now: Instant,
        wall: WallTime,
        program: Program,
        request: Request,
    ) -> Result<Vec<u8>, Line> {
        match request {
            Request::Hello => {
                let head = &self.object.head;
                let welcome =
                    Line::new("welcome").with("version", words::VERSION).with("service", &head.service);
                Ok(lines(&[welcome.with("session", head.session)]))
            }
            Request::Edit(edit) => self.edit(program, edit).map(|ok| lines(&[ok])),
            Request::Get(place, key) => Ok(told::value(self.seen_by(program).get(&place, &key))),
            Request::List(place) => Ok(told::list(self.seen_by(program), &place)),
            Request::Begin(begin) => self.begin(now, program, begin).map(|ok| lines(&[ok])),
            Request::Join(number) => self.join(program, number).map(|ok| lines(&[ok])),
            Request::Commit => self.commit(program).map(|ok| lines(&[ok])),
            Request::Abort => {
                self.own_operation(program)?;
                self.abort();
                Ok(lines(&[self.ok()]))
            }
            Request::Describe(about) => self.describe(wall, about).map(|ok| lines(&[ok])),
            Request::Status { anew } => {
                let told = told::status(&self.object, self.safe, &self.times);
                if anew {
                    self.times = Times::default();
                }
                Ok(lines(&[told]))
            }
            Request::Watch => Ok(self.watch_when_looked_up(program)),
            // Answered when it has happened.
            Request::Effect { deed, step } => self.effect(program, deed, step).map(|()| Vec::new()),
            Request::Serve => self.serve(program).map(|ok| lines(&[ok])),
            Request::Reply { call, payload } => self.reply(program, call, payload).map(|ok| lines(&[ok])),
            Request::Call { service, within, payload } => {
                self.call(program, service, within, payload).map(|()| Vec::new())
            }
        }
    }

    /// What a program that begins to watch would have been told, and then that it is told the rest.
    fn watch(&mut self, program: Program) -> Vec<u8> {
        let mut said = self.restored.clone();
        said.extend(self.shown_at.as_ref().map(|at| told::shown(Some(at), None)));
        said.extend(self.disabled.map(|how| told::disabled(how == Disable::Now)));
        said.push(self.ok());
        if let Some(connection) = self.programs.get_mut(&program) {
            connection.is_watching = true;
        }
        lines(&said)
    }

    fn describe(&mut self, wall: WallTime, about: About) -> Result<Line, Line> {
        if self.disabled == Some(Disable::Now) {
            return Err(disabled());
        }
        let mut next = self.object.clone();
        next.head.scope = about.scope.unwrap_or(next.head.scope);
        next.head.object = about.object.unwrap_or(next.head.object);
        if let Some(secs) = about.lifetime {
            next.head.expiry = (secs > 0).then(|| wall + Duration::from_secs(secs));
        }
        self.publish(next)?;
        Ok(self.ok())
    }

    fn edit(&mut self, program: Program, edit: Edit) -> Result<Line, Line> {
        self.may_change(&edit)?;
        if self.programs.get(&program).is_some_and(|connection| connection.has_lost) {
            return Err(words::error("aborted", "the operation was not begun, or was given up"));
        }
        if let Some(in_hand) = self.in_hand.as_mut().filter(|in_hand| in_hand.program() == program) {
            in_hand.add(&self.object, edit).map_err(|error| match error {
                NotAdded::Refused(refusal) => refused(refusal),
                NotAdded::TooLarge => words::error("tooLarge", error),
            })?;
            return Ok(self.ok());
        }
        let mut next = self.object.clone();
        next.apply(edit).map_err(refused)?;
        self.publish(next)?;
        Ok(self.ok())
    }

    fn may_change(&self, edit: &Edit) -> Result<(), Line> {
        let is_new =
            matches!(edit, Edit::Push(_)) && self.object.stack().is_empty() && self.in_hand.is_none();
        match self.disabled {
            Some(Disable::Now) => Err(disabled()),
            Some(Disable::Gracefully) if is_new => Err(disabled()),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, now: Instant, program: Program, begin: Begin) -> Result<Line, Line> {
        let begun = self.try_begin(now, program, begin);
        self.set_lost(program, begun.is_err());
        begun
    }

    fn set_lost(&mut self, program: Program, has_lost: bool) {
        if let Some(connection) = self.programs.get_mut(&program) {
            connection.has_lost = has_lost;
        }
    }

    fn try_begin(&mut self, now: Instant, program: Program, begin: Begin) -> Result<Line, Line> {
        let Begin { name, keep, again } = begin;
        let is_idle = self.object.stack().is_empty();
        if self.disabled == Some(Disable::Now) || (self.disabled.is_some() && is_idle) {
            return Err(disabled());
        }
        if let Some(in_hand) = &self.in_hand {
            let holder = in_hand.program();
            if holder == program || !in_hand.is_late(now) {
                return Err(words::error("busy", "another operation is in hand"));
            }
            self.abort();
            self.set_lost(holder, true);
        }
        // One that another home has begun goes on under its number.
        let is_there = |last: &Operation| last.name == name && last.status == Status::Begun;
        if !(again && self.object.head.operation.as_ref().is_some_and(is_there)) {
            let mut next = self.object.clone();
            next.begin_operation(name);
            self.publish(next)?;
        }
        self.in_hand = Some(InHand::new(program, keep, now, &self.object));
        Ok(self.ok())
    }

    /// Takes over an operation that is kept.
    fn join(&mut self, program: Program, number: u64) -> Result<Line, Line> {
        let last = self.object.head.operation.as_ref().map(|operation| operation.number);
        let joined = match self.in_hand.as_mut().filter(|in_hand| in_hand.is_kept() && last == Some(number)) {
            Some(in_hand) => {
                in_hand.hand_to(program);
                Ok(self.ok())
            }
            None => Err(words::error("noOperation", "no such operation is kept, or it was given up")),
        };
        self.set_lost(program, joined.is_err());
        joined
    }

    fn own_operation(&mut self, program: Program) -> Result<(), Line> {
        self.set_lost(program, false);
        if self.in_hand.as_ref().is_some_and(|in_hand| in_hand.program() == program) {
            return Ok(());
        }
        Err(words::error("noOperation", "you have begun no operation, or it was given up"))
    }

    fn commit(&mut self, program: Program) -> Result<Line, Line> {
        self.own_operation(program)?;
        let result = self.in_hand.as_ref().map_or(Err(NotCommitted::Spoilt), |own| own.result(&self.object));
        let published = match result {
            _ if self.disabled == Some(Disable::Now) => Err(disabled()),
            Ok(next) => self.publish(next),
            Err(error) => Err(words::error("aborted", error)),
        };
        if let Err(refused) = published {
            self.abort();
            return Err(refused);
        }
        let ok = self.ok();
        self.in_hand = None;
        Ok(ok)
    }

    /// Gives up the operation in hand; that it was is a version, so that whoever restores it knows.
    fn abort(&mut self) {
        self.in_hand = None;
        for (ticket, program) in self.asked.give_up() {
            let given_up = words::error("aborted", "the operation was given up");
            self.answer_waiting(program, ticket, lines(&[given_up]));
        }
        let mut next = self.object.clone();
        next.end_operation(Status::Aborted);
        // It fits, being no longer than what is there.
        let _ = self.publish(next);
    }

    /// Makes `next` the next version, unless it is what there is.
    fn publish(&mut self, mut next: Object) -> Result<(), Line> {
        if next == self.object {
            return Ok(());
        }
        next.head.stamp.version = self.object.head.stamp.version.next();
        let version = next.encode().map_err(|too_large| words::error("tooLarge", too_large))?;
        self.object = next;
        self.effects.push(Effect::Committed(version));
        Ok(())
    }

    /// The object as a program sees it: with what its own operation has changed.
    fn seen_by(&mut self, program: Program) -> &Object {
        match self.in_hand.as_mut() {
            Some(in_hand) if in_hand.program() == program => in_hand.seen(&self.object),
            _ => &self.object,
        }
    }

    fn ok(&self) -> Line {
        let head = &self.object.head;
        let number = self.in_hand.as_ref().and(head.operation.as_ref()).map(|operation| operation.number);
        Line::new("ok").with("stamp", head.stamp).with_some("operation", number)
    }

    /// Sends the answers whose versions are safe, in the order in which they were asked.
    fn flush(&mut self, program: Program) {
        let Some(connection) = self.programs.get_mut(&program) else { return };
        let safe = connection.take_safe(self.safe);
        self.effects.extend(safe.map(|bytes| Effect::Say { program, bytes }));
    }

    fn tell(&mut self, event: &Line) {
        let watching = self.programs.iter().filter(|(_, connection)| connection.is_watching);
        let said = watching.map(|(program, _)| Effect::Say {
            program: *program,
            bytes: lines(core::slice::from_ref(event)),
        });
        self.effects.extend(said);
    }
}
