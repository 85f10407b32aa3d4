//! What the parser has found, given to whom it concerns.

use crate::cell::Attrs;
use crate::charset::Charset;
use crate::color::{self, Rgb};
use crate::parser::{Perform, Sequence};
use crate::state::State;

/// Longest title, in characters.
const TITLE_MAX: usize = 256;
/// Longest clipboard, in base64.
const CLIPBOARD_MAX: usize = 64 * 1024;
/// Our own command, with which a snapshot says what no other sequence can: `w`, the cursor waits to begin a new line;
/// `r` and a character, what is repeated. Other terminals ignore it.
pub(crate) const OWN: &str = "7009";

impl Perform for State {
    fn print(&mut self, c: char) {
        self.print_char(c);
    }

    fn control(&mut self, byte: u8) {
        self.last = None;
        match byte {
            0x07 => self.events.bell = true,
            0x08 => self.backspace(),
            b'\t' => self.tab(1),
            b'\n' | 0x0b | 0x0c => {
                self.line_feed();
                if self.modes.newline {
                    self.carriage_return();
                }
            }
            b'\r' => self.carriage_return(),
            0x0e => self.sets.shift = 1,
            0x0f => self.sets.shift = 0,
            _ => {}
        }
    }

    fn escape(&mut self, sequence: &Sequence) {
        self.last = None;
        match sequence.name() {
            (_, b"", b'7') => self.save_cursor(),
            (_, b"", b'8') => self.restore_cursor(),
            (_, b"", b'D') => self.line_feed(),
            (_, b"", b'E') => {
                self.line_feed();
                self.carriage_return();
            }
            (_, b"", b'H') => drop(self.tabs.insert(self.cursor.col)),
            (_, b"", b'M') => self.reverse_line_feed(),
            (_, b"", b'N') => self.sets.single = Some(2),
            (_, b"", b'O') => self.sets.single = Some(3),
            (_, b"", b'n') => self.sets.shift = 2,
            (_, b"", b'o') => self.sets.shift = 3,
            (_, b"", b'=') => self.modes.keypad = true,
            (_, b"", b'>') => self.modes.keypad = false,
            (_, b"", b'c') => self.reset(),
            (_, b"", b'6') => self.edge_left(),
            (_, b"", b'9') => self.edge_right(),
            (_, b"#", b'8') => self.align(),
            (_, [set @ b'('..=b'+'], last) => {
                self.sets.designated[usize::from(set - b'(')] = Charset::named(last);
            }
            _ => {}
        }
    }

    fn csi(&mut self, sequence: &Sequence) {
        let (prefix, intermediates, last) = sequence.name();
        if (prefix, intermediates, last) == (0, b"", b'b') {
            return self.repeat(sequence);
        }
        self.last = None;
        let is_plain = prefix == 0 && intermediates.is_empty();
        let _ = (is_plain && self.moves(sequence))
            || self.edits(sequence)
            || self.sets(sequence)
            || self.answers_to(sequence)
            || self.works_on_rectangles(sequence);
    }

    fn osc(&mut self, data: &[u8], bell: bool) {
        let data = String::from_utf8_lossy(data);
        let (command, rest) = data.split_once(';').unwrap_or((&data, ""));
        let end = if bell { "\x07" } else { "\x1b\\" };
        match command {
            "0" | "2" => self.title = rest.chars().filter(|c| !c.is_control()).take(TITLE_MAX).collect(),
            "4" => self.palette_command(rest, end),
            "10" | "11" | "12" => self.dynamic_command(command, rest, end),
            "52" => self.clipboard(rest, end),
            "104" if rest.is_empty() => self.palette.reset_indexed(),
            "104" => {
                rest.split(';')
                    .filter_map(|n| n.parse().ok())
                    .for_each(|n| self.palette.set_indexed(n, None));
            }
            "110" => self.palette.set_dynamic(0, None),
            "111" => self.palette.set_dynamic(1, None),
            "112" => self.palette.set_dynamic(2, None),
            OWN if rest == "w" => self.cursor.pending = true,
            OWN => self.last = rest.strip_prefix('r').and_then(|rest| rest.chars().next()),
            _ => {}
        }
    }

    fn dcs(&mut self, sequence: &Sequence, data: &[u8]) {
        match sequence.name() {
            (0, b"$", b'q') => self.answer_setting(data),
            (0, b"+", b'q') => self.answer_capabilities(data),
            _ => {}
        }
    }
}

impl State {
    fn palette_command(&mut self, rest: &str, end: &str) {
        let mut parts = rest.split(';');
        while let (Some(n), Some(spec)) = (parts.next(), parts.next()) {
            let Ok(n) = n.parse() else { continue };
            if spec == "?" {
                let rgb = to_text(self.palette.indexed(n));
                self.answer(&format!("\x1b]4;{n};{rgb}{end}"));
            } else if let Some(rgb) = color::parse(spec) {
                self.palette.set_indexed(n, Some(rgb));
            }
        }
    }

    /// Text, background and cursor: further colours are of those that come next.
    fn dynamic_command(&mut self, command: &str, rest: &str, end: &str) {
        let first = usize::from(command.ends_with('1')) + 2 * usize::from(command.ends_with('2'));
        for (which, spec) in (first..3).zip(rest.split(';')) {
            if spec == "?" {
                let rgb = to_text(self.palette.dynamic(which));
                self.answer(&format!("\x1b]{};{rgb}{end}", 10 + which));
            } else if let Some(rgb) = color::parse(spec) {
                self.palette.set_dynamic(which, Some(rgb));
            }
        }
    }

    /// A program may fill the clipboard of a desk, and is told that it is empty: what others copied is not its.
    fn clipboard(&mut self, rest: &str, end: &str) {
        let Some((which, content)) = rest.split_once(';') else { return };
        let which: String = which.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        if content == "?" {
            self.answer(&format!("\x1b]52;{which};{end}"));
        } else if content.len() <= CLIPBOARD_MAX
            && content.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        {
            self.events.clipboard = Some((which, content.to_owned()));
        }
    }

    /// The whole screen full of `E`, for those who adjust it (DECALN).
    fn align(&mut self) {
        self.margins = self.grid.all();
        self.modes.origin = false;
        let protected = self.pen.attrs.has(Attrs::PROTECTED);
        self.pen = crate::Pen::default();
        self.pen.attrs.set(Attrs::PROTECTED, protected);
        self.go_to(0, 0);
        for row in &mut self.grid.rows {
            row.wrapped = false;
            row.cells.fill(crate::Cell::new('E', 1, crate::Pen::default()));
        }
    }

    /// Left by one; at the left margin everything goes right (DECBI).
    fn edge_left(&mut self) {
        let (row, col) = (self.cursor.row, self.cursor.col);
        if col == self.margins.left && self.margins.holds(row, col) {
            self.shift_cells(self.margins, 1, true);
        } else if col > 0 {
            self.set_col(col - 1);
        }
    }

    /// Right by one; at the right margin everything goes left (DECFI).
    fn edge_right(&mut self) {
        let (row, col) = (self.cursor.row, self.cursor.col);
        if col + 1 == self.margins.right && self.margins.holds(row, col) {
            self.shift_cells(self.margins, 1, false);
        } else {
            self.set_col(col + 1);
        }
    }
}

/// A colour as an answer has it, with four digits each.
fn to_text([r, g, b]: Rgb) -> String {
    format!("rgb:{r:02x}{r:02x}/{g:02x}{g:02x}/{b:02x}{b:02x}")
}
