//! Hosts whose messages carry no signature of ours: shown to the operator, and nothing else.
//!
//! They have a name space of their own, so that a stranger that calls itself like a trusted host never touches
//! that host's row; and a bound, at which the one not heard for longest goes. One that says nothing more for
//! [`FORGET_AFTER`] is forgotten, and one that has been given the group's key at once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proto::host_message::HostMessage;
use proto::time::Duration;
use proto::{HostName, Instant, WallTime};

/// How many strangers are remembered.
pub const STRANGERS_MAX: usize = 64;

/// A stranger that was not heard for so long is gone, or no stranger any more: three announcements, and some more.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(65);

/// A stranger's newest message, and when it came.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// What it said.
    pub message: HostMessage,
    /// When it was heard last.
    pub heard_at: Instant,
    /// Its clock minus ours, in seconds.
    pub time_off: i64,
}

/// The strangers heard of late.
#[derive(Debug, Default)]
pub struct Strangers(BTreeMap<HostName, Stranger>);

impl Strangers {
    /// Remembers none yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes in a message of a stranger.
    pub fn hear(&mut self, now: Instant, wall: WallTime, message: HostMessage) {
        if self.0.len() >= STRANGERS_MAX && !self.0.contains_key(&message.host) {
            let oldest = self.0.iter().min_by_key(|(_, s)| s.heard_at).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
        let time_off = super::facts::time_off(message.time, wall);
        self.0.insert(message.host.clone(), Stranger { message, heard_at: now, time_off });
    }

    /// Forgets those that were not heard for [`FORGET_AFTER`].
    pub fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, stranger| now.since(stranger.heard_at) < FORGET_AFTER);
    }

    /// A host at `addr` has shown that it has the group's key: what it said before it had it counts no more.
    pub fn forget_known(&mut self, host: &HostName, addr: Ipv4Addr) {
        if self.0.get(host).is_some_and(|stranger| stranger.message.addr == addr) {
            self.0.remove(host);
        }
    }

    /// When [`Self::forget_old`] has something to do.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.0.values().map(|stranger| stranger.heard_at + FORGET_AFTER).min()
    }

    /// All of them, in the order of the names they give themselves.
    pub fn iter(&self) -> impl Iterator<Item = &Stranger> {
        self.0.values()
    }
}
