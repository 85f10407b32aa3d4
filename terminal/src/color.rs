//! What the colours are: those a program is told of, and those of pictures.

use std::collections::BTreeMap;

use crate::cell::Color;

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// The colours of a terminal, as programs have changed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    indexed: BTreeMap<u8, Rgb>,
    /// Of text, background and cursor, where they are not the default.
    dynamic: [Option<Rgb>; 3],
}

/// Text, background and cursor, as a program finds them.
const DYNAMIC: [Rgb; 3] = [[0xd0, 0xd0, 0xd0], [0x10, 0x10, 0x10], [0xd0, 0xd0, 0xd0]];

const NAMED: [Rgb; 16] = [
    [0x00, 0x00, 0x00],
    [0xcd, 0x31, 0x31],
    [0x0d, 0xbc, 0x79],
    [0xe5, 0xe5, 0x10],
    [0x24, 0x72, 0xc8],
    [0xbc, 0x3f, 0xbc],
    [0x11, 0xa8, 0xcd],
    [0xe5, 0xe5, 0xe5],
    [0x66, 0x66, 0x66],
    [0xf1, 0x4c, 0x4c],
    [0x23, 0xd1, 0x8b],
    [0xf5, 0xf5, 0x43],
    [0x3b, 0x8e, 0xea],
    [0xd6, 0x70, 0xd6],
    [0x29, 0xb8, 0xdb],
    [0xff, 0xff, 0xff],
];

impl Palette {
    /// A colour of the palette.
    #[must_use]
    pub fn indexed(&self, n: u8) -> Rgb {
        if let Some(rgb) = self.indexed.get(&n) {
            return *rgb;
        }
        match n {
            0..16 => NAMED[usize::from(n)],
            16..232 => {
                let n = n - 16;
                let level = |step: u8| if step == 0 { 0 } else { 55 + step * 40 };
                [level(n / 36), level(n / 6 % 6), level(n % 6)]
            }
            232.. => [8 + (n - 232) * 10; 3],
        }
    }

    /// The colour of text, background or cursor (0, 1, 2).
    #[must_use]
    pub fn dynamic(&self, which: usize) -> Rgb {
        self.dynamic.get(which).copied().flatten().unwrap_or(DYNAMIC[which.min(2)])
    }

    /// The colour of text, or of what is behind it.
    #[must_use]
    pub fn rgb(&self, color: Color, is_text: bool) -> Rgb {
        match color {
            Color::Default => self.dynamic(usize::from(!is_text)),
            Color::Indexed(n) => self.indexed(n),
            Color::Rgb(r, g, b) => [r, g, b],
        }
    }

    pub(crate) fn set_indexed(&mut self, n: u8, rgb: Option<Rgb>) {
        match rgb {
            Some(rgb) => drop(self.indexed.insert(n, rgb)),
            None => drop(self.indexed.remove(&n)),
        }
    }

    pub(crate) fn reset_indexed(&mut self) {
        self.indexed.clear();
    }

    pub(crate) fn set_dynamic(&mut self, which: usize, rgb: Option<Rgb>) {
        if let Some(color) = self.dynamic.get_mut(which) {
            *color = rgb;
        }
    }

    /// What turns the colours of a terminal from these `before` into these.
    pub fn draw(&self, before: &Self, out: &mut Vec<u8>) {
        for (n, [r, g, b]) in &self.indexed {
            if before.indexed.get(n) != Some(&[*r, *g, *b]) {
                out.extend_from_slice(format!("\x1b]4;{n};rgb:{r:02x}/{g:02x}/{b:02x}\x1b\\").as_bytes());
            }
        }
        for n in before.indexed.keys().filter(|n| !self.indexed.contains_key(n)) {
            out.extend_from_slice(format!("\x1b]104;{n}\x1b\\").as_bytes());
        }
        for (n, (now, then)) in self.dynamic.iter().zip(&before.dynamic).enumerate() {
            match now {
                _ if now == then => {}
                Some([r, g, b]) => {
                    let set = format!("\x1b]{};rgb:{r:02x}/{g:02x}/{b:02x}\x1b\\", 10 + n);
                    out.extend_from_slice(set.as_bytes());
                }
                None => out.extend_from_slice(format!("\x1b]{}\x1b\\", 110 + n).as_bytes()),
            }
        }
    }
}

/// Reads `rgb:r/g/b` with one to four digits each, or `#rgb` with one to four digits each.
pub(crate) fn parse(text: &str) -> Option<Rgb> {
    let part = |digits: &str| {
        let value = u32::from_str_radix(digits, 16).ok().filter(|_| (1..=4).contains(&digits.len()))?;
        let max = (1 << (4 * digits.len())) - 1;
        u8::try_from(value * 255 / max).ok()
    };
    let parts: Vec<&str> = if let Some(parts) = text.strip_prefix("rgb:") {
        parts.split('/').collect()
    } else {
        let digits = text.strip_prefix('#').filter(|digits| digits.is_ascii() && digits.len() % 3 == 0)?;
        let len = digits.len() / 3;
        if len == 0 {
            return None;
        }
        vec![&digits[..len], &digits[len..2 * len], &digits[2 * len..]]
    };
    match parts[..] {
        [r, g, b] => Some([part(r)?, part(g)?, part(b)?]),
        _ => None,
    }
}
