//! What is behind a display: the output of a service, and the picture that it makes.
//!
//! A feed knows nothing of who looks. Whoever was there before is sent what it lacks ([`Feed::replay`]); anybody else, and
//! whoever is too far behind, is sent the whole picture ([`Feed::repaint`]).

use proto::frame::{PAYLOAD_MAX, Size};
use terminal::Terminal;

use super::backlog::{BACKLOG_MAX, Backlog};

/// Longest repaint: what fits a frame beside its fields.
const REPAINT_MAX: usize = PAYLOAD_MAX - 64;

/// Output that may wait for [`Feed::digest`] before it has to be digested on the spot.
pub(super) const UNDIGESTED_MAX: usize = 64 * 1024;
const _: () = assert!(UNDIGESTED_MAX * 2 <= BACKLOG_MAX);

/// How large a display is, in its own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Columns and rows of characters.
    Cells(Size),
}

/// What is behind a display.
#[derive(Debug)]
pub enum Feed {
    /// A terminal: bytes that draw on cells.
    Terminal(TerminalFeed),
}

/// The last output of a service, and the screen of its terminal.
#[derive(Debug)]
pub struct TerminalFeed {
    backlog: Backlog,
    screen: Terminal,
    digested: u64,
    /// Where the output was when the screen last changed its size. What was written before has been broken into
    /// lines of another length, so it is never replayed; nor is a DTU that has just this much known to have seen
    /// the repaint that followed.
    resized_at: Option<u64>,
}

impl Feed {
    /// The feed of a service that has written nothing yet.
    #[must_use]
    pub fn new(extent: Extent) -> Self {
        match extent {
            Extent::Cells(size) => Self::Terminal(TerminalFeed {
                backlog: Backlog::default(),
                screen: Terminal::new(size),
                digested: 0,
                resized_at: None,
            }),
        }
    }

    /// The present size of the picture.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let Self::Terminal(feed) = self;
        Extent::Cells(feed.screen.size())
    }

    /// Gives the picture another size. What was not [digested](Self::digest) before is drawn at the new one.
    pub fn resize(&mut self, extent: Extent) {
        let (Self::Terminal(feed), Extent::Cells(size)) = (self, extent);
        feed.screen.resize(size);
        feed.resized_at = Some(feed.backlog.end());
    }

    /// How much was written so far.
    #[must_use]
    pub fn end(&self) -> u64 {
        let Self::Terminal(feed) = self;
        feed.backlog.end()
    }

    /// Whether so much more output, at most [`UNDIGESTED_MAX`], can be taken before a [`Feed::digest`].
    #[must_use]
    pub fn has_room(&self, len: usize) -> bool {
        let Self::Terminal(feed) = self;
        feed.backlog.end() - feed.digested + len as u64 <= UNDIGESTED_MAX as u64
    }

    /// The service wrote something; there [is room](Self::has_room) for it.
    pub fn push(&mut self, bytes: &[u8]) {
        let Self::Terminal(feed) = self;
        feed.backlog.push(bytes);
    }

    /// Brings the picture up to date with the output below `upto`. Says what it answers the service.
    pub fn digest(&mut self, upto: u64) -> Vec<u8> {
        let Self::Terminal(feed) = self;
        let upto = upto.min(feed.backlog.end());
        while let Some(left) = upto.checked_sub(feed.digested).filter(|left| *left > 0) {
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let piece = feed.backlog.piece(feed.digested, left);
            feed.digested += piece.len() as u64;
            feed.screen.feed(piece);
        }
        // Nothing here rings or has a clipboard.
        let _ = feed.screen.take_events();
        feed.screen.take_answers()
    }

    /// How much of the output is in the picture.
    #[must_use]
    pub const fn digested(&self) -> u64 {
        let Self::Terminal(feed) = self;
        feed.digested
    }

    /// The picture with the lines above it, in at most `max` bytes; see [`Terminal::picture`].
    #[must_use]
    pub fn picture(&self, max: usize) -> Vec<u8> {
        let Self::Terminal(feed) = self;
        feed.screen.picture(max)
    }

    /// Whether all output from `offset` on is kept.
    #[must_use]
    pub fn reaches(&self, offset: u64) -> bool {
        let Self::Terminal(feed) = self;
        feed.backlog.reaches(offset)
    }

    /// Whether one who has seen everything below `offset`, and was away, can be sent the rest instead of a picture.
    #[must_use]
    pub fn resumes(&self, offset: u64) -> bool {
        let Self::Terminal(feed) = self;
        feed.backlog.reaches(offset) && feed.resized_at.is_none_or(|at| offset > at)
    }

    /// Output from `offset` on, at most `len_max` bytes; empty at the end.
    #[must_use]
    pub fn replay(&self, offset: u64, len_max: usize) -> &[u8] {
        let Self::Terminal(feed) = self;
        feed.backlog.piece(offset, len_max)
    }

    /// Nobody needs the output below `offset` again.
    pub fn trim(&mut self, offset: u64) {
        let Self::Terminal(feed) = self;
        feed.backlog.trim(offset.min(feed.digested));
    }

    /// All that the picture is made of, as bytes that make it again from nothing.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let Self::Terminal(feed) = self;
        feed.screen.snapshot()
    }

    /// What draws the picture in one frame. Of one that would take more than that, which needs colours of its own in each
    /// of some twenty thousand cells, only the text.
    #[must_use]
    pub fn repaint(&self) -> Vec<u8> {
        let all = self.snapshot();
        let Self::Terminal(feed) = self;
        if all.len() > REPAINT_MAX { feed.screen.text_snapshot(REPAINT_MAX) } else { all }
    }

    /// The text of the picture, line by line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Self::Terminal(feed) = self;
        feed.screen.lines()
    }
}

#[cfg(test)]
impl Feed {
    /// How much output is kept.
    pub(super) fn kept(&self) -> usize {
        let Self::Terminal(feed) = self;
        usize::try_from(feed.backlog.end() - feed.backlog.start()).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
impl TerminalFeed {
    pub(super) fn screen(&self) -> &Terminal {
        &self.screen
    }
}
