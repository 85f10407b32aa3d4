//! How long things have taken: counts by length, in a bounded space.

use proto::time::Duration;

/// Each power of two is cut into so many equal parts: a length is known to a thirty-second of itself.
const PARTS: u64 = 32;
/// Longer ones are counted as this: about two minutes.
const LONGEST: u64 = 1 << 27;
/// One for each microsecond up to [`PARTS`], then so many for each power of two up to [`LONGEST`].
const BUCKETS: usize = 32 + 22 * 32;

/// How often something has taken how long. Empty, it takes no space; else 3 KiB.
#[derive(Clone, Debug, Default)]
pub struct Times {
    counts: Vec<u32>,
    count: u64,
    longest: u64,
}

/// Where a length in microseconds is counted.
fn bucket(micros: u64) -> usize {
    let micros = micros.min(LONGEST - 1);
    if micros < PARTS {
        return micros as usize;
    }
    let power = micros.ilog2() - PARTS.ilog2();
    (u64::from(power + 1) * PARTS + (micros >> power) - PARTS) as usize
}

/// The longest length that is counted there, in microseconds.
const fn upto(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let power = bucket / PARTS - 1;
    ((bucket % PARTS + PARTS + 1) << power) - 1
}

impl Times {
    /// Something has taken so long.
    pub fn add(&mut self, took: Duration) {
        self.counts.resize(BUCKETS, 0);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(took)) {
            *count = count.saturating_add(1);
        }
        self.count += 1;
        self.longest = self.longest.max(took);
    }

    /// How often that was.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest, in microseconds.
    #[must_use]
    pub const fn longest(&self) -> u64 {
        self.longest
    }

    /// What `share` of 100 are not above, in microseconds, to a thirty-second of it; 0 of none.
    #[must_use]
    pub fn at(&self, share: u64) -> u64 {
        let rank = (self.count * share).div_ceil(100).max(1);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += u64::from(*count);
            if below >= rank {
                return upto(bucket).min(self.longest);
            }
        }
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_a_thousand_the_median_and_the_slowest_are_known_to_a_thirty_second() {
        let mut times = Times::default();
        assert_eq!((times.count(), times.at(50), times.longest()), (0, 0, 0));
        (1..=1_000).for_each(|n| times.add(Duration::from_micros(n)));
        for (share, exact) in [(0, 1), (50, 500), (99, 990), (100, 1_000)] {
            let at = times.at(share);
            assert!(at >= exact && at - exact <= exact / 32, "{share}: {at}");
        }
        times.add(Duration::from_secs(3_600));
        assert_eq!((times.count(), times.longest()), (1_001, 3_600_000_000));
    }

    proptest! {
        #[test]
        fn every_length_is_counted_once_and_near_itself(micros in prop_oneof![0..100_u64, any::<u64>()]) {
            let bucket = bucket(micros);
            prop_assert!(bucket < BUCKETS);
            let micros = micros.min(LONGEST - 1);
            prop_assert!(upto(bucket) >= micros && upto(bucket) - micros <= micros / 32);
            prop_assert!(bucket == 0 || upto(bucket - 1) < micros);
        }
    }
}
