//! What this host keeps for others: the table of keeping, for all machines to read.

use std::collections::BTreeMap;

use proto::keys::KeyRing;
use proto::{Epoch, KeyId, SessionId, Token, TokenTag};

use crate::keep::Copies;
use crate::keep::copies::Limits;

/// Copies of other hosts' sessions.
#[derive(Debug)]
pub(in crate::host) struct Kept {
    pub(super) copies: Copies,
    /// Tags of their tokens, under every key of the ring; also of some that are kept no longer.
    tags: BTreeMap<(KeyId, TokenTag), Token>,
}

impl Kept {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { copies: Copies::new(limits), tags: BTreeMap::new() }
    }

    /// Whether objects of a session of this token are kept here.
    pub(in crate::host) fn keeps(&self, token: &Token) -> bool {
        self.copies.keeps(token)
    }

    /// Whether objects of a session are kept here, of this epoch or of one before.
    pub(in crate::host) fn has(&self, session: SessionId, epoch: Epoch) -> bool {
        self.copies.has(session, epoch)
    }

    /// The same for whoever means a token by its tag.
    pub(in crate::host) fn keeps_tag(&self, kid: KeyId, tag: TokenTag) -> bool {
        self.tags.get(&(kid, tag)).is_some_and(|token| self.copies.keeps(token))
    }

    /// Objects of a session of this token come.
    pub(super) fn note_token(&mut self, ring: &KeyRing, token: &Token) {
        if self.copies.keeps(token) {
            return;
        }
        let copies = &self.copies;
        self.tags.retain(|_, token| copies.keeps(token));
        for key in ring.keys() {
            if let Some(tag) = ring.tag(key.id(), token) {
                self.tags.insert((key.id(), tag), token.clone());
            }
        }
    }

    /// Which sessions those are.
    pub(in crate::host) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.copies.view().map(|copy| copy.session)
    }

    /// Sessions of which something is kept.
    pub(in crate::host) fn len(&self) -> usize {
        self.copies.len()
    }
}
