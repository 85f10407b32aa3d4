//! What programs write, to the terminal of a session and to the screen of a desk.

use dtu_emu::dtu::Paint;
use dtu_emu::screen::Screen;
use terminal::{Painter, Size, Terminal};

use crate::feed::Feed;

targets! {
    whatever_is_written_a_copy_goes_on_like_the_original => copies;
    whatever_is_written_a_desk_and_a_real_terminal_show_what_the_session_does => shows;
}

/// A size, and bytes in pieces.
fn size(choices: &mut Feed<'_>) -> Size {
    Size::clamped(u16::from(choices.u8() % 40), u16::from(choices.u8() % 20))
}

fn is_whole(terminal: &Terminal) {
    let Size { cols, rows } = terminal.size();
    assert_eq!(terminal.rows().len(), usize::from(rows));
    for row in terminal.rows() {
        assert_eq!(row.cells().len(), usize::from(cols));
        let halves = row.cells().windows(2).all(|pair| (pair[0].width() == 2) == (pair[1].width() == 0));
        assert!(halves && row.cells()[0].width() > 0 && row.cells()[usize::from(cols) - 1].width() < 2);
    }
    let (col, row) = terminal.cursor().unwrap_or_default();
    assert!(col < usize::from(cols) && row < usize::from(rows));
}

fn copies(bytes: &[u8]) {
    let mut choices = Feed(bytes);
    let mut original = Terminal::new(size(&mut choices));
    while !choices.is_empty() {
        original.feed(choices.bytes());
        if choices.u8() % 4 == 0 {
            original.resize(size(&mut choices));
        }
        assert!(original.take_answers().len() <= 4096);
        is_whole(&original);
        let mut copy = Terminal::new(original.size());
        copy.feed(&original.snapshot());
        assert!(copy.take_answers().is_empty(), "a copy asks nothing");
        assert!(copy.rows().eq(original.rows()));
        let next = choices.bytes();
        original.feed(next);
        copy.feed(next);
        assert_eq!(String::from_utf8_lossy(&copy.snapshot()), String::from_utf8_lossy(&original.snapshot()));
        assert_eq!(copy.take_answers(), original.take_answers());
    }
}

fn shows(bytes: &[u8]) {
    let mut choices = Feed(bytes);
    let size = size(&mut choices);
    // Too narrow for a wide character is a matter of its own.
    let size = Size::clamped(size.cols.max(2), size.rows);
    let (mut session, mut desk, mut painter) = (Terminal::new(size), Screen::new(size), Painter::default());
    let mut real = Terminal::new(size);
    real.feed(choices.bytes());
    // Whoever used it before has not left it in the middle of something.
    real.feed(b"\x18");
    let _ = real.take_answers();
    while !choices.is_empty() {
        let written = choices.bytes();
        session.feed(written);
        let paint = match choices.u8() % 4 {
            0 => Paint::Repaint { size, bytes: session.snapshot() },
            _ => Paint::Bytes(written.to_vec()),
        };
        desk.apply(&paint);
        assert_eq!(desk.lines(), session.lines());
        assert_eq!(desk.cursor(), session.cursor());
        real.feed(&desk.update(&mut painter));
        assert_eq!(real.lines(), session.lines());
        assert_eq!(real.cursor(), session.cursor());
    }
    desk.apply(&Paint::Clear);
    real.feed(&desk.update(&mut painter));
    assert_eq!(real.modes(), Terminal::new(size).modes());
    assert!(real.lines().iter().all(String::is_empty));
    assert!(real.take_answers().is_empty(), "a real terminal is asked nothing");
}
