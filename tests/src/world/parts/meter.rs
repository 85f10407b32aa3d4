//! What hosts have cost.

use proto::time::Duration;

/// What all hosts together have done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    pub(in crate::world) is_on: bool,
    /// Datagrams and parts of connections' bytes that they sent.
    pub sent: u64,
    /// Bytes of these, without headers.
    pub sent_bytes: u64,
    /// The same that they received.
    pub received: u64,
    /// Bytes of these.
    pub received_bytes: u64,
    /// tokenQ datagrams among what was sent.
    pub token_qs: u64,
    /// coming datagrams among what was sent.
    pub comings: u64,
    /// Time that their machines took to work.
    pub worked: Duration,
}
