//! Calls between the services of a session that are under way.

use std::collections::BTreeMap;

use continuity::session::Ticket;
use proto::ServiceName;
use proto::time::Instant;

/// A call that is not answered yet: who waits, for whom and until when.
pub(super) struct Call {
    /// Who called, and what the caller knows it by.
    pub(super) from: ServiceName,
    pub(super) ticket: Ticket,
    /// Who is to reply, and until when.
    pub(super) to: ServiceName,
    pub(super) until: Instant,
}

/// All of a session. The services bound how many there are.
#[derive(Default)]
pub(super) struct Calls {
    next: u32,
    open: BTreeMap<u32, Call>,
}

impl Calls {
    /// The number of another one.
    pub(super) fn add(&mut self, call: Call) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.open.insert(self.next, call);
        self.next
    }

    /// The call of this number, if it is one that `service` is to answer; it is under way no longer.
    pub(super) fn take(&mut self, number: u32, service: &ServiceName) -> Option<Call> {
        self.open.get(&number).filter(|call| call.to == *service)?;
        self.open.remove(&number)
    }

    /// Those whose time is over.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<(u32, Call)> {
        let late = self.open.iter().filter(|(_, call)| call.until <= now).map(|(number, _)| *number);
        let late: Vec<u32> = late.collect();
        late.into_iter().filter_map(|number| Some((number, self.open.remove(&number)?))).collect()
    }

    /// When the time of the first one is over.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.open.values().map(|call| call.until).min()
    }
}
