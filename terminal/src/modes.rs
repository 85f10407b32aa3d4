//! The modes of a terminal: what its keys, its mouse and its cursor do, and how it prints.

use std::collections::BTreeSet;

/// Which mouse events are reported: each replaces the others.
const MOUSE: [u16; 4] = [9, 1000, 1002, 1003];
/// How they are reported.
const MOUSE_FORMAT: [u16; 4] = [1005, 1006, 1015, 1016];
/// Private modes that are kept and reported, and are set in no other way: cursor keys, inverse screen, blinking
/// cursor, reverse wrap, focus reports, alternate scroll, bracketed paste, output held back while a picture is
/// composed.
const PLAIN: [u16; 8] = [1, 5, 12, 45, 1004, 1007, 2004, 2026];
/// Those that a terminal has set when it is switched on.
const SET_FIRST: [u16; 2] = [7, 25];

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    set: BTreeSet<u16>,
    /// Characters are inserted (IRM).
    pub(crate) insert: bool,
    /// A line feed is a carriage return as well (LNM).
    pub(crate) newline: bool,
    /// Rows and columns count from the margins (DECOM).
    pub(crate) origin: bool,
    /// There are left and right margins (DECLRMM).
    pub(crate) sides: bool,
    pub(crate) keypad: bool,
    pub(crate) cursor_style: u16,
    pub(crate) other_keys: u16,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            set: SET_FIRST.into(),
            insert: false,
            newline: false,
            origin: false,
            sides: false,
            keypad: false,
            cursor_style: 0,
            other_keys: 0,
        }
    }
}

impl Modes {
    /// Whether a private mode is set.
    #[must_use]
    pub fn is_set(&self, mode: u16) -> bool {
        self.set.contains(&mode)
    }

    /// Whether the keypad sends sequences (DECKPAM).
    #[must_use]
    pub const fn keypad(&self) -> bool {
        self.keypad
    }

    /// The shape of the cursor as its sequence numbers it (DECSCUSR), 0 for the terminal's own.
    #[must_use]
    pub const fn cursor_style(&self) -> u16 {
        self.cursor_style
    }

    pub(crate) fn wraps(&self) -> bool {
        self.is_set(7)
    }

    /// Sets or resets a private mode that does nothing else. False if there is none of this number.
    pub(crate) fn put(&mut self, mode: u16, on: bool) -> bool {
        for group in [MOUSE, MOUSE_FORMAT] {
            if group.contains(&mode) {
                // As xterm: to reset any of them is to have none.
                self.set.retain(|other| !group.contains(other));
            }
        }
        let is_known = is_plain(mode);
        if is_known && on {
            self.set.insert(mode);
        } else {
            self.set.remove(&mode);
        }
        is_known
    }

    pub(crate) fn soft_reset(&mut self) {
        self.set.remove(&1);
        self.set.remove(&45);
        self.set.extend(SET_FIRST);
        (self.insert, self.origin, self.sides, self.keypad) = (false, false, false, false);
    }

    /// What turns those modes of a terminal that its keys, mouse and cursor have from these `before` into these.
    pub fn draw_devices(&self, before: &Self, out: &mut Vec<u8>) {
        let devices = |mode: &&u16| ![7, 45, 2026].contains(*mode);
        let mut put = |text: String| out.extend_from_slice(text.as_bytes());
        for mode in before.set.difference(&self.set).filter(devices) {
            put(format!("\x1b[?{mode}l"));
        }
        for mode in self.set.difference(&before.set).filter(devices) {
            put(format!("\x1b[?{mode}h"));
        }
        if self.keypad != before.keypad {
            put((if self.keypad { "\x1b=" } else { "\x1b>" }).to_owned());
        }
        if self.cursor_style != before.cursor_style {
            put(format!("\x1b[{} q", self.cursor_style));
        }
        if self.other_keys != before.other_keys {
            put(format!("\x1b[>4;{}m", self.other_keys));
        }
    }

    /// What sets all of them but origin and margins, from those of an empty terminal.
    pub(crate) fn draw(&self, out: &mut Vec<u8>) {
        let empty = Self::default();
        self.draw_devices(&empty, out);
        for mode in [45, 2026].iter().filter(|mode| self.is_set(**mode)) {
            out.extend_from_slice(format!("\x1b[?{mode}h").as_bytes());
        }
        if !self.wraps() {
            out.extend_from_slice(b"\x1b[?7l");
        }
        if self.insert {
            out.extend_from_slice(b"\x1b[4h");
        }
        if self.newline {
            out.extend_from_slice(b"\x1b[20h");
        }
    }
}

/// Whether a private mode is only kept and reported.
pub(crate) fn is_plain(mode: u16) -> bool {
    [7, 25].contains(&mode) || [&PLAIN[..], &MOUSE, &MOUSE_FORMAT].iter().any(|group| group.contains(&mode))
}
