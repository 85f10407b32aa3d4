//! Character sets of seven bits, of which two still matter.

use unicode_width::UnicodeWidthChar as _;

/// A set that was designated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Charset {
    #[default]
    Ascii,
    /// As ASCII, with a pound sign for the hash.
    British,
    /// DEC special graphics: lines and boxes for the small letters.
    Graphics,
}

impl Charset {
    /// The set with this final character; an unknown one is taken for ASCII.
    pub(crate) const fn named(last: u8) -> Self {
        match last {
            b'0' | b'2' => Self::Graphics,
            b'A' => Self::British,
            _ => Self::Ascii,
        }
    }

    pub(crate) const fn name(self) -> u8 {
        match self {
            Self::Ascii => b'B',
            Self::British => b'A',
            Self::Graphics => b'0',
        }
    }

    pub(crate) fn map(self, c: char) -> char {
        const GRAPHICS: [char; 32] = [
            ' ', '◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─',
            '⎼', '⎽', '├', '┤', '┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·',
        ];
        match (self, c) {
            (Self::British, '#') => '£',
            (Self::Graphics, '_'..='~') => GRAPHICS[c as usize - '_' as usize],
            _ => c,
        }
    }
}

/// Columns of a character: 0 for one that is combined with what stands before it.
///
/// Each code point for itself, as `wcwidth` of programs has it: a family joined by U+200D takes the columns of its
/// members, with the joiners combined, and a variation selector changes no width.
pub(crate) fn width(c: char) -> usize {
    match c {
        ' '..='~' | '\u{ad}' => 1,
        _ => c.width().unwrap_or(0),
    }
}
