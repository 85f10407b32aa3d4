//! What the keys of this terminal mean: everything goes to the session, except after Ctrl-].
//!
//! After Ctrl-]: `n` shows the next display of the session, `q` or `.` leaves, `i` asks for a card file and inserts the
//! card, `r` removes it, `l` draws the screen again, Ctrl-] sends itself, anything else ends the list.

/// Ctrl-], as telnet has it: shells and editors leave it alone.
const ESCAPE: u8 = 0x1d;
/// What is shown after Ctrl-]: what each key does then.
pub(super) const MENU: &str =
    "Ctrl-] then: n next display, q quit, i insert a card, r remove it, l redraw, Ctrl-] itself";
/// A path of more than this is not typed.
const PATH_MAX: usize = 1024;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Press these keys.
    Send(Vec<u8>),
    /// Show this line instead of the last one.
    Line(String),
    /// Draw the screen again.
    Redraw,
    Insert(String),
    /// Show the next display.
    Flip,
    Remove,
    Quit,
}

/// ```text
/// Plain ──Ctrl-]──▶ Menu ──i──▶ Path ──Enter, Esc──▶ Plain
///   ▲                │
///   └── any key ─────┘
/// ```
#[derive(Debug, Default)]
pub(super) enum Keys {
    #[default]
    Plain,
    Menu,
    Path(Vec<u8>),
}

impl Keys {
    /// Takes in what was typed.
    pub(super) fn take(&mut self, typed: &[u8]) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut rest = typed;
        while let Some((&byte, after)) = rest.split_first() {
            let is_ours = !matches!(self, Self::Plain);
            if let Some(len) = report_len(rest).filter(|_| is_ours) {
                // The mouse moved, or the window was left: nothing that was meant for the menu.
                rest = &rest[len..];
                continue;
            }
            rest = after;
            let act = self.key(byte);
            match (act, acts.last_mut()) {
                (Some(Act::Send(more)), Some(Act::Send(keys))) => keys.extend(more),
                (Some(act), _) => acts.push(act),
                (None, _) => {}
            }
        }
        acts
    }

    fn key(&mut self, byte: u8) -> Option<Act> {
        match self {
            Self::Plain if byte == ESCAPE => {
                *self = Self::Menu;
                Some(Act::Line(MENU.to_owned()))
            }
            Self::Plain => Some(Act::Send(vec![byte])),
            Self::Menu => {
                *self = Self::Plain;
                Some(match byte {
                    b'q' | b'.' => Act::Quit,
                    b'r' => Act::Remove,
                    b'n' => Act::Flip,
                    b'i' => {
                        *self = Self::Path(Vec::new());
                        return Some(Act::Line(prompt(b"")));
                    }
                    ESCAPE => Act::Send(vec![ESCAPE]),
                    _ => Act::Redraw,
                })
            }
            Self::Path(path) => {
                match byte {
                    b'\r' | b'\n' => {
                        let path = String::from_utf8_lossy(path).trim().to_owned();
                        *self = Self::Plain;
                        return Some(if path.is_empty() { Act::Redraw } else { Act::Insert(path) });
                    }
                    0x1b | 0x03 => {
                        *self = Self::Plain;
                        return Some(Act::Redraw);
                    }
                    0x08 | 0x7f => drop(path.pop()),
                    0x20.. if path.len() < PATH_MAX => path.push(byte),
                    _ => {}
                }
                Some(Act::Line(prompt(path)))
            }
        }
    }
}

/// Length of what a terminal sends by itself, if that stands here: a report of the mouse or of the focus.
fn report_len(typed: &[u8]) -> Option<usize> {
    let (kind, after) = typed.strip_prefix(b"\x1b[")?.split_first()?;
    match kind {
        b'M' => Some(6.min(typed.len())),
        b'I' | b'O' => Some(3),
        b'<' => after.iter().position(|byte| matches!(byte, b'M' | b'm')).map(|end| 3 + end + 1),
        _ => None,
    }
}

fn prompt(path: &[u8]) -> String {
    format!("card file: {}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_to_the_session_until_the_escape() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"ls\r"), [Act::Send(b"ls\r".to_vec())]);
        assert_eq!(keys.take(b"a\x1dq"), [Act::Send(b"a".to_vec()), Act::Line(MENU.to_owned()), Act::Quit]);
    }

    #[test]
    fn the_escape_twice_is_itself_and_an_unknown_key_only_ends_the_menu() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1d\x1d").last(), Some(&Act::Send(vec![0x1d])));
        assert_eq!(keys.take(b"\x1dz").last(), Some(&Act::Redraw));
        assert_eq!(keys.take(b"z"), [Act::Send(b"z".to_vec())]);
    }

    #[test]
    fn a_mouse_that_moves_is_no_key_of_the_menu_and_reaches_nobody_from_there() {
        let mut keys = Keys::default();
        let moved = b"\x1b[<35;10;5M";
        assert_eq!(keys.take(moved), [Act::Send(moved.to_vec())]);
        assert_eq!(keys.take(b"\x1d"), [Act::Line(MENU.to_owned())]);
        assert_eq!(keys.take(moved), []);
        assert_eq!(keys.take(b"\x1b[I\x1b[M !!\x1b[<0;1;1mr"), [Act::Remove]);
        assert_eq!(keys.take(b"\x1dia\x1b[<35;10;5Mb\r").last(), Some(&Act::Insert("ab".to_owned())));
        assert_eq!(keys.take(b"\x1d\x1b").last(), Some(&Act::Redraw), "Esc alone ends the menu");
    }

    #[test]
    fn a_card_file_is_asked_for_can_be_corrected_and_left() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1dian\x7fb\r").last(), Some(&Act::Insert("ab".to_owned())));
        assert_eq!(keys.take(b"\x1dix\x1b").last(), Some(&Act::Redraw));
        assert_eq!(keys.take(b"\x1di\r").last(), Some(&Act::Redraw));
        assert_eq!(keys.take(b"k"), [Act::Send(b"k".to_vec())]);
    }
}
