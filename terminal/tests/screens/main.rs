//! Inputs and what xterm shows and answers for them: `screens.json`, which `make.py` beside it makes.

#![allow(clippy::expect_used, reason = "a table that cannot be read ends the test")]

use serde::Deserialize;
use terminal::{Size, Terminal};

#[derive(Deserialize)]
struct Table {
    cols: u16,
    rows: u16,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// One character for each byte.
    input: String,
    lines: Vec<String>,
    /// Column and row, as a program is told.
    cursor: (u16, u16),
    answer: String,
}

/// What we do otherwise, and why.
const OTHERWISE: [(&str, &str); 6] = [
    ("a joiner takes no column", "xterm drops it, and emoji could not be drawn joined later"),
    ("an accent after a move goes to what is left of the cursor", "xterm joins it to what was written last"),
    ("columns relative", "xterm has no HPB"),
    ("rows relative", "xterm has no VPB"),
    ("relative moves stop at the edges", "xterm has neither"),
    ("setting of colours", "xterm answers with colons, which fewer programs read"),
];

fn table() -> Table {
    serde_json::from_str(include_str!("screens.json")).expect("the table")
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
}

#[test]
fn every_input_shows_and_is_answered_what_xterm_does() {
    let table = table();
    let mut wrong = Vec::new();
    for case in &table.cases {
        let mut terminal = Terminal::new(Size { cols: table.cols, rows: table.rows });
        terminal.feed(&bytes(&case.input));
        let answer = String::from_utf8(terminal.take_answers()).expect("text");
        terminal.feed(b"\x1b[6n");
        let place = terminal.take_answers();
        let expected = format!("\x1b[{};{}R", case.cursor.1 + 1, case.cursor.0 + 1);
        let is_same = terminal.lines() == case.lines && answer == case.answer && place == expected.as_bytes();
        // What is as xterm has it must not be listed.
        let is_otherwise = OTHERWISE.iter().any(|(name, _)| *name == case.name);
        if is_same == is_otherwise {
            wrong.push(format!(
                "{}: {:?}\n   ours {:?} {:?} {answer:?}\n  xterm {:?} {expected:?} {:?}",
                case.name,
                case.input,
                terminal.lines(),
                String::from_utf8_lossy(&place),
                case.lines,
                case.answer
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.cases.len(), wrong.join("\n"));
}

#[test]
fn the_table_has_its_inputs_and_a_copy_of_each_shows_the_same() {
    let table = table();
    assert!(table.cases.len() >= 160, "{}", table.cases.len());
    for case in &table.cases {
        let mut terminal = Terminal::new(Size { cols: table.cols, rows: table.rows });
        terminal.feed(&bytes(&case.input));
        let mut copy = Terminal::new(terminal.size());
        copy.feed(&terminal.snapshot());
        assert!(terminal.rows().eq(copy.rows()), "{}: {:?}", case.name, copy.lines());
        assert_eq!(copy.take_answers(), b"", "{}: a snapshot asks nothing", case.name);
    }
}
