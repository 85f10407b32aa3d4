//! What can go wrong in a lab, in words for whoever runs it.

use std::io;
use std::time::Duration;

/// Why a lab could not do something.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The operating system refused; the machine or its limits are at fault.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// A command ended with an error.
    #[error("`{command}` failed: {said}")]
    Refused {
        /// The command line that was started.
        command: String,
        /// Its standard error.
        said: String,
    },
    /// A process ended by itself before it was ready.
    #[error("{machine} ended; its log ends: {said}")]
    Died {
        /// On which machine.
        machine: String,
        /// The end of its log.
        said: String,
    },
    /// Something did not happen in time.
    #[error("waited {patience:?} for {what}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long was waited.
        patience: Duration,
    },
    /// Something answered what nobody can use.
    #[error("{what}: {why}")]
    Odd {
        /// The step or command that was waited for.
        what: String,
        /// Why it cannot be used.
        why: String,
    },
}

/// Turns an error of the operating system into "cannot do this".
pub(crate) fn doing(doing: &'static str) -> impl Fn(io::Error) -> LabError {
    move |source| LabError::System { doing, source }
}
