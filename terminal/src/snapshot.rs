//! A terminal as bytes that bring an empty one of the same size into the same state.

use crate::cell::{Attrs, Pen};
use crate::charset::Charset;
use crate::grid::{Grid, Row};
use crate::perform::OWN;
use crate::state::{Cursor, Saved, Sets, State, TAB};

/// Bytes that are being written, and what they leave the pen at.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pen: Pen,
}

impl Writer {
    pub(crate) fn put(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn pen(&mut self, pen: Pen) {
        let protected = |pen: Pen| pen.attrs.has(Attrs::PROTECTED);
        if protected(pen) != protected(self.pen) {
            self.put(if protected(pen) { "\x1b[1\"q" } else { "\x1b[0\"q" });
            self.pen.attrs.set(Attrs::PROTECTED, protected(pen));
        }
        if pen != self.pen {
            self.put(&if pen == Pen::default() {
                "\x1b[m".to_owned()
            } else {
                format!("\x1b[{}m", pen.to_sgr())
            });
            self.pen = pen;
        }
    }

    /// For a real terminal, where nothing need be protected.
    pub(crate) fn pen_shown(&mut self, mut pen: Pen) {
        pen.attrs.set(Attrs::PROTECTED, false);
        self.pen(pen);
    }

    /// A cell for a real terminal.
    pub(crate) fn cell_shown(&mut self, cell: &crate::Cell) {
        self.pen_shown(cell.pen());
        let mut text = String::new();
        cell.push_to(&mut text);
        self.put(&text);
    }

    pub(crate) fn go_to(&mut self, row: usize, col: usize) {
        self.put(&format!("\x1b[{};{}H", row + 1, col + 1));
    }

    /// Cells from where the cursor is.
    pub(crate) fn cells(&mut self, cells: &[crate::Cell]) {
        let mut text = String::new();
        for cell in cells.iter().filter(|cell| cell.width() > 0) {
            self.pen(cell.pen());
            text.clear();
            cell.push_to(&mut text);
            self.put(&text);
        }
    }

    fn grid(&mut self, grid: &Grid) {
        let mut goes_on = false;
        for (n, row) in grid.rows.iter().enumerate() {
            let Row { cells, wrapped } = row;
            let len = if *wrapped { cells.len() } else { row.len_written() };
            if !goes_on && len > 0 {
                self.go_to(n, 0);
            }
            // A line that goes on in a blank one needs something there that makes it do so.
            self.cells(&cells[..len.max(usize::from(goes_on))]);
            goes_on = *wrapped;
        }
    }

    fn sets(&mut self, sets: &Sets) {
        for (n, set) in sets.designated.iter().enumerate().filter(|(_, set)| **set != Charset::Ascii) {
            self.bytes.extend_from_slice(&[0x1b, b"()*+"[n], set.name()]);
        }
        self.put(["", "\x0e", "\x1bn", "\x1bo"][sets.shift.min(3)]);
        match sets.single {
            Some(2) => self.put("\x1bN"),
            Some(_) => self.put("\x1bO"),
            None => {}
        }
    }

    fn pending(&mut self, cursor: Cursor) {
        if cursor.pending {
            self.put(&format!("\x1b]{OWN};w\x1b\\"));
        }
    }

    /// A cursor that was saved, and nothing of it else.
    fn saved(&mut self, saved: &Saved) {
        if *saved == Saved::default() {
            return;
        }
        if saved.origin {
            self.put("\x1b[?6h");
        }
        self.go_to(saved.cursor.row, saved.cursor.col);
        self.pending(saved.cursor);
        self.pen(saved.pen);
        self.sets(&saved.sets);
        self.put("\x1b7");
        if saved.origin {
            self.put("\x1b[?6l");
        }
        for (n, _) in saved.sets.designated.iter().enumerate().filter(|(_, set)| **set != Charset::Ascii) {
            self.bytes.extend_from_slice(&[0x1b, b"()*+"[n], Charset::Ascii.name()]);
        }
        if saved.sets.shift != 0 {
            self.put("\x0f");
        }
        self.pen(Pen::default());
    }
}

impl State {
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.palette.draw(&crate::Palette::default(), &mut w.bytes);
        for title in &self.titles {
            w.put(&format!("\x1b]2;{title}\x1b\\\x1b[22t"));
        }
        if !self.titles.is_empty() || !self.title.is_empty() {
            w.put(&format!("\x1b]2;{}\x1b\\", self.title));
        }
        for (mode, on) in &self.saved_modes {
            w.put(&format!("\x1b[?{mode}{}\x1b[?{mode}s", if *on { 'h' } else { 'l' }));
        }
        for mode in self.saved_modes.keys() {
            let first = if crate::Modes::default().is_set(*mode) { 'h' } else { 'l' };
            w.put(&format!("\x1b[?{mode}{first}"));
        }
        if self.is_alternate {
            w.grid(&self.other);
            w.saved(&self.saved_other);
            w.pen(Pen::default());
            w.put("\x1b[?47h");
            w.grid(&self.grid);
            w.saved(&self.saved);
        } else {
            w.grid(&self.grid);
            w.saved(&self.saved);
            w.pen(Pen::default());
            if self.saved_other != Saved::default() || self.other.is_written() {
                w.put("\x1b[?47h");
                w.grid(&self.other);
                w.saved(&self.saved_other);
                w.pen(Pen::default());
                w.put("\x1b[?47l");
            }
        }
        self.draw_rest(&mut w);
        w.bytes
    }

    /// All but cells and titles.
    fn draw_rest(&self, w: &mut Writer) {
        let (cols, margins) = (self.cols(), self.margins);
        if !self.tabs.iter().copied().eq((0..cols).step_by(TAB)) {
            w.put("\x1b[3g");
            for tab in &self.tabs {
                w.put(&format!("\x1b[{}G\x1bH", tab + 1));
            }
        }
        if (margins.top, margins.bottom) != (0, self.rows()) {
            w.put(&format!("\x1b[{};{}r", margins.top + 1, margins.bottom));
        }
        if self.modes.sides {
            w.put(&format!("\x1b[?69h\x1b[{};{}s", margins.left + 1, margins.right));
        }
        let Cursor { row, col, .. } = self.cursor;
        if self.modes.origin {
            w.put("\x1b[?6h");
            w.go_to(row.saturating_sub(margins.top), col.saturating_sub(margins.left));
        } else {
            w.go_to(row, col);
        }
        w.pending(self.cursor);
        self.modes.draw(&mut w.bytes);
        if self.whole_rectangles {
            w.put("\x1b[2*x");
        }
        w.pen(self.pen);
        w.sets(&self.sets);
        if let Some(c) = self.last {
            w.put(&format!("\x1b]{OWN};r{c}\x1b\\"));
        }
    }

    /// The text alone, and the cursor, in at most `max` bytes.
    pub(crate) fn text_snapshot(&self, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for (n, row) in self.grid.rows.iter().enumerate() {
            let line = format!("\x1b[{};1H{}", n + 1, row.text().trim_end());
            if out.len() + line.len() + 32 > max {
                break;
            }
            out.extend_from_slice(line.as_bytes());
        }
        out.extend_from_slice(format!("\x1b[{};{}H", self.cursor.row + 1, self.cursor.col + 1).as_bytes());
        out
    }
}
