//! The sessions of this host: the table of the sessions machine, for all machines to read.

use core::ops::Deref;
use std::collections::BTreeMap;

use proto::digest::ShortTag;
use proto::keys::KeyRing;
use proto::{KeyId, SessionId, Token, TokenTag};
use sessiond::manager::{Session, SessionPhase, Sessions};

/// The sessions here, also by the tags under which other hosts mean their tokens.
#[derive(Debug)]
pub(in crate::host) struct LocalSessions {
    pub(super) sessions: Sessions,
    /// Tags of tokens with sessions here, under every key of the ring.
    tags: BTreeMap<(KeyId, TokenTag), Token>,
    /// Whether what an earlier daemon has left is known, or is not waited for any longer.
    pub(super) is_ready: bool,
}

impl Deref for LocalSessions {
    type Target = Sessions;

    fn deref(&self) -> &Sessions {
        &self.sessions
    }
}

impl LocalSessions {
    pub(super) const fn new(sessions: Sessions) -> Self {
        Self { sessions, tags: BTreeMap::new(), is_ready: false }
    }

    /// Whether what an earlier daemon has left is known, or is not waited for any longer.
    pub(in crate::host) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether there are session processes that have not said yet whose they are.
    pub(in crate::host) fn has_stragglers(&self) -> bool {
        self.iter().any(is_straggler)
    }

    pub(in crate::host) fn straggles(&self, session: SessionId) -> bool {
        self.get(session).is_some_and(is_straggler)
    }

    /// The token with sessions here that another host means by a tag.
    pub(in crate::host) fn token_of(&self, kid: KeyId, tag: TokenTag) -> Option<&Token> {
        self.tags.get(&(kid, tag))
    }

    /// A token has sessions here. Returns its tag under the signing key, if it had none before.
    pub(super) fn note_token(&mut self, ring: &KeyRing, token: &Token) -> Option<ShortTag> {
        let mut is_new = false;
        for key in ring.keys() {
            if let Some(tag) = ring.tag(key.id(), token) {
                is_new |= self.tags.insert((key.id(), tag), token.clone()).is_none();
            }
        }
        ring.tag(ring.signing(), token).filter(|_| is_new).map(Into::into)
    }

    /// Its last session here has ended. Returns its tag under the signing key, if it had any.
    pub(super) fn forget_token(&mut self, ring: &KeyRing, token: &Token) -> Option<ShortTag> {
        let mut was_known = false;
        for key in ring.keys() {
            if let Some(tag) = ring.tag(key.id(), token) {
                was_known |= self.tags.remove(&(key.id(), tag)).is_some();
            }
        }
        ring.tag(ring.signing(), token).filter(|_| was_known).map(Into::into)
    }
}

const fn is_straggler(session: &Session) -> bool {
    matches!(session.phase, SessionPhase::TakenUp { .. })
}
