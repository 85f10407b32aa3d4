//! The difference between two byte strings: runs that are copied from the first, and runs that are new.
//!
//! Each run begins with a number: its length times two, plus one if it is copied. A copied run continues with the offset
//! it is copied from, a new one with its bytes.
//!
//! What both begin and end with is found by comparing. Between, blocks of the first are looked up by hash wherever they
//! occur in the second, so values may move, grow and change in several places. Its cost is linear in both lengths. Its own
//! code, since the libraries for this (`qbsdiff`, `bidiff`) sort suffixes for files of megabytes, which takes
//! milliseconds for each commit.

use crate::codec::{Reader, Writer};

/// Bytes that are looked up at once. A copied run costs at most 6.
const BLOCK: usize = 16;

/// What makes `target` from `base`: at most a few bytes longer than `target`.
pub(crate) fn diff(base: &[u8], target: &[u8], writer: &mut Writer) {
    let prefix = common(base.iter(), target.iter());
    let suffix = common(base[prefix..].iter().rev(), target[prefix..].iter().rev());
    copy(writer, 0, prefix);
    let middle = &target[prefix..target.len() - suffix];
    if middle.len() < BLOCK {
        fresh(writer, middle);
    } else {
        diff_blocks(base, middle, writer);
    }
    copy(writer, base.len() - suffix, suffix);
}

/// What `runs` make of `base`; `None` if they are malformed or make more than `max` bytes.
pub(crate) fn patch(base: &[u8], runs: &[u8], max: usize) -> Option<Vec<u8>> {
    let (mut reader, mut made) = (Reader(runs), Vec::new());
    while !reader.0.is_empty() {
        let head = reader.number()?;
        let len = usize::try_from(head >> 1).ok()?;
        if len == 0 || len > max - made.len() {
            return None;
        }
        if head & 1 == 0 {
            made.extend_from_slice(reader.take(len)?);
        } else {
            let from = reader.count(base.len())?;
            made.extend_from_slice(base.get(from..from + len)?);
        }
    }
    Some(made)
}

fn common<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take_while(|(a, b)| a == b).count()
}

fn copy(writer: &mut Writer, from: usize, len: usize) {
    if len > 0 {
        writer.count(len << 1 | 1);
        writer.count(from);
    }
}

fn fresh(writer: &mut Writer, bytes: &[u8]) {
    if !bytes.is_empty() {
        writer.count(bytes.len() << 1);
        writer.fixed(bytes);
    }
}

/// Where the blocks of the first string are, by hash. Of blocks with one hash the last is known.
struct Blocks {
    /// Numbers of blocks, from 1.
    slots: Vec<u32>,
}

impl Blocks {
    fn of(base: &[u8]) -> Self {
        let blocks = base.chunks_exact(BLOCK);
        let mut slots = vec![0; (blocks.len() * 4).next_power_of_two()];
        for (block, number) in blocks.zip(1..) {
            let slot = slot_of(block, slots.len());
            slots[slot] = number;
        }
        Self { slots }
    }

    /// Where a block that may be this one is.
    fn find(&self, block: &[u8]) -> Option<usize> {
        let number = self.slots[slot_of(block, self.slots.len())];
        Some((number.checked_sub(1)?) as usize * BLOCK)
    }
}

/// The slot of a block among `slots` of them, a power of two.
fn slot_of(block: &[u8], slots: usize) -> usize {
    let (mut low, mut high) = ([0; 8], [0; 8]);
    low.copy_from_slice(&block[..8]);
    high.copy_from_slice(&block[8..BLOCK]);
    // Odd numbers without a pattern (those of splitmix64): what matters gathers in the upper bits.
    let mixed = u64::from_le_bytes(low)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(u64::from_le_bytes(high))
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 32) as usize & (slots - 1)
}

fn diff_blocks(base: &[u8], target: &[u8], writer: &mut Writer) {
    let blocks = Blocks::of(base);
    // Up to `done` all is written; from there to `at` nothing was found.
    let (mut done, mut at) = (0, 0);
    while at + BLOCK <= target.len() {
        let found = blocks.find(&target[at..at + BLOCK]);
        let Some(from) = found.filter(|from| base[*from..*from + BLOCK] == target[at..at + BLOCK]) else {
            at += 1;
            continue;
        };
        let before = common(base[..from].iter().rev(), target[done..at].iter().rev());
        let after = common(base[from..].iter(), target[at..].iter());
        fresh(writer, &target[done..at - before]);
        copy(writer, from - before, before + after);
        at += after;
        done = at;
    }
    fresh(writer, &target[done..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(base: &[u8], target: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        diff(base, target, &mut writer);
        writer.0
    }

    proptest! {
        #[test]
        fn whatever_changes_the_patched_first_is_the_second(
            base in proptest::collection::vec(0_u8..4, 0..300),
            edits in proptest::collection::vec((any::<u16>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..5),
        ) {
            let mut target = base.clone();
            for (a, b, bytes) in edits {
                let (a, b) = (usize::from(a) % (target.len() + 1), usize::from(b) % (target.len() + 1));
                target.splice(a.min(b)..a.max(b), bytes);
            }
            let runs = runs(&base, &target);
            prop_assert!(runs.len() <= target.len() + 8, "{} for {}", runs.len(), target.len());
            prop_assert_eq!(patch(&base, &runs, target.len()), Some(target.clone()));
            prop_assert!(target.is_empty() || patch(&base, &runs, target.len() - 1).is_none());
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(base in proptest::collection::vec(any::<u8>(), 0..64), runs in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(patch(&base, &runs, 100).is_none_or(|made| made.len() <= 100));
        }
    }

    #[test]
    fn what_moves_is_copied_and_several_changes_cost_what_they_are() {
        let mut state = 1_u64;
        let noise = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let base: Vec<u8> = (0..16_384).map(noise).collect();
        let mut moved = base[5_000..].to_vec();
        moved.extend_from_slice(&base[..5_000]);
        assert!(runs(&base, &moved).len() < 32);
        let mut changed = base.clone();
        for at in [100, 6_000, 16_000] {
            changed[at] ^= 1;
        }
        changed.insert(9_000, 7);
        assert!(runs(&base, &changed).len() < 64);
    }
}
