//! What the keys of this terminal mean: everything goes to the session, except after Ctrl-].
//!
//! After Ctrl-]: `q` or `.` leaves, `i` asks for a card file and inserts the card, `r` removes it, `l` draws
//! the screen again, Ctrl-] sends itself, anything else shows this list.

/// Ctrl-], as telnet has it: shells and editors leave it alone.
const ESCAPE: u8 = 0x1d;
/// The list.
pub(super) const MENU: &str = "Ctrl-] then: q quit, i insert a card, r remove it, l redraw, Ctrl-] itself";
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
        for &byte in typed {
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
    fn a_card_file_is_asked_for_can_be_corrected_and_left() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"\x1dian\x7fb\r").last(), Some(&Act::Insert("ab".to_owned())));
        assert_eq!(keys.take(b"\x1dix\x1b").last(), Some(&Act::Redraw));
        assert_eq!(keys.take(b"\x1di\r").last(), Some(&Act::Redraw));
        assert_eq!(keys.take(b"k"), [Act::Send(b"k".to_vec())]);
    }
}
