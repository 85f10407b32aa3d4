//! What waits is not shown, and what is shown is in order.

use super::*;
use crate::display::Extent;
use proptest::prelude::*;
use proto::Instant;
use proto::frame::{Frame, Hello, Size};
use terminal::Terminal;

const SIZE: Size = Size { cols: 20, rows: 4 };

fn feed() -> DisplayFeed {
    DisplayFeed::new(Nonce(77), Extent::Cells(SIZE))
}

fn hello(run: u128, stream: u128, have: u64) -> Hello {
    Hello {
        ticket: Nonce(0),
        serial: "080020abcdef".parse().unwrap(),
        service: "terminal".parse().unwrap(),
        run: Nonce(run),
        stream: Nonce(stream),
        have,
        size: SIZE,
    }
}

fn pull(feed: &mut DisplayFeed) -> Vec<Frame> {
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    feed.pull(Instant::ZERO, 1 << 20, &mut bytes);
    let mut rest = bytes.as_slice();
    while let Some((frame, len)) = Frame::parse(rest).unwrap() {
        frames.push(frame);
        rest = &rest[len..];
    }
    frames
}

/// What a DTU that looks is sent of the output.
fn shown(feed: &mut DisplayFeed) -> Vec<u8> {
    let bytes = |frame| if let Frame::Output { bytes, .. } = frame { bytes } else { Vec::new() };
    pull(feed).into_iter().flat_map(bytes).collect()
}

fn looked_at() -> DisplayFeed {
    let mut feed = feed();
    feed.attach(&hello(1, 0, 0), &mut Vec::new());
    pull(&mut feed);
    feed
}

#[test]
fn output_waits_until_it_is_released_and_leaves_in_order() {
    let mut feed = looked_at();
    feed.output(b"free ");
    feed.hold();
    feed.output(b"one ");
    assert_eq!(shown(&mut feed), b"free ");
    let one = feed.cover();
    feed.output(b"two ");
    assert_eq!(shown(&mut feed), b"");
    feed.release(one);
    assert_eq!(shown(&mut feed), b"one ");
    feed.release_all();
    assert_eq!(shown(&mut feed), b"two ");
}

#[test]
fn a_repaint_shows_nothing_that_waits() {
    let mut feed = looked_at();
    feed.hold();
    feed.output(b"one");
    let one = feed.cover();
    feed.attach(&hello(1, 0, 0), &mut Vec::new());
    assert!(matches!(pull(&mut feed)[..], [Frame::Welcome { .. }]), "the picture has what waits");
    feed.release(one);
    feed.output(b" two");
    let frames = pull(&mut feed);
    let [Frame::Repaint { offset, size, bytes }] = &frames[..] else { panic!("{frames:?}") };
    let mut screen = Terminal::new(*size);
    screen.feed(bytes);
    assert_eq!((screen.lines()[0].as_str(), *offset), ("one", one));
}

#[test]
fn a_notice_and_a_pong_wait_for_nothing_and_an_exit_waits_for_what_was_written_before() {
    let mut feed = looked_at();
    feed.hold();
    feed.output(b"bye");
    feed.end(3);
    feed.notice("held: no secondary");
    feed.frame(Frame::Ping(9), &mut Vec::new()).unwrap();
    let frames = pull(&mut feed);
    assert!(matches!(frames[..], [Frame::Pong(9), Frame::Notice(_)]), "{frames:?}");
    feed.release_all();
    let frames = pull(&mut feed);
    assert!(matches!(frames[..], [Frame::Output { .. }, Frame::Exit(3)]), "{frames:?}");
}

#[test]
fn a_service_that_writes_too_much_is_read_no_further_until_some_of_it_is_released() {
    let mut feed = looked_at();
    feed.hold();
    assert!(feed.takes_output());
    feed.output(&vec![b'x'; HELD_MAX]);
    assert!(!feed.takes_output());
    let covered = feed.cover();
    feed.release(covered);
    assert!(feed.takes_output());
    feed.output(&vec![b'y'; 2 * HELD_MAX]);
    assert_eq!(feed.since(covered).unwrap().len(), 2 * HELD_MAX, "nothing that waits is pushed out");
}

#[test]
fn the_next_run_of_a_service_holds_as_the_last_did() {
    let mut feed = looked_at();
    feed.hold();
    let mut feed = feed.restarted(Nonce(78));
    feed.attach(&hello(1, 0, 0), &mut Vec::new());
    pull(&mut feed);
    feed.output(b"new");
    assert_eq!(shown(&mut feed), b"");
}

#[test]
fn what_was_typed_and_not_applied_at_another_host_is_dropped_and_what_is_typed_now_is_not() {
    let mut feed = feed();
    feed.restore(b"old screen\r\n", &[(Nonce(1), 10)], false);
    let mut welcomed = |run, stream| {
        feed.attach(&hello(run, stream, 5), &mut Vec::new());
        let applied = |frame: &Frame| {
            if let Frame::Welcome { input_applied, .. } = frame { Some(*input_applied) } else { None }
        };
        let applied = pull(&mut feed).iter().find_map(applied).unwrap();
        for (seq, bytes) in [(10, b"half a line\n".as_slice()), (applied, b"ls\n")] {
            // Below what is acknowledged nothing is taken; a DTU that came to know that numbers on from there.
            let _ = feed.frame(Frame::Input { seq, bytes: bytes.to_vec() }, &mut Vec::new());
        }
        let typed = feed.input().to_vec();
        feed.input_taken(Instant::ZERO, typed.len());
        (applied, String::from_utf8(typed).unwrap())
    };
    let (applied, typed) = welcomed(1, 5);
    assert_eq!(typed, "ls\n", "a run that the other host knew");
    assert!(applied > 10 + 256 * 1024, "{applied}: more than a DTU keeps");
    assert_eq!(welcomed(2, 5).1, "ls\n", "one that it did not know, at a DTU that showed the old screen");
    assert_eq!(welcomed(3, 0), (0, "ls\n".to_owned()), "a DTU that comes for the first time");
}

proptest! {
    #[test]
    fn whatever_is_written_covered_and_released_is_shown_once_in_order_and_never_early(
        steps in proptest::collection::vec((0_u8..5, "[a-z]{1,9}"), 0..60)
    ) {
        let mut feed = looked_at();
        feed.hold();
        let (mut written, mut seen, mut released, mut covered) = (Vec::new(), Vec::new(), 0, 0);
        for (step, text) in steps {
            match step {
                0 | 1 => {
                    feed.output(text.as_bytes());
                    written.extend(text.bytes());
                }
                2 => covered = feed.cover(),
                3 => {
                    feed.release(covered);
                    released = covered;
                }
                _ => seen.extend(shown(&mut feed)),
            }
            prop_assert!(seen.len() as u64 <= released);
        }
        feed.release_all();
        seen.extend(shown(&mut feed));
        prop_assert_eq!(seen, written);
    }
}
