//! What the machine of a state socket asks for outside of it, and what it is answered: effects, and references.

use datastore::once::Deed;
use datastore::{Answer, StoreError};
use proto::Line;
use proto::time::{Instant, WallTime};

use super::{Disable, Effect, Program, StateSession, Ticket, disabled};
use crate::connection::Connection;
use crate::effects;
use crate::restore::Restored;
use crate::told::{self, lines};
use crate::words;

/// What a program waits for that wants to be told of references which are being looked up. Nothing else has this number.
const LOOKING: Ticket = Ticket(0);

impl StateSession {
    /// Does something once that belongs to the program's operation. It is answered when that has happened.
    pub(super) fn effect(&mut self, program: Program, deed: Deed, step: u8) -> Result<(), Line> {
        if self.disabled == Some(Disable::Now) {
            return Err(disabled());
        }
        let own = self.in_hand.as_mut().filter(|in_hand| in_hand.program() == program);
        let Some(in_hand) = own else {
            return Err(words::error(
                "noOperation",
                "an effect belongs to an operation, which you have not begun",
            ));
        };
        if !self.asked.has_room() {
            return Err(words::error("busy", "too many effects are under way"));
        }
        in_hand.asks(step);
        let ticket = self.asked.add(program, &self.object, deed, step);
        if let Some(connection) = self.programs.get_mut(&program) {
            connection.waits = ticket;
        }
        self.ask();
        Ok(())
    }

    /// Asks for what need not wait any longer.
    pub(super) fn ask(&mut self) {
        let due = self.asked.due(self.safe);
        self.effects.extend(due.into_iter().map(|(ticket, request)| Effect::Ask { ticket, request }));
    }

    /// What was asked for is answered: the data store's word, or why there is none.
    pub fn answered(
        &mut self,
        now: Instant,
        wall: WallTime,
        ticket: Ticket,
        outcome: Result<Answer, StoreError>,
    ) {
        let Some(open) = self.asked.answered(ticket) else { return };
        let said = effects::said(outcome);
        let is_last = self.object.head.operation.as_ref().is_some_and(|last| last.number == open.operation);
        if let Some(in_hand) = self.in_hand.as_mut().filter(|_| is_last && said.is_ok()) {
            in_hand.has(open.step);
        }
        let line = said.map_or_else(
            |refused| refused,
            |(happened, answer, text)| {
                let line = self.ok().with("happened", happened).with("answer", answer);
                line.with_some("text", text)
            },
        );
        self.answer_waiting(open.program, ticket, lines(&[line]));
        self.flush(open.program);
        self.read_on(now, wall, open.program);
    }

    pub(super) fn answer_waiting(&mut self, program: Program, ticket: Ticket, bytes: Vec<u8>) {
        let connection = self.programs.get_mut(&program);
        if let Some(connection) = connection.filter(|connection| connection.waits == Some(ticket)) {
            connection.waits = None;
            connection.answer(self.object.head.stamp, bytes);
        }
    }

    /// References of the object are being looked up: whoever wants to watch waits until [`StateSession::looked_up`].
    pub const fn look_up(&mut self) {
        self.is_looking = true;
    }

    /// What came of all references of the object.
    pub fn looked_up(&mut self, now: Instant, wall: WallTime, restored: &Restored) {
        self.is_looking = false;
        self.restored = told::restored(&self.came_as, restored);
        let waits = |(program, connection): (&Program, &Connection)| {
            (connection.waits == Some(LOOKING)).then_some(*program)
        };
        let waiting: Vec<Program> = self.programs.iter().filter_map(waits).collect();
        for program in waiting {
            let said = self.watch(program);
            if let Some(connection) = self.programs.get_mut(&program) {
                connection.waits = None;
                connection.answer(self.object.head.stamp, said);
            }
            self.flush(program);
            self.read_on(now, wall, program);
        }
    }

    /// What a program that begins to watch is answered; it waits while references are looked up.
    pub(super) fn watch_when_looked_up(&mut self, program: Program) -> Vec<u8> {
        if !self.is_looking {
            return self.watch(program);
        }
        if let Some(connection) = self.programs.get_mut(&program) {
            connection.waits = Some(LOOKING);
        }
        Vec::new()
    }
}
