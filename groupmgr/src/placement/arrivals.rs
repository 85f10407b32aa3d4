//! New sessions of this host that its run queue does not show yet: those that are on their way, and those that have
//! just begun.

use std::collections::{BTreeMap, BTreeSet};

use proto::Instant;
use proto::time::Duration;

/// Run queue that a session adds while it starts, times 100.
pub(super) const STARTING_WEIGHT: u64 = 50;
/// Who does not arrive within this time has gone elsewhere.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
/// Arrivals that are counted at once; more say no more.
pub const ARRIVALS_MAX: usize = 16_384;

/// Over so long, and up to twice as long, a session counts as just begun: the run queue shows it by then.
const BEGUN_FOR: Duration = Duration::from_secs(1);

/// The sessions that this host has just begun to make, whoever placed them. They are part of the load that it tells,
/// since its run queue does not show them yet: in a storm all hosts take as many at once, and one that saw only its own
/// would send everybody on to others who do the same.
#[derive(Clone, Copy, Debug)]
pub struct Starts {
    since: Instant,
    now: u32,
    before: u32,
}

impl Starts {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { since: Instant::ZERO, now: 0, before: 0 }
    }

    /// Counts a session that is started at `now`.
    pub fn add(&mut self, now: Instant) {
        self.age(now);
        self.now = self.now.saturating_add(1);
    }

    /// What they and so many sessions that are still to come add to the run queue per processor, times 100.
    #[must_use]
    pub fn run_queue(&self, now: Instant, to_come: u32, cpus: u16) -> u32 {
        let mut aged = *self;
        aged.age(now);
        let starting = u64::from(aged.now) + u64::from(aged.before) + u64::from(to_come);
        u32::try_from(starting * STARTING_WEIGHT / u64::from(cpus.max(1))).unwrap_or(u32::MAX)
    }

    fn age(&mut self, now: Instant) {
        let passed = now.since(self.since);
        if passed >= BEGUN_FOR {
            self.before = if passed < BEGUN_FOR * 2 { self.now } else { 0 };
            (self.since, self.now) = (now, 0);
        }
    }
}

impl Default for Starts {
    fn default() -> Self {
        Self::new()
    }
}

/// Sessions that were placed on this host and are not begun yet, by what their DTUs are known by. Each counts until it
/// is taken out, at most for two seconds.
#[derive(Debug)]
pub struct Arrivals<K> {
    until: BTreeMap<K, Instant>,
    /// In the order of their ends.
    ends: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Arrivals<K> {
    /// Expects nobody yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { until: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// One is expected from now on. Who is expected already counts once, and no longer than before.
    pub fn add(&mut self, now: Instant, key: K) {
        self.expire(now);
        if self.until.len() < ARRIVALS_MAX && !self.until.contains_key(&key) {
            let until = now + ARRIVES_WITHIN;
            self.until.insert(key, until);
            self.ends.insert((until, key));
        }
    }

    /// One has arrived, or will not.
    pub fn remove(&mut self, key: K) {
        if let Some(until) = self.until.remove(&key) {
            self.ends.remove(&(until, key));
        }
    }

    /// How many are expected.
    #[must_use]
    pub fn count(&self, now: Instant) -> usize {
        self.until.len() - self.ends.iter().take_while(|(until, _)| *until <= now).count()
    }

    /// The same as it was when it was last changed, for whoever looks at the size of tables.
    #[must_use]
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// When the first of them counts no longer.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Forgets those that have not arrived in time.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            self.until.remove(&key);
        }
    }
}

impl<K: Ord + Copy> Default for Arrivals<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn who_is_expected_counts_once_until_it_arrives_or_two_seconds_have_passed() {
        let mut arrivals = Arrivals::new();
        arrivals.add(at(0), 1);
        arrivals.add(at(1_500), 1);
        arrivals.add(at(1_500), 2);
        assert_eq!(arrivals.count(at(1_999)), 2);
        arrivals.remove(2);
        assert_eq!(arrivals.count(at(1_999)), 1);
        assert_eq!(arrivals.count(at(2_000)), 0, "said again is no reason to count for longer");
        arrivals.add(at(2_000), 3);
        assert_eq!(arrivals.len(), 1, "and what is over is forgotten");
    }

    #[test]
    fn arrivals_are_bounded() {
        let mut arrivals = Arrivals::new();
        (0..ARRIVALS_MAX + 10).for_each(|n| arrivals.add(at(0), n));
        assert_eq!(arrivals.len(), ARRIVALS_MAX);
    }

    #[test]
    fn what_has_just_begun_counts_until_the_run_queue_shows_it() {
        let mut starts = Starts::new();
        for ms in 0..10 {
            starts.add(at(10_000 + ms));
        }
        assert_eq!(starts.run_queue(at(10_900), 0, 2), 250);
        starts.add(at(11_100));
        assert_eq!(starts.run_queue(at(11_100), 0, 2), 275);
        assert_eq!(starts.run_queue(at(12_200), 0, 2), 25);
        assert_eq!(starts.run_queue(at(19_000), 0, 2), 0);
        assert_eq!(starts.run_queue(at(19_000), 4, 2), 100);
    }
}
