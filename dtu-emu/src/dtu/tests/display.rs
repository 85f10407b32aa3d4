//! The display channel (`docs/protocol.md`, "The display channel").

use proto::frame::{Frame, Size};

use super::world::World;
use crate::dtu::{DtuInput, Effect, Paint, Phase};

#[test]
fn what_the_session_writes_is_drawn_and_what_is_typed_reaches_it() {
    let mut world = World::attached(&["a"]);
    world.type_text("ls\r");
    world.print("a", "ls\r\nfile\r\n");
    world.run_ms(20);
    assert_eq!(world.host("a").typed, b"ls\r");
    assert_eq!(world.screen, "a$ ls\r\nfile\r\n");
}

#[test]
fn a_display_that_breaks_is_taken_up_where_it_was_and_input_is_applied_once() {
    let mut world = World::attached(&["a"]);
    world.type_text("one ");
    world.run_ms(20);
    world.paints.clear();
    // The connection breaks; the session lives, and has not seen what is typed now.
    world.break_displays("a");
    world.type_text("two ");
    world.run_ms(100);
    assert_eq!(world.phase(), Phase::Attached);
    assert_eq!(world.host("a").typed, b"one two ");
    assert_eq!(world.screen, "a$ ", "replayed from where it was, not drawn twice");
    assert!(!world.paints.contains(&Paint::Clear));
    world.print("a", "more");
    world.run_ms(10);
    assert_eq!(world.screen, "a$ more");
}

#[test]
fn a_gap_in_the_output_asks_for_a_repaint() {
    let mut world = World::attached(&["a"]);
    world.host("a").output.extend(b"lost ");
    world.print("a", "seen");
    world.run_ms(20);
    assert_eq!(world.screen, "a$ lost seen");
    assert!(matches!(world.paints.last(), Some(Paint::Repaint { .. })));
}

#[test]
fn another_size_is_told_to_the_session_at_once_and_to_the_next_one_at_the_start() {
    let mut world = World::attached(&["a"]);
    let size = Size { cols: 100, rows: 30 };
    let mut out = Vec::new();
    world.dtu.handle(world.now, DtuInput::Resized(size), &mut out);
    assert!(matches!(out[..], [Effect::SendDisplay { frame: Frame::Resize(s), .. }] if s == size));
    world.input(DtuInput::CardRemoved);
    world.run_ms(10);
    assert_eq!(world.host("a").asked.last().unwrap().size, Some(size));
}

#[test]
fn a_ping_is_answered_and_output_is_acknowledged() {
    let mut world = World::attached(&["a"]);
    world.host("a").frames.clear();
    world.send_display("a", Frame::Ping(77));
    world.print("a", "x");
    world.run_ms(60);
    assert_eq!(world.host("a").frames, [Frame::Pong(77), Frame::Ack { output: 4, input: 0 }]);
}

#[test]
fn an_acknowledgement_that_is_due_waits_until_the_display_is_up_again() {
    let mut world = World::attached(&["a"]);
    world.host("a").greets = false;
    world.print("a", "x");
    world.run_ms(5);
    world.break_displays("a");
    world.run_ms(20);
    world.now += core::time::Duration::from_millis(60);
    world.input(DtuInput::Timeout);
    assert!(world.dtu.poll_at().is_none_or(|at| at > world.now), "nothing can be done about it yet");
}

#[test]
fn the_sessions_notice_passes() {
    let mut world = World::attached(&["a"]);
    world.send_display("a", Frame::Notice("The system goes down at noon.".into()));
    world.run_ms(20);
    assert_eq!(world.notice.as_deref(), Some("The system goes down at noon."));
    world.run_ms(16_000);
    assert_eq!(world.notice, None);
}

#[test]
fn a_notice_that_was_there_long_enough_to_be_read_is_taken_away_by_a_key() {
    let mut world = World::attached(&["a"]);
    world.send_display("a", Frame::Notice("The system goes down at noon.".into()));
    world.run_ms(1_000);
    world.input(DtuInput::Typed(b"a"));
    assert!(world.notice.is_some(), "whoever typed has not read it");
    world.run_ms(2_100);
    world.input(DtuInput::Typed(b"b"));
    assert_eq!(world.notice, None);
    world.run_ms(50);
    assert_eq!(world.host("a").typed, b"ab", "and the session has both");
}

#[test]
fn after_a_service_ended_its_host_is_asked_what_follows() {
    let mut world = World::attached(&["a"]);
    world.send_display("a", Frame::Exit(3));
    world.run_ms(2);
    world.start_session("a");
    world.run_ms(1_200);
    assert_eq!(world.names(), ["exited", "attached", "shown"]);
    assert_eq!(world.host("a").asked.len(), 2);
    assert_eq!(world.screen, "a$ ");
}

#[test]
fn output_before_the_welcome_is_not_drawn() {
    let mut world = World::attached(&["a"]);
    world.host("a").greets = false;
    world.break_displays("a");
    world.run_ms(50);
    world.send_display("a", Frame::Output { offset: 3, bytes: b"junk".to_vec() });
    world.run_ms(50);
    assert_eq!(world.screen, "a$ ");
}

#[test]
fn typing_while_nothing_is_shown_is_dropped_and_said() {
    let mut world = World::new(&["a"], |_| {});
    world.type_text("x");
    assert_eq!(world.names(), ["input_dropped"]);
}

#[test]
fn a_display_that_nobody_looks_at_and_that_keeps_ending_is_asked_for_three_times_and_again_when_looked_at() {
    let mut world = World::new(&["a"], |_| {});
    world.host("a").has_broken_second = true;
    world.input(DtuInput::Boot);
    world.run_ms(20_000);
    assert_eq!((world.phase(), world.host("a").asked.len()), (Phase::Attached, 3));
    world.type_text("x");
    world.run_ms(50);
    let lost = world.count("display_lost");
    assert_eq!((world.host("a").typed.as_slice(), lost), (&b"x"[..], 0));
    world.input(DtuInput::Flip);
    world.run_ms(1_000);
    assert!(world.host("a").asked.len() > 3 && world.count("display_lost") > 0, "{:?}", world.events);
    world.input(DtuInput::Flip);
    world.run_ms(1_000);
    assert_eq!(world.screen, "a$ ");
}
