//! The modes of a terminal that do not change its screen but what its keys, mouse and cursor do.
//!
//! The terminal model draws and leaves these out; a DTU that is repainted must have them all the same, or the
//! mouse of an editor is dead after every move to another desk.

use std::collections::BTreeSet;

/// Private modes that are kept: mouse reports and their encodings, focus reports, bracketed paste, and output
/// held back while a picture is composed.
const KEPT: [u16; 11] = [9, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2026];

/// Most parameters of one sequence that are looked at.
const PARAMS_MAX: usize = 16;

/// Follows the output of a service, byte by byte, for the modes it sets.
#[derive(Debug, Default)]
pub struct Modes {
    set: BTreeSet<u16>,
    keypad_application: bool,
    cursor_style: u16,
    at: At,
}

#[derive(Debug, Default)]
enum At {
    #[default]
    Text,
    Escape,
    Sequence(Sequence),
    /// A string (title, clipboard ...): its content is not ours to read.
    String,
    StringEscape,
}

#[derive(Debug, Default)]
struct Sequence {
    private: bool,
    space: bool,
    /// Something in it that none of the sequences read here has.
    foreign: bool,
    params: Vec<u16>,
}

impl Modes {
    /// Takes in what the service wrote.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // Ordinary text is nearly all there is.
            if byte < b' ' || !matches!(self.at, At::Text) {
                self.at = self.step(byte);
            }
        }
    }

    fn step(&mut self, byte: u8) -> At {
        match (core::mem::take(&mut self.at), byte) {
            (At::String, 0x07) | (_, 0x18 | 0x1a) | (At::StringEscape, b'\\') => At::Text,
            (At::String, 0x1b) => At::StringEscape,
            (At::String, _) => At::String,
            (_, 0x1b) => At::Escape,
            (At::Escape | At::StringEscape, byte) => self.escape(byte),
            (At::Sequence(sequence), byte) => self.sequence(sequence, byte),
            (At::Text, _) => At::Text,
        }
    }

    fn escape(&mut self, byte: u8) -> At {
        match byte {
            b'[' => return At::Sequence(Sequence { params: vec![0], ..Sequence::default() }),
            b']' | b'P' | b'X' | b'^' | b'_' => return At::String,
            b'=' => self.keypad_application = true,
            b'>' => self.keypad_application = false,
            b'c' => *self = Self::default(),
            _ => {}
        }
        At::Text
    }

    fn sequence(&mut self, mut sequence: Sequence, byte: u8) -> At {
        match byte {
            b'0'..=b'9' => {
                if let Some(param) = sequence.params.last_mut() {
                    *param = param.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                }
            }
            b';' if sequence.params.len() < PARAMS_MAX => sequence.params.push(0),
            b'?' => sequence.private = true,
            b' ' => sequence.space = true,
            b'@'..=b'~' => {
                self.end(&sequence, byte);
                return At::Text;
            }
            // Control characters act inside a sequence without ending it.
            0..b' ' => {}
            _ => sequence.foreign = true,
        }
        At::Sequence(sequence)
    }

    fn end(&mut self, sequence: &Sequence, last: u8) {
        if sequence.foreign {
            return;
        }
        match (sequence.private, sequence.space, last) {
            (true, false, b'h') => self.set.extend(sequence.params.iter().filter(|p| KEPT.contains(p))),
            (true, false, b'l') => {
                for param in &sequence.params {
                    self.set.remove(param);
                }
            }
            (false, true, b'q') => self.cursor_style = sequence.params[0].min(6),
            _ => {}
        }
    }

    /// What sets these modes in an empty terminal.
    pub fn draw(&self, out: &mut Vec<u8>) {
        if self.keypad_application {
            out.extend_from_slice(b"\x1b=");
        }
        if self.cursor_style > 0 {
            out.extend_from_slice(format!("\x1b[{} q", self.cursor_style).as_bytes());
        }
        for mode in &self.set {
            out.extend_from_slice(format!("\x1b[?{mode}h").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(output: &str) -> String {
        let mut modes = Modes::default();
        modes.feed(output.as_bytes());
        let mut bytes = Vec::new();
        modes.draw(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_repainted_editor_has_its_mouse_and_its_keys() {
        assert_eq!(drawn("\x1b[?1000;1006h\x1b=\x1b[2 q"), "\x1b=\x1b[2 q\x1b[?1000h\x1b[?1006h");
        assert_eq!(drawn("\x1b[?1000;1006h\x1b[?1006l"), "\x1b[?1000h");
        assert_eq!(drawn("\x1b[?2004h\x1bc"), "");
    }

    #[test]
    fn what_only_looks_like_a_mode_is_none() {
        for text in
            ["[?1000h", "\x1b]0;[?1000h", "\x1b[1000h", "\x1b[?1000$h", "\x1b[?25h", "\x1b[?10\x1800h"]
        {
            assert_eq!(drawn(text), "", "{text:?}");
        }
        assert_eq!(drawn("\x1b]0;title\x07\x1b[?1004h"), "\x1b[?1004h");
        assert_eq!(drawn("\x1b]0;title\x1b\\\x1b[?1004h"), "\x1b[?1004h");
    }

    proptest! {
        #[test]
        fn any_output_leaves_modes_that_draw_themselves(
            output in "(\x1b|\\[|\\?|1000|2004|;|h|l|c|=|>| q|[0-9]|\\]|\x07|\\PC){0,80}"
        ) {
            let first = drawn(&output);
            prop_assert_eq!(drawn(&first), first);
        }
    }
}
