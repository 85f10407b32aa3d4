//! Tokens of which it is being asked whether they may come.

use std::collections::BTreeMap;

use authmgr::Verdict;
use authmgr::admission::{DtuProof, Standing};

use super::super::step::Asker;

/// A token of which not all is known.
#[derive(Debug)]
pub(super) struct Entrant {
    /// Whether it may come, once that is known.
    pub(super) token: Option<Verdict>,
    /// The DTU that presents it, and how that stands.
    pub(super) dtu: Box<DtuProof>,
    pub(super) standing: Option<Standing>,
}

/// All of them. Each waits for a request of this machine's port, so there are no more of them than of those.
#[derive(Debug, Default)]
pub(super) struct Entrants(pub(super) BTreeMap<Asker, Entrant>);

impl Entrants {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
