//! A terminal behind its parser: cursor, margins, and what printing and moving do.

use std::collections::{BTreeMap, BTreeSet};

use crate::Size;
use crate::cell::{Attrs, Cell, Pen};
use crate::charset::{self, Charset};
use crate::color::Palette;
use crate::grid::{Grid, Region};
use crate::modes::Modes;

/// Where the next character goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) row: usize,
    pub(crate) col: usize,
    /// The last column is written; the next character begins a new line.
    pub(crate) pending: bool,
}

/// What is saved and restored with the cursor (DECSC, DECRC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) cursor: Cursor,
    pub(crate) pen: Pen,
    pub(crate) sets: Sets,
    pub(crate) origin: bool,
}

/// The character sets: four designated ones, and which of them is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) designated: [Charset; 4],
    pub(crate) shift: usize,
    /// For the next character only.
    pub(crate) single: Option<usize>,
}

/// Where the cursor may go: row above and below, column left and right; inclusive, and at the margins only where
/// they count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) top: usize,
    pub(crate) bottom: usize,
    pub(crate) left: usize,
    pub(crate) right: usize,
}

/// See the module's text.
pub(crate) struct State {
    pub(crate) size: Size,
    /// The screen that is shown, and the other one.
    pub(crate) grid: Grid,
    pub(crate) other: Grid,
    pub(crate) is_alternate: bool,
    pub(crate) cursor: Cursor,
    pub(crate) pen: Pen,
    pub(crate) sets: Sets,
    /// Of the screen that is shown, and of the other one.
    pub(crate) saved: Saved,
    pub(crate) saved_other: Saved,
    pub(crate) margins: Region,
    pub(crate) tabs: BTreeSet<usize>,
    pub(crate) modes: Modes,
    /// Values of modes that a program has put by (XTSAVE).
    pub(crate) saved_modes: BTreeMap<u16, bool>,
    /// Attributes are changed in rectangles and not in streams (DECSACE).
    pub(crate) whole_rectangles: bool,
    pub(crate) palette: Palette,
    pub(crate) title: String,
    pub(crate) titles: Vec<String>,
    /// The character before the cursor, as long as nothing else came after it: what REP repeats.
    pub(crate) last: Option<char>,
    /// What is to be sent to the program.
    pub(crate) answers: Vec<u8>,
    pub(crate) events: crate::Events,
}

/// Distance of tab stops in an empty terminal.
pub(crate) const TAB: usize = 8;

impl State {
    pub(crate) fn new(size: Size, above_max: usize) -> Self {
        let (cols, rows) = (usize::from(size.cols), usize::from(size.rows));
        let grid = Grid::new(cols, rows, above_max);
        let margins = grid.all();
        Self {
            size,
            grid,
            other: Grid::new(cols, rows, 0),
            is_alternate: false,
            cursor: Cursor::default(),
            pen: Pen::default(),
            sets: Sets::default(),
            saved: Saved::default(),
            saved_other: Saved::default(),
            margins,
            tabs: (0..cols).step_by(TAB).collect(),
            modes: Modes::default(),
            saved_modes: BTreeMap::new(),
            whole_rectangles: false,
            palette: Palette::default(),
            title: String::new(),
            titles: Vec::new(),
            last: None,
            answers: Vec::new(),
            events: crate::Events::default(),
        }
    }

    pub(crate) fn cols(&self) -> usize {
        usize::from(self.size.cols)
    }

    pub(crate) fn rows(&self) -> usize {
        usize::from(self.size.rows)
    }

    pub(crate) fn resize(&mut self, size: Size) {
        let (cols, rows) = (usize::from(size.cols), usize::from(size.rows));
        let (mut saved, mut saved_other) = (self.saved.cursor, self.saved_other.cursor);
        let mut cursor = self.cursor;
        if self.is_alternate {
            let up = self.grid.crop(cols, rows, cursor.row);
            for place in [&mut cursor, &mut saved] {
                place.row = place.row.saturating_sub(up).min(rows - 1);
            }
            self.other.reflow_cursors(cols, rows, [&mut saved_other]);
        } else {
            self.grid.reflow_cursors(cols, rows, [&mut cursor, &mut saved]);
            self.other.crop(cols, rows, 0);
        }
        for place in [&mut cursor, &mut saved, &mut saved_other] {
            place.row = place.row.min(rows - 1);
            if place.col >= cols {
                (place.col, place.pending) = (cols - 1, false);
            }
            place.pending &= place.col == cols - 1;
        }
        (self.cursor, self.saved.cursor, self.saved_other.cursor) = (cursor, saved, saved_other);
        self.tabs.retain(|tab| *tab < cols);
        self.tabs.extend((self.cols()..cols).filter(|col| col % TAB == 0));
        self.size = size;
        self.margins = self.grid.all();
        self.last = None;
    }

    // Printing.

    pub(crate) fn print_char(&mut self, c: char) {
        let set = self.sets.single.take().unwrap_or(self.sets.shift);
        let c = self.sets.designated[set].map(c);
        match charset::width(c) {
            // Controls of eight bits, as xterm has them where text is UTF-8.
            0 if c.is_control() => {}
            0 => self.combine(c),
            width => {
                self.put(c, width);
                self.last = Some(c);
            }
        }
    }

    /// Prints what was printed before, which is of no character set any more.
    pub(crate) fn put_again(&mut self, c: char) {
        self.put(c, charset::width(c));
    }

    /// Puts a character that takes no column into the cell before the cursor.
    fn combine(&mut self, mark: char) {
        let Cursor { row, col, pending } = self.cursor;
        let Some(mut col) = (if pending { Some(col) } else { col.checked_sub(1) }) else { return };
        let cells = &mut self.grid.rows[row].cells;
        if cells[col].width() == 0 {
            col = col.saturating_sub(1);
        }
        cells[col].mark(mark);
    }

    fn put(&mut self, c: char, width: usize) {
        if core::mem::take(&mut self.cursor.pending) && self.modes.wraps() {
            self.wrap();
        }
        let limit = self.right_of(self.cursor.col) + 1;
        let (mut c, mut width) = (c, width);
        if width == 2 && self.cursor.col + 2 > limit {
            let left = self.left_margin();
            if limit < 2 || limit - left.min(limit - 1) < 2 {
                // There is no place for it anywhere.
                (c, width) = (char::REPLACEMENT_CHARACTER, 1);
            } else if self.modes.wraps() {
                self.wrap();
            } else {
                return;
            }
        }
        let Cursor { row, col, .. } = self.cursor;
        let limit = self.right_of(col) + 1;
        let (pen, blank) = (self.pen, self.pen.blank());
        let line = &mut self.grid.rows[row];
        if self.modes.insert {
            line.insert(col, limit, width, blank);
        } else {
            line.cut(col);
            line.cut(col + width);
        }
        line.cells[col] = Cell::new(c, if width == 2 { 2 } else { 1 }, pen);
        if width == 2 {
            line.cells[col + 1] = Cell::new(' ', 0, pen);
        }
        if col + width < limit {
            self.cursor.col = col + width;
        } else {
            (self.cursor.col, self.cursor.pending) = (limit - 1, true);
        }
    }

    fn wrap(&mut self) {
        let row = self.cursor.row;
        let is_whole = self.margins.left == 0 && self.margins.right == self.cols();
        self.line_feed();
        self.carriage_return();
        // It may have been scrolled up.
        let before = if self.cursor.row > row { Some(row) } else { row.checked_sub(1) };
        if let Some(line) = before.filter(|_| is_whole).and_then(|row| self.grid.rows.get_mut(row)) {
            line.wrapped = true;
        }
    }

    // Moving.

    pub(crate) const fn left_margin(&self) -> usize {
        self.margins.left
    }

    /// The last column that can be reached from `col`: the margin, unless the cursor is beyond it.
    pub(crate) fn right_of(&self, col: usize) -> usize {
        if col < self.margins.right { self.margins.right - 1 } else { self.cols() - 1 }
    }

    /// How far the cursor can be moved from where it is: to the margins, or to the edges from beyond them.
    pub(crate) fn bounds(&self) -> Bounds {
        let Cursor { row, col, .. } = self.cursor;
        let Region { top, bottom, left, right } = self.margins;
        Bounds {
            top: if row >= top { top } else { 0 },
            bottom: if row < bottom { bottom - 1 } else { self.rows() - 1 },
            left: if col >= left { left } else { 0 },
            right: if col < right { right - 1 } else { self.cols() - 1 },
        }
    }

    pub(crate) fn set_col(&mut self, col: usize) {
        (self.cursor.col, self.cursor.pending) = (col.min(self.cols() - 1), false);
    }

    pub(crate) fn set_row(&mut self, row: usize) {
        (self.cursor.row, self.cursor.pending) = (row.min(self.rows() - 1), false);
    }

    pub(crate) fn up(&mut self, count: usize) {
        self.set_row(self.cursor.row.saturating_sub(count).max(self.bounds().top));
    }

    pub(crate) fn down(&mut self, count: usize) {
        self.set_row((self.cursor.row + count).min(self.bounds().bottom));
    }

    pub(crate) fn right(&mut self, count: usize) {
        self.set_col((self.cursor.col + count).min(self.bounds().right));
    }

    pub(crate) fn left(&mut self, count: usize) {
        self.set_col(self.cursor.col.saturating_sub(count).max(self.bounds().left));
    }

    /// Row and column from 0, counted from the margins in origin mode.
    pub(crate) fn go_to(&mut self, row: usize, col: usize) {
        self.go_to_row(row);
        self.go_to_col(col);
    }

    pub(crate) fn go_to_row(&mut self, row: usize) {
        let Region { top, bottom, .. } = self.margins;
        let row = if self.modes.origin { (top + row).min(bottom - 1) } else { row };
        self.set_row(row);
    }

    pub(crate) fn go_to_col(&mut self, col: usize) {
        let Region { left, right, .. } = self.margins;
        let col = if self.modes.origin { (left + col).min(right - 1) } else { col };
        self.set_col(col);
    }

    pub(crate) fn carriage_return(&mut self) {
        self.set_col(self.bounds().left);
    }

    /// Down by one, scrolling at the bottom margin.
    pub(crate) fn line_feed(&mut self) {
        let Cursor { row, col, .. } = self.cursor;
        let Region { bottom, left, right, .. } = self.margins;
        if row + 1 == bottom {
            if (left..right).contains(&col) {
                self.grid.scroll_up(self.margins, 1, self.pen.blank());
            }
            self.cursor.pending = false;
        } else {
            self.set_row(row + 1);
        }
    }

    /// Up by one, scrolling at the top margin.
    pub(crate) fn reverse_line_feed(&mut self) {
        let Cursor { row, col, .. } = self.cursor;
        let Region { top, left, right, .. } = self.margins;
        if row == top {
            if (left..right).contains(&col) {
                self.grid.scroll_down(self.margins, 1, self.pen.blank());
            }
            self.cursor.pending = false;
        } else {
            self.set_row(row.saturating_sub(1));
        }
    }

    pub(crate) fn backspace(&mut self) {
        let Cursor { row, col, pending } = self.cursor;
        let bounds = self.bounds();
        if self.modes.is_set(45) && self.modes.wraps() {
            if pending {
                // It stands behind the last column, and goes before it.
                self.cursor.pending = false;
                return;
            }
            if col == bounds.left {
                let up = if row > bounds.top { row - 1 } else { bounds.bottom };
                self.cursor.row = up;
                return self.set_col(bounds.right);
            }
        }
        self.left(1);
    }

    pub(crate) fn tab(&mut self, count: usize) {
        let right = self.bounds().right;
        for _ in 0..count.min(self.cols()) {
            let col = self.cursor.col;
            let next = self.tabs.range(col + 1..).next().copied().unwrap_or(right);
            self.cursor.col = next.min(right).max(col);
        }
    }

    pub(crate) fn back_tab(&mut self, count: usize) {
        let left = if self.modes.origin { self.margins.left } else { 0 };
        for _ in 0..count.min(self.cols()) {
            let before = self.tabs.range(..self.cursor.col).next_back().copied().unwrap_or(left);
            self.set_col(before.max(left));
        }
    }

    // Saving and the other screen.

    pub(crate) fn save_cursor(&mut self) {
        let sets = Sets { single: None, ..self.sets };
        self.saved = Saved { cursor: self.cursor, pen: self.pen, sets, origin: self.modes.origin };
    }

    pub(crate) fn restore_cursor(&mut self) {
        let Saved { cursor, pen, sets, origin } = self.saved;
        (self.cursor, self.pen, self.sets, self.modes.origin) = (cursor, pen, sets, origin);
        if origin {
            let Region { top, bottom, left, right } = self.margins;
            self.cursor.row = cursor.row.clamp(top, bottom - 1);
            self.cursor.col = cursor.col.clamp(left, right - 1);
        }
    }

    pub(crate) fn show_alternate(&mut self, on: bool) {
        if self.is_alternate != on {
            self.is_alternate = on;
            core::mem::swap(&mut self.grid, &mut self.other);
            core::mem::swap(&mut self.saved, &mut self.saved_other);
        }
    }

    pub(crate) fn erase_all(&mut self) {
        let (all, pen) = (self.grid.all(), self.pen.blank());
        self.erase(all, pen);
    }

    /// Erases a rectangle; whole lines end where they do.
    pub(crate) fn erase(&mut self, region: Region, pen: Pen) {
        for row in region.top..region.bottom {
            let line = &mut self.grid.rows[row];
            line.erase(region.left, region.right, pen);
            if region.right == usize::from(self.size.cols) {
                line.wrapped = false;
            }
        }
    }

    /// Erases what is not protected in a rectangle, and leaves the attributes (DECSED, DECSEL, DECSERA).
    pub(crate) fn erase_unprotected(&mut self, region: Region) {
        for row in region.top..region.bottom {
            let line = &mut self.grid.rows[row];
            for col in region.left..region.right {
                if !line.cells[col].pen().attrs.has(Attrs::PROTECTED) {
                    let pen = line.cells[col].pen();
                    line.erase(col, col + 1, pen);
                }
            }
        }
    }

    /// As after being switched on.
    pub(crate) fn reset(&mut self) {
        self.show_alternate(false);
        let mut grid = core::mem::replace(&mut self.grid, Grid::new(1, 1, 0));
        let all = grid.all();
        for row in &mut grid.rows {
            row.erase(0, all.right, Pen::default());
            row.wrapped = false;
        }
        let answers = core::mem::take(&mut self.answers);
        let events = core::mem::take(&mut self.events);
        let above_max = grid.above_max();
        *self = Self { grid, answers, events, ..Self::new(self.size, above_max) };
    }

    /// The soft reset (DECSTR): what programs leave behind that confuses the next one, and nothing that is seen.
    pub(crate) fn soft_reset(&mut self) {
        self.modes.soft_reset();
        self.margins = self.grid.all();
        self.pen = Pen::default();
        self.sets = Sets::default();
        self.saved = Saved::default();
        self.cursor.pending = false;
    }
}

impl Grid {
    /// [`Grid::reflow`] for cursors. One that waits to begin a new line stands behind its column.
    fn reflow_cursors<const N: usize>(&mut self, cols: usize, rows: usize, mut cursors: [&mut Cursor; N]) {
        let mut places = cursors.each_ref().map(|cursor| (cursor.row, cursor.col));
        let mut refs: Vec<&mut (usize, usize)> = places.iter_mut().collect();
        self.reflow(cols, rows, &mut refs);
        for (cursor, (row, col)) in cursors.iter_mut().zip(places) {
            (cursor.row, cursor.col) = (row, col);
            if cursor.pending && col + 1 < cols {
                (cursor.col, cursor.pending) = (col + 1, false);
            }
        }
    }
}
