//! What happened in a run, for whoever has to understand a failure.

use std::collections::VecDeque;
use std::fmt::Write as _;

use proto::Instant;

/// How many lines are kept.
const LINES_MAX: usize = 4_000;
/// Lines shown with a failure.
const LINES_SHOWN: usize = 150;

/// The story of a run: its last lines.
#[derive(Debug)]
pub(super) struct History {
    lines: VecDeque<(Instant, String)>,
    pub(super) is_kept: bool,
}

impl History {
    pub(super) const fn new() -> Self {
        Self { lines: VecDeque::new(), is_kept: true }
    }

    pub(super) fn tell(&mut self, now: Instant, line: impl FnOnce() -> String) {
        if !self.is_kept {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back((now, line()));
    }

    /// All lines, each with its time.
    pub(super) fn text(&self, lines: usize) -> String {
        let mut text = String::new();
        let skipped = self.lines.len().saturating_sub(lines);
        for (at, line) in self.lines.iter().skip(skipped) {
            let micros = at.as_micros();
            let line = brief(line);
            let _ = writeln!(text, "{:>7}.{:06} {line}", micros / 1_000_000, micros % 1_000_000);
        }
        text
    }

    pub(super) fn end_of_it(&self) -> String {
        self.text(LINES_SHOWN)
    }
}

/// What stands around the names of things in their debug form, and says nothing to a reader.
const WRAPPERS: [&str; 7] =
    ["HostName(", "Token(", "Serial(", "ServiceName(", "SessionId(", "Some(", "Instant("];

/// A line as short as it can be read: without the types of names, and with the first digits of long numbers.
fn brief(line: &str) -> String {
    let mut out = String::new();
    let mut open: Vec<bool> = Vec::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| rest.starts_with(**wrapper)) {
            open.push(true);
            rest = &rest[wrapper.len()..];
            continue;
        }
        let shown = match c {
            '(' => {
                open.push(false);
                true
            }
            ')' => !open.pop().unwrap_or(false),
            _ => true,
        };
        if shown {
            out.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    let words = out.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|word| {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_long = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if is_long { format!("{}{}", &digits[..8], &word[digits.len()..]) } else { word.to_owned() }
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_without_the_types_of_names() {
        let line = "h1: Made { token: Token(card.a), at: (1, 2), session: SessionId(0123456789abcdef0123456789abcdef) }";
        assert_eq!(brief(line), "h1: Made { token: card.a, at: (1, 2), session: 01234567 }");
    }
}
