//! The model of a DTU's screen: what a person in front of it would see.
//!
//! Fed with the [`Paint`]s of a [`crate::dtu::Dtu`], it gives the text, the cells for a picture, and the
//! bytes that draw the same screen on a real terminal. What a program asks of its terminal it leaves unanswered: the
//! session does that.

use proto::frame::Size;
use terminal::{Events, Over, Painter, Palette, Row, Terminal};

use crate::dtu::{Notice, Paint};
use crate::notice::Layout;

/// What a DTU shows: a terminal, and the DTU's own line over it.
pub struct Screen {
    terminal: Terminal,
    notice: Option<Notice>,
    events: Events,
    /// Everything of the session has to go, what was passed on to a real terminal included.
    cleared: bool,
}

impl Screen {
    /// An empty screen.
    #[must_use]
    pub fn new(size: Size) -> Self {
        let terminal = Terminal::without_scrollback(size);
        Self { terminal, notice: None, events: Events::default(), cleared: false }
    }

    /// Columns and rows of it.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.terminal.size()
    }

    /// Takes in a change.
    pub fn apply(&mut self, paint: &Paint) {
        match paint {
            Paint::Bytes(bytes) => {
                self.feed(bytes);
                let events = self.terminal.take_events();
                self.events.bell |= events.bell;
                if events.clipboard.is_some() {
                    self.events.clipboard = events.clipboard;
                }
            }
            Paint::Repaint { size, bytes } => {
                let here = self.size();
                self.terminal = Terminal::without_scrollback(*size);
                self.feed(bytes);
                // Whatever happened did so before.
                let _ = self.terminal.take_events();
                self.terminal.resize(here);
            }
            Paint::Clear => {
                self.terminal = Terminal::without_scrollback(self.size());
                self.events = Events::default();
                self.cleared = true;
            }
            Paint::Notice(notice) => self.notice.clone_from(notice),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.terminal.feed(bytes);
        let _ = self.terminal.take_answers();
    }

    /// Gives it another size.
    pub fn resize(&mut self, size: Size) {
        self.terminal.resize(size);
    }

    /// The DTU's own line above the screen.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_ref().map(|notice| notice.text.as_str())
    }

    /// The notice, laid out. One that passes keeps clear of the cursor; any other says that nothing else is listened to.
    fn over(&self) -> Over {
        let Some(notice) = &self.notice else { return Over::default() };
        let size = self.size();
        let position = self.terminal.cursor().filter(|_| notice.passes);
        let cursor = position.and_then(|(_, row)| u16::try_from(row).ok());
        let Layout { top, rows } = Layout::of(&notice.text, size.cols, size.rows, cursor);
        Over { top: top.into(), lines: rows, takes_cursor: !notice.passes }
    }

    /// The lines from top to bottom without trailing blanks. A notice takes the place of some.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.terminal.lines();
        let Over { top, lines: rows, .. } = self.over();
        for (line, row) in lines.iter_mut().skip(top).zip(rows) {
            *line = row;
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
        self.terminal.cursor().filter(|_| self.notice.as_ref().is_none_or(|notice| notice.passes))
    }

    /// The lines with their attributes; the notice is not among them.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.terminal.rows()
    }

    /// The colours of its cells.
    #[must_use]
    pub const fn palette(&self) -> &Palette {
        self.terminal.palette()
    }

    /// Whether text and background have changed places everywhere.
    #[must_use]
    pub fn is_inverse(&self) -> bool {
        self.terminal.modes().is_set(5)
    }

    /// What brings a real terminal of the same size, on which `painter` has drawn, up to date.
    pub fn update(&mut self, painter: &mut Painter) -> Vec<u8> {
        let mut bytes = painter.update(&self.terminal, &self.over());
        if core::mem::take(&mut self.cleared) {
            bytes.extend(painter.take_back());
        }
        bytes.extend(painter.pass_on(&core::mem::take(&mut self.events)));
        bytes
    }

    /// Nobody sees what has changed.
    pub fn unseen(&mut self, painter: &mut Painter) {
        painter.forget();
        self.events = Events::default();
        self.cleared = false;
    }

    /// What draws this screen on a real terminal of the same size, whatever that shows.
    #[must_use]
    pub fn redraw(&self, painter: &mut Painter) -> Vec<u8> {
        painter.draw(&self.terminal, &self.over())
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
    fn a_notice_covers_lines_and_uncovers_them_again_and_one_that_passes_never_the_cursors() {
        let mut screen = Screen::new(SIZE);
        screen.apply(&bytes(b"1\r\n2\r\n3"));
        let notice = |text: &str, passes| Paint::Notice(Some(Notice { text: text.into(), passes }));
        screen.apply(&notice("No host can be reached.", false));
        assert_eq!(screen.lines(), ["1", "No host can be", "reached."]);
        assert_eq!(screen.cursor(), None);
        screen.apply(&notice("Back at noon.", true));
        assert_eq!(
            (screen.lines(), screen.cursor()),
            (vec!["Back at noon.".into(), "2".into(), "3".into()], Some((1, 2)))
        );
        let mut copy = Screen::new(SIZE);
        copy.apply(&Paint::Bytes(screen.redraw(&mut Painter::default())));
        assert_eq!((copy.lines(), copy.cursor()), (screen.lines(), screen.cursor()));
        screen.apply(&Paint::Notice(None));
        assert_eq!((screen.text().as_str(), screen.cursor()), ("1\n2\n3", Some((1, 2))));
    }

    #[test]
    fn what_redraws_a_screen_draws_the_same_one() {
        let mut screen = Screen::new(SIZE);
        screen.apply(&bytes(b"\x1b[?1049h\x1b[2;3Hvim\x1b[7m!"));
        let mut copy = Screen::new(SIZE);
        copy.apply(&bytes(b"whatever\x1b[?25l\x1b[3;3r was there"));
        copy.apply(&Paint::Bytes(screen.redraw(&mut Painter::default())));
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
            let mut painter = Painter::default();
                let _ = (screen.text(), screen.redraw(&mut painter), screen.cursor());
        }
    }
}
