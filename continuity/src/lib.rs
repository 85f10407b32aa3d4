//! The session object: what the programs of a session say of themselves, so that another host can go on with them.
//!
//! A session has one [`Object`] for each of its services. Programs put values into its pools; another host that holds
//! a copy gives them back to programs of its own. Values are bytes, or [references](Reference) to what can be looked up
//! again, which are far smaller than what they refer to.
//!
//! ```text
//!   Edit ──▶ Object ──encode──▶ Encoded ──Delta::between──▶ Delta ──wire──▶ Held (another host)
//!              ▲                   │                                          │
//!              └──────decode───────┴──────────────────────────────────────────┘
//!              │
//!              └──restore──▶ Restored: what its references found, and what is gone
//! ```
//!
//! Whoever only keeps a copy handles [`Encoded`] and [`Delta`], which are bytes with a [`Stamp`]; it needs to know
//! nothing of what is in them. The bytes of both are described in `docs/state.md`.
//!
//! The programs speak with [`StateSession`](session::StateSession), the machine behind the state socket of a service: it
//! owns the object and turns what they say ([`mod@words`]) into versions.
//!
//! Nothing here reads a clock, a socket or a file. A reference is looked up by whoever implements the traits of
//! [`mod@restore`], with the rights of the session's user.
//!
//! # What an object is not believed about
//!
//! The session's user may write anything into an object. Token, account, template, commands, epoch and the
//! version that must be reached come from the session's record, never from here.

mod calls;
mod codec;
mod connection;
pub mod delta;
mod driver;
pub mod edit;
mod effects;
pub mod encoded;
mod encoding;
pub mod head;
pub mod held;
pub mod history;
pub mod limits;
pub mod names;
pub mod object;
mod operation;
mod patch;
pub mod pool;
pub mod restore;
pub mod series;
pub mod session;
pub mod stream;
pub mod times;
mod told;
pub mod value;
pub mod words;

pub use calls::NoReply;
pub use delta::{BadDelta, Delta, Refused};
pub use edit::{Edit, Refusal};
pub use encoded::{Encoded, Hash, NotEncoded};
pub use encoding::{DecodeError, TooLarge};
pub use head::{Endpoint, Head, ObjectId, Operation, Status};
pub use held::Held;
pub use history::History;
pub use names::{Key, Place, Scope, SeriesName, Stamp, StepName, Version};
pub use object::{Composite, Object, Step};
pub use pool::Pool;
pub use restore::{Found, Missing, Resolvers, Restored};
pub use series::Series;
pub use times::Times;
pub use value::{PagedQuery, PathName, QueryText, Reference, Value};
