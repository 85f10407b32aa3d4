//! The screen of a service as the server keeps it, so that any DTU can be shown it whole at any moment.

use avt::Terminal;
use proto::frame::{PAYLOAD_MAX, Size};

use super::modes::Modes;

/// Longest repaint: what fits a frame beside its fields.
pub const REPAINT_MAX: usize = PAYLOAD_MAX - 64;

/// Lines kept above the screen, for a screen that becomes taller or wider again.
const ABOVE_MAX: usize = 128;

/// A terminal of a size, with everything written to it so far.
pub struct Screen {
    terminal: Terminal,
    modes: Modes,
    /// The beginning of a character whose end was not written yet.
    partial: Vec<u8>,
    size: Size,
}

impl core::fmt::Debug for Screen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Screen").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Screen {
    /// An empty screen.
    #[must_use]
    pub fn new(size: Size) -> Self {
        let size = Size::clamped(size.cols, size.rows);
        Self { terminal: terminal(size), modes: Modes::default(), partial: Vec::new(), size }
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Gives it another size; lines are broken anew.
    pub fn resize(&mut self, size: Size) {
        let size = Size::clamped(size.cols, size.rows);
        let (cols, rows) = (usize::from(size.cols), usize::from(self.size.rows));
        let above = self.above();
        self.terminal.resize(cols, rows);
        // Narrower lines are more lines. The model pushes as many out at the top even while the rows below the
        // cursor are blank; those go first, and what was pushed out comes back.
        if self.terminal.active_screen_kind() == avt::ScreenKind::Primary {
            let blank = rows - 1 - self.last_row();
            let give_back = blank.min(self.above().saturating_sub(above));
            self.terminal.resize(cols, rows - give_back);
        }
        self.terminal.resize(cols, rows);
        self.terminal.resize(cols, usize::from(size.rows));
        self.size = size;
    }

    /// How many lines are kept above the screen.
    fn above(&self) -> usize {
        self.terminal.primary_screen().all_lines().count() - usize::from(self.size.rows)
    }

    /// The last row that is not blank or holds the cursor.
    fn last_row(&self) -> usize {
        let written = |line: &avt::Line| !line.text().trim_end().is_empty();
        let rows = self.terminal.screen().visible_lines().collect::<Vec<_>>();
        let last = rows.iter().rposition(|line| written(line)).unwrap_or(0);
        last.max(self.terminal.cursor().row).min(rows.len() - 1)
    }

    /// Takes in what the service wrote, cut anywhere. What is not UTF-8 shows as U+FFFD.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.modes.feed(bytes);
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = [core::mem::take(&mut self.partial).as_slice(), bytes].concat();
            &joined
        };
        loop {
            match core::str::from_utf8(rest) {
                Ok(text) => return self.terminal.feed(text),
                Err(error) => {
                    let (text, after) = rest.split_at(error.valid_up_to());
                    self.terminal.feed(core::str::from_utf8(text).unwrap_or_default());
                    let Some(bad) = error.error_len() else {
                        self.partial = after.to_vec();
                        return;
                    };
                    self.terminal.feed('\u{fffd}');
                    rest = &after[bad..];
                }
            }
        }
    }

    /// What draws this screen on an empty terminal of the same size, both screens, attributes, cursor, modes
    /// and an unfinished sequence included, so that the output that follows means there what it means here.
    ///
    /// At most [`REPAINT_MAX`] bytes: of a screen that would take more, which needs colours of its own in each of
    /// some twenty thousand cells, only the text is drawn.
    #[must_use]
    pub fn repaint(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.modes.draw(&mut out);
        // The terminal model writes the beginning of an unfinished sequence with eight-bit control characters,
        // which many terminals do not know; no cell can hold one, so each can be replaced as it stands.
        for c in self.terminal.dump().chars() {
            match c {
                '\u{80}'..='\u{9f}' => out.extend_from_slice(&[0x1b, c as u8 - 0x40]),
                _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend_from_slice(&self.partial);
        if out.len() > REPAINT_MAX { self.text_only() } else { out }
    }

    fn text_only(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (row, line) in self.terminal.screen().visible_lines().enumerate() {
            let text = line.text();
            let text = text.trim_end();
            if out.len() + text.len() > REPAINT_MAX - 64 {
                break;
            }
            out.extend_from_slice(format!("\x1b[{};1H{text}", row + 1).as_bytes());
        }
        let cursor = self.terminal.cursor();
        out.extend_from_slice(format!("\x1b[{};{}H", cursor.row + 1, cursor.col + 1).as_bytes());
        out
    }

    /// The lines shown, without the blanks at their ends.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.terminal.screen().visible_lines().map(|line| line.text().trim_end().to_owned()).collect()
    }
}

#[allow(clippy::expect_used, reason = "both sides of a clamped size are at least 1, all the model asks for")]
fn terminal(size: Size) -> Terminal {
    Terminal::with_scrollback(usize::from(size.cols), usize::from(size.rows), Some(ABOVE_MAX))
        .expect("a clamped size")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Output of the kind that breaks terminals: sequences of all sorts, whole and cut, wide characters, bad UTF-8.
    pub(crate) fn output() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[ -~]{1,12}".prop_map(String::into_bytes),
            2 => Just(b"\r\n".to_vec()),
            2 => "\x1b\\[[0-9;?]{0,8}[@A-Za-z]".prop_map(String::into_bytes),
            1 => "\x1b\\[(0|1|4|7|38;5;[0-9]{1,3}|48;2;1;2;3)m".prop_map(String::into_bytes),
            1 => "\x1b\\[\\?(6|7|25|1000|1006|1047|1049|2004)[hl]".prop_map(String::into_bytes),
            1 => "\x1b([78DEHMc=>]|\\(0|\\(B|#8|\\]0;x\x07|P1\x1b)".prop_map(String::into_bytes),
            1 => "[äß界👨\u{301}]{1,3}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 1..4),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    pub(crate) fn same(a: &Screen, b: &Screen) -> bool {
        a.repaint() == b.repaint() && a.lines() == b.lines()
    }

    #[test]
    fn a_repaint_shows_text_colour_cursor_and_the_other_screen() {
        let size = Size { cols: 20, rows: 4 };
        let mut screen = Screen::new(size);
        screen.feed(b"shell\r\n\x1b[?1049h\x1b[31mvim\x1b[?1000h\x1b[3;5H");
        let mut copy = Screen::new(size);
        copy.feed(&screen.repaint());
        assert_eq!(copy.lines()[0], "");
        assert_eq!(copy.lines()[1], "vim");
        assert!(same(&screen, &copy));
        for screen in [&mut screen, &mut copy] {
            screen.feed(b"\x1b[?1049l$ ");
        }
        assert_eq!(copy.lines()[..2], ["shell", "$"]);
        assert!(same(&screen, &copy));
    }

    #[test]
    fn a_character_cut_in_two_is_one_character() {
        let mut screen = Screen::new(Size::default());
        screen.feed(&[b'x', 0xe7, 0x95]);
        let mut copy = Screen::new(Size::default());
        copy.feed(&screen.repaint());
        for screen in [&mut screen, &mut copy] {
            screen.feed(&[0x8c, 0xff, b'y']);
            assert_eq!(screen.lines()[0], "x界\u{fffd}y");
        }
    }

    #[test]
    fn the_largest_screen_full_of_colours_still_fits_a_frame() {
        let size = Size { cols: Size::MAX, rows: Size::MAX };
        let mut screen = Screen::new(size);
        for n in 0..u32::from(Size::MAX) * u32::from(Size::MAX) {
            screen.feed(format!("\x1b[38;2;{};{};9;48;2;{};1;1m@", n % 251, n % 241, n % 239).as_bytes());
        }
        let repaint = screen.repaint();
        assert!(repaint.len() <= REPAINT_MAX);
        let mut copy = Screen::new(size);
        copy.feed(&repaint);
        assert_eq!(copy.lines(), screen.lines());
    }

    #[test]
    fn a_narrower_screen_shows_what_fits_and_a_wider_one_shows_it_again() {
        let mut screen = Screen::new(Size { cols: 10, rows: 4 });
        screen.feed(b"0123456789\r\n$ ");
        screen.resize(Size { cols: 5, rows: 4 });
        assert_eq!(screen.lines(), ["01234", "56789", "$", ""]);
        screen.resize(Size { cols: 10, rows: 2 });
        assert_eq!(screen.lines(), ["0123456789", "$"]);
    }

    #[test]
    fn what_was_cleared_does_not_come_back_with_another_size() {
        let mut screen = Screen::new(Size { cols: 10, rows: 4 });
        screen.feed(b"old\r\n\x1b[H\x1b[2Jnew one");
        screen.resize(Size { cols: 4, rows: 4 });
        assert_eq!(screen.lines(), ["new", "one", "", ""]);
    }

    proptest! {
        #[test]
        fn a_repainted_screen_goes_on_like_the_original(
            before in output(), after in output(), cut in 0_usize..400, size in (1_u16..30, 1_u16..12), to in (1_u16..30, 1_u16..12)
        ) {
            let mut screen = Screen::new(Size::clamped(size.0, size.1));
            screen.feed(&before[..cut.min(before.len())]);
            screen.resize(Size::clamped(to.0, to.1));
            screen.feed(&before[cut.min(before.len())..]);
            let mut copy = Screen::new(screen.size());
            copy.feed(&screen.repaint());
            prop_assert!(same(&screen, &copy), "{:?} {:?}", screen.lines(), copy.lines());
            screen.feed(&after);
            copy.feed(&after);
            prop_assert!(same(&screen, &copy), "{:?} {:?}", screen.lines(), copy.lines());
        }
    }
}
