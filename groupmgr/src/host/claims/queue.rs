//! What is to be done about the claims of this host's sessions: a few at a time.
//!
//! When the data store is back after it was away, when a backup was put in its place or a host was out of sight, there
//! may be thousands to look at. All at once they would keep waiting those who put in a card just then, whose questions
//! the store would answer too late, which counts as being away: and when it is back there are thousands to look at.

use std::collections::{BTreeMap, VecDeque};

use datastore::{Key, Value};
use proto::{SessionId, Token};

use super::super::claim_record::ClaimRecord;

/// Questions of this kind under way at once: the store writes so many in one go.
const UNDER_WAY_MAX: usize = 64;
/// Claims that wait to be given back, at most; beyond it the oldest goes, and is taken over by whoever needs it.
pub(in crate::host) const UNRELEASED_MAX: usize = 16_384;

/// What a claim needs. What stands later does what stands before it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClaimTask {
    /// Whether the session still has it.
    Check,
    /// The session is offered.
    Offer,
    /// It is written anew, if it is still the session's.
    Renew,
}

/// A claim of whatever host that names no session.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    pub(super) key: Key,
    /// As it was read.
    pub(super) read: Value,
    /// It stays if this session has a record.
    pub(super) unless: Option<SessionId>,
}

/// The next thing to do.
#[derive(Debug)]
pub(super) enum Next {
    Release(Token, ClaimRecord),
    Remove(Stray),
    Do(ClaimTask, SessionId),
}

/// What is to be done: of each session here once at most, and of what has ended while the store was away.
#[derive(Debug, Default)]
pub(super) struct TaskQueue {
    tasks: BTreeMap<SessionId, ClaimTask>,
    /// Claims of sessions that are over, to be given back.
    releases: VecDeque<(Token, ClaimRecord)>,
    /// Claims of which it is not known whether they were given back.
    unreleased: VecDeque<(Token, ClaimRecord)>,
    /// Of one page.
    strays: VecDeque<Stray>,
    under_way: usize,
}

impl TaskQueue {
    pub(super) fn schedule(&mut self, session: SessionId, task: ClaimTask) {
        let due = self.tasks.entry(session).or_insert(task);
        *due = task.max(*due);
    }

    /// The session is over.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.tasks.remove(&session);
    }

    pub(super) fn add_stray(&mut self, stray: Stray) {
        self.strays.push_back(stray);
    }

    pub(super) fn has_strays(&self) -> bool {
        !self.strays.is_empty()
    }

    /// Whether a claim was given back is not known: it is tried again by [`TaskQueue::release_again`].
    pub(super) fn release_later(&mut self, token: Token, record: ClaimRecord) {
        if self.unreleased.len() == UNRELEASED_MAX {
            self.unreleased.pop_front();
        }
        self.unreleased.push_back((token, record));
    }

    pub(super) fn release_again(&mut self) {
        let again = core::mem::take(&mut self.unreleased);
        let room = UNRELEASED_MAX.saturating_sub(self.releases.len());
        self.releases.extend(again.into_iter().take(room));
    }

    /// Nothing else is done any more: the host stops.
    pub(super) fn give_all_back(&mut self, claims: impl Iterator<Item = (Token, ClaimRecord)>) {
        self.tasks.clear();
        self.strays.clear();
        self.releases.extend(claims);
    }

    /// Takes out what is to be done next, unless enough is under way.
    pub(super) fn next(&mut self) -> Option<Next> {
        if self.under_way >= UNDER_WAY_MAX {
            return None;
        }
        if let Some((token, record)) = self.releases.pop_front() {
            return Some(Next::Release(token, record));
        }
        if let Some(stray) = self.strays.pop_front() {
            return Some(Next::Remove(stray));
        }
        self.tasks.pop_first().map(|(session, task)| Next::Do(task, session))
    }

    pub(super) const fn began(&mut self) {
        self.under_way += 1;
    }

    pub(super) const fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Whether everything has been done and answered.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0 && self.releases.is_empty() && self.tasks.is_empty()
    }

    /// Claims that are to be given back, and those of which it is not known whether they were.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.releases.len(), self.unreleased.len()]
    }
}
