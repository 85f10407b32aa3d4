//! What was dropped or refused before the host machine saw it, by reason. The machine counts what it refuses
//! itself; `status` shows both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why something was dropped or refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

reasons! {
    /// A source sent more datagrams than it may.
    Flood = "datagram_flood",
    /// A datagram could not be sent: the socket's queue was full, or there was no way.
    NotSent = "datagram_not_sent",
    /// An address had as many connections as it may.
    PerAddress = "too_many_of_one_address",
    /// There were as many connections as there may be.
    Connections = "too_many_connections",
    /// A connection said nothing, or did not finish saying what it is, in time.
    Late = "connection_late",
    /// A connection that had said nothing left for a newer one: its address had most of those.
    Evicted = "silent_evicted",
    /// The system gave no descriptor for a connection.
    Descriptors = "no_descriptors",
    /// A TLS handshake was slow, or stalled, while others waited for its place.
    Crowded = "handshake_crowded_out",
    /// The other end gave up before its TLS handshake came to its turn: this host is overloaded.
    GivenUp = "handshake_given_up",
    /// A TLS handshake failed.
    Handshake = "handshake_failed",
    /// A DTU did not prove the key that it showed, or showed none that can be read.
    DtuKey = "dtu_key_refused",
    /// A plain connection where none is allowed.
    Plain = "plain_refused",
    /// A first line that is not what it began as.
    FirstLine = "bad_first_line",
    /// Lines came faster than they may.
    LineRate = "lines_too_fast",
    /// A peer did not read what it was sent.
    WriteQueue = "write_queue_full",
    /// A display connection whose session's process did not take it.
    Display = "display_not_taken",
    /// Another host could not prove that it belongs to the group.
    Peer = "peer_not_trusted",
    /// Another host broke the rules of a link.
    Link = "link_misused",
    /// An operator's request that was malformed or too long.
    Admin = "bad_admin_request",
}

/// The counters; clones count together.
#[derive(Clone, Debug)]
pub struct Counters(Arc<[AtomicU64]>);

impl Default for Counters {
    fn default() -> Self {
        Self(Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counters {
    /// Adds one to the count of a reason.
    pub fn count(&self, reason: Reason) {
        self.count_many(reason, 1);
    }

    /// Adds `n` to the count of a reason.
    pub fn count_many(&self, reason: Reason, n: u64) {
        self.0[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// How often `reason` was counted.
    #[must_use]
    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Adds what is not zero to a list of reasons.
    pub fn add_to(&self, reasons: &mut BTreeMap<String, u64>) {
        for (reason, text) in Reason::ALL {
            let n = self.get(*reason);
            if n > 0 {
                *reasons.entry((*text).to_owned()).or_default() += n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_listed_and_clones_count_together() {
        let counters = Counters::default();
        counters.clone().count(Reason::Flood);
        counters.count_many(Reason::Flood, 2);
        let mut reasons = BTreeMap::from([("datagram_flood".to_owned(), 1)]);
        counters.add_to(&mut reasons);
        assert_eq!(reasons, BTreeMap::from([("datagram_flood".to_owned(), 4)]));
    }
}
