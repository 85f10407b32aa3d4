//! Random numbers for a core: drawn from a seed that the driver hands in once, so that a run can be repeated
//! from its seed and is unpredictable when the seed came from the operating system.

use core::fmt;

use sha2::{Digest, Sha256};

/// A stream of random numbers: SHA-256 of the seed and a counter.
#[derive(Clone)]
pub struct Entropy {
    seed: [u8; 32],
    drawn: u64,
}

impl Entropy {
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

    fn block(&mut self) -> [u8; 32] {
        self.drawn += 1;
        Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize().into()
    }

    /// 128 random bits: a nonce, a grant, a session id.
    pub fn u128(&mut self) -> u128 {
        let [bytes, _] = halves(self.block());
        u128::from_be_bytes(bytes)
    }

    /// 16 random bytes: the seed of a hash chain.
    pub fn bytes(&mut self) -> [u8; 16] {
        self.u128().to_be_bytes()
    }

    /// A number below `n`, or 0 when `n` is 0. The bias of the remainder is below 2⁻⁶⁰ for any list we have.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = self.u128();
        usize::try_from(wide % (n.max(1) as u128)).unwrap_or(0)
    }
}

/// The seed stays out of logs.
impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entropy({} drawn)", self.drawn)
    }
}

fn halves(block: [u8; 32]) -> [[u8; 16]; 2] {
    let mut out = [[0; 16]; 2];
    out[0].copy_from_slice(&block[..16]);
    out[1].copy_from_slice(&block[16..]);
    out
}
