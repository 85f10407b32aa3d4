//! Calls between the services of a session: the part of the machine that asks other services, and is asked by them.

use proto::time::{Duration, Instant, WallTime};
use proto::{Line, ServiceName};

use super::{Effect, Program, StateSession, Ticket};
use crate::calls::{CALLS_MAX, NoReply};
use crate::stream;
use crate::told::lines;
use crate::words;

impl StateSession {
    /// Calls another service. It is answered when that has replied, or will not.
    pub(super) fn call(
        &mut self,
        program: Program,
        service: ServiceName,
        within: Duration,
        payload: Vec<u8>,
    ) -> Result<(), Line> {
        if self.calls.callers.len() >= CALLS_MAX {
            return Err(words::error("busy", "too many calls are under way"));
        }
        let ticket = self.asked.new_ticket();
        let own = self.in_hand.as_ref().filter(|in_hand| in_hand.program() == program);
        let operation = own.and(self.object.head.operation.as_ref()).map(|operation| operation.number);
        self.calls.callers.insert(ticket, program);
        let call = Effect::Call { ticket, service, within, operation, payload };
        self.calls.say(self.object.head.stamp, call);
        if let Some(connection) = self.programs.get_mut(&program) {
            connection.waits = Some(ticket);
        }
        self.send_calls();
        Ok(())
    }

    /// Calls and replies leave that tell of nothing which is not safe.
    pub(super) fn send_calls(&mut self) {
        self.effects.extend(self.calls.take_safe(self.safe));
    }

    /// From now on this program answers the calls of other services.
    pub(super) fn serve(&mut self, program: Program) -> Result<Line, Line> {
        match self.calls.server {
            Some(server) if server != program => {
                Err(words::error("busy", "another program answers the calls of this service"))
            }
            _ => {
                self.calls.server = Some(program);
                Ok(self.ok())
            }
        }
    }

    /// Answers a call.
    pub(super) fn reply(&mut self, program: Program, call: u32, payload: Vec<u8>) -> Result<Line, Line> {
        if self.calls.server != Some(program) || !self.calls.heard.remove(&call) {
            return Err(words::error("noSuchCall", "it was not asked, has replied, or was too late"));
        }
        self.calls.say(self.object.head.stamp, Effect::Reply { call, payload });
        self.send_calls();
        Ok(self.ok())
    }

    /// Another service calls this one. Returns whether a program is there that answers.
    pub fn called(&mut self, call: u32, from: &ServiceName, operation: Option<u64>, payload: &[u8]) -> bool {
        let Some(program) = self.calls.server.filter(|_| self.calls.heard.len() < CALLS_MAX) else {
            return false;
        };
        self.calls.heard.insert(call);
        let line = Line::new("event").with("is", "call").with("call", call).with("from", from);
        let mut bytes = Vec::new();
        stream::emit(line.with_some("operation", operation), Some(payload), &mut bytes);
        self.effects.push(Effect::Say { program, bytes });
        true
    }

    /// Nobody waits for the reply to this call any longer.
    pub fn called_off(&mut self, call: u32) {
        self.calls.heard.remove(&call);
    }

    /// A call is answered, or will not be.
    pub fn replied(&mut self, now: Instant, wall: WallTime, ticket: Ticket, reply: Result<Vec<u8>, NoReply>) {
        let Some(program) = self.calls.callers.remove(&ticket) else { return };
        let bytes = match reply {
            Ok(payload) => {
                let mut bytes = Vec::new();
                stream::emit(Line::new("reply"), Some(&payload), &mut bytes);
                bytes
            }
            Err(why) => lines(&[words::error(why.code(), why)]),
        };
        self.answer_waiting(program, ticket, bytes);
        self.flush(program);
        self.read_on(now, wall, program);
    }
}
