//! What awaits, or touches a disk: card files, the registry in the data store, and the command line.

pub mod card_file;
pub mod cli;
mod handover;
pub mod named;
mod store;

pub use handover::{HandedOver, Left};
pub use store::{Changed, Listed, RegistryError, StoredRegistry, Written};
