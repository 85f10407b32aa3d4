//! Why a store takes no writes, and whether it will by itself.

use std::io;

use crate::error::Refusal;

/// What [`crate::Request::Status`] says of a store that takes no writes because its disk is full.
pub const REFUSES_FULL: &str = "refuses_writes_disk_full";
/// The same where its disk has failed.
pub const REFUSES_BROKEN: &str = "refuses_writes_disk_failed";

/// Why no write is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is little room; nothing is wrong otherwise.
    LittleRoom,
    /// There was no room in the middle of a batch.
    NoRoom,
    /// The disk or the engine failed.
    Broken(String),
}

impl Failure {
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::LittleRoom | Self::NoRoom => Refusal::no_room(),
            Self::Broken(why) => Refusal::Failed { why: why.clone() },
        }
    }
}

/// Whether an error means that there was no room, of which nothing was written.
pub(super) fn is_want_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
