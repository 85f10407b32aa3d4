//! The cells of one screen: lines, regions, and what moves in them. Knows no sequences.

use std::collections::VecDeque;

use crate::cell::{Cell, Pen};

/// A line of the screen or of the scrollback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub(crate) cells: Vec<Cell>,
    /// It goes on in the next one: what was written did not fit.
    pub(crate) wrapped: bool,
}

impl Row {
    pub(crate) fn blank(cols: usize, pen: Pen) -> Self {
        Self { cells: vec![Cell::blank(pen); cols], wrapped: false }
    }

    /// Its cells. A line of the screen has one for each column.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Its text, with the blanks at its end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.cells.len());
        self.cells.iter().for_each(|cell| cell.push_to(&mut text));
        text
    }

    /// Columns up to the last one that was written.
    pub(crate) fn len_written(&self) -> usize {
        self.cells.iter().rposition(|cell| !cell.is_default()).map_or(0, |last| last + 1)
    }

    /// Whether nothing was written in it.
    pub(crate) fn is_blank(&self) -> bool {
        self.len_written() == 0
    }

    /// Blanks the other half of a wide character of which `col` would lose one: to be called for the borders of what
    /// is overwritten. The border is to the left of `col`.
    pub(crate) fn cut(&mut self, col: usize) {
        if col > 0 && self.cells.get(col).is_some_and(|cell| cell.width() == 0) {
            for cell in &mut self.cells[col - 1..=col] {
                *cell = Cell::blank(cell.pen());
            }
        }
    }

    pub(crate) fn erase(&mut self, from: usize, to: usize, pen: Pen) {
        self.cut(from);
        self.cut(to);
        let to = to.min(self.cells.len());
        if from < to {
            self.cells[from..to].fill(Cell::blank(pen));
        }
    }

    /// Moves the cells from `from` on to the right by `count`; those moved beyond `to` are lost.
    pub(crate) fn insert(&mut self, from: usize, to: usize, count: usize, pen: Pen) {
        self.cut(from);
        self.cut(to);
        let count = count.min(to - from);
        self.cut(to - count);
        self.cells[from..to].rotate_right(count);
        self.cells[from..from + count].fill(Cell::blank(pen));
    }

    /// Removes `count` cells at `from`; those behind, up to `to`, move up.
    pub(crate) fn delete(&mut self, from: usize, to: usize, count: usize, pen: Pen) {
        let count = count.min(to - from);
        self.cut(from);
        self.cut(from + count);
        self.cut(to);
        self.cells[from..to].rotate_left(count);
        self.cells[to - count..to].fill(Cell::blank(pen));
    }

    pub(crate) fn resize(&mut self, cols: usize) {
        self.cut(cols);
        self.cells.resize(cols, Cell::default());
    }
}

/// A part of a screen: the first row and column, and those behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) top: usize,
    pub(crate) bottom: usize,
    pub(crate) left: usize,
    pub(crate) right: usize,
}

impl Region {
    pub(crate) const fn holds(self, row: usize, col: usize) -> bool {
        self.top <= row && row < self.bottom && self.left <= col && col < self.right
    }
}

/// The lines of a screen, and some of those that have left it at the top.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) rows: VecDeque<Row>,
    above: VecDeque<Row>,
    above_max: usize,
}

impl Grid {
    /// `above_max`: lines that are kept above it.
    pub(crate) fn new(cols: usize, rows: usize, above_max: usize) -> Self {
        let rows = (0..rows).map(|_| Row::blank(cols, Pen::default())).collect();
        Self { rows, above: VecDeque::new(), above_max }
    }

    pub(crate) fn cols(&self) -> usize {
        self.rows[0].cells.len()
    }

    pub(crate) fn all(&self) -> Region {
        Region { top: 0, bottom: self.rows.len(), left: 0, right: self.cols() }
    }

    pub(crate) fn forget_above(&mut self) {
        self.above = VecDeque::new();
    }

    pub(crate) const fn above_max(&self) -> usize {
        self.above_max
    }

    /// How many lines are kept above it.
    pub(crate) fn above(&self) -> usize {
        self.above.len()
    }

    /// Those lines, from the oldest on.
    pub(crate) fn above_rows(&self) -> impl Iterator<Item = &Row> {
        self.above.iter()
    }

    /// Keeps a line that leaves the screen, without what costs memory for nothing.
    fn keep(&mut self, mut row: Row) {
        if self.above_max == 0 {
            return;
        }
        if !row.wrapped {
            row.cells.truncate(row.len_written());
        }
        row.cells.shrink_to_fit();
        self.above.push_back(row);
        if self.above.len() > self.above_max {
            self.above.pop_front();
        }
    }

    /// Lines go up by `count`; those that leave the top of the whole screen are kept above it.
    pub(crate) fn scroll_up(&mut self, region: Region, count: usize, pen: Pen) {
        self.move_up(region, count, pen, region.top == 0);
    }

    /// The same; those that leave are lost.
    pub(crate) fn delete_lines(&mut self, region: Region, count: usize, pen: Pen) {
        self.move_up(region, count, pen, false);
    }

    fn move_up(&mut self, region: Region, count: usize, pen: Pen, kept: bool) {
        let count = count.min(region.bottom - region.top);
        let cols = self.cols();
        if region.left > 0 || region.right < cols {
            return self.shift(region, count, true, pen);
        }
        for _ in 0..count {
            let Some(row) = self.rows.remove(region.top) else { return };
            if kept {
                self.keep(row);
            }
            self.rows.insert(region.bottom - 1, Row::blank(cols, pen));
        }
        self.cut_wraps(region);
    }

    /// Lines go down by `count`; those that leave the region are lost.
    pub(crate) fn scroll_down(&mut self, region: Region, count: usize, pen: Pen) {
        let count = count.min(region.bottom - region.top);
        let cols = self.cols();
        if region.left > 0 || region.right < cols {
            return self.shift(region, count, false, pen);
        }
        for _ in 0..count {
            self.rows.remove(region.bottom - 1);
            self.rows.insert(region.top, Row::blank(cols, pen));
        }
        self.cut_wraps(region);
    }

    /// What goes on beyond the borders of what has moved is another line now.
    fn cut_wraps(&mut self, region: Region) {
        if let Some(row) = region.top.checked_sub(1).and_then(|row| self.rows.get_mut(row)) {
            row.wrapped = false;
        }
        if let Some(row) = self.rows.get_mut(region.bottom - 1) {
            row.wrapped = false;
        }
    }

    /// Moves the cells of a region that is narrower than the screen.
    fn shift(&mut self, region: Region, count: usize, up: bool, pen: Pen) {
        let Region { top, bottom, left, right } = region;
        for row in top..bottom {
            self.rows[row].cut(left);
            self.rows[row].cut(right);
        }
        for n in 0..bottom - top - count {
            let (to, from) =
                if up { (top + n, top + n + count) } else { (bottom - 1 - n, bottom - 1 - n - count) };
            let cells = self.rows[from].cells[left..right].to_vec();
            self.rows[to].cells[left..right].clone_from_slice(&cells);
            self.rows[to].wrapped = false;
        }
        let bared = if up { bottom - count..bottom } else { top..top + count };
        for row in bared {
            self.rows[row].erase(left, right, pen);
        }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.last_written().is_some()
    }

    /// The last row in which something was written.
    fn last_written(&self) -> Option<usize> {
        self.rows.iter().rposition(|row| !row.is_blank())
    }

    /// Gives it another size without breaking lines anew. Returns by how many rows what it shows has gone up.
    pub(crate) fn crop(&mut self, cols: usize, rows: usize, cursor: usize) -> usize {
        self.rows.iter_mut().for_each(|row| row.resize(cols));
        let up = (cursor + 1).saturating_sub(rows);
        self.rows.drain(..up);
        self.rows.resize_with(rows, || Row::blank(cols, Pen::default()));
        self.end_last();
        up
    }

    /// Nothing comes after the last line.
    fn end_last(&mut self) {
        if let Some(row) = self.rows.back_mut() {
            row.wrapped = false;
        }
    }

    /// Gives it another size and breaks its lines anew. The places (rows and columns) that are named go along.
    ///
    /// A screen that was full stays full: lines come back from above it if what is on it takes fewer rows now.
    pub(crate) fn reflow(&mut self, cols: usize, rows: usize, places: &mut [&mut (usize, usize)]) {
        let (rows_before, above) = (self.rows.len(), self.above.len());
        let last = places.iter().map(|place| place.0).chain(self.last_written()).max().unwrap_or(0);
        let was_full = last + 1 >= rows_before;
        let mut lines = Lines::new(cols);
        let old: Vec<Row> = self.above.drain(..).chain(self.rows.drain(..)).take(above + last + 1).collect();
        let mut moved = vec![(0, 0); places.len()];
        let mut above_now = 0;
        for (n, row) in old.into_iter().enumerate() {
            if n == above {
                above_now = lines.done.len();
            }
            let here = |place: &(usize, usize)| place.0 + above == n;
            let keep = places.iter().filter(|place| here(place)).map(|place| place.1).max();
            let (starts, wrapped) = (lines.open.len(), row.wrapped);
            lines.add(row, keep);
            for (place, moved) in places.iter().zip(&mut moved).filter(|(place, _)| here(place)) {
                *moved = lines.find(starts + place.1);
            }
            if !wrapped {
                lines.close();
            }
        }
        let mut all = lines.finish();
        let full = all.len().saturating_sub(rows);
        let top = if was_full { full } else { full.max(above_now.min(all.len())) };
        // The cursor stays on the screen.
        let top = places.first().map_or(top, |_| top.min(moved[0].0));
        all.truncate(top + rows);
        self.rows = all.split_off(top).into();
        for row in &mut self.rows {
            row.resize(cols);
        }
        self.rows.resize_with(rows, || Row::blank(cols, Pen::default()));
        self.end_last();
        all.into_iter().for_each(|row| self.keep(row));
        for (place, (row, col)) in places.iter_mut().zip(moved) {
            **place = (row.saturating_sub(top).min(rows - 1), col.min(cols - 1));
        }
    }
}

/// Lines that are being broken into rows of a width.
struct Lines {
    cols: usize,
    done: Vec<Row>,
    /// The line that is not at its end, and where in it rows after the first one begin.
    open: Vec<Cell>,
    breaks: Vec<usize>,
}

impl Lines {
    const fn new(cols: usize) -> Self {
        Self { cols, done: Vec::new(), open: Vec::new(), breaks: Vec::new() }
    }

    /// Adds a row to the line that is open; `keep` is a column of it that must be there.
    fn add(&mut self, row: Row, keep: Option<usize>) {
        let written = if row.wrapped { row.cells.len() } else { row.len_written() };
        let mut cells = row.cells;
        cells.resize(written.max(keep.map_or(0, |col| col + 1)), Cell::default());
        if self.cols == 1 {
            // There is no place for a wide character.
            cells.retain(|cell| cell.width() > 0);
            let wide = cells.iter_mut().filter(|cell| cell.width() == 2);
            wide.for_each(|cell| *cell = Cell::new(char::REPLACEMENT_CHARACTER, 1, cell.pen()));
        }
        self.open.extend(cells);
        while self.open.len() - self.last_break() > self.cols {
            let next = self.last_break() + self.cols;
            // A wide character is not cut in two.
            let is_cut = self.open[next].width() == 0 && self.cols > 1;
            self.breaks.push(next - usize::from(is_cut));
        }
    }

    fn last_break(&self) -> usize {
        self.breaks.last().copied().unwrap_or(0)
    }

    /// Row and column of a position in the line that is open.
    fn find(&self, at: usize) -> (usize, usize) {
        let n = self.breaks.partition_point(|start| *start <= at);
        (self.done.len() + n, at - n.checked_sub(1).map_or(0, |n| self.breaks[n]))
    }

    fn close(&mut self) {
        let mut line = core::mem::take(&mut self.open).into_iter();
        let mut starts = 0;
        for end in self.breaks.drain(..) {
            let mut cells: Vec<Cell> = line.by_ref().take(end - starts).collect();
            cells.resize(self.cols, Cell::default());
            self.done.push(Row { cells, wrapped: true });
            starts = end;
        }
        self.done.push(Row { cells: line.collect(), wrapped: false });
    }

    fn finish(mut self) -> Vec<Row> {
        if !self.open.is_empty() {
            self.close();
        }
        self.done
    }
}
