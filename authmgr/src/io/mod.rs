//! What awaits, or touches a disk: card files, the registry in the data store, and the command line.

pub mod card_file;
pub mod cli;
pub mod named;
mod store;

pub use store::{Changed, Listed, RegistryError, StoredRegistry, Written};
