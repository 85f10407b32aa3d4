//! How many datagrams a source may send before they are dropped unread.
//!
//! A flood must cost less than what it displaces: here one look into a small table per datagram, before any
//! signature is checked. The rate is far above what a host of a large group sends in a storm of DTUs.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use proto::Instant;
use proto::time::Duration;

/// Datagrams a second a source may send for long. Beside the beacons and questions of one host, this is a whole
/// fleet of DTUs behind one address.
const RATE: u64 = 20_000;
/// Datagrams it may send at once.
const BURST: u64 = 20_000;
/// Sources kept apart. Further ones share one allowance.
const SOURCES_MAX: usize = 4_096;

const TIDY_EVERY: Duration = Duration::from_millis(10);

/// The meter of one host.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    sources: HashMap<Ipv4Addr, Allowance>,
    others: Option<Allowance>,
    /// When idle sources were last forgotten, which costs a look at each.
    tidied: Option<Instant>,
}

/// What a source may still send, in millionths of a datagram.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u64,
    at: Instant,
}

impl Allowance {
    const FULL: u64 = BURST * 1_000_000;

    fn new(at: Instant) -> Self {
        Self { left: Self::FULL, at }
    }

    fn refill(&mut self, now: Instant) {
        let micros = now.as_micros().saturating_sub(self.at.as_micros());
        self.left = self.left.saturating_add(micros.saturating_mul(RATE)).min(Self::FULL);
        self.at = now;
    }

    fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let left = self.left.checked_sub(1_000_000);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    fn is_idle(mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == Self::FULL
    }
}

impl Flood {
    /// Whether one more datagram of `source` may be read.
    pub(crate) fn admits(&mut self, now: Instant, source: Ipv4Addr) -> bool {
        if let Some(allowance) = self.sources.get_mut(&source) {
            return allowance.take(now);
        }
        let tidied_lately = self.tidied.is_some_and(|at| now.since(at) < TIDY_EVERY);
        if self.sources.len() >= SOURCES_MAX && !tidied_lately {
            self.sources.retain(|_, allowance| !allowance.is_idle(now));
            self.tidied = Some(now);
        }
        if self.sources.len() >= SOURCES_MAX {
            return self.others.get_or_insert(Allowance::new(now)).take(now);
        }
        self.sources.entry(source).or_insert(Allowance::new(now)).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(n)
    }

    #[test]
    fn a_source_that_floods_is_cut_to_its_rate_and_others_are_not() {
        let mut flood = Flood::default();
        let now = Instant::from_micros(5);
        assert_eq!((0..BURST + 500).filter(|_| flood.admits(now, ip(1))).count() as u64, BURST);
        assert!(flood.admits(now, ip(2)));
        let later = Instant::from_micros(5 + 10_000);
        assert_eq!((0..1000).filter(|_| flood.admits(later, ip(1))).count(), 200);
    }

    #[test]
    fn forged_sources_do_not_grow_the_table_and_a_known_one_keeps_its_allowance() {
        let mut flood = Flood::default();
        let now = Instant::from_micros(5);
        assert!(flood.admits(now, ip(1)));
        let admitted = (0..100_000).filter(|n| flood.admits(now, ip(10 + n))).count();
        assert_eq!(flood.sources.len(), SOURCES_MAX);
        assert!((admitted as u64) <= SOURCES_MAX as u64 + BURST);
        assert!(flood.admits(now, ip(1)));
    }

    #[test]
    fn idle_sources_make_room_for_new_ones() {
        let mut flood = Flood::default();
        for n in 0..SOURCES_MAX as u32 {
            flood.admits(Instant::from_micros(1), ip(n));
        }
        assert!(flood.admits(Instant::from_micros(2_000_000), ip(99_999)));
        assert_eq!(flood.sources.len(), 1);
    }
}
