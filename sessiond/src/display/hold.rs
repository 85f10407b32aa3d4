//! Output that waits until another host keeps what made it.
//!
//! While a display holds, its DTU is sent what lies below `released`, and the picture is of what lies below `covered`: of
//! the output that is in the version under way. So whoever must be repainted is shown what is safe, as soon as that version
//! is. What the service asks its terminal is answered with the picture, a round trip later than otherwise.

use super::{BACKLOG_MAX, DisplayFeed, UNDIGESTED_MAX};
use proto::Nonce;

/// Output that may wait: a service that has written so much more than was released is read no further.
pub(super) const HELD_MAX: usize = 64 * 1024;
/// Output that may be missing in the picture before it is drawn whatever waits.
pub(super) const UNDIGESTED_HELD_MAX: u64 = 3 * UNDIGESTED_MAX as u64;
// What is read at once beyond the bound is not drawn for that alone.
const _: () = assert!(HELD_MAX + UNDIGESTED_MAX < 3 * UNDIGESTED_MAX && 3 * UNDIGESTED_MAX < BACKLOG_MAX);

/// How far output has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// What lies below may be shown.
    pub(super) released: u64,
    /// What lies below is in the newest version.
    pub(super) covered: u64,
}

impl DisplayFeed {
    /// From now on, what is written waits for [`DisplayFeed::release`].
    pub fn hold(&mut self) {
        let end = self.feed.end();
        self.hold.get_or_insert(Hold { released: end, covered: end });
    }

    /// Output below `offset` may be shown.
    pub fn release(&mut self, offset: u64) {
        if let Some(hold) = &mut self.hold {
            hold.released = hold.released.max(offset).min(self.feed.end());
        }
    }

    /// Nothing waits any more.
    pub fn release_all(&mut self) {
        self.hold = None;
    }

    /// Whether more of what the service writes can be taken.
    #[must_use]
    pub fn takes_output(&self) -> bool {
        self.hold.is_none_or(|hold| self.feed.end() - hold.released < HELD_MAX as u64)
    }

    /// All that was written is in the version that is made now. Returns how much that is.
    pub fn cover(&mut self) -> u64 {
        let end = self.feed.end();
        if let Some(hold) = &mut self.hold {
            hold.covered = end;
        }
        self.digest();
        end
    }

    /// How much was written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.feed.end()
    }

    /// Output from `offset` on; `None` if it is kept no longer.
    #[must_use]
    pub fn since(&self, offset: u64) -> Option<Vec<u8>> {
        if !self.feed.reaches(offset) {
            return None;
        }
        let (mut at, mut all) = (offset, Vec::new());
        while at < self.feed.end() {
            let piece = self.feed.replay(at, usize::MAX);
            all.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        Some(all)
    }

    /// The picture with the lines above it, in at most `max` bytes.
    #[must_use]
    pub fn picture(&self, max: usize) -> Vec<u8> {
        self.feed.picture(max)
    }

    /// Which run of the service this is.
    #[must_use]
    pub const fn stream(&self) -> Nonce {
        self.stream
    }

    /// How much was applied of each run of input.
    #[must_use]
    pub fn input_applied(&self) -> Vec<(Nonce, u64)> {
        self.input.runs().collect()
    }

    /// The service was shown by a process that is gone: its old screen is shown above what comes, and what was typed at
    /// it and not applied is dropped, unless it `takes_rest`.
    pub fn restore(&mut self, transcript: &[u8], applied: &[(Nonce, u64)], takes_rest: bool) {
        self.is_restored = !takes_rest;
        for (run, applied) in applied {
            if takes_rest {
                self.input.take_on(*run, *applied);
            } else {
                self.input.drop_rest(*run, *applied);
            }
        }
        self.output(transcript);
    }
}

#[cfg(test)]
mod tests;
