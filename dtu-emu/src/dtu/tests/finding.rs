//! Finding a host (`docs/protocol.md`, "Finding a host"), and what a DTU does where it finds none.

use core::time::Duration;

use super::host::{Policy, Proc};
use super::world::{World, card, format_addr};
use crate::dtu::{DtuInput, Paint, Phase};

#[test]
fn configured_servers_are_tried_first_and_in_their_order() {
    let mut world = World::new(&["a", "b", "c"], |c| c.servers = vec![format_addr(3), format_addr(2)]);
    world.host("c").daemon = Proc::Dead;
    world.input(DtuInput::Boot);
    world.until(Phase::Attached, 100);
    assert_eq!(world.at_host(), "b");
    assert_eq!(world.broadcasts, []);
    assert_eq!(world.names()[..3], ["booted", "host_failed", "host_found"]);
}

#[test]
fn without_a_server_the_dtu_asks_and_takes_whoever_answers() {
    let mut world = World::new(&["a", "b"], |_| {});
    for name in ["a", "b"] {
        world.host(name).beacons = false;
    }
    world.host("b").answers_serverq = false;
    world.input(DtuInput::Boot);
    world.until(Phase::Attached, 100);
    assert_eq!((world.at_host().as_str(), world.broadcasts.len()), ("a", 1));
}

#[test]
fn responders_are_tried_until_one_succeeds() {
    let mut world = World::new(&["a", "b", "c"], |_| {});
    world.freeze("b");
    world.host("a").policy = Policy::Garble;
    world.host("c").policy = Policy::Garble;
    world.input(DtuInput::Boot);
    world.run_ms(3_000);
    assert_ne!(world.phase(), Phase::Attached);
    world.resume_daemon("b");
    world.host("b").session = Proc::Runs;
    world.until(Phase::Attached, 10_000);
    assert_eq!(world.at_host(), "b");
}

#[test]
fn while_nobody_answers_the_question_is_repeated_with_growing_bounded_pauses() {
    let mut world = World::new(&["a"], |_| {});
    world.host("a").daemon = Proc::Dead;
    world.input(DtuInput::Boot);
    world.run_ms(60_000);
    let pauses: Vec<_> = world.broadcasts.windows(2).map(|w| w[1].since(w[0])).collect();
    assert!(pauses[0] < Duration::from_millis(400), "{pauses:?}");
    assert!(pauses[1] > pauses[0] && pauses[2] > pauses[1], "{pauses:?}");
    assert!(pauses.iter().all(|p| *p <= Duration::from_millis(6_300)), "{pauses:?}");
    assert!(world.broadcasts.len() > 12, "it never stops: {}", world.broadcasts.len());
}

#[test]
fn with_no_host_the_screen_says_so_and_the_first_beacon_ends_it() {
    let mut world = World::new(&["a"], |_| {});
    world.host("a").daemon = Proc::Dead;
    world.host("a").answers_serverq = false;
    world.input(DtuInput::CardInserted(card("1")));
    world.input(DtuInput::Boot);
    world.run_ms(20_000);
    assert_eq!(world.count("no_host"), 1);
    assert!(world.notice.as_ref().unwrap().contains("No host"), "{:?}", world.notice);
    world.start_daemon("a");
    let took = world.until(Phase::Attached, 1_000);
    assert!(took <= Duration::from_millis(110), "within a beacon, not {took:?}");
    world.run_ms(20);
    assert_eq!((world.notice.as_deref(), world.screen.as_str()), (None, "a$ "));
}

#[test]
fn a_host_that_hangs_does_not_keep_the_dtu_from_one_that_is_heard() {
    let mut world = World::new(&["a", "b"], |c| c.servers = vec![format_addr(1)]);
    world.freeze("a");
    world.host("b").daemon = Proc::Dead;
    world.input(DtuInput::Boot);
    world.run_ms(15_000);
    world.start_daemon("b");
    let took = world.until(Phase::Attached, 1_000);
    assert!(took <= Duration::from_millis(210), "{took:?}");
    assert_eq!(world.at_host(), "b");
}

#[test]
fn a_card_pulled_while_no_host_is_there_locks_and_clears_the_screen() {
    let mut world = World::attached(&["a"]);
    world.kill("a");
    world.run_ms(2_000);
    assert_eq!(world.screen, "a$ ", "the last picture stays for its owner");
    world.paints.clear();
    world.input(DtuInput::CardRemoved);
    assert_eq!(world.paints[0], Paint::Clear);
    world.type_text("secret for nobody");
    world.start_daemon("a");
    world.start_session("a");
    world.until(Phase::Attached, 1_000);
    world.run_ms(50);
    let last = world.host("a").asked.last().unwrap().presented.to_string();
    assert_eq!(last, "pseudo.0200000000aa");
    assert_eq!(world.host("a").typed, b"");
}

#[test]
fn a_slow_host_whose_beacons_are_heard_is_waited_for() {
    let mut world = World::new(&["a"], |c| c.servers = vec![format_addr(1)]);
    world.host("a").policy = Policy::Mute;
    world.input(DtuInput::Boot);
    world.run_ms(8_000);
    assert_eq!((world.phase(), world.count("host_failed")), (Phase::Asking, 0));
}

#[test]
fn who_waits_for_a_host_that_has_not_got_to_it_yet_is_told() {
    let mut world = World::attached(&["a", "b"]);
    world.host("b").crowded = true;
    world.kill("a");
    world.run_ms(500);
    assert_eq!(world.notice, None, "most are served before they would have read it");
    world.run_ms(1_000);
    assert!(world.notice.as_ref().unwrap().contains("in line"), "{:?}", world.notice);
    assert_eq!((world.count("notice"), world.count("no_host")), (1, 0));
    // It would be at the end of another line if it had left this one.
    world.run_ms(15_000);
    world.come_to_all("b");
    world.until(Phase::Attached, 50);
    assert_eq!(world.notice, None);
}

#[test]
fn a_host_that_is_heard_and_cannot_be_reached_is_left_long_before_a_line_would_be() {
    let mut world = World::attached(&["a", "b", "c"]);
    world.host("b").out_of_reach = true;
    world.host("c").crowded = true;
    world.kill("a");
    world.run_ms(12_000);
    assert_eq!(world.phase(), Phase::Searching);
    world.come_to_all("c");
    world.until(Phase::Attached, 50);
}

/// Else everybody in a storm comes and goes with every beacon, and nobody is served.
#[test]
fn who_waits_for_busy_hosts_does_not_go_from_one_to_the_other_when_their_beacons_are_late() {
    let mut world = World::attached(&["a", "b", "c"]);
    for name in ["b", "c"] {
        world.host(name).crowded = true;
    }
    world.kill("a");
    world.run_ms(400);
    let first = world.conns.keys().max().copied();
    for name in ["b", "c", "b", "c", "b", "c", "b", "c"] {
        // Each is heard twice, then not for 400 ms.
        for other in ["b", "c"] {
            world.host(other).beacons = other == name;
        }
        world.run_ms(200);
        world.host(name).beacons = false;
        world.run_ms(200);
    }
    let opened = world.conns.keys().max().unwrap().0 - first.unwrap().0;
    assert!(opened <= 1, "{opened} connections were opened in three seconds");
}

#[test]
fn hosts_of_another_group_are_not_entered_and_the_screen_says_why() {
    let mut world = World::new(&["a", "b"], |_| {});
    world.host("a").is_stranger = true;
    world.host("b").daemon = Proc::Dead;
    world.input(DtuInput::Boot);
    world.run_ms(10_000);
    assert!(world.notice.as_ref().unwrap().contains("another group"), "{:?}", world.notice);
    assert!(world.count("host_failed") <= 12, "hints about it are not followed ten times a second");
    world.start_daemon("b");
    world.until(Phase::Attached, 300);
    assert_eq!(world.at_host(), "b");
}

#[test]
fn a_host_that_takes_no_more_connections_is_left_alone_for_a_while_and_the_screen_says_why() {
    let mut world = World::new(&["a", "b"], |_| {});
    world.host("a").is_busy = true;
    world.host("b").daemon = Proc::Dead;
    world.input(DtuInput::Boot);
    world.run_ms(30_000);
    let notice = world.notice.clone().unwrap_or_default();
    assert!(
        notice.contains("Host a") && notice.contains("too many connections of this address"),
        "{notice:?}"
    );
    let failed = world.count("host_failed");
    assert!((8..=40).contains(&failed), "{failed} attempts at two hosts in half a minute");
    world.host("a").is_busy = false;
    world.until(Phase::Attached, 10_000);
    assert_eq!(world.notice, None);
}

#[test]
fn a_host_that_takes_no_more_connections_is_passed_over_for_another_at_once() {
    let mut world = World::attached(&["a", "b", "c"]);
    world.host("b").is_busy = true;
    world.kill("a");
    world.run_ms(500);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "c"));
}

#[test]
fn that_no_host_can_be_reached_stays_on_the_screen_whatever_passing_word_came_before() {
    let mut world = World::attached(&["a"]);
    world.kill_daemon("a");
    world.run_ms(4_000);
    assert!(world.notice.as_ref().unwrap().contains("waited for"), "{:?}", world.notice);
    world.run_ms(20_000);
    assert!(world.notice.as_ref().is_some_and(|text| text.contains("No host")), "{:?}", world.notice);
}
