//! The hash chain by which a DTU, which holds no group key, tells a genuine beacon from a forged one.
//!
//! See `docs/protocol.md`, "Beacons". A host draws a random seed and hashes it `LEN` times; the last value is the anchor,
//! told to DTUs over TLS. Beacon number `n` reveals the value that hashes to the anchor in `n` steps. Whoever knows an
//! older value checks a newer one by hashing it as often as ticks lie between, usually once; nobody can
//! compute a value that was not yet revealed.

use sha2::{Digest, Sha256};

/// A value of a chain, as beacons print it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainValue([u8; Self::LEN]);

impl ChainValue {
    /// Bytes of a value: 128 bits, since finding one needs a second preimage of a fixed value within a day.
    pub const LEN: usize = 16;

    /// A value from its bytes: the seed of a chain.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The value that was revealed just before this one.
    #[must_use]
    pub fn previous(self) -> Self {
        let digest = Sha256::new().chain_update(b"hotdesk beacon chain").chain_update(self.0).finalize();
        let mut bytes = [0; Self::LEN];
        bytes.copy_from_slice(&digest[..Self::LEN]);
        Self(bytes)
    }
}

impl core::fmt::Display for ChainValue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl core::fmt::Debug for ChainValue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ChainValue({self})")
    }
}

impl core::str::FromStr for ChainValue {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        crate::hex::decode(s.as_bytes()).map(Self).ok_or(())
    }
}

/// The host's side: a chain of `len` values, of which every `STRIDE`-th is kept, so that revealing one costs a
/// bounded number of hashes.
#[derive(Clone, Debug)]
pub struct Chain {
    /// `kept[k]` is the value number `k * STRIDE`; number 0 is the anchor.
    kept: Vec<ChainValue>,
    /// Links `at * STRIDE + 1 ..= (at + 1) * STRIDE`, worked out once.
    window: Vec<ChainValue>,
    at: usize,
}

const STRIDE: usize = 256;

impl Chain {
    /// A chain of at least `len` values from a random `seed`.
    #[must_use]
    pub fn new(seed: [u8; ChainValue::LEN], len: usize) -> Self {
        let blocks = len.div_ceil(STRIDE).max(1);
        let mut value = ChainValue(seed);
        let mut kept = vec![value];
        for _ in 0..blocks {
            for _ in 0..STRIDE {
                value = value.previous();
            }
            kept.push(value);
        }
        kept.reverse();
        let mut chain = Self { kept, window: Vec::new(), at: 0 };
        chain.fill(0);
        chain
    }

    /// The value DTUs are told: number 0.
    #[must_use]
    pub fn anchor(&self) -> ChainValue {
        self.kept[0]
    }

    /// The number of the last value.
    #[must_use]
    pub fn last(&self) -> u64 {
        ((self.kept.len() - 1) * STRIDE) as u64
    }

    /// ChainValue number `n`, or `None` beyond the last.
    pub fn reveal(&mut self, n: u64) -> Option<ChainValue> {
        let n = usize::try_from(n).ok()?;
        if n == 0 {
            return Some(self.anchor());
        }
        let block = (n - 1) / STRIDE;
        if block + 1 >= self.kept.len() {
            return None;
        }
        if block != self.at {
            self.fill(block);
        }
        Some(self.window[(n - 1) % STRIDE])
    }

    fn fill(&mut self, block: usize) {
        let mut value = self.kept[block + 1];
        let mut window = Vec::with_capacity(STRIDE);
        for _ in 0..STRIDE {
            window.push(value);
            value = value.previous();
        }
        window.reverse();
        self.window = window;
        self.at = block;
    }
}

/// The DTU's side: the newest value it has reason to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    number: u64,
    value: ChainValue,
}

impl Anchor {
    /// More hashes than this are not spent on one datagram: ten minutes of beacons. A DTU that heard nothing
    /// for longer asks for a fresh anchor, which it does anyway when it reconnects.
    pub const STEPS_MAX: u64 = 6_000;

    /// What the host said over TLS: value number `number` is `value`.
    #[must_use]
    pub const fn new(number: u64, value: ChainValue) -> Self {
        Self { number, value }
    }

    /// The number of the newest believed value.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The newest believed value.
    #[must_use]
    pub const fn value(&self) -> ChainValue {
        self.value
    }

    /// Whether value `number` is genuine and newer than all before. If so it becomes the newest believed one.
    pub fn advance(&mut self, number: u64, value: ChainValue) -> bool {
        let steps = number.saturating_sub(self.number);
        if steps == 0 || steps > Self::STEPS_MAX {
            return false;
        }
        let mut back = value;
        for _ in 0..steps {
            back = back.previous();
        }
        let genuine = back == self.value;
        if genuine {
            *self = Self { number, value };
        }
        genuine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revealed_value_is_believed_once_and_in_order() {
        let mut chain = Chain::new([3; 16], 600);
        let mut anchor = Anchor::new(0, chain.anchor());
        for n in 1..=chain.last() {
            let value = chain.reveal(n).unwrap();
            assert!(anchor.advance(n, value), "value {n}");
            assert!(!anchor.advance(n, value), "value {n} again");
        }
        assert_eq!(chain.reveal(chain.last() + 1), None);
    }

    #[test]
    fn lost_beacons_are_bridged_and_forged_ones_change_nothing() {
        let mut chain = Chain::new([4; 16], 512);
        let mut anchor = Anchor::new(0, chain.anchor());
        assert!(!anchor.advance(40, ChainValue([0; 16])));
        assert!(anchor.advance(40, chain.reveal(40).unwrap()));
        assert!(!anchor.advance(39, chain.reveal(39).unwrap()));
        assert!(!anchor.advance(40 + Anchor::STEPS_MAX + 1, ChainValue([0; 16])));
        assert_eq!(anchor.number(), 40);
    }
}
