//! Rectangles: filled, erased, copied, changed, and summed up.

use crate::cell::{Attrs, Cell};
use crate::charset;
use crate::grid::Region;
use crate::parser::Sequence;
use crate::state::State;

impl State {
    /// Works on a rectangle. False if the sequence does something else.
    pub(crate) fn works_on_rectangles(&mut self, sequence: &Sequence) -> bool {
        let (_, _, last) = sequence.name();
        match sequence.name() {
            (0, b"$", b'x') => {
                let c = char::from_u32(u32::from(sequence.param(0))).filter(|c| !c.is_control());
                if let (Some(c), Some(area)) = (c, self.rectangle(sequence, 1)) {
                    let set = self.sets.designated[self.sets.shift];
                    self.fill(area, set.map(c));
                }
            }
            (0, b"$", b'z') => {
                if let Some(area) = self.rectangle(sequence, 0) {
                    self.erase(area, self.pen.blank());
                }
            }
            (0, b"$", b'{') => {
                if let Some(area) = self.rectangle(sequence, 0) {
                    self.erase_unprotected(area);
                }
            }
            (0, b"$", b'v') => {
                if let Some(area) = self.rectangle(sequence, 0) {
                    self.copy(area, sequence.count(5) - 1, sequence.count(6) - 1);
                }
            }
            (0, b"$", b'r' | b't') => {
                if let Some(area) = self.rectangle(sequence, 0) {
                    self.change(area, sequence.params().get(4..).unwrap_or(&[]), last == b't');
                }
            }
            (0, b"*", b'x') => self.whole_rectangles = sequence.param(0) == 2,
            (0, b"*", b'y') => {
                let sum = self.rectangle(sequence, 2).map_or(0, |area| self.sum(area));
                self.answer(&format!("\x1bP{}!~{sum:04X}\x1b\\", sequence.param(0)));
            }
            _ => return false,
        }
        true
    }

    /// The rectangle that parameters from `first` on name: top, left, bottom, right.
    fn rectangle(&self, sequence: &Sequence, first: usize) -> Option<Region> {
        let within = if self.modes.origin { self.margins } else { self.grid.all() };
        let last = |n: usize, all: usize| match sequence.param(n) {
            0 => all,
            n => usize::from(n),
        };
        let area = Region {
            top: within.top + sequence.count(first) - 1,
            left: within.left + sequence.count(first + 1) - 1,
            bottom: (within.top + last(first + 2, self.rows())).min(within.bottom),
            right: (within.left + last(first + 3, self.cols())).min(within.right),
        };
        (area.top < area.bottom && area.left < area.right).then_some(area)
    }

    fn fill(&mut self, area: Region, c: char) {
        // A wide character would have to be cut at the borders.
        if charset::width(c) != 1 {
            return;
        }
        self.erase(area, self.pen);
        for row in self.grid.rows.range_mut(area.top..area.bottom) {
            row.cells[area.left..area.right].fill(Cell::new(c, 1, self.pen));
        }
    }

    fn copy(&mut self, area: Region, top: usize, left: usize) {
        let within = if self.modes.origin { self.margins } else { self.grid.all() };
        let (top, left) = (within.top + top, within.left + left);
        if top >= within.bottom || left >= within.right {
            return;
        }
        let height = (area.bottom - area.top).min(within.bottom - top);
        let width = (area.right - area.left).min(within.right - left);
        let source: Vec<Vec<Cell>> = self
            .grid
            .rows
            .range(area.top..area.top + height)
            .map(|row| {
                let mut copy = row.clone();
                copy.cut(area.left);
                copy.cut(area.left + width);
                copy.cells[area.left..area.left + width].to_vec()
            })
            .collect();
        for (row, cells) in self.grid.rows.range_mut(top..top + height).zip(source) {
            row.cut(left);
            row.cut(left + width);
            row.cells[left..left + width].clone_from_slice(&cells);
        }
    }

    /// Sets attributes, or turns them over.
    fn change(&mut self, area: Region, params: &[u16], turn: bool) {
        let cols = self.cols();
        for row in area.top..area.bottom {
            // A stream goes from the first cell to the last, through whole lines.
            let left = if self.whole_rectangles || row == area.top { area.left } else { 0 };
            let right = if self.whole_rectangles || row + 1 == area.bottom { area.right } else { cols };
            for cell in self.grid.rows[row].cells.get_mut(left..right).unwrap_or_default() {
                let mut pen = cell.pen();
                let none = [0];
                for param in if params.is_empty() { &none } else { params } {
                    change_one(&mut pen.attrs, *param, turn);
                }
                cell.set_pen(pen);
            }
        }
    }

    /// DEC's checksum of characters and attributes.
    fn sum(&self, area: Region) -> u16 {
        let mut sum: u16 = 0;
        for row in self.grid.rows.range(area.top..area.bottom) {
            for cell in row.cells[area.left..area.right].iter().filter(|cell| cell.width() > 0) {
                let attrs = cell.pen().attrs;
                let weights = [
                    (attrs.has(Attrs::PROTECTED), 0x04),
                    (attrs.has(Attrs::HIDDEN), 0x08),
                    (attrs.underline() > 0, 0x10),
                    (attrs.has(Attrs::INVERSE), 0x20),
                    (attrs.has(Attrs::BLINK), 0x40),
                    (attrs.has(Attrs::BOLD), 0x80),
                ];
                let attrs: u16 = weights.iter().filter(|(is, _)| *is).map(|(_, weight)| weight).sum();
                sum = sum.wrapping_add(cell.char() as u32 as u16).wrapping_add(attrs);
            }
        }
        sum.wrapping_neg()
    }
}

fn change_one(attrs: &mut Attrs, param: u16, turn: bool) {
    let on = param < 20;
    match param {
        0 => {
            for param in [1, 4, 5, 7, 8] {
                change_one(attrs, if turn { param } else { param + 20 }, turn);
            }
        }
        4 | 24 => attrs.set_underline(u16::from(if turn { attrs.underline() == 0 } else { on })),
        1 | 21 | 22 | 5 | 25 | 7 | 27 | 8 | 28 => {
            let attr = match param {
                5 | 25 => Attrs::BLINK,
                7 | 27 => Attrs::INVERSE,
                8 | 28 => Attrs::HIDDEN,
                _ => Attrs::BOLD,
            };
            let on = if turn { !attrs.has(attr) } else { on };
            attrs.set(attr, on);
        }
        _ => {}
    }
}
