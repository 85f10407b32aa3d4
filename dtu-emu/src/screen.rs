//! The model of a DTU's screen: what a person in front of it would see.
//!
//! Fed with the [`Paint`]s of a [`crate::dtu::Dtu`], it gives the text, the cells for a picture, and the
//! bytes that draw the same screen on a real terminal. It keeps no scrollback and answers no questions of
//! programs: that is the session's own terminal model's task.

use avt::Terminal;
use proto::frame::Size;

use crate::dtu::Paint;

/// A screen.
pub struct Screen {
    terminal: Terminal,
    size: Size,
    /// The first bytes of a character whose rest has not come.
    partial: Vec<u8>,
    notice: Option<String>,
}

/// Puts a real terminal into the state of an empty one, whatever a program left it in.
const BLANK: &str = "\x1b[?1049l\x1b[!p\x1b[?7h\x1b[r\x1b[0m\x1b[2J\x1b[H";

impl Screen {
    /// An empty screen.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self { terminal: blank(size), size, partial: Vec::new(), notice: None }
    }

    /// Its size.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.size
    }

    /// Takes in a change.
    pub fn apply(&mut self, paint: &Paint) {
        match paint {
            Paint::Bytes(bytes) => self.feed(bytes),
            Paint::Repaint { size, bytes } => {
                self.partial.clear();
                self.terminal = blank(*size);
                self.feed(bytes);
                self.fit();
            }
            Paint::Clear => {
                self.partial.clear();
                self.terminal = blank(self.size);
            }
            Paint::Notice(notice) => self.notice.clone_from(notice),
        }
    }

    /// Gives it another size.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
        self.fit();
    }

    fn fit(&mut self) {
        let (cols, rows) = (usize::from(self.size.cols), usize::from(self.size.rows));
        if self.terminal.size() != (cols, rows) {
            self.terminal.resize(cols, rows);
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut text = core::mem::take(&mut self.partial);
        text.extend_from_slice(bytes);
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            match core::str::from_utf8(rest) {
                Ok(good) => {
                    self.terminal.feed(good);
                    return;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.terminal.feed(core::str::from_utf8(good).unwrap_or_default());
                    let Some(len) = error.error_len() else {
                        self.partial = bad.to_vec();
                        return;
                    };
                    self.terminal.feed("\u{fffd}");
                    rest = &bad[len..];
                }
            }
        }
    }

    /// The DTU's own line above the screen.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The lines from top to bottom without trailing blanks. A notice takes the place of the last line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let lines = self.terminal.screen().visible_lines();
        let mut lines: Vec<_> = lines.map(|line| line.text().trim_end().to_owned()).collect();
        if let (Some(notice), Some(last)) = (&self.notice, lines.last_mut()) {
            notice.chars().take(self.size.cols.into()).collect::<String>().clone_into(last);
        }
        lines
    }

    /// The text of the screen, one line each, without empty lines at its end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = self.lines();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.join("\n")
    }

    /// Column and row of the cursor, from 0; `None` when it is hidden.
    #[must_use]
    pub fn cursor(&self) -> Option<(usize, usize)> {
        self.terminal.cursor().position().filter(|_| self.notice.is_none())
    }

    /// The lines with their attributes; the notice is not among them.
    pub fn cells(&self) -> impl Iterator<Item = &avt::Line> {
        self.terminal.screen().visible_lines()
    }

    /// What draws this screen on a real terminal of the same size.
    #[must_use]
    pub fn redraw(&self) -> Vec<u8> {
        let mut bytes = format!("{BLANK}{}", self.terminal.dump());
        if let Some(notice) = &self.notice {
            let text: String = notice.chars().take(self.size.cols.into()).collect();
            // The cursor goes where the text ends, so that it is seen that nothing else is listened to.
            bytes.push_str(&format!("\x1b[r\x1b[?25h\x1b[{};1H\x1b[0;7m{text}\x1b[0m\x1b[K", self.size.rows));
        }
        bytes.into_bytes()
    }
}

fn blank(size: Size) -> Terminal {
    let Size { cols, rows } = Size::clamped(size.cols, size.rows);
    match Terminal::new(cols.into(), rows.into()) {
        Ok(terminal) => terminal,
        Err(_) => unreachable!("a clamped size is never zero"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: Size = Size { cols: 20, rows: 3 };

    fn bytes(text: &[u8]) -> Paint {
        Paint::Bytes(text.to_vec())
    }

    #[test]
    fn output_cut_anywhere_even_within_a_character_reads_the_same() {
        let text = "a\u{e9}\x1b[31m\u{20ac}\r\nb".as_bytes();
        for cut in 0..text.len() {
            let mut screen = Screen::new(SIZE);
            screen.apply(&bytes(&text[..cut]));
            screen.apply(&bytes(&text[cut..]));
            assert_eq!(screen.text(), "a\u{e9}\u{20ac}\nb", "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_show_as_such_and_do_not_stop_the_rest() {
        let mut screen = Screen::new(SIZE);
        screen.apply(&bytes(b"a\xff\xfeb"));
        assert_eq!(screen.text(), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn a_repaint_replaces_everything_and_clear_leaves_nothing() {
        let mut screen = Screen::new(SIZE);
        screen.apply(&bytes(b"old\xe2"));
        screen.apply(&Paint::Repaint { size: Size { cols: 10, rows: 5 }, bytes: b"new".to_vec() });
        assert_eq!((screen.text().as_str(), screen.lines().len()), ("new", 3));
        screen.apply(&Paint::Clear);
        assert_eq!(screen.text(), "");
    }

    #[test]
    fn a_notice_covers_the_last_line_and_uncovers_it_again() {
        let mut screen = Screen::new(SIZE);
        screen.apply(&bytes(b"1\r\n2\r\n3"));
        screen.apply(&Paint::Notice(Some("No host can be reached.".into())));
        assert_eq!(screen.lines(), ["1", "2", "No host can be reach"]);
        assert_eq!(screen.cursor(), None);
        screen.apply(&Paint::Notice(None));
        assert_eq!((screen.text().as_str(), screen.cursor()), ("1\n2\n3", Some((1, 2))));
    }

    #[test]
    fn what_redraws_a_screen_draws_the_same_one() {
        let mut screen = Screen::new(SIZE);
        screen.apply(&bytes(b"\x1b[?1049h\x1b[2;3Hvim\x1b[7m!"));
        let mut copy = Screen::new(SIZE);
        copy.apply(&bytes(b"whatever\x1b[?25l\x1b[3;3r was there"));
        copy.apply(&Paint::Bytes(screen.redraw()));
        assert_eq!((copy.lines(), copy.cursor()), (screen.lines(), screen.cursor()));
    }

    #[test]
    fn another_size_keeps_what_fits() {
        let mut screen = Screen::new(SIZE);
        screen.apply(&bytes(b"hello"));
        screen.resize(Size { cols: 40, rows: 10 });
        assert_eq!((screen.text().as_str(), screen.lines().len()), ("hello", 10));
    }

    proptest! {
        #[test]
        fn no_output_whatever_makes_it_panic(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..8),
            cols in 1_u16..50,
            rows in 1_u16..20,
        ) {
            let mut screen = Screen::new(SIZE);
            for piece in pieces {
                screen.apply(&Paint::Bytes(piece));
                screen.resize(Size { cols, rows });
            }
            let _ = (screen.text(), screen.redraw(), screen.cursor());
        }
    }
}
