//! What a program asks of its terminal, and is answered.
//!
//! A terminal is the one of a session, or of a desk: only the session's answers are sent on, so that each question has
//! one answer, whatever number of screens show it.

use crate::cell::Attrs;
use crate::parser::Sequence;
use crate::state::State;

/// Most bytes of answers that wait to be taken: who asks on and does not read misses some.
const ANSWERS_MAX: usize = 4096;
/// Most titles that are put by (XTWINOPS 22), as in xterm.
const TITLES_MAX: usize = 10;
/// A cell in pixels, for programs that ask: that of the font of pictures.
const CELL: (usize, usize) = (8, 16);
/// What we are: a terminal of level four with selective erasure, horizontal scrolling, colours, and rectangles.
const ATTRIBUTES: &str = "\x1b[?64;6;21;22;28c";
/// The version that programs compare with xterm's: from 277 on they trust its mouse.
const LEVEL: &str = "\x1b[>41;279;0c";

impl State {
    pub(crate) fn answer(&mut self, text: &str) {
        if self.answers.len() + text.len() <= ANSWERS_MAX {
            self.answers.extend_from_slice(text.as_bytes());
        }
    }

    /// Answers a question. False if the sequence is none.
    pub(crate) fn answers_to(&mut self, sequence: &Sequence) -> bool {
        let first = sequence.param(0);
        match sequence.name() {
            (0, b"", b'c') if first == 0 => self.answer(ATTRIBUTES),
            (b'>', b"", b'c') if first == 0 => self.answer(LEVEL),
            (b'=', b"", b'c') if first == 0 => self.answer("\x1bP!|00000000\x1b\\"),
            (b'>', b"", b'q') if first == 0 => {
                self.answer(concat!("\x1bP>|Hotdesk(", env!("CARGO_PKG_VERSION"), ")\x1b\\"));
            }
            (0, b"", b'x') if first <= 1 => self.answer(&format!("\x1b[{};1;1;128;128;1;0x", first + 2)),
            (0, b"", b'n') => match first {
                5 => self.answer("\x1b[0n"),
                6 => self.answer_position(""),
                _ => {}
            },
            (b'?', b"", b'n') => match first {
                // No printer, no keys that can be defined, an American keyboard, no locator, no macros.
                6 => self.answer_position("?"),
                15 => self.answer("\x1b[?13n"),
                25 => self.answer("\x1b[?21n"),
                26 => self.answer("\x1b[?27;1;0;0n"),
                53 | 55 => self.answer("\x1b[?50n"),
                56 => self.answer("\x1b[?57;0n"),
                62 => self.answer("\x1b[0*{"),
                63 => self.answer(&format!("\x1bP{}!~0000\x1b\\", sequence.param(1))),
                75 => self.answer("\x1b[?70n"),
                85 => self.answer("\x1b[?83n"),
                // Dark.
                996 => self.answer("\x1b[?997;1n"),
                _ => {}
            },
            (0, b"$", b'p') => {
                let value = match first {
                    4 => number(self.modes.insert),
                    20 => number(self.modes.newline),
                    // Of the others there is none, and what it would be is how they are.
                    1 | 5 | 7 | 10 | 11 | 13..=19 => 4,
                    2 | 12 => 4,
                    _ => 0,
                };
                self.answer(&format!("\x1b[{first};{value}$y"));
            }
            (b'?', b"$", b'p') => {
                let value = self.private_mode(first);
                self.answer(&format!("\x1b[?{first};{value}$y"));
            }
            (0, b"$", b'w') if first == 2 => {
                let tabs: Vec<String> = self.tabs.iter().map(|tab| (tab + 1).to_string()).collect();
                self.answer(&format!("\x1bP2$u{}\x1b\\", tabs.join("/")));
            }
            (0, b"$", b'w') if first == 1 => self.answer_cursor(),
            (0, b"", b't') => self.window(sequence),
            _ => return false,
        }
        true
    }

    fn answer_position(&mut self, prefix: &str) {
        let (mut row, mut col) = (self.cursor.row, self.cursor.col);
        if self.modes.origin {
            row = row.saturating_sub(self.margins.top);
            col = col.saturating_sub(self.margins.left);
        }
        self.answer(&format!("\x1b[{prefix}{};{}R", row + 1, col + 1));
    }

    /// Where the cursor is and what it writes with (DECCIR).
    fn answer_cursor(&mut self) {
        let attrs = self.pen.attrs;
        let bit = |is: bool, weight: u8| if is { weight } else { 0 };
        let look = 0x40
            + bit(attrs.has(Attrs::BOLD), 1)
            + bit(attrs.underline() > 0, 2)
            + bit(attrs.has(Attrs::BLINK), 4)
            + bit(attrs.has(Attrs::INVERSE), 8);
        let protected = 0x40 + bit(attrs.has(Attrs::PROTECTED), 1);
        let flags = 0x40
            + bit(self.modes.origin, 1)
            + bit(self.sets.single == Some(2), 2)
            + bit(self.sets.single == Some(3), 4)
            + bit(self.cursor.pending, 8);
        let sets: String = self.sets.designated.iter().map(|set| char::from(set.name())).collect();
        let text = format!(
            "\x1bP1$u{};{};1;{};{};{};{};2;@;{sets}\x1b\\",
            self.cursor.row + 1,
            self.cursor.col + 1,
            char::from(look),
            char::from(protected),
            char::from(flags),
            self.sets.shift,
        );
        self.answer(&text);
    }

    /// 1 set, 2 reset, 4 always reset, 0 unknown.
    fn private_mode(&self, mode: u16) -> u16 {
        match mode {
            6 => number(self.modes.origin),
            66 => number(self.modes.keypad),
            69 => number(self.modes.sides),
            47 | 1047 | 1049 => number(self.is_alternate),
            1048 => 1,
            // Smooth scrolling, 132 columns, and other things of glass.
            2..=4 | 8 | 18 | 19 | 35 | 40..=42 | 60 | 61 | 64 | 67 | 68 | 73 | 95 => 4,
            _ if crate::modes::is_plain(mode) => number(self.modes.is_set(mode)),
            _ => 0,
        }
    }

    /// Of the window there is only its size; its titles can be put by.
    fn window(&mut self, sequence: &Sequence) {
        let (rows, cols) = (self.rows(), self.cols());
        let (width, height) = CELL;
        match sequence.param(0) {
            11 => self.answer("\x1b[1t"),
            13 => self.answer("\x1b[3;0;0t"),
            14 => self.answer(&format!("\x1b[4;{};{}t", rows * height, cols * width)),
            15 => self.answer(&format!("\x1b[5;{};{}t", rows * height, cols * width)),
            16 => self.answer(&format!("\x1b[6;{height};{width}t")),
            18 => self.answer(&format!("\x1b[8;{rows};{cols}t")),
            19 => self.answer(&format!("\x1b[9;{rows};{cols}t")),
            // A title can hold what somebody else has written, and would be read as typed: it is never told.
            20 => self.answer("\x1b]L\x1b\\"),
            21 => self.answer("\x1b]l\x1b\\"),
            22 => {
                if self.titles.len() == TITLES_MAX {
                    self.titles.remove(0);
                }
                self.titles.push(self.title.clone());
            }
            23 => {
                if let Some(title) = self.titles.pop() {
                    self.title = title;
                }
            }
            _ => {}
        }
    }

    /// The present value of a setting, as the sequence that sets it (DECRQSS).
    pub(crate) fn answer_setting(&mut self, which: &[u8]) {
        let margins = self.margins;
        let value = match which {
            b"m" => Some(format!("{}m", self.pen.to_sgr())),
            b"r" => Some(format!("{};{}r", margins.top + 1, margins.bottom)),
            b"s" => Some(format!("{};{}s", margins.left + 1, margins.right)),
            b"t" => Some(format!("{}t", self.size.rows)),
            b"*|" => Some(format!("{}*|", self.size.rows)),
            b"$|" => Some(format!("{}$|", self.size.cols)),
            b" q" => Some(format!("{} q", self.modes.cursor_style.max(1))),
            b"\"q" => Some(format!("{}\"q", u8::from(self.pen.attrs.has(Attrs::PROTECTED)))),
            b"\"p" => Some("64;1\"p".to_owned()),
            b"*x" => Some(format!("{}*x", if self.whole_rectangles { 2 } else { 1 })),
            _ => None,
        };
        match value {
            Some(value) => self.answer(&format!("\x1bP1$r{value}\x1b\\")),
            None => self.answer("\x1bP0$r\x1b\\"),
        }
    }

    /// Capabilities by their names in hex (XTGETTCAP).
    pub(crate) fn answer_capabilities(&mut self, names: &[u8]) {
        for name in names.split(|byte| *byte == b';').take(16) {
            let known: &[(&[u8], &str)] = &[
                (b"544E", "787465726D2D323536636F6C6F72"),
                (b"436F", "323536"),
                (b"636F6C6F7273", "323536"),
            ];
            let found = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            match found {
                Some((name, value)) => {
                    self.answer(&format!("\x1bP1+r{}={value}\x1b\\", String::from_utf8_lossy(name)));
                }
                None => self.answer("\x1bP0+r\x1b\\"),
            }
        }
    }
}

/// A mode as a report has it.
const fn number(on: bool) -> u16 {
    if on { 1 } else { 2 }
}
