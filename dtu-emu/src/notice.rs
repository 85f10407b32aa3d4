//! Where a line of the DTU's own goes on a screen: over as few rows as it needs, and not over the one that is typed in.

/// Breaks a text between words into rows of at most `cols` characters; a longer word is broken where the row ends.
#[must_use]
pub fn wrap(text: &str, cols: u16) -> Vec<String> {
    let cols = usize::from(cols.max(1));
    let mut rows: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if let Some(row) = rows.last_mut()
            && row.chars().count() + 1 + word.len() <= cols
        {
            row.push(' ');
            row.extend(word);
            continue;
        }
        while word.len() > cols {
            rows.push(word.drain(..cols).collect());
        }
        rows.push(word.into_iter().collect());
    }
    rows
}

/// A text laid out on a screen.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first of its rows, from 0.
    pub top: u16,
    /// What they say.
    pub rows: Vec<String>,
}

impl Layout {
    /// At the bottom of a screen of `cols` by `lines`; or at its top, where otherwise the row `cursor` would be covered.
    /// What does not fit is cut at its end, so that half of the screen stays free where there is a cursor to keep free.
    #[must_use]
    pub fn of(text: &str, cols: u16, lines: u16, cursor: Option<u16>) -> Self {
        let mut rows = wrap(text, cols);
        let most = if cursor.is_some() { lines / 2 } else { lines };
        rows.truncate(usize::from(most.max(1)));
        let height = u16::try_from(rows.len()).unwrap_or(lines);
        let bottom = lines.saturating_sub(height);
        let covers = |top: u16, row: u16| (top..top + height).contains(&row);
        let top = match cursor {
            Some(row) if covers(bottom, row) && !covers(0, row) => 0,
            _ => bottom,
        };
        Self { top, rows }
    }

    /// What writes it, in reverse video.
    #[must_use]
    pub fn draw(&self) -> String {
        let mut text = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            let line = usize::from(self.top) + n + 1;
            text.push_str(&format!("\x1b[{line};1H\x1b[0;7m{row}\x1b[0m\x1b[K"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_wrapped_between_words_and_not_cut() {
        assert_eq!(wrap("Back in five minutes.", 12), ["Back in five", "minutes."]);
        assert_eq!(wrap("  a   bc ", 3), ["a", "bc"]);
        assert_eq!(wrap("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrap("x abcdefg", 3), ["x", "abc", "def", "g"]);
        assert!(wrap("", 10).is_empty());
    }

    #[test]
    fn it_goes_where_the_cursor_is_not() {
        let at = |cursor| Layout::of("one two", 3, 6, cursor).top;
        assert_eq!((at(None), at(Some(0)), at(Some(3)), at(Some(4)), at(Some(5))), (4, 4, 4, 0, 0));
    }

    proptest! {
        #[test]
        fn whatever_its_size_it_fits_and_the_cursors_row_is_free_where_there_are_two(
            text in "[a-z ]{0,400}", cols in 1_u16..100, lines in 2_u16..40, cursor in 0_u16..40,
        ) {
            let cursor = cursor % lines;
            let layout = Layout::of(&text, cols, lines, Some(cursor));
            let height = u16::try_from(layout.rows.len()).unwrap();
            prop_assert!(layout.top + height <= lines);
            prop_assert!(!(layout.top..layout.top + height).contains(&cursor));
            prop_assert!(layout.rows.iter().all(|row| row.chars().count() <= usize::from(cols)));
        }
    }
}
