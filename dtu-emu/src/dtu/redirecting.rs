//! Following a redirect, and coming back from one that leads nowhere.

use super::attempt::Attempt;
use super::reason::RedirectLeg;

/// On the way to the host that a redirect named, or back to the one that sent us.
#[derive(Debug)]
pub(super) struct Redirecting {
    pub(super) attempt: Attempt,
    pub(super) leg: RedirectLeg,
    /// Redirects and returns of this presentation so far.
    pub(super) hops: u8,
    /// The number of changes of the seat when the redirect came: after a card was moved the ticket is void.
    pub(super) seating: u64,
}
