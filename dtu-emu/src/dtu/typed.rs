//! What the user typed and no session has acknowledged yet.
//!
//! Bytes are numbered within a run, drawn anew for each session; the session applies each number once, so
//! what is in doubt after a broken connection is simply sent again.

use std::collections::VecDeque;

use proto::Nonce;
use proto::frame::{Frame, INPUT_WINDOW};

/// Unacknowledged bytes kept, at most: what a person types while a host is away, or one paste.
pub(super) const KEPT_MAX: usize = 256 * 1024;
/// Largest piece sent in one frame.
const PIECE_MAX: usize = 16 * 1024;

const _: () = assert!(PIECE_MAX < INPUT_WINDOW && INPUT_WINDOW < KEPT_MAX);

#[derive(Debug)]
pub(super) struct TypedInput {
    run: Nonce,
    /// Number of the first kept byte.
    base: u64,
    kept: VecDeque<u8>,
    /// How many of the kept bytes are on the way.
    sent: usize,
}

impl TypedInput {
    pub(super) const fn new(run: Nonce) -> Self {
        Self { run, base: 0, kept: VecDeque::new(), sent: 0 }
    }

    pub(super) const fn run(&self) -> Nonce {
        self.run
    }

    /// What follows is for another session. Says how many bytes meant for the old one are dropped.
    pub(super) fn restart(&mut self, run: Nonce) -> usize {
        let dropped = self.kept.len();
        *self = Self::new(run);
        dropped
    }

    /// Keeps `bytes`, or as many of them as there is room for, and says how many.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(KEPT_MAX.saturating_sub(self.kept.len()));
        self.kept.extend(&bytes[..taken]);
        taken
    }

    /// Everything below `input` was applied.
    pub(super) fn acked(&mut self, input: u64) {
        let done =
            usize::try_from(input.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.kept.len());
        self.kept.drain(..done);
        self.base += done as u64;
        self.sent = self.sent.saturating_sub(done);
    }

    /// A session that says it applied everything below `applied`: what is left is numbered from there, and
    /// nothing of it is on the way. A lower number than was acknowledged is from a session that lost its
    /// memory of this run with its process; the rest is still news to it.
    pub(super) fn welcome(&mut self, applied: u64) {
        self.acked(applied);
        self.base = applied;
        self.sent = 0;
    }

    /// What may be sent now: kept, not yet on the way, and within the session's window.
    pub(super) fn next_frames(&mut self) -> Vec<Frame> {
        let end = self.kept.len().min(INPUT_WINDOW);
        let mut frames = Vec::new();
        while self.sent < end {
            let piece = (end - self.sent).min(PIECE_MAX);
            let bytes = self.kept.range(self.sent..self.sent + piece).copied().collect();
            frames.push(Frame::Input { seq: self.base + self.sent as u64, bytes });
            self.sent += piece;
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(seq: u64, bytes: &[u8]) -> Frame {
        Frame::Input { seq, bytes: bytes.to_vec() }
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_with_its_own_numbers() {
        let mut typed = TypedInput::new(Nonce(1));
        assert_eq!(typed.keep(b"abcdef"), 6);
        assert_eq!(typed.next_frames(), [input(0, b"abcdef")]);
        assert_eq!(typed.next_frames(), []);
        typed.acked(2);
        typed.welcome(4);
        assert_eq!(typed.next_frames(), [input(4, b"ef")]);
        typed.acked(99);
        assert_eq!(typed.keep(b"g"), 1);
        assert_eq!(typed.next_frames(), [input(6, b"g")]);
    }

    #[test]
    fn a_session_that_forgot_the_run_still_gets_the_rest() {
        let mut typed = TypedInput::new(Nonce(1));
        typed.keep(b"abcdef");
        typed.acked(4);
        typed.welcome(0);
        assert_eq!(typed.next_frames(), [input(0, b"ef")]);
    }

    #[test]
    fn what_exceeds_the_window_waits_for_an_acknowledgement() {
        let mut typed = TypedInput::new(Nonce(1));
        typed.keep(&vec![b'x'; INPUT_WINDOW + 5]);
        assert_eq!(typed.next_frames().len(), INPUT_WINDOW / PIECE_MAX);
        assert_eq!(typed.next_frames(), []);
        typed.acked(3);
        assert_eq!(typed.next_frames(), [input(INPUT_WINDOW as u64, b"xxx")]);
    }

    #[test]
    fn nobody_types_more_than_the_bound_into_nothing() {
        let mut typed = TypedInput::new(Nonce(1));
        assert_eq!(typed.keep(&vec![0; KEPT_MAX + 10]), KEPT_MAX);
        assert_eq!(typed.keep(b"x"), 0);
        assert_eq!(typed.restart(Nonce(2)), KEPT_MAX);
        assert_eq!(typed.keep(b"x"), 1);
    }
}
