//! How far a DTU has followed a service's output, and whether its screen shows all of that.

use core::time::Duration;

use proto::frame::Size;
use proto::{Instant, Nonce};

use super::input::Paint;

/// Output is acknowledged after this time or after [`ACK_BYTES`], whichever comes first.
const ACK_DELAY: Duration = Duration::from_millis(50);
const ACK_BYTES: u64 = 16 * 1024;

/// What came of some output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// This is to be painted.
    Paint(Paint),
    /// It was there already.
    Nothing,
    /// Something before it is missing: ask for a repaint.
    Gap,
}

/// What a Welcome means for the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcomed {
    /// It shows this stream already.
    Same,
    /// What it shows belongs to another stream; what it needs will come.
    Another,
    /// It shows another display: ask for a repaint.
    Unpainted,
}

/// Which output the screen shows, and whether it shows all of it.
#[derive(Debug)]
pub(super) struct Picture {
    /// The run of the service whose output is numbered; all zeros for none.
    stream: Nonce,
    have: u64,
    /// A repaint was asked for; output is of no use until it comes.
    awaiting: bool,
    /// It came to be looked at after Hello said how far it was: the repaint is still to be asked for.
    revealed: bool,
    acked: u64,
    ack_at: Option<Instant>,
}

impl Picture {
    pub(super) const fn new() -> Self {
        Self { stream: Nonce(0), have: 0, awaiting: false, revealed: false, acked: 0, ack_at: None }
    }

    /// The screen was cleared.
    pub(super) const fn forget(&mut self) {
        *self = Self::new();
    }

    /// The screen shows something else: a repaint is needed.
    pub(super) const fn reveal(&mut self) {
        self.awaiting = true;
        self.revealed = true;
    }

    /// What to say in Hello: the stream the screen has part of, and how much.
    pub(super) const fn position(&mut self) -> (Nonce, u64) {
        self.revealed = false;
        self.said()
    }

    const fn said(&self) -> (Nonce, u64) {
        if self.awaiting { (Nonce(0), 0) } else { (self.stream, self.have) }
    }

    /// The session named its stream.
    pub(super) fn welcome(&mut self, stream: Nonce) -> Welcomed {
        self.ack_at = None;
        if core::mem::take(&mut self.revealed) {
            if self.stream != stream {
                (self.stream, self.have, self.acked) = (stream, 0, 0);
            }
            return Welcomed::Unpainted;
        }
        let (said, _) = self.said();
        self.awaiting = false;
        if said == stream {
            return Welcomed::Same;
        }
        (self.stream, self.have, self.acked) = (stream, 0, 0);
        Welcomed::Another
    }

    /// Output came that nobody looks at.
    pub(super) fn skip(&mut self, now: Instant, end: u64) {
        if end > self.have {
            self.advance(now, end);
        }
    }

    pub(super) fn output(&mut self, now: Instant, offset: u64, mut bytes: Vec<u8>) -> Drawn {
        let end = offset.saturating_add(bytes.len() as u64);
        if self.awaiting || end <= self.have {
            return Drawn::Nothing;
        }
        if offset > self.have {
            self.awaiting = true;
            return Drawn::Gap;
        }
        let known = usize::try_from(self.have - offset).unwrap_or(usize::MAX).min(bytes.len());
        bytes.drain(..known);
        self.advance(now, end);
        Drawn::Paint(Paint::Bytes(bytes))
    }

    pub(super) fn repaint(&mut self, now: Instant, offset: u64, size: Size, bytes: Vec<u8>) -> Paint {
        (self.awaiting, self.revealed) = (false, false);
        self.advance(now, offset);
        Paint::Repaint { size, bytes }
    }

    fn advance(&mut self, now: Instant, have: u64) {
        self.have = have;
        let delay = if have.saturating_sub(self.acked) >= ACK_BYTES { Duration::ZERO } else { ACK_DELAY };
        let at = now + delay;
        self.ack_at = Some(self.ack_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) const fn ack_at(&self) -> Option<Instant> {
        self.ack_at
    }

    /// What to acknowledge, if it is time.
    pub(super) fn ack(&mut self, now: Instant) -> Option<u64> {
        self.ack_at.take_if(|at| *at <= now)?;
        self.acked = self.have;
        Some(self.have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn picture() -> Picture {
        let mut picture = Picture::new();
        assert_eq!(picture.welcome(Nonce(7)), Welcomed::Another);
        picture
    }

    fn painted(text: &str) -> Drawn {
        Drawn::Paint(Paint::Bytes(text.as_bytes().to_vec()))
    }

    #[test]
    fn output_is_drawn_once_whatever_is_sent_again() {
        let mut picture = picture();
        assert_eq!(picture.output(NOW, 0, b"abc".to_vec()), painted("abc"));
        assert_eq!(picture.output(NOW, 0, b"abc".to_vec()), Drawn::Nothing);
        assert_eq!(picture.output(NOW, 1, b"bcde".to_vec()), painted("de"));
        assert_eq!(picture.position(), (Nonce(7), 5));
    }

    #[test]
    fn a_gap_asks_once_for_a_repaint_and_draws_nothing_until_it_comes() {
        let mut picture = picture();
        assert_eq!(picture.output(NOW, 3, b"d".to_vec()), Drawn::Gap);
        assert_eq!(picture.output(NOW, 4, b"e".to_vec()), Drawn::Nothing);
        assert_eq!(picture.position(), (Nonce(0), 0), "a screen with a hole is no base for a replay");
        picture.repaint(NOW, 4, Size::default(), b"x".to_vec());
        assert_eq!(picture.output(NOW, 4, b"e".to_vec()), painted("e"));
    }

    #[test]
    fn another_stream_starts_anew_and_the_same_goes_on() {
        let mut picture = picture();
        picture.output(NOW, 0, b"abc".to_vec());
        assert_eq!(picture.welcome(Nonce(7)), Welcomed::Same);
        assert_eq!(picture.output(NOW, 3, b"d".to_vec()), painted("d"));
        assert_eq!(picture.welcome(Nonce(8)), Welcomed::Another);
        assert_eq!(picture.output(NOW, 0, b"x".to_vec()), painted("x"));
    }

    #[test]
    fn a_picture_that_comes_to_be_looked_at_needs_a_repaint_whenever_that_is() {
        let mut picture = picture();
        picture.skip(NOW, 3);
        assert_eq!((picture.position(), picture.ack(NOW + ACK_DELAY)), ((Nonce(7), 3), Some(3)));
        picture.reveal();
        assert_eq!(picture.output(NOW, 3, b"d".to_vec()), Drawn::Nothing);
        assert_eq!(picture.position(), (Nonce(0), 0), "Hello asks for all of it");
        assert_eq!(picture.welcome(Nonce(7)), Welcomed::Another);
        picture.reveal();
        assert_eq!(picture.welcome(Nonce(7)), Welcomed::Unpainted, "Hello was out before");
        assert_eq!(picture.output(NOW, 0, b"abc".to_vec()), Drawn::Nothing);
        picture.repaint(NOW, 4, Size::default(), b"x".to_vec());
        assert_eq!(picture.output(NOW, 4, b"e".to_vec()), painted("e"));
    }

    #[test]
    fn much_output_is_acknowledged_at_once_and_little_after_a_while() {
        let mut picture = picture();
        picture.output(NOW, 0, b"a".to_vec());
        assert_eq!(picture.ack(NOW), None);
        assert_eq!(picture.ack(NOW + ACK_DELAY), Some(1));
        picture.output(NOW, 1, vec![0; 20_000]);
        assert_eq!(picture.ack(NOW), Some(20_001));
        assert_eq!(picture.ack(NOW + ACK_DELAY), None);
    }
}
