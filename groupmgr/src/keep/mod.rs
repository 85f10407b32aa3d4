//! Copies of sessions' objects that hosts keep for each other: what they say about them, and the copies themselves.
//!
//! The host that runs a session, its *primary*, sends each version of the session's objects to another host, its
//! *secondary*, and waits until that has them. A host that keeps copies, a *keeper*, reads nothing of them.
//!
//! ```text
//!  primary                                    keeper
//!     │── Whole, Delta ─────────────────────────▶│  takes only what is above what it holds
//!     │◀───────────── Kept, Want, Stale, Full ───│
//!     │── Compare, every 10 s ──────────────────▶│  ◀── Fetch ── a host that takes over
//!     │── Drop, at the end ─────────────────────▶│  ── Object … Fetched ──▶
//! ```

pub mod channel;
pub mod copies;
pub mod message;

pub use channel::Channels;
pub use copies::Copies;
pub use message::{Message, Standing};
