//! Random numbers of a DTU, all drawn from the seed in its configuration, so that a run can be replayed.

use core::time::Duration;

use proto::Nonce;
use sha2::{Digest, Sha256};

/// SHA-256 of the seed and a counter: unpredictable to whoever lacks the seed, equal for an equal seed.
#[derive(Clone)]
pub(super) struct Dice {
    seed: [u8; 32],
    drawn: u64,
}

impl Dice {
    pub(super) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }

    /// A number that does not come twice.
    pub(super) fn nonce(&mut self) -> Nonce {
        Nonce(u128::from_be_bytes(self.draw()))
    }

    /// `around`, moved by up to a quarter either way, so that desks which lost one host do not retry in step.
    pub(super) fn spread(&mut self, around: Duration) -> Duration {
        let [hi, lo, ..] = self.draw();
        let part = u32::from(u16::from_be_bytes([hi, lo]));
        around * 3 / 4 + around * part / (2 * 65_536)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_repeats_from_its_seed_and_a_spread_stays_within_a_quarter() {
        let (mut a, mut b, mut c) = (Dice::new([1; 32]), Dice::new([1; 32]), Dice::new([2; 32]));
        assert_eq!(a.nonce(), b.nonce());
        assert_ne!(a.nonce(), c.nonce());
        for _ in 0..100 {
            let spread = a.spread(Duration::from_millis(400));
            assert!((300..=500).contains(&spread.as_millis()), "{spread:?}");
        }
    }
}
