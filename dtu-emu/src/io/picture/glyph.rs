//! The glyphs of GNU Unifont: 16 rows of 8 or 16 pixels.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Rows of a glyph.
pub(super) const HEIGHT: usize = 16;
/// Columns of a narrow one.
pub(super) const WIDTH: usize = 8;

/// Rows from top to bottom; the leftmost pixel is the highest bit.
pub(super) type Rows = [u16; HEIGHT];

/// Emoji and legacy computing: code point, colon, rows in hex.
static UPPER: LazyLock<BTreeMap<u32, &'static str>> = LazyLock::new(|| {
    let lines = include_str!("upper.hex").lines().filter_map(|line| line.split_once(':'));
    lines.filter_map(|(code, rows)| Some((u32::from_str_radix(code, 16).ok()?, rows))).collect()
});

/// The glyph of a character. Joiners and variation selectors have an empty one: they show in nothing of their own.
pub(super) fn rows(c: char) -> Option<Rows> {
    match c {
        '\u{200b}'..='\u{200f}'
        | '\u{2060}'..='\u{2064}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0000}'..='\u{e01ef}'
        | ' ' => Some([0; HEIGHT]),
        // Skin colours, as marks of what they follow.
        '\u{10000}'.. => upper(c),
        _ => unifont::get_glyph(c).map(|glyph| match glyph {
            unifont::Glyph::Halfwidth(rows) => rows.map(|row| u16::from(row) << 8),
            unifont::Glyph::Fullwidth(rows) => *rows,
        }),
    }
}

fn upper(c: char) -> Option<Rows> {
    let digits = UPPER.get(&u32::from(c))?;
    let len = digits.len() / HEIGHT;
    let mut rows = [0; HEIGHT];
    for (n, row) in rows.iter_mut().enumerate() {
        let bits = u16::from_str_radix(digits.get(n * len..(n + 1) * len)?, 16).ok()?;
        *row = if len == 2 { bits << 8 } else { bits };
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_upper_planes_is_a_glyph() {
        assert_eq!(UPPER.len(), include_str!("upper.hex").lines().count());
        for code in UPPER.keys() {
            let glyph = char::from_u32(*code).and_then(rows);
            assert!(glyph.is_some(), "{code:x}");
        }
    }
}
