//! Everything of this crate that touches sockets, files, terminals and clocks.
//!
//! [`shell`] drives DTUs, one or thousands, in one loop; [`conn`] carries their connections, [`discovery_socket`] what
//! they send and hear by UDP. [`control`] is the Unix socket by which a running DTU is commanded, [`cli`] the
//! command line, [`fleet`] many DTUs at once. Nothing here decides what a DTU does: that is [`crate::dtu`].

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "io is where clocks are read and descriptors are kept"
)]

mod canary;
pub mod cli;
mod clock;
mod conn;
pub mod control;
mod discovery_socket;
mod escapes;
mod first_word;
pub mod fleet;
mod foreground;
mod keys;
mod netif;
mod own_key;
mod path;
mod picture;
mod record;
mod serial;
mod shell;
mod trust;

pub use clock::Clock;
pub use own_key::OwnKeyError;
pub use record::Record;
pub use shell::{DtuId, Look, NewDtu, Options, Shell, ShellHandle, Told, View};
pub use trust::{Trust, TrustError};
