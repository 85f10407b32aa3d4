//! The shared permanent-data store of a group.
//!
//! Sessions come and go with their hosts; what must stay is here: claims, the token registry, templates,
//! and the users' own notes. The crate owns the store's vocabulary, its engine, its server and its clients.
//! It refuses to know what is stored: values are bytes, and nothing here reads them but for the epoch in the record of a
//! guard.
//!
//! # What a store promises
//!
//! * **Acknowledged is safe.** A write is answered only when fsync has returned.
//! * **Visible is safe.** No get, scan, watch or lost swap, by anyone, shows a value that a power cut could
//!   still take back. So a claim that was won stays won, and an epoch that was seen is never given out again.
//! * **One order.** All writes happen one after another; each change has a [`Revision`]. Requests
//!   that are under way at the same time may be ordered either way; one that is sent after another's answer
//!   comes after it.
//! * **A restored backup is another store.** Its [`Generation`] is above all earlier ones, and every
//!   [`Response`] carries it.
//! * **No silent failure.** A [`StoreError`] says whether anything was changed, or that nobody knows.
//!
//! # Where what is
//!
//! | Module | Owns |
//! |---|---|
//! | [`key`], [`value`], [`message`], [`error`] | what is asked and answered |
//! | [`wire`], [`handshake`] | frames; how host and store trust each other |
//! | [`decide`], [`batch`] | what a write does; the group commit and what it hides |
//! | [`guard`], [`once`] | writes that only the present home of a session may make; those that are done once |
//! | [`quota`] | how much permanent data each user may have |
//! | [`memory`] | the store for tests and the simulated world |
//! | [`client`] | a client's requests across broken connections |
//! | [`mailbox`], [`confine`], [`backup`] | a watcher's queue; a user's part of the store; the backup file |
//! | `io` (feature `io`) | trait `Store`, engine, server, clients, command line |

pub mod arrivals;
pub mod backup;
pub mod batch;
pub mod client;
pub mod confine;
pub mod decide;
pub mod error;
pub mod guard;
pub mod handshake;
#[cfg(feature = "io")]
pub mod io;
pub mod key;
pub mod mailbox;
pub mod memory;
pub mod message;
pub mod once;
pub mod quota;
pub mod value;
pub mod wire;

pub use error::{Refusal, StoreError};
pub use guard::Guard;
pub use key::{Key, Prefix};
pub use memory::MemoryStore;
pub use message::{
    Answer, Change, Event, Expected, Generation, Page, Request, RequestId, Response, Revision, WatchEvent,
};
pub use quota::Quota;
pub use value::Value;
