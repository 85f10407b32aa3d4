//! What DTUs are told of the hosts that keep their sessions, by which they know where to go when this one is dead: a table
//! of keeping, for all machines to read.

use std::collections::BTreeMap;

use proto::SessionId;
use proto::alp::Cookie;

/// A cookie for each session of this host that a host keeps or has kept.
#[derive(Debug, Default)]
pub(in crate::host) struct Cookies {
    sessions: BTreeMap<SessionId, Cookie>,
}

impl Cookies {
    /// What a DTU is told that is shown this session.
    pub(in crate::host) fn get(&self, session: SessionId) -> Option<&Cookie> {
        self.sessions.get(&session)
    }

    /// From now on it is this, or nothing since the session is over.
    pub(super) fn set(&mut self, session: SessionId, cookie: Option<Cookie>) {
        match cookie {
            Some(cookie) => drop(self.sessions.insert(session, cookie)),
            None => drop(self.sessions.remove(&session)),
        }
    }
}
