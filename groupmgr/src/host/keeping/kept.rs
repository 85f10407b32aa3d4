//! What this host keeps for others: the table of keeping, for all machines to read.

use proto::Token;

use crate::keep::Copies;
use crate::keep::copies::Limits;

/// Copies of other hosts' sessions.
#[derive(Debug)]
pub(in crate::host) struct Kept {
    pub(super) copies: Copies,
}

impl Kept {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { copies: Copies::new(limits) }
    }

    /// Whether objects of a session of this token are kept here.
    #[expect(dead_code, reason = "nothing takes over yet")]
    pub(in crate::host) fn keeps(&self, token: &Token) -> bool {
        self.copies.keeps(token)
    }

    /// Sessions of which something is kept.
    pub(in crate::host) fn len(&self) -> usize {
        self.copies.len()
    }
}
