//! What comes of a service that an operator had started or stopped: the request is answered when the session's
//! process has said so.

use proto::time::{Duration, earliest};
use proto::{Instant, ServiceName, SessionId};

use super::super::driver::AdminReq;

/// Requests that wait at once; one more is answered with how things are.
pub(in crate::host) const WAITING_MAX: usize = 64;
/// A service has started or ended by then: one that is told to end is killed after two seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) req: AdminReq,
    pub(super) session: SessionId,
    pub(super) service: ServiceName,
    pub(super) give_up_at: Instant,
}

impl Waiting {
    pub(super) fn new(now: Instant, req: AdminReq, session: SessionId, service: ServiceName) -> Self {
        Self { req, session, service, give_up_at: now + GIVE_UP_AFTER }
    }
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Vec<Waiting>);

impl Outcomes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.0.iter().fold(None, |at, waiting| earliest(at, Some(waiting.give_up_at)))
    }

    /// Keeps a request.
    ///
    /// # Errors
    /// There is no room for it: it comes back.
    pub(super) fn add(&mut self, waiting: Waiting) -> Result<(), Waiting> {
        if self.0.len() >= WAITING_MAX {
            return Err(waiting);
        }
        self.0.push(waiting);
        Ok(())
    }

    /// Takes out those that are to be answered now.
    pub(super) fn take(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let (told, rest): (Vec<Waiting>, Vec<Waiting>) = self.0.drain(..).partition(which);
        self.0 = rest;
        told
    }
}
