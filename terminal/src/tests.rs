//! What a terminal shows, and that a copy goes on as the original does.

use proptest::prelude::*;

use super::*;

/// Output of the kind that breaks terminals: sequences of all sorts, whole and cut, wide and combined characters, bad
/// UTF-8.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[ -~]{1,12}".prop_map(String::into_bytes),
        2 => Just(b"\r\n".to_vec()),
        3 => "\x1b\\[[0-9;]{0,5}[@A-Zabdefg`jk]".prop_map(String::into_bytes),
        2 => "\x1b\\[[?>=!]?[0-9;:]{0,8}[ $\"'*]?[@-~]".prop_map(String::into_bytes),
        1 => "\x1b\\[(0|1|4|7|38;5;[0-9]{1,3}|48;2;1;2;3|38:2::1:2:3|4:3|21)m".prop_map(String::into_bytes),
        2 => "\x1b\\[\\?(1|5|6|7|25|45|47|66|69|1000|1006|1047|1048|1049|2004)[hl]".prop_map(String::into_bytes),
        1 => "\x1b\\[(1?[0-9];1?[0-9][rs]|[01]\"q|[0-9]{1,2} [@A]|[0-9]'[}~]|4[hl])".prop_map(String::into_bytes),
        1 => "\x1b\\[([1-6];){3}[1-9](;[1-9];[1-9])?\\$[vz{]".prop_map(String::into_bytes),
        1 => "\x1b([678DEHMNOno9c=>]|[()*+][0AB]|#8|\\][02];x\x07|P1\x1b|P\\$qm\x1b\\\\|\\]4;1;rgb:1/2/3\x07|\\[2[23]t)"
            .prop_map(String::into_bytes),
        1 => "[äß界👨\u{301}\u{200d}\u{9b}]{1,3}".prop_map(String::into_bytes),
        1 => "[\x08\t\x0e\x0f\x0b\x18]{1,3}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn same(a: &Terminal, b: &Terminal) -> bool {
    a.snapshot() == b.snapshot() && a.rows().eq(b.rows()) && a.cursor() == b.cursor()
}

fn copy(original: &Terminal) -> Terminal {
    let mut copy = Terminal::new(original.size());
    copy.feed(&original.snapshot());
    let _ = (copy.take_answers(), copy.take_events());
    copy
}

fn shown(cols: u16, rows: u16, output: &str) -> Terminal {
    let mut terminal = Terminal::new(Size { cols, rows });
    terminal.feed(output.as_bytes());
    terminal
}

#[test]
fn a_snapshot_shows_text_colour_cursor_and_the_other_screen() {
    let mut terminal = shown(20, 4, "shell\r\n\x1b[?1049h\x1b[31mvim\x1b[?1000h\x1b[3;5H");
    let mut copy = copy(&terminal);
    assert_eq!(copy.lines()[..2], ["", "vim"]);
    assert!(same(&terminal, &copy));
    for terminal in [&mut terminal, &mut copy] {
        terminal.feed(b"\x1b[?1049l$ ");
    }
    assert_eq!(copy.lines()[..2], ["shell", "$"]);
    assert!(same(&terminal, &copy));
}

#[test]
fn a_character_cut_in_two_is_one_character_in_a_copy_too() {
    let mut terminal = Terminal::new(Size::default());
    terminal.feed(&[b'x', 0xe7, 0x95]);
    let mut copy = copy(&terminal);
    for terminal in [&mut terminal, &mut copy] {
        terminal.feed(&[0x8c, 0xff, b'y']);
        assert_eq!(terminal.lines()[0], "x界\u{fffd}y");
    }
}

#[test]
fn a_narrower_screen_shows_what_fits_and_a_wider_one_shows_it_again() {
    let mut terminal = shown(10, 4, "0123456789\r\n$ ");
    terminal.resize(Size { cols: 5, rows: 4 });
    assert_eq!(terminal.lines(), ["01234", "56789", "$", ""]);
    terminal.resize(Size { cols: 10, rows: 2 });
    assert_eq!(terminal.lines(), ["0123456789", "$"]);
    assert_eq!(terminal.cursor(), Some((2, 1)));
}

#[test]
fn a_full_screen_that_was_narrow_for_a_while_is_full_again() {
    let mut terminal = shown(8, 4, "aaaaaa\r\nbbbbbb\r\ncccccc\r\n$ ");
    terminal.resize(Size { cols: 4, rows: 4 });
    assert_eq!(terminal.lines(), ["bb", "cccc", "cc", "$"]);
    terminal.resize(Size { cols: 8, rows: 4 });
    assert_eq!(terminal.lines(), ["aaaaaa", "bbbbbb", "cccccc", "$"]);
}

#[test]
fn what_was_cleared_does_not_come_back_with_another_size() {
    let mut terminal = shown(10, 4, "old\r\n\x1b[H\x1b[2Jnew one");
    terminal.resize(Size { cols: 4, rows: 4 });
    assert_eq!(terminal.lines(), ["new", "one", "", ""]);
}

#[test]
fn lines_above_the_screen_are_bounded_and_cost_what_was_written() {
    let terminal = shown(80, 4, &"x\r\n".repeat(1000));
    assert_eq!(terminal.above(), ABOVE_MAX);
    assert_eq!(Terminal::without_scrollback(Size::default()).above(), 0);
}

#[test]
fn what_does_not_end_is_bounded() {
    let mut terminal = Terminal::new(Size::default());
    terminal.feed(b"\x1b]52;c;");
    for _ in 0..1000 {
        terminal.feed(&[b'A'; 1000]);
    }
    assert!(terminal.snapshot().len() < 200_000);
    terminal.feed(b"\x07a\xcc\x81");
    terminal.feed("\u{301}".repeat(1000).as_bytes());
    terminal.feed(b"\x1b[6n".repeat(10_000).as_slice());
    assert!(terminal.snapshot().len() < 1000);
    assert!(terminal.take_answers().len() <= 4096);
}

proptest! {
    #[test]
    fn a_copy_goes_on_like_the_original(
        before in output(), after in output(), cut in 0_usize..400,
        size in (1_u16..30, 1_u16..12), to in (1_u16..30, 1_u16..12)
    ) {
        let mut terminal = Terminal::new(Size::clamped(size.0, size.1));
        terminal.feed(&before[..cut.min(before.len())]);
        terminal.resize(Size::clamped(to.0, to.1));
        terminal.feed(&before[cut.min(before.len())..]);
        let _ = (terminal.take_answers(), terminal.take_events());
        let mut copy = copy(&terminal);
        prop_assert!(same(&terminal, &copy), "{:?}\n{:?}\n{:?}\n{:?}", terminal.lines(), copy.lines(),
            String::from_utf8_lossy(&terminal.snapshot()), String::from_utf8_lossy(&copy.snapshot()));
        terminal.feed(&after);
        copy.feed(&after);
        prop_assert!(same(&terminal, &copy), "{:?}\n{:?}\n{:?}\n{:?}", terminal.lines(), copy.lines(),
            String::from_utf8_lossy(&terminal.snapshot()), String::from_utf8_lossy(&copy.snapshot()));
        prop_assert_eq!(terminal.take_answers(), copy.take_answers());
    }

    #[test]
    fn output_means_the_same_however_it_is_cut(output in output(), cuts in proptest::collection::vec(0_usize..300, 0..6)) {
        let mut whole = Terminal::new(Size { cols: 12, rows: 5 });
        whole.feed(&output);
        let mut cut = Terminal::new(Size { cols: 12, rows: 5 });
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(output.len())).collect();
        cuts.sort_unstable();
        let mut from = 0;
        for to in cuts.into_iter().chain([output.len()]) {
            cut.feed(&output[from..to]);
            from = to;
        }
        prop_assert!(same(&whole, &cut));
    }

    #[test]
    fn a_screen_keeps_its_form_whatever_is_written(output in output(), sizes in proptest::collection::vec((1_u16..20, 1_u16..9), 1..5)) {
        let mut terminal = Terminal::new(Size::default());
        for (cols, rows) in sizes {
            terminal.feed(&output);
            terminal.resize(Size { cols, rows });
            prop_assert_eq!(terminal.rows().len(), usize::from(rows));
            for row in terminal.rows() {
                prop_assert_eq!(row.cells().len(), usize::from(cols));
                for (n, cell) in row.cells().iter().enumerate() {
                    let next = row.cells().get(n + 1).map(Cell::width);
                    prop_assert!((cell.width() == 2) == (next == Some(0)), "a wide character has both halves: {:?}", row);
                }
            }
        }
    }
}

/// A real terminal, in whatever state its last user left it.
fn real(size: Size) -> Terminal {
    let mut real = Terminal::new(size);
    real.feed(
        "\x1b[31;1mleft\x1b[2;3r\x1b[?6;1003;1006;2004h\x1b[4h\x1b=\x1b(0\x1b]2;old\x07 behind".as_bytes(),
    );
    real
}

/// What of a row can be seen.
fn seen(row: &Row) -> Vec<(char, String, Pen, u8)> {
    let seen = |cell: &Cell| {
        let mut pen = cell.pen();
        pen.attrs.set(Attrs::PROTECTED, false);
        (cell.char(), cell.marks().to_owned(), pen, cell.width())
    };
    row.cells().iter().map(seen).collect()
}

fn looks_same(real: &Terminal, terminal: &Terminal, covered: usize) -> bool {
    let rows = terminal.rows().len().saturating_sub(covered);
    let mut rows = real.rows().zip(terminal.rows()).take(rows);
    let mut modes = Vec::new();
    terminal.modes().draw_devices(real.modes(), &mut modes);
    rows.all(|(a, b)| seen(a) == seen(b))
        && (covered > 0 || real.cursor() == terminal.cursor() && modes.is_empty())
        && real.title() == terminal.title()
        && real.palette() == terminal.palette()
}

#[test]
fn a_real_terminal_gets_the_modes_of_a_session_and_keeps_none() {
    let size = Size { cols: 20, rows: 4 };
    let (mut painter, mut real) = (Painter::default(), real(size));
    let session = shown(
        20,
        4,
        "\x1b[?1;1002;1004;1006;2004h\x1b=\x1b[5 q\x1b[>4;2m\x1b]2;vim\x07\x1b]11;#102030\x07\x1b[?1049h\x1b[?25ltext",
    );
    real.feed(&painter.draw(&session, &Over::default()));
    assert!(looks_same(&real, &session, 0));
    for mode in [1, 1002, 1004, 1006, 2004] {
        assert!(real.modes().is_set(mode), "{mode}");
    }
    assert!(real.modes().keypad() && real.modes().cursor_style() == 5 && real.title() == "vim");
    let nothing = Terminal::new(size);
    real.feed(&painter.update(&nothing, &Over::default()));
    assert!(looks_same(&real, &nothing, 0));
    assert_eq!(real.modes(), nothing.modes());
    real.feed(&painter.update(&session, &Over::default()));
    real.feed(RESET.as_bytes());
    assert_eq!((real.modes(), real.title(), real.lines()), (nothing.modes(), "", nothing.lines()));
    assert_eq!(real.palette(), nothing.palette());
}

#[test]
fn nothing_that_is_painted_asks_a_real_terminal_or_goes_above_its_screen() {
    let size = Size { cols: 20, rows: 4 };
    let mut session = Terminal::without_scrollback(size);
    let (mut painter, mut real) = (Painter::default(), Terminal::new(size));
    real.feed(&painter.draw(&session, &Over::default()));
    for n in 0..100 {
        session.feed(format!("line {n}\r\n\x1b[6n\x1b[c\x1b[>q\x1b]11;?\x07\x1b[18t").as_bytes());
        real.feed(&painter.update(&session, &Over::default()));
    }
    assert_eq!((real.take_answers(), real.above()), (Vec::new(), 0));
    assert!(looks_same(&real, &session, 0));
}

#[test]
fn what_has_not_changed_is_not_painted_and_what_has_only_a_little_takes_little() {
    let mut session = shown(80, 24, &"text \x1b[31mred\x1b[m\r\n".repeat(20));
    let mut painter = Painter::default();
    assert!(painter.draw(&session, &Over::default()).len() < 2000);
    assert_eq!(painter.update(&session, &Over::default()), b"");
    session.feed(b"x");
    let bytes = painter.update(&session, &Over::default());
    assert!(bytes.len() < 20, "{:?}", String::from_utf8_lossy(&bytes));
}

#[test]
fn a_clipboard_and_a_bell_are_passed_on_and_the_clipboard_is_taken_back() {
    let mut session = shown(20, 4, "\x07\x1b]52;c;aGk=\x07\x1b]52;c;no base64\x07");
    let mut painter = Painter::default();
    assert_eq!(painter.pass_on(&session.take_events()), b"\x07\x1b]52;c;aGk=\x1b\\");
    assert_eq!(painter.pass_on(&session.take_events()), b"");
    assert_eq!(painter.take_back(), b"\x1b]52;c;!\x1b\\");
    assert_eq!(painter.take_back(), b"", "only what was passed on");
}

proptest! {
    #[test]
    fn a_real_terminal_shows_what_the_session_does_whatever_was_there(
        outputs in proptest::collection::vec((output(), 0_usize..3), 1..6),
        (cols, rows) in (2_u16..30, 1_u16..12)
    ) {
        let size = Size { cols, rows };
        let (mut painter, mut real, mut session) = (Painter::default(), real(size), Terminal::new(size));
        for (n, (output, covered)) in outputs.into_iter().enumerate() {
            session.feed(&output);
            let over: Vec<String> = (0..covered.min(usize::from(rows))).map(|n| format!("line {n} \x1b")).collect();
            let lines = Over::bottom(size, over.clone());
            let bytes = if n == 3 { painter.draw(&session, &lines) } else { painter.update(&session, &lines) };
            real.feed(&bytes);
            let shown = (real.lines(), session.lines());
            prop_assert!(looks_same(&real, &session, over.len()), "{:?} {:?} {:?}", shown, String::from_utf8_lossy(&bytes), over);
            for (line, row) in over.iter().rev().zip(real.lines().iter().rev()) {
                prop_assert!(line.replace('\x1b', "").trim_end().starts_with(row.as_str()));
            }
        }
        let nothing = Terminal::new(size);
        real.feed(&painter.update(&nothing, &Over::default()));
        prop_assert_eq!(real.modes(), nothing.modes());
        prop_assert!(real.lines().iter().all(String::is_empty));
        prop_assert_eq!(real.take_answers(), b"");
    }
}

/// One with lines above its screen, a long one among them, in colours.
fn scrolled() -> Terminal {
    let mut terminal = Terminal::new(Size { cols: 10, rows: 4 });
    terminal.feed("a line that is longer than a row\r\n".as_bytes());
    for n in 0..9 {
        terminal.feed(format!("\x1b[3{n}mline {n}\x1b[m\r\n").as_bytes());
    }
    terminal.feed(b"\x1b[44m$ \x1b[m");
    terminal
}

#[test]
fn a_picture_makes_the_lines_above_the_screen_again() {
    let one = scrolled();
    let mut other = Terminal::new(one.size());
    other.feed(&one.picture(10_000));
    assert_eq!((other.lines(), other.cursor(), other.above()), (one.lines(), one.cursor(), one.above()));
    assert_eq!(other.transcript(10_000), one.transcript(10_000));
    assert!(one.above() > 5);
    // With less room the oldest lines are left out, and then everything above the screen.
    let room = one.snapshot().len() + 60;
    let mut short = Terminal::new(one.size());
    short.feed(&one.picture(room));
    assert_eq!(short.lines(), one.lines());
    assert!(
        one.picture(room).len() <= room && (1..one.above()).contains(&short.above()),
        "{}",
        short.above()
    );
    assert!(one.picture(40).len() <= 40);
}

#[test]
fn a_transcript_is_what_a_program_would_have_printed() {
    let one = scrolled();
    let mut wide = Terminal::new(Size { cols: 60, rows: 20 });
    wide.feed(&one.transcript(10_000));
    let lines = wide.lines();
    assert_eq!((lines[0].as_str(), lines[9].as_str()), ("a line that is longer than a row", "line 8"));
    assert_eq!((lines[10].as_str(), wide.cursor()), ("$", Some((0, 11))));
    assert!(one.transcript(50).len() <= 50);
}

#[test]
fn a_transcript_of_the_alternate_screen_has_both() {
    let mut one = scrolled();
    one.feed(b"\x1b[?1049h\x1b[2;1Hediting");
    let mut tall = Terminal::new(Size { cols: 60, rows: 30 });
    tall.feed(&one.transcript(10_000));
    let lines = tall.lines();
    assert_eq!((lines[1].as_str(), lines[12].as_str()), ("line 0", "editing"), "{lines:?}");
}
