//! Whether the data store answers, and what its answers say of it: the table of the store machine, for all to read.

use datastore::{Answer, Refusal, Response, StoreError};
use proto::Instant;

/// How the names of those of its counters begin that say that it takes no writes.
const REFUSES: &str = "refuses_writes";

/// The data store as this host sees it.
#[derive(Debug)]
pub(in crate::host) struct StoreState {
    pub(super) up: bool,
    pub(super) generation: u32,
    pub(super) restored_at: Option<Instant>,
    pub(super) trouble: Option<Trouble>,
    pub(super) refuses: Option<String>,
}

/// Why the data store cannot be asked.
#[derive(Clone, Debug)]
pub(in crate::host) struct Trouble {
    /// In words for an operator.
    pub(in crate::host) why: String,
    /// Whether the two sides have no key in common.
    pub(in crate::host) is_distrust: bool,
}

impl Default for StoreState {
    /// It counts as up until it does not answer.
    fn default() -> Self {
        Self { up: true, generation: 0, restored_at: None, trouble: None, refuses: None }
    }
}

impl StoreState {
    pub(in crate::host) const fn is_up(&self) -> bool {
        self.up
    }

    /// Its generation as last heard; a restored backup raises it.
    pub(in crate::host) const fn generation(&self) -> u32 {
        self.generation
    }

    /// When that rose.
    pub(in crate::host) const fn restored_at(&self) -> Option<Instant> {
        self.restored_at
    }

    /// Why it cannot be asked, while it cannot.
    pub(in crate::host) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|_| !self.up)
    }

    /// Why it takes no writes, if it takes none.
    pub(in crate::host) fn refuses(&self) -> Option<&str> {
        self.refuses.as_deref()
    }
}

/// What an answer says of the data store itself, whoever asked.
#[derive(Clone, Debug, Default)]
pub(in crate::host) struct Bearing {
    /// None when it could not be asked.
    pub(super) generation: Option<u32>,
    pub(super) trouble: Option<Trouble>,
    /// Whether it takes writes, if that can be told: none, or why not.
    pub(super) writes: Option<Option<String>>,
}

impl Bearing {
    pub(in crate::host) fn of(outcome: &Result<Response, StoreError>) -> Self {
        match outcome {
            Ok(Response { generation, answer, .. }) => {
                let writes = match answer {
                    Answer::Stored | Answer::Swapped | Answer::Deleted { existed: true } => Some(None),
                    Answer::Status(says) => {
                        let refuses =
                            says.iter().any(|(name, is_so)| name.starts_with(REFUSES) && *is_so > 0);
                        (!refuses).then_some(None)
                    }
                    _ => None,
                };
                Self { generation: Some(generation.0), trouble: None, writes }
            }
            Err(error @ (StoreError::Unreachable { .. } | StoreError::NotTrusted { .. })) => {
                let is_distrust = matches!(error, StoreError::NotTrusted { .. });
                Self { trouble: Some(Trouble { why: error.to_string(), is_distrust }), ..Self::default() }
            }
            Err(StoreError::Refused(refusal @ Refusal::Failed { .. })) => {
                Self { writes: Some(Some(refusal.to_string())), ..Self::default() }
            }
            Err(_) => Self::default(),
        }
    }
}
