//! What the user typed and no session has acknowledged yet.
//!
//! Bytes are numbered within a run, drawn anew for each session; the session applies each number once, so
//! what is in doubt after a broken connection is simply sent again.

use std::collections::VecDeque;

use proto::frame::{Frame, INPUT_WINDOW};
use proto::{Instant, Nonce};

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
    /// Since when nothing of them was acknowledged.
    waiting: Option<Instant>,
}

impl TypedInput {
    pub(super) const fn new(run: Nonce) -> Self {
        Self { run, base: 0, kept: VecDeque::new(), sent: 0, waiting: None }
    }

    pub(super) const fn run(&self) -> Nonce {
        self.run
    }

    /// How many bytes nobody has acknowledged yet.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Keeps `bytes`, or as many of them as there is room for, and says how many.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(KEPT_MAX.saturating_sub(self.kept.len()));
        self.kept.extend(&bytes[..taken]);
        taken
    }

    /// Everything below `input` was applied.
    pub(super) fn acked(&mut self, now: Instant, input: u64) {
        let done =
            usize::try_from(input.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.kept.len());
        self.kept.drain(..done);
        self.base += done as u64;
        self.sent = self.sent.saturating_sub(done);
        if self.sent == 0 {
            self.waiting = None;
        } else if done > 0 {
            self.waiting = Some(now);
        }
    }

    /// Since when the session owes us an acknowledgement.
    pub(super) const fn waiting(&self) -> Option<Instant> {
        self.waiting
    }

    /// It was asked about that; the time counts from now.
    pub(super) fn asked(&mut self, now: Instant) {
        self.waiting = self.waiting.map(|_| now);
    }

    /// A session that says it applied everything below `applied`: what is left is numbered from there, and
    /// nothing of it is on the way. A lower number than was acknowledged is from a session that lost its
    /// memory of this run with its process; the rest is still news to it. A higher one than was ever typed is from a
    /// session that goes on at another host and drops what had not arrived: says how many bytes nobody will apply.
    pub(super) fn welcome(&mut self, now: Instant, applied: u64) -> usize {
        let dropped = if applied > self.base + self.kept.len() as u64 { self.kept.len() } else { 0 };
        self.acked(now, applied);
        self.base = applied;
        self.sent = 0;
        self.waiting = None;
        dropped
    }

    /// What may be sent now: kept, not yet on the way, and within the session's window.
    pub(super) fn next_frames(&mut self, now: Instant) -> Vec<Frame> {
        let end = self.kept.len().min(INPUT_WINDOW);
        let mut frames = Vec::new();
        while self.sent < end {
            let piece = (end - self.sent).min(PIECE_MAX);
            let bytes = self.kept.range(self.sent..self.sent + piece).copied().collect();
            frames.push(Frame::Input { seq: self.base + self.sent as u64, bytes });
            self.sent += piece;
            self.waiting.get_or_insert(now);
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn input(seq: u64, bytes: &[u8]) -> Frame {
        Frame::Input { seq, bytes: bytes.to_vec() }
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_with_its_own_numbers() {
        let mut typed = TypedInput::new(Nonce(1));
        assert_eq!(typed.keep(b"abcdef"), 6);
        assert_eq!(typed.next_frames(NOW), [input(0, b"abcdef")]);
        assert_eq!(typed.next_frames(NOW), []);
        typed.acked(NOW, 2);
        assert_eq!(typed.welcome(NOW, 4), 0);
        assert_eq!(typed.next_frames(NOW), [input(4, b"ef")]);
        typed.acked(NOW, 99);
        assert_eq!(typed.keep(b"g"), 1);
        assert_eq!(typed.next_frames(NOW), [input(6, b"g")]);
    }

    #[test]
    fn a_session_that_forgot_the_run_still_gets_the_rest() {
        let mut typed = TypedInput::new(Nonce(1));
        typed.keep(b"abcdef");
        typed.acked(NOW, 4);
        assert_eq!(typed.welcome(NOW, 0), 0);
        assert_eq!(typed.next_frames(NOW), [input(0, b"ef")]);
    }

    #[test]
    fn what_a_session_that_was_restored_elsewhere_drops_is_not_sent_again() {
        let mut typed = TypedInput::new(Nonce(1));
        typed.keep(b"half a li");
        typed.next_frames(NOW);
        typed.acked(NOW, 4);
        assert_eq!(typed.welcome(NOW, 1 << 40), 5);
        assert_eq!((typed.next_frames(NOW), typed.waiting()), (vec![], None));
        typed.keep(b"ls");
        assert_eq!(typed.next_frames(NOW), [input(1 << 40, b"ls")]);
    }

    #[test]
    fn what_exceeds_the_window_waits_for_an_acknowledgement() {
        let mut typed = TypedInput::new(Nonce(1));
        typed.keep(&vec![b'x'; INPUT_WINDOW + 5]);
        assert_eq!(typed.next_frames(NOW).len(), INPUT_WINDOW / PIECE_MAX);
        assert_eq!(typed.next_frames(NOW), []);
        typed.acked(NOW, 3);
        assert_eq!(typed.next_frames(NOW), [input(INPUT_WINDOW as u64, b"xxx")]);
    }

    #[test]
    fn nobody_types_more_than_the_bound_into_nothing() {
        let mut typed = TypedInput::new(Nonce(1));
        assert_eq!(typed.keep(&vec![0; KEPT_MAX + 10]), KEPT_MAX);
        assert_eq!(typed.keep(b"x"), 0);
        assert_eq!(typed.kept(), KEPT_MAX);
    }

    #[test]
    fn an_acknowledgement_is_owed_from_sending_until_all_is_applied() {
        let later = |ms: u64| Instant::from_micros(ms * 1000);
        let mut typed = TypedInput::new(Nonce(1));
        typed.keep(b"abc");
        assert_eq!(typed.waiting(), None, "not sent yet");
        typed.next_frames(later(5));
        typed.keep(b"d");
        typed.next_frames(later(9));
        assert_eq!(typed.waiting(), Some(later(5)));
        typed.acked(later(20), 0);
        assert_eq!(typed.waiting(), Some(later(5)), "that acknowledged nothing");
        typed.acked(later(20), 2);
        assert_eq!(typed.waiting(), Some(later(20)));
        typed.acked(later(30), 4);
        assert_eq!(typed.waiting(), None);
    }
}
