//! Attributes of text: read from a sequence, and written as one.

use crate::cell::{Attrs, Color, Pen};
use crate::parser::Sequence;

impl Pen {
    /// Takes in a sequence that selects attributes (SGR).
    pub(crate) fn select(&mut self, sequence: &Sequence) {
        let params = sequence.params();
        if params.is_empty() {
            return self.reset();
        }
        let mut n = 0;
        while n < params.len() {
            // With colons a colour is one parameter of several parts, with semicolons it is several.
            let parts = (n + 1..params.len()).take_while(|next| sequence.is_sub(*next)).count();
            let sub = &params[n + 1..=n + parts];
            let used = match params[n] {
                38 | 48 | 58 if parts > 0 => {
                    self.set_color(params[n], color_of_parts(sub));
                    0
                }
                38 | 48 | 58 => {
                    let (color, used) = color_of_rest(&params[n + 1..]);
                    self.set_color(params[n], color);
                    used
                }
                4 => {
                    self.attrs.set_underline(sub.first().copied().unwrap_or(1));
                    0
                }
                _ if parts > 0 => 0,
                param => {
                    self.select_one(param);
                    0
                }
            };
            n += 1 + parts + used;
        }
    }

    fn reset(&mut self) {
        let protected = self.attrs.has(Attrs::PROTECTED);
        *self = Self::default();
        self.attrs.set(Attrs::PROTECTED, protected);
    }

    fn set_color(&mut self, which: u16, color: Option<Color>) {
        match (which, color) {
            (38, Some(color)) => self.fg = color,
            (48, Some(color)) => self.bg = color,
            // The colour of the underline: it has that of the text here.
            _ => {}
        }
    }

    fn select_one(&mut self, param: u16) {
        let attrs = &mut self.attrs;
        let index = |param: u16, base: u16| Color::Indexed(u8::try_from(param - base).unwrap_or(u8::MAX));
        match param {
            0 => self.reset(),
            1 => attrs.set(Attrs::BOLD, true),
            2 => attrs.set(Attrs::FAINT, true),
            3 => attrs.set(Attrs::ITALIC, true),
            5 | 6 => attrs.set(Attrs::BLINK, true),
            7 => attrs.set(Attrs::INVERSE, true),
            8 => attrs.set(Attrs::HIDDEN, true),
            9 => attrs.set(Attrs::STRIKE, true),
            21 => attrs.set_underline(2),
            22 => {
                attrs.set(Attrs::BOLD, false);
                attrs.set(Attrs::FAINT, false);
            }
            23 => attrs.set(Attrs::ITALIC, false),
            24 => attrs.set_underline(0),
            25 => attrs.set(Attrs::BLINK, false),
            27 => attrs.set(Attrs::INVERSE, false),
            28 => attrs.set(Attrs::HIDDEN, false),
            29 => attrs.set(Attrs::STRIKE, false),
            53 => attrs.set(Attrs::OVERLINE, true),
            55 => attrs.set(Attrs::OVERLINE, false),
            30..=37 => self.fg = index(param, 30),
            39 => self.fg = Color::Default,
            40..=47 => self.bg = index(param, 40),
            49 => self.bg = Color::Default,
            90..=97 => self.fg = index(param, 82),
            100..=107 => self.bg = index(param, 92),
            _ => {}
        }
    }

    /// The parameters that select it, from anything; `0` first.
    #[must_use]
    pub fn to_sgr(&self) -> String {
        let mut text = "0".to_owned();
        let flags = [
            (Attrs::BOLD, ";1"),
            (Attrs::FAINT, ";2"),
            (Attrs::ITALIC, ";3"),
            (Attrs::BLINK, ";5"),
            (Attrs::INVERSE, ";7"),
            (Attrs::HIDDEN, ";8"),
            (Attrs::STRIKE, ";9"),
            (Attrs::OVERLINE, ";53"),
        ];
        for (flag, param) in flags {
            if flag == Attrs::BLINK {
                match self.attrs.underline() {
                    0 => {}
                    1 => text.push_str(";4"),
                    2 => text.push_str(";21"),
                    style => text.push_str(&format!(";4:{style}")),
                }
            }
            if self.attrs.has(flag) {
                text.push_str(param);
            }
        }
        for (color, base) in [(self.fg, 30), (self.bg, 40)] {
            match color {
                Color::Default => {}
                Color::Indexed(n @ 0..8) => text.push_str(&format!(";{}", base + u16::from(n))),
                Color::Indexed(n @ 8..16) => text.push_str(&format!(";{}", base + 52 + u16::from(n))),
                Color::Indexed(n) => text.push_str(&format!(";{};5;{n}", base + 8)),
                Color::Rgb(r, g, b) => text.push_str(&format!(";{};2;{r};{g};{b}", base + 8)),
            }
        }
        text
    }
}

fn byte(n: u16) -> Option<u8> {
    u8::try_from(n).ok()
}

/// `5:index`, `2:r:g:b` or `2:space:r:g:b`.
fn color_of_parts(parts: &[u16]) -> Option<Color> {
    match *parts {
        [5, n, ..] => byte(n).map(Color::Indexed),
        [2, r, g, b] | [2, _, r, g, b, ..] => Some(Color::Rgb(byte(r)?, byte(g)?, byte(b)?)),
        _ => None,
    }
}

/// `5;index` or `2;r;g;b`, and how many parameters that were.
fn color_of_rest(rest: &[u16]) -> (Option<Color>, usize) {
    match *rest {
        [5, n, ..] => (byte(n).map(Color::Indexed), 2),
        [2, r, g, b, ..] => {
            let color = byte(r).zip(byte(g)).zip(byte(b)).map(|((r, g), b)| Color::Rgb(r, g, b));
            (color, 4)
        }
        _ => (None, rest.len()),
    }
}
