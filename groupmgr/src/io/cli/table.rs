//! Tables for people: columns as wide as their widest cell, numbers to the right.

use std::fmt::Write as _;

/// A table under construction.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, which has a cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cell = |row: &[String], at: usize| row.get(at).map_or(0, |cell| cell.chars().count());
        let widths: Vec<usize> = (self.head.iter().enumerate())
            .map(|(at, head)| self.rows.iter().map(|row| cell(row, at)).fold(head.len(), usize::max))
            .collect();
        let right: Vec<bool> = (0..self.head.len())
            .map(|at| {
                let cells = || self.rows.iter().filter_map(move |row| row.get(at));
                cells().any(|text| is_number(text)) && cells().all(|text| text == "-" || is_number(text))
            })
            .collect();
        let line = |cells: Vec<&str>| {
            let mut line = String::new();
            for (at, text) in cells.iter().enumerate() {
                let (width, gap) = (widths.get(at).copied().unwrap_or(0), if at == 0 { "" } else { "  " });
                let done = if right.get(at) == Some(&true) {
                    write!(line, "{gap}{text:>width$}")
                } else {
                    write!(line, "{gap}{text:<width$}")
                };
                debug_assert!(done.is_ok(), "text can always be written to a string");
            }
            line
        };
        writeln!(f, "{}", line(self.head.clone()).trim_end())?;
        for row in &self.rows {
            writeln!(f, "{}", line(row.iter().map(String::as_str).collect()).trim_end())?;
        }
        Ok(())
    }
}

/// Digits with a dot or a sign; not the hex of an id.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.len() < 8
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_cells_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["HOST", "LOAD"]);
        table.row(["a".to_owned(), "5".to_owned()]);
        table.row(["longer".to_owned(), "1250".to_owned()]);
        assert_eq!(table.to_string(), "HOST    LOAD\na          5\nlonger  1250\n");
    }

    #[test]
    fn ids_and_empty_columns_stand_to_the_left() {
        let mut table = Table::new(&["KEY", "NOTE", "N"]);
        table.row(["0131e177".to_owned(), "-".to_owned(), "1".to_owned()]);
        table.row(["01311777".to_owned(), "-".to_owned(), "-".to_owned()]);
        assert_eq!(table.to_string(), "KEY       NOTE  N\n0131e177  -     1\n01311777  -     -\n");
    }
}
