//! Calls between the services of a session, as one of them sees them: what it asks others, and what it is asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::driver::Effect;
use crate::effects::Ticket;
use crate::names::Stamp;

/// Calls of a service that are not answered, and calls of others that it has not answered, at most, each.
pub(crate) const CALLS_MAX: usize = 64;

/// Why a call is not answered. It may have been heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// There is no such service, or none of its programs answers calls.
    #[error("there is no such service, or none of its programs answers calls")]
    NotServed,
    /// No reply came in time.
    #[error("no reply came in time")]
    Late,
}

impl NoReply {
    /// The code of the answer.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NotServed => "notServed",
            Self::Late => "late",
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Calls<P> {
    /// Who answers calls of others.
    pub(crate) server: Option<P>,
    /// Those it has been told of and has not answered.
    pub(crate) heard: BTreeSet<u32>,
    /// Who waits for a reply.
    pub(crate) callers: BTreeMap<Ticket, P>,
    /// Calls and replies that leave when a version is safe, which they may tell of.
    leaving: VecDeque<(Stamp, Effect)>,
}

impl<P> Default for Calls<P> {
    fn default() -> Self {
        Self { server: None, heard: BTreeSet::new(), callers: BTreeMap::new(), leaving: VecDeque::new() }
    }
}

impl<P> Calls<P> {
    /// Says something to another service when the version `after` is safe.
    pub(crate) fn say(&mut self, after: Stamp, said: Effect) {
        self.leaving.push_back((after, said));
    }

    /// What may leave when versions up to `safe` are.
    pub(crate) fn take_safe(&mut self, safe: Stamp) -> Vec<Effect> {
        let count = self.leaving.iter().take_while(|(stamp, _)| *stamp <= safe).count();
        self.leaving.drain(..count).map(|(_, said)| said).collect()
    }
}
