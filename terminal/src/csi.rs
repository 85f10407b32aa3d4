//! Control sequences that move the cursor, edit, and set modes.

use crate::cell::Attrs;
use crate::grid::Region;
use crate::modes;
use crate::parser::Sequence;
use crate::state::{State, TAB};

impl State {
    /// Moves the cursor. False if the sequence does something else.
    pub(crate) fn moves(&mut self, sequence: &Sequence) -> bool {
        let n = sequence.count(0);
        let at = |n: usize| sequence.count(n) - 1;
        match sequence.name().2 {
            b'A' => self.up(n),
            b'B' => self.down(n),
            b'C' => self.right(n),
            b'D' => self.left(n),
            b'E' => {
                self.down(n);
                self.carriage_return();
            }
            b'F' => {
                self.up(n);
                self.carriage_return();
            }
            b'G' | b'`' => self.go_to_col(at(0)),
            b'H' | b'f' => self.go_to(at(0), at(1)),
            b'd' => self.go_to_row(at(0)),
            b'I' => self.tab(n),
            b'Z' => self.back_tab(n),
            b'a' => self.step_by(0, n.cast_signed()),
            b'e' => self.step_by(n.cast_signed(), 0),
            b'j' => self.step_by(0, -n.cast_signed()),
            b'k' => self.step_by(-n.cast_signed(), 0),
            b'g' => match sequence.param(0) {
                0 => drop(self.tabs.remove(&self.cursor.col)),
                3 => self.tabs.clear(),
                _ => {}
            },
            b's' if self.modes.sides => self.set_sides(sequence),
            b's' => self.save_cursor(),
            b'u' => self.restore_cursor(),
            _ => return false,
        }
        true
    }

    /// Moves the cursor whatever margins there are, unless places count from them.
    fn step_by(&mut self, rows: isize, cols: isize) {
        let area = if self.modes.origin { self.margins } else { self.grid.all() };
        let row = self.cursor.row.saturating_add_signed(rows).clamp(area.top, area.bottom - 1);
        let col = self.cursor.col.saturating_add_signed(cols).clamp(area.left, area.right - 1);
        self.set_row(row);
        self.set_col(col);
    }

    fn set_sides(&mut self, sequence: &Sequence) {
        let (left, cols) = (sequence.count(0) - 1, self.cols());
        let right = Some(usize::from(sequence.param(1))).filter(|n| (1..=cols).contains(n)).unwrap_or(cols);
        if left + 1 < right {
            (self.margins.left, self.margins.right) = (left, right);
            self.go_to(0, 0);
        }
    }

    fn set_margins(&mut self, sequence: &Sequence) {
        let (top, rows) = (sequence.count(0) - 1, self.rows());
        let bottom = Some(usize::from(sequence.param(1))).filter(|n| (1..=rows).contains(n)).unwrap_or(rows);
        if top + 1 < bottom {
            (self.margins.top, self.margins.bottom) = (top, bottom);
            self.go_to(0, 0);
        }
    }

    /// Edits the screen. False if the sequence does something else.
    pub(crate) fn edits(&mut self, sequence: &Sequence) -> bool {
        let n = sequence.count(0);
        let (row, col) = (self.cursor.row, self.cursor.col);
        let (margins, pen) = (self.margins, self.pen.blank());
        let is_inside = margins.holds(row, col);
        let in_sides = (margins.left..margins.right).contains(&col);
        let below = Region { top: row, ..margins };
        let beside = Region { left: col, ..margins };
        match sequence.name() {
            (0, b"", b'@') if in_sides => {
                self.cursor.pending = false;
                self.grid.rows[row].insert(col, margins.right, n, pen);
            }
            (0, b"", b'P') if in_sides => {
                self.cursor.pending = false;
                self.grid.rows[row].delete(col, margins.right, n, pen);
            }
            (0, b"", b'X') => {
                let right = (col + n).min(self.cols());
                self.erase(Region { top: row, bottom: row + 1, left: col, right }, pen);
                self.cursor.pending = false;
            }
            (0, b"", b'L') if is_inside => {
                self.grid.scroll_down(below, n, pen);
                self.set_col(margins.left);
            }
            (0, b"", b'M') if is_inside => {
                self.grid.delete_lines(below, n, pen);
                self.set_col(margins.left);
            }
            (0, b"", b'S') => self.grid.scroll_up(margins, n, pen),
            // With more parameters it is another sequence, of the mouse.
            (0, b"", b'T') if sequence.params().len() <= 1 => self.grid.scroll_down(margins, n, pen),
            (0, b"", b'^') => self.grid.scroll_down(margins, n, pen),
            (0, b" ", b'@') if is_inside => self.shift_cells(margins, n, false),
            (0, b" ", b'A') if is_inside => self.shift_cells(margins, n, true),
            (0, b"'", b'}') if is_inside => self.shift_cells(beside, n, true),
            (0, b"'", b'~') if is_inside => self.shift_cells(beside, n, false),
            (0 | b'?', b"", b'J' | b'K') => self.erase_part(sequence),
            (0, b"", b'@' | b'P' | b'L' | b'M' | b'T') => {}
            _ => return false,
        }
        true
    }

    /// Moves the columns of a region; new ones are blank.
    pub(crate) fn shift_cells(&mut self, region: Region, count: usize, right: bool) {
        let pen = self.pen.blank();
        for row in self.grid.rows.range_mut(region.top..region.bottom) {
            if right {
                row.insert(region.left, region.right, count, pen);
            } else {
                row.delete(region.left, region.right, count, pen);
            }
        }
    }

    fn erase_part(&mut self, sequence: &Sequence) {
        let (prefix, _, last) = sequence.name();
        let all = self.grid.all();
        let (row, col) = (self.cursor.row, self.cursor.col);
        let line = Region { top: row, bottom: row + 1, ..all };
        let after = Region { left: col, ..line };
        let before = Region { right: col + 1, ..line };
        let parts = match (last, sequence.param(0)) {
            (b'K', 0) => vec![after],
            (b'K', 1) => vec![before],
            (b'K', 2) => vec![line],
            (b'J', 0) => vec![after, Region { top: row + 1, ..all }],
            (b'J', 1) => vec![Region { bottom: row, ..all }, before],
            (b'J', 2) => vec![all],
            (b'J', 3) if prefix == 0 => return self.grid.forget_above(),
            _ => return,
        };
        for part in parts {
            if prefix == 0 {
                self.erase(part, self.pen.blank());
            } else {
                self.erase_unprotected(part);
            }
        }
        self.cursor.pending = false;
    }

    /// Sets what is not seen. False if the sequence does something else.
    pub(crate) fn sets(&mut self, sequence: &Sequence) -> bool {
        let on = sequence.name().2 == b'h';
        let first = sequence.param(0);
        match sequence.name() {
            (0, b"", b'm') => self.pen.select(sequence),
            (0, b"", b'r') => self.set_margins(sequence),
            (0, b"", b'h' | b'l') => {
                for mode in sequence.params() {
                    match mode {
                        4 => self.modes.insert = on,
                        20 => self.modes.newline = on,
                        _ => {}
                    }
                }
            }
            (b'?', b"", b'h' | b'l') => {
                sequence.params().iter().for_each(|mode| self.set_private(*mode, on));
            }
            (b'?', b"", b's') => {
                for mode in sequence.params().iter().filter(|mode| modes::is_plain(**mode)) {
                    self.saved_modes.insert(*mode, self.modes.is_set(*mode));
                }
            }
            (b'?', b"", b'r') => {
                for mode in sequence.params() {
                    if let Some(on) = self.saved_modes.get(mode).copied() {
                        self.set_private(*mode, on);
                    }
                }
            }
            (b'?', b"", b'W') if first == 5 => self.tabs = (0..self.cols()).step_by(TAB).collect(),
            (b'>', b"", b'm') if first == 4 || sequence.params().is_empty() => {
                self.modes.other_keys = sequence.param(1).min(2);
            }
            (0, b" ", b'q') => self.modes.cursor_style = if first > 6 { 0 } else { first },
            (0, b"\"", b'q') if first <= 2 => self.pen.attrs.set(Attrs::PROTECTED, first == 1),
            (0, b"!", b'p') => self.soft_reset(),
            _ => return false,
        }
        true
    }

    fn set_private(&mut self, mode: u16, on: bool) {
        match mode {
            6 => {
                self.modes.origin = on;
                self.go_to(0, 0);
            }
            66 => self.modes.keypad = on,
            69 => {
                self.modes.sides = on;
                (self.margins.left, self.margins.right) = (0, self.cols());
            }
            47 => self.show_alternate(on),
            1047 => {
                if !on && self.is_alternate {
                    self.erase_all();
                }
                self.show_alternate(on);
            }
            1048 if on => self.save_cursor(),
            1048 => self.restore_cursor(),
            1049 if on => {
                self.save_cursor();
                if !self.is_alternate {
                    self.show_alternate(true);
                    self.erase_all();
                }
            }
            1049 => {
                self.show_alternate(false);
                self.restore_cursor();
            }
            _ => drop(self.modes.put(mode, on)),
        }
    }

    /// The last character again, as often as it is asked for.
    pub(crate) fn repeat(&mut self, sequence: &Sequence) {
        if let Some(c) = self.last {
            for _ in 0..sequence.count(0).min(self.cols() * self.rows()) {
                self.put_again(c);
            }
        }
    }
}
