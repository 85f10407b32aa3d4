//! Digests: which hosts may have sessions for a token, known before anybody is asked.
//!
//! ```text
//!  a session is made on B ─▶ Own: its tag is appended ─▶ digest part=… to all, at a bounded pace
//!                                    └─▶ B's next beacon says dig=generation.count
//!  A hears the beacon ─▶ Others: less is held than that? ─▶ digestQ part=… to B ─▶ B says those parts to all
//!  a card at A ─▶ Others: B's digest is whole and lacks the tag ─▶ B is not asked
//! ```
//!
//! [`Own`] owns this host's digest and says what of it is to be said; [`Others`] owns what is held of everybody
//! else's, and asks for what is missing. Neither sends anything, and neither decides whom a lookup asks: that is
//! the host's, which also has the reasons to ask somebody anyway.
//!
//! What a digest lacks is never taken for proof that there is no session, only for a reason not to ask first:
//! whoever is named by the claim is asked before a session is made, and without a data store everybody is. A
//! host whose digest is not held whole, in the version that its last beacon told of, is always asked.

mod others;
mod own;
mod pace;

#[cfg(test)]
mod tests;

pub use others::{HELD_MAX, Others, Question};
pub use own::Own;
pub use pace::{ASK_ALL_MAX, Tags};
