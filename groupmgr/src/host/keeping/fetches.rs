//! Sessions that this host is taking over: their objects, on the way from who keeps them.

use std::collections::BTreeMap;

use continuity::Encoded;
use proto::time::Duration;
use proto::{Epoch, HostName, Instant, SessionId};
use sessiond::control::Part;

use super::super::step::{Fetched, NotFetched, PresentationId};
use crate::keep::message::PARTS_MAX;

/// A keeper has this long to answer: a whole object fits into one window of a channel, and there are a few.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Sessions that are fetched at a time; each has objects of 1.5 MiB at most.
pub(in crate::host) const FETCHES_MAX: usize = 1024;

/// One session, and who waits for it.
#[derive(Debug)]
struct Fetch {
    from: HostName,
    epoch: Epoch,
    until: Instant,
    got: BTreeMap<Part, Encoded>,
    waiting: Vec<PresentationId>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    sessions: BTreeMap<SessionId, Fetch>,
}

/// Whom to tell what.
pub(super) type Told = (SessionId, Vec<PresentationId>, Fetched);

impl Fetches {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.sessions.values().map(|fetch| fetch.until).min()
    }

    /// Somebody waits for the objects of a session. Returns whether its keeper is to be asked; the error says why not.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        id: PresentationId,
        (session, epoch): (SessionId, Epoch),
        from: &HostName,
    ) -> Result<bool, NotFetched> {
        if let Some(fetch) = self.sessions.get_mut(&session) {
            if fetch.from != *from || fetch.epoch != epoch || fetch.waiting.len() >= FETCHES_MAX {
                return Err(NotFetched::Busy);
            }
            fetch.waiting.push(id);
            return Ok(false);
        }
        if self.sessions.len() >= FETCHES_MAX {
            return Err(NotFetched::Busy);
        }
        let (from, until) = (from.clone(), now + ANSWER_WITHIN);
        self.sessions.insert(session, Fetch { from, epoch, until, got: BTreeMap::new(), waiting: vec![id] });
        Ok(true)
    }

    /// A keeper has sent one object.
    pub(super) fn object(&mut self, from: &HostName, session: SessionId, part: Part, object: Encoded) {
        let fetch = self.sessions.get_mut(&session).filter(|fetch| fetch.from == *from);
        if let Some(fetch) = fetch.filter(|fetch| fetch.got.len() < PARTS_MAX) {
            fetch.got.insert(part, object);
        }
    }

    /// A keeper has sent all.
    pub(super) fn complete(
        &mut self,
        from: &HostName,
        session: SessionId,
        epoch: Epoch,
        objects: u16,
    ) -> Option<Told> {
        let is_it = |fetch: &Fetch| fetch.from == *from && fetch.epoch == epoch;
        let fetch = self.sessions.get(&session).filter(|fetch| is_it(fetch))?;
        let result = match fetch.got.len() {
            0 if objects == 0 => Err(NotFetched::Nothing),
            n if n == usize::from(objects) => Ok(()),
            // It has lied, or speaks of parts of a later version.
            _ => Err(NotFetched::Incomplete),
        };
        self.end(session, result)
    }

    /// A keeper knows a later primary.
    pub(super) fn stale(&mut self, from: &HostName, session: SessionId) -> Option<Told> {
        self.sessions.get(&session).filter(|fetch| fetch.from == *from)?;
        self.end(session, Err(NotFetched::Stale))
    }

    /// The next session that this host does not give, of which nothing more is waited for.
    pub(super) fn lost(&mut self, host: &HostName) -> Option<Told> {
        let session = *self.sessions.iter().find(|(_, fetch)| fetch.from == *host)?.0;
        self.end(session, Err(NotFetched::Lost))
    }

    /// The next session whose keeper has not answered in time.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Told> {
        let session = *self.sessions.iter().find(|(_, fetch)| fetch.until <= now)?.0;
        self.end(session, Err(NotFetched::Late))
    }

    fn end(&mut self, session: SessionId, result: Result<(), NotFetched>) -> Option<Told> {
        let Fetch { got, waiting, .. } = self.sessions.remove(&session)?;
        Some((session, waiting, result.map(|()| Box::new(got))))
    }
}
