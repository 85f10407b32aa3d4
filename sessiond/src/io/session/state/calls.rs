//! Calls between the services of a session: each goes from one state socket's machine to another's.

use continuity::NoReply;
use continuity::session::Effect;
use proto::ServiceName;
use proto::time::{Instant, WallTime};

use super::StateSockets;
use crate::io::session::calling::Call;

impl StateSockets {
    /// Carries calls and replies until there are no more. Returns whether there was any.
    pub(in crate::io::session) fn carry_calls(&mut self, now: Instant, wall: WallTime) -> bool {
        let mut had_any = false;
        loop {
            let mut said = Vec::new();
            for (service, served) in &mut self.services {
                said.extend(served.calls.drain(..).map(|call| (service.clone(), call)));
            }
            if said.is_empty() {
                return had_any;
            }
            had_any = true;
            for (from, what) in said {
                self.carry(now, wall, from, what);
            }
        }
    }

    fn carry(&mut self, now: Instant, wall: WallTime, from: ServiceName, what: Effect) {
        match what {
            Effect::Call { ticket, service, within, operation, payload } => {
                let call = Call { from: from.clone(), ticket, to: service.clone(), until: now + within };
                let number = self.calls.add(call);
                let called = self.services.get_mut(&service);
                let is_heard = called.is_some_and(|served| {
                    let is_heard = served.state.called(number, &from, operation, &payload);
                    served.settle(now, wall);
                    is_heard
                });
                if !is_heard && let Some(call) = self.calls.take(number, &service) {
                    self.reply(now, wall, &call, Err(NoReply::NotServed));
                }
            }
            Effect::Reply { call, payload } => {
                if let Some(call) = self.calls.take(call, &from) {
                    self.reply(now, wall, &call, Ok(payload));
                }
            }
            _ => {}
        }
    }

    fn reply(&mut self, now: Instant, wall: WallTime, call: &Call, reply: Result<Vec<u8>, NoReply>) {
        if let Some(served) = self.services.get_mut(&call.from) {
            served.state.replied(now, wall, call.ticket, reply);
            served.settle(now, wall);
        }
    }

    /// Gives up the calls whose time is over.
    pub(in crate::io::session) fn on_timeout(&mut self, now: Instant, wall: WallTime) {
        for (number, call) in self.calls.take_late(now) {
            if let Some(served) = self.services.get_mut(&call.to) {
                served.state.called_off(number);
            }
            self.reply(now, wall, &call, Err(NoReply::Late));
        }
    }

    /// When [`StateSockets::on_timeout`] has something to do.
    pub(in crate::io::session) fn poll_at(&self) -> Option<Instant> {
        self.calls.poll_at()
    }
}
