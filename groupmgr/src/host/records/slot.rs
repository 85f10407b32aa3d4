//! One key of a session: what the data store has under it, as far as is known.

use datastore::{Key, Value};
use proto::{Epoch, HostName, SessionId};
use sessiond::manager::Session;

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::session_record::SessionRecord;

/// Which of the keys of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    Record,
    /// The claim of a session that is not the one its token's claim names.
    Second,
}

/// What the store has under one key, as far as is known.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) stored: Option<Value>,
    /// Whether it is read before anything is written: an earlier home has left something there, or another one has it.
    pub(super) is_unread: bool,
    pub(super) is_asked: bool,
    /// Whether the session is about to be made: until it is, or is given up, nothing is written.
    pub(super) is_coming: bool,
    /// Who keeps a copy of the session, and of which epoch it must be at least.
    pub(super) secondary: Option<HostName>,
    pub(super) floor: Option<Epoch>,
    /// Whether the session had another home before, and does not run here yet: if it never does, others can go on with it.
    pub(super) is_inherited: bool,
    /// In which epoch an earlier daemon knew of a record of the session, which others can go on with.
    pub(super) had: Option<Epoch>,
    /// The secondary that was asked for, as long as it is not known what became of that.
    pub(super) awaited: Option<Option<HostName>>,
    /// In which epoch it is known that the session runs here and has its record.
    pub(super) began: Option<Epoch>,
}

impl Slot {
    pub(super) const fn new(key: Key) -> Self {
        Self {
            key,
            stored: None,
            is_unread: false,
            is_asked: false,
            is_coming: false,
            secondary: None,
            floor: None,
            is_inherited: false,
            had: None,
            awaited: None,
            began: None,
        }
    }

    /// A key of a session that was not made here, or not by this daemon.
    pub(super) fn unread(key: Key) -> Self {
        Self { is_unread: true, ..Self::new(key) }
    }

    /// Whether what the store turns out to have says that the session has a later home, or had one and is over. A record
    /// that is gone was removed by that, unless a backup was put in the store's place.
    pub(super) fn is_lost(&self, ctx: &Ctx<'_>, session: SessionId, found: Option<&Value>) -> bool {
        let own = ctx.sessions.get(session).map(|s| s.epoch);
        let parsed = |value: &Value| SessionRecord::parse(value.as_bytes()).ok();
        match found {
            // Of one that is over here, another home's is in no case this host's to remove.
            Some(found) => parsed(found)
                .is_some_and(|held| held.home != *ctx.name() && own.is_none_or(|own| held.epoch > own)),
            None if own.is_none() => false,
            None => {
                let known = self.stored.as_ref().and_then(parsed).filter(SessionRecord::is_replicated);
                let had = known.map(|had| had.epoch).or(self.had);
                had.is_some_and(|had| had.generation == ctx.store.generation())
            }
        }
    }

    /// The store turns out to have this. A daemon that knew of none before goes on with what an earlier one has found out.
    pub(super) fn adopt(&mut self, found: Option<Value>) {
        if self.stored.is_none()
            && let Some(record) = found.as_ref().and_then(|v| SessionRecord::parse(v.as_bytes()).ok())
        {
            (self.secondary, self.floor) = (record.secondary, record.floor);
        }
        (self.stored, self.is_unread) = (found, false);
    }
}

/// Whether a claim that was found is that of another home: of a session that is over here any, of one that runs here a
/// later one.
pub(super) fn is_of_another(ctx: &Ctx<'_>, session: SessionId, found: Option<&Value>) -> bool {
    let claim = found.and_then(|found| ClaimRecord::parse(found.as_bytes()).ok());
    let own = ctx.sessions.get(session).map(|s| s.epoch);
    claim.is_some_and(|claim| claim.host != *ctx.name() && own.is_none_or(|own| claim.epoch > own))
}

/// Where one of the keys of a session lies.
pub(super) fn key_of(session: &Session, which: Which) -> Option<Key> {
    match which {
        Which::Record => SessionRecord::key(session.id),
        Which::Second => ClaimRecord::second_key(&session.token, session.id),
    }
}
