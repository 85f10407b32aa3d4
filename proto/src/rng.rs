//! Random numbers for cores: drawn from a seed that the driver hands in once, so that a run can be repeated from its seed,
//! and nobody can foretell them where the seed came from the operating system.

use core::fmt;
use core::time::Duration;

use sha2::{Digest, Sha256};

use crate::ids::Nonce;

/// A stream of random numbers that nobody without its seed can foretell: SHA-256 of a 256-bit seed and a counter. For
/// nonces, grants, ids and everything else that a core draws.
///
/// ```
/// use proto::rng::SecretRng;
///
/// let (mut once, mut again) = (SecretRng::new([7; 32]), SecretRng::new([7; 32]));
/// assert_eq!(once.u128(), again.u128());
/// assert_ne!(once.u128(), SecretRng::new([7; 32]).fork("part").u128());
/// ```
#[derive(Clone)]
pub struct SecretRng {
    seed: [u8; 32],
    drawn: u64,
}

impl SecretRng {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A stream of its own for one part of a machine: what that draws shifts nobody else's numbers.
    #[must_use]
    pub fn fork(&self, part: &str) -> Self {
        Self::new(Sha256::new().chain_update(self.seed).chain_update(part).finalize().into())
    }

    /// 16 random bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        self.drawn += 1;
        let block = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&block[..16]);
        bytes
    }

    /// 128 random bits.
    pub fn u128(&mut self) -> u128 {
        u128::from_be_bytes(self.bytes())
    }

    /// A number that does not come twice.
    pub fn nonce(&mut self) -> Nonce {
        Nonce(self.u128())
    }

    /// A number below `n`, or 0 when `n` is 0. The bias of the remainder is below 2⁻⁶⁰ for any list we have.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.u128() % (n.max(1) as u128)).unwrap_or(0)
    }

    /// Whether something of this probability happens: never at 0 and below, always at 1 and above.
    pub fn happens(&mut self, chance: f64) -> bool {
        // 53 bits are what an f64 holds exactly.
        let unit = (self.u128() >> 75) as f64 / (1_u64 << 53) as f64;
        unit < chance
    }

    /// A time from zero up to `most`, to the microsecond.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let micros = self.u128() % (most.as_micros() + 1);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// `around`, moved by up to a quarter either way, so that what began together does not go on in step.
    pub fn spread(&mut self, around: Duration) -> Duration {
        around * 3 / 4 + around * u32::from(self.u16()) / (2 * 65_536)
    }

    /// 16 random bits.
    pub fn u16(&mut self) -> u16 {
        let [hi, lo, ..] = self.bytes();
        u16::from_be_bytes([hi, lo])
    }
}

/// The seed stays out of logs.
impl fmt::Debug for SecretRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretRng({} drawn)", self.drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_stays_within_its_bounds() {
        let mut rng = SecretRng::new([1; 32]);
        for _ in 0..100 {
            let spread = rng.spread(Duration::from_millis(400));
            assert!((300..=500).contains(&spread.as_millis()), "{spread:?}");
            assert!(rng.up_to(Duration::from_micros(3)) <= Duration::from_micros(3));
            assert!(rng.below(3) < 3 && rng.below(0) == 0);
            assert!(rng.happens(1.0) && !rng.happens(0.0));
        }
        let often = (0..1000).filter(|_| rng.happens(0.2)).count();
        assert!((120..280).contains(&often), "{often}");
    }
}
