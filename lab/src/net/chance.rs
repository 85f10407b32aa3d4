//! Chance from a seed: a run can be repeated.

use core::time::Duration;

/// A stream of random numbers that its seed decides.
///
/// Weyl sequence with a finaliser (the construction known as SplitMix64): passes for chance in a network's
/// faults, is not meant for secrets.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The stream of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether something of this chance happens. Draws only when both outcomes are possible.
    pub(super) fn strikes(&mut self, chance: f64) -> bool {
        if chance <= 0.0 {
            return false;
        }
        if chance >= 1.0 {
            return true;
        }
        // 53 bits are what a double holds exactly.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
        let drawn = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < chance
    }

    /// A time between zero and `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        match u64::try_from(most.as_micros()) {
            Ok(0) | Err(_) => Duration::ZERO,
            Ok(micros) => Duration::from_micros(self.draw() % (micros + 1)),
        }
    }
}
