//! Random numbers of tests, from the seed of a run; for the system itself there is [`proto::rng::SecretRng`].

/// A stream of random numbers (SplitMix64): quick, and for tests only, since anybody can foretell it.
#[derive(Clone, Debug)]
pub struct TestRng(u64);

impl TestRng {
    /// A stream of its own.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of the sequence.
    pub const fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.u64() % n }
    }

    /// Whether something of this probability happens now.
    pub fn happens(&mut self, chance: f64) -> bool {
        if chance <= 0.0 {
            return false;
        }
        // 53 bits are what an f64 holds exactly.
        let unit = (self.u64() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < chance
    }

    /// The seed of a machine.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for part in seed.chunks_mut(8) {
            part.copy_from_slice(&self.u64().to_be_bytes());
        }
        seed
    }
}
