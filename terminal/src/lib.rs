//! The terminal of Hotdesk: what a program writes to, from the bytes to the cells.
//!
//! A session keeps one for each of its services, so that any desk can be shown its screen at any moment and that its
//! programs are answered whether anybody looks or not; a desk keeps one of what it shows. It is the same on both sides,
//! or a screen would look different after its card has moved.
//!
//! A pure machine: bytes and sizes come in, cells, modes, [answers](Terminal::take_answers) and
//! [snapshots](Terminal::snapshot) come out. It has no clock and no limit that a program could exceed: lines above the
//! screen, combined characters, titles, answers and unfinished sequences are bounded.
//!
//! ```text
//!   bytes ─▶ parser ─▶ state ─▶ grid ─▶ rows, for pictures and painters
//!                        ├─▶ answers, for the program
//!                        └─▶ snapshot, for another terminal
//! ```
//!
//! Its own code and not a library's, for the sake of the snapshot: what a copy needs to go on exactly as the original
//! does (the screen that is not shown, margins, tab stops, saved cursors, a sequence cut in two) is private in
//! `alacritty_terminal`, and `avt`, which writes one, keeps no modes of keys and mouse, one character a cell, and nothing of
//! what is asked. `termwiz` parses and draws, and has no terminal. None of them has left and right margins, selective
//! erasure or rectangles, and those cannot be added from outside. `tests/screens` holds it against xterm.

mod answers;
mod cell;
mod charset;
mod color;
mod csi;
mod grid;
mod modes;
mod painter;
mod parser;
mod perform;
mod rect;
mod sgr;
mod snapshot;
mod state;
mod transcript;

pub use cell::{Attrs, Cell, Color, Pen};
pub use color::{Palette, Rgb};
pub use grid::Row;
pub use modes::Modes;
pub use painter::{Over, Painter, RESET};
pub use proto::frame::Size;

use parser::Parser;
use state::State;

/// Lines kept above the screen, for a screen that becomes taller or wider again.
const ABOVE_MAX: usize = 128;

/// What happened that is not on the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The bell rang.
    pub bell: bool,
    /// The clipboard was filled: which (as OSC 52 has it), and with what, in base64.
    pub clipboard: Option<(String, String)>,
}

/// See the crate's text.
pub struct Terminal {
    parser: Parser,
    state: State,
}

impl core::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Terminal").field("size", &self.state.size).finish_non_exhaustive()
    }
}

impl Terminal {
    /// An empty one. A size out of bounds is moved to the nearest bound.
    #[must_use]
    pub fn new(size: Size) -> Self {
        let size = Size::clamped(size.cols, size.rows);
        Self { parser: Parser::default(), state: State::new(size, ABOVE_MAX) }
    }

    /// An empty one that keeps no lines above its screen, for one that is drawn anew with every other size.
    #[must_use]
    pub fn without_scrollback(size: Size) -> Self {
        let size = Size::clamped(size.cols, size.rows);
        Self { parser: Parser::default(), state: State::new(size, 0) }
    }

    /// Columns and rows of the screen.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.state.size
    }

    /// Gives it another size. Lines of the first screen are broken anew, those of the alternate one are cropped.
    pub fn resize(&mut self, size: Size) {
        let size = Size::clamped(size.cols, size.rows);
        if size != self.state.size {
            self.state.resize(size);
        }
    }

    /// Takes in what a program wrote, cut anywhere. What is not UTF-8 shows as U+FFFD.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.parser.feed(bytes, &mut self.state);
    }

    /// What is to be sent to the program: answers to what it asked since the last time, at most 4 KiB.
    pub fn take_answers(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.state.answers)
    }

    /// What happened since the last time that is not on the screen.
    pub fn take_events(&mut self) -> Events {
        core::mem::take(&mut self.state.events)
    }

    /// The lines shown, from top to bottom.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &Row> + '_ {
        self.state.grid.rows.iter()
    }

    /// The text of the lines shown, without the blanks at their ends.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.rows().map(|row| row.text().trim_end().to_owned()).collect()
    }

    /// Column and row of the cursor, from 0; `None` when it is hidden.
    #[must_use]
    pub fn cursor(&self) -> Option<(usize, usize)> {
        self.state.modes.is_set(25).then_some((self.state.cursor.col, self.state.cursor.row))
    }

    /// The modes that are set.
    #[must_use]
    pub const fn modes(&self) -> &Modes {
        &self.state.modes
    }

    /// The colours as programs have changed them.
    #[must_use]
    pub const fn palette(&self) -> &Palette {
        &self.state.palette
    }

    /// The title of the window; empty if none was set.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.state.title
    }

    /// Whether the alternate screen is shown, that of full-screen programs.
    #[must_use]
    pub const fn is_alternate(&self) -> bool {
        self.state.is_alternate
    }

    /// How many lines are kept above the screen.
    #[must_use]
    pub fn above(&self) -> usize {
        let State { grid, other, is_alternate, .. } = &self.state;
        if *is_alternate { other.above() } else { grid.above() }
    }

    /// What brings an empty terminal of the same size into the same state, an unfinished sequence included, so that
    /// output that follows means there what it means here. Lines above the screen are not in it.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = self.state.snapshot();
        bytes.extend_from_slice(self.parser.unfinished());
        bytes
    }

    /// What draws the text and the cursor alone, in at most `max` bytes.
    #[must_use]
    pub fn text_snapshot(&self, max: usize) -> Vec<u8> {
        self.state.text_snapshot(max)
    }
}

#[cfg(test)]
mod tests;
