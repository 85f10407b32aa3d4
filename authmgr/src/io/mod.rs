//! What awaits, or touches a disk: the registry in the data store, and the command line.

pub mod cli;
mod handover;
pub mod named;
mod pins;
mod store;

pub use handover::{HandedOver, Left};
pub use pins::PinnedKey;
pub use store::{Changed, Listed, RegistryError, StoredRegistry, Written};
