//! A terminal's lines for another terminal: those above the screen too, which a [snapshot](Terminal::snapshot) leaves out.

use std::collections::VecDeque;

use crate::cell::Pen;
use crate::grid::{Grid, Row};
use crate::snapshot::Writer;
use crate::{State, Terminal};

impl Terminal {
    /// A [snapshot](Self::snapshot) with the lines above the screen, in at most `max` bytes: the oldest lines are left out
    /// first, then colours.
    #[must_use]
    pub fn picture(&self, max: usize) -> Vec<u8> {
        let snapshot = self.snapshot();
        if snapshot.len() > max {
            return self.text_snapshot(max);
        }
        let to_top = format!("{}\x1b[H", "\r\n".repeat(self.state.rows() - 1));
        let room = max - snapshot.len();
        let above =
            room.checked_sub(to_top.len()).map(|room| newest(lines(self.state.first().above_rows()), room));
        match above.filter(|above| !above.is_empty()) {
            Some(above) => [above, to_top.into_bytes(), snapshot].concat(),
            None => snapshot,
        }
    }

    /// The lines above the screen and those on it, with their colours, as a program would print them; while the alternate
    /// screen is shown, the lines of that follow. Blank lines at the end are left out, and the oldest if there are more
    /// than `max` bytes. What follows begins on a line of its own.
    #[must_use]
    pub fn transcript(&self, max: usize) -> Vec<u8> {
        let first = self.state.first();
        let mut all = lines(first.above_rows().chain(written(first)));
        if self.state.is_alternate {
            all.extend(lines(written(&self.state.grid)));
        }
        newest(all, max)
    }
}

impl State {
    /// The first screen, whether it is shown or not.
    fn first(&self) -> &Grid {
        if self.is_alternate { &self.other } else { &self.grid }
    }
}

/// The rows of a screen up to the last one with something in it.
fn written(grid: &Grid) -> impl Iterator<Item = &Row> {
    let last = grid.rows.iter().rposition(|row| !row.is_blank());
    grid.rows.iter().take(last.map_or(0, |last| last + 1))
}

/// Each row as the bytes that print it and go to the next one.
fn lines<'a>(rows: impl Iterator<Item = &'a Row>) -> VecDeque<Vec<u8>> {
    let mut rows = rows.peekable();
    let mut lines = VecDeque::new();
    while let Some(row) = rows.next() {
        let mut w = Writer::default();
        let goes_on = row.wrapped && rows.peek().is_some_and(|next| !next.is_blank());
        w.cells(&row.cells[..if row.wrapped { row.cells.len() } else { row.len_written() }]);
        // A line that is begun in a colour would be all of that colour.
        w.pen(Pen::default());
        w.put(if goes_on { "" } else { "\r\n" });
        lines.push_back(w.bytes);
    }
    lines
}

/// The last lines, as many as fit `max` bytes.
fn newest(mut lines: VecDeque<Vec<u8>>, max: usize) -> Vec<u8> {
    let mut len: usize = lines.iter().map(Vec::len).sum();
    while len > max {
        len -= lines.pop_front().map_or(len, |line| line.len());
    }
    lines.into_iter().flatten().collect()
}
