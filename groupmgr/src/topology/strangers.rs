//! Hosts whose messages carry no signature of ours: shown to the operator, and nothing else.
//!
//! They have a name space of their own, so that a stranger that calls itself like a trusted host never touches
//! that host's row; and a bound, at which the one not heard for longest goes.

use std::collections::BTreeMap;

use proto::host_message::HostMessage;
use proto::{HostName, Instant, WallTime};

/// Strangers remembered.
pub const STRANGERS_MAX: usize = 64;

/// A stranger's newest message, and when it came.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// What it said.
    pub message: HostMessage,
    /// When.
    pub heard_at: Instant,
    /// Its clock minus ours, in seconds.
    pub time_off: i64,
}

/// The strangers heard of late.
#[derive(Debug, Default)]
pub struct Strangers(BTreeMap<HostName, Stranger>);

impl Strangers {
    /// None yet.
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

    /// All of them, in the order of the names they give themselves.
    pub fn iter(&self) -> impl Iterator<Item = &Stranger> {
        self.0.values()
    }
}
