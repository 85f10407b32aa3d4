//! The last output of a service, by offset: what a DTU that lost its connection can be sent again.

use std::collections::VecDeque;

/// Most output kept. A DTU that is further behind is repainted.
pub const BACKLOG_MAX: usize = 256 * 1024;

/// Capacity an empty backlog keeps: a session whose DTU keeps up should cost little.
const CAPACITY_IDLE: usize = 8 * 1024;

/// A window over the output stream: it begins at the oldest byte kept and ends at the newest written.
#[derive(Debug, Default)]
pub struct Backlog {
    start: u64,
    bytes: VecDeque<u8>,
}

impl Backlog {
    /// Offset of the oldest byte kept.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset behind the newest byte: as much was written so far.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Whether everything from `offset` on is kept.
    #[must_use]
    pub fn reaches(&self, offset: u64) -> bool {
        (self.start..=self.end()).contains(&offset)
    }

    /// Appends what was written; the oldest beyond [`BACKLOG_MAX`] is forgotten.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(BACKLOG_MAX);
        self.drop_front(excess);
    }

    /// Forgets everything below `offset`: its DTU has it.
    pub fn trim(&mut self, offset: u64) {
        let known = offset.clamp(self.start, self.end()) - self.start;
        self.drop_front(usize::try_from(known).unwrap_or(usize::MAX));
        if self.bytes.is_empty() && self.bytes.capacity() > CAPACITY_IDLE {
            self.bytes.shrink_to(CAPACITY_IDLE);
        }
    }

    /// The longest piece that lies in memory in one from `offset` on, at most `len_max` bytes; empty at the end.
    #[must_use]
    pub fn piece(&self, offset: u64, len_max: usize) -> &[u8] {
        let Some(skip) = offset.checked_sub(self.start).and_then(|n| usize::try_from(n).ok()) else {
            return &[];
        };
        let (front, back) = self.bytes.as_slices();
        let piece = match skip.checked_sub(front.len()) {
            None => &front[skip..],
            Some(skip) => back.get(skip..).unwrap_or(&[]),
        };
        &piece[..piece.len().min(len_max)]
    }

    fn drop_front(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.start += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(backlog: &Backlog, mut offset: u64) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = backlog.piece(offset, 7);
            if piece.is_empty() {
                return all;
            }
            all.extend_from_slice(piece);
            offset += piece.len() as u64;
        }
    }

    #[test]
    fn the_oldest_output_is_forgotten_first() {
        let mut backlog = Backlog::default();
        for n in 0..=BACKLOG_MAX {
            backlog.push(&[u8::try_from(n % 251).unwrap()]);
        }
        assert_eq!((backlog.start(), backlog.end()), (1, BACKLOG_MAX as u64 + 1));
        assert!(!backlog.reaches(0) && backlog.reaches(1) && backlog.reaches(backlog.end()));
        assert_eq!(backlog.piece(0, 9), b"");
        assert_eq!(read(&backlog, 1).len(), BACKLOG_MAX);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_written(
            steps in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), 0_u64..60), 0..30)
        ) {
            let mut backlog = Backlog::default();
            let mut written = Vec::new();
            for (bytes, ahead) in steps {
                backlog.push(&bytes);
                written.extend_from_slice(&bytes);
                backlog.trim(backlog.start() + ahead);
                prop_assert_eq!(backlog.end(), written.len() as u64);
                let start = usize::try_from(backlog.start()).unwrap();
                prop_assert_eq!(read(&backlog, backlog.start()), &written[start..]);
            }
        }
    }
}
