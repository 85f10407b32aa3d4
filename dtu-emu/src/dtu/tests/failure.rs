//! What a DTU does when something fails: `docs/architecture.md`, "What a DTU does when a connection dies".

use core::time::Duration;

use proto::Instant;
use proto::alp::{FromDtu, FromHost};

use super::host::{Policy, Proc};
use super::world::{World, card, format_addr};
use crate::dtu::{DtuEvent, DtuInput, Gap, Phase};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn gap(world: &World) -> Gap {
    let gaps: Vec<_> = world
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            DtuEvent::FailedOver { gap, .. } => Some(*gap),
            _ => None,
        })
        .collect();
    assert_eq!(gaps.len(), 1, "{:?}", world.events);
    gaps[0]
}

fn probes(world: &mut World, name: &str) -> usize {
    world.host(name).said.iter().filter(|m| matches!(m, FromDtu::KeepAliveReq(_))).count()
}

// Control dead, display answers.

#[test]
fn a_daemons_restart_is_invisible() {
    let mut world = World::attached(&["a", "b"]);
    world.paints.clear();
    world.kill_daemon("a");
    world.run_ms(2_900);
    assert_eq!((world.phase(), world.names()), (Phase::Held, vec!["held"]));
    world.print("a", "still here");
    world.type_text("typing on");
    world.run_ms(20);
    assert_eq!(
        (world.screen.as_str(), world.hosts["a"].typed.as_slice()),
        ("a$ still here", &b"typing on"[..])
    );
    world.start_daemon("a");
    let took = world.until(Phase::Attached, 1_000);
    assert!(took <= ms(260), "{took:?}");
    world.run_ms(2_000);
    assert_eq!(
        (world.at_host().as_str(), world.host("a").hellos),
        ("a", 1),
        "the display was not even reopened"
    );
    assert!(world.names().ends_with(&["host_found", "rejoined", "attached"]), "{:?}", world.names());
    assert_eq!(world.screen, "a$ still here");
}

#[test]
fn a_stopped_daemon_that_runs_on_is_invisible_too() {
    let mut world = World::attached(&["a", "b"]);
    world.stop_daemon("a");
    world.run_ms(4_000);
    assert_eq!(world.phase(), Phase::Held);
    assert!(world.notice.as_ref().unwrap().contains("waited for"), "{:?}", world.notice);
    world.resume_daemon("a");
    world.run_ms(1_000);
    assert_eq!((world.phase(), world.names()), (Phase::Attached, vec!["held", "notice", "rejoined"]));
    assert_eq!(world.notice, None, "it is no longer so");
    assert_eq!(world.host("a").asked.len(), 1, "nothing was presented again");
}

#[test]
fn a_daemon_that_does_not_come_back_within_the_grace_time_is_given_up() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_daemon("a");
    world.run_ms(9_900);
    assert_eq!(world.phase(), Phase::Held);
    world.run_ms(300);
    assert_eq!(
        (world.phase(), world.at_host().as_str(), world.screen.as_str()),
        (Phase::Attached, "b", "b$ ")
    );
    assert!(world.names().contains(&"lost"));
}

#[test]
fn a_held_session_whose_display_dies_is_given_up_at_once() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_daemon("a");
    world.run_ms(2_000);
    world.kill_session("a");
    world.until(Phase::Searching, 10);
    let took = world.until(Phase::Attached, 1_000);
    assert!(took < ms(20), "{took:?}");
}

#[test]
fn a_held_session_that_falls_silent_is_given_up_within_half_a_second() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_daemon("a");
    world.run_ms(2_000);
    world.host("a").session = Proc::Stopped;
    let took = world.until(Phase::Attached, 1_000);
    assert!(took < ms(500), "{took:?}");
    assert_eq!(world.at_host(), "b");
}

// Control dead, display reset or silent.

#[test]
fn after_a_kill_the_desk_is_at_work_elsewhere_at_once() {
    let mut world = World::attached(&["a", "b"]);
    world.kill("a");
    world.run_ms(50);
    assert_eq!(
        (world.phase(), world.at_host().as_str(), world.screen.as_str()),
        (Phase::Attached, "b", "b$ ")
    );
    let gap = gap(&world);
    assert!(gap.screen - gap.noticed < ms(12), "{gap:?}");
    assert!(gap.noticed <= ms(51), "since the last beacon: {gap:?}");
    assert!(
        gap.noticed <= gap.control && gap.control <= gap.conn_inf && gap.conn_inf <= gap.screen,
        "{gap:?}"
    );
}

#[test]
fn it_makes_no_difference_which_connection_is_seen_to_break_first() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_session("a");
    world.run_ms(1);
    world.kill_daemon("a");
    world.run_ms(20);
    assert_eq!(world.phase(), Phase::Attached);
    assert_eq!((world.at_host().as_str(), world.count("held")), ("b", 0));
}

#[test]
fn after_a_freeze_at_any_moment_the_screen_is_redrawn_within_a_third_of_a_second() {
    for offset in 0..100 {
        let mut world = World::attached(&["a", "b"]);
        world.run_ms(offset);
        let start = world.now;
        world.freeze("a");
        world.run_ms(600);
        assert_eq!(world.screen, "b$ ");
        let (at, _) = world.events.iter().find(|(_, e)| e.name() == "failed_over").unwrap();
        assert!(at.since(start) <= ms(345), "offset {offset}: {:?}", at.since(start));
        assert!(gap(&world).screen <= ms(345));
    }
}

#[test]
fn a_control_connection_that_breaks_over_a_frozen_display_costs_a_tenth_of_a_second() {
    let mut world = World::attached(&["a", "b"]);
    world.host("a").session = Proc::Stopped;
    world.kill_daemon("a");
    world.until(Phase::Held, 10);
    let took = world.until(Phase::Attached, 1_000);
    assert!((ms(100)..ms(130)).contains(&took), "{took:?}");
    assert_eq!(world.at_host(), "b");
}

#[test]
fn with_the_best_candidate_dead_too_the_next_one_is_taken() {
    let mut world = World::attached(&["a", "b", "c", "d"]);
    for name in ["a", "b", "c"] {
        world.kill(name);
    }
    world.run_ms(100);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "d"));
}

#[test]
fn a_candidate_that_refuses_someone_who_was_at_work_is_passed_over() {
    let mut world = World::attached(&["a", "b", "c"]);
    world.host("b").policy = Policy::Deny("full");
    world.kill("a");
    world.run_ms(100);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "c"));
}

#[test]
fn when_all_refuse_the_desk_asks_again_by_itself() {
    let mut world = World::attached(&["a", "b"]);
    world.host("b").policy = Policy::Deny("The data store cannot be reached.");
    world.kill("a");
    world.run_ms(3_000);
    assert_ne!(world.phase(), Phase::Attached);
    world.host("b").policy = Policy::Grant(2);
    world.until(Phase::Attached, 10_000);
    assert_eq!(world.at_host(), "b");
}

#[test]
fn a_draining_host_is_used_when_it_is_the_only_one_left() {
    let mut world = World::attached(&["a", "b", "c"]);
    world.host("b").drain = true;
    world.run_ms(200);
    world.kill("a");
    world.run_ms(50);
    assert_eq!(world.at_host(), "c");
    world.kill("c");
    world.run_ms(50);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "b"));
}

// Control alive, display dead.

#[test]
fn a_dead_display_is_asked_for_again_at_the_same_host() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_session("a");
    world.start_session("a");
    world.run_ms(50);
    assert_eq!(
        (world.phase(), world.at_host().as_str(), world.screen.as_str()),
        (Phase::Attached, "a", "a$ ")
    );
    assert_eq!(world.names(), ["display_lost", "attached", "shown", "restored"]);
}

/// The two connections are not in step: the display's end may be seen before the host's word that the card is in
/// another desk by now. Whoever presents the token again at once takes the session back.
#[test]
fn a_display_that_ends_because_the_session_went_to_another_desk_is_not_asked_for_again() {
    let mut world = World::attached(&["a", "b"]);
    world.host("a").asked.clear();
    world.end_display("a");
    world.run_ms(1);
    let cause = Some("shownElsewhere".into());
    world.send_control("a", &FromHost::DiscInf { token_seq: Some(1.into()), cause });
    world.run_ms(5_000);
    assert_eq!((world.names(), world.host("a").asked.len()), (vec!["detached", "notice"], 0));
}

/// It comes to the question at last, and has the session taken off the desk for a desk that has gone.
#[test]
fn a_host_that_answers_after_it_was_left_costs_a_desk_its_session_for_a_moment_only() {
    let mut world = World::new(&["a", "b"], |config| config.servers = vec![format_addr(1), format_addr(2)]);
    world.host("a").deaf = true;
    world.host("a").beacons = false;
    world.input(DtuInput::Boot);
    world.until(Phase::Attached, 8_000);
    assert_eq!(world.at_host(), "b");
    let elsewhere = || FromHost::DiscInf { token_seq: None, cause: Some("shownElsewhere".into()) };
    world.send_control("b", &elsewhere());
    world.run_ms(500);
    assert_eq!((world.phase(), world.screen.as_str()), (Phase::Attached, "b$ "));
    world.send_control("b", &elsewhere());
    world.run_ms(500);
    assert_eq!(world.phase(), Phase::Detached, "one answer explains one word of it");
}

/// The host that was about to be asked again closes the connection first.
#[test]
fn a_desk_that_was_about_to_ask_again_asks_another_host_when_its_own_is_gone() {
    let mut world = World::new(&["a", "b"], |config| config.servers = vec![format_addr(1), format_addr(2)]);
    world.host("a").deaf = true;
    world.host("a").beacons = false;
    world.input(DtuInput::Boot);
    world.until(Phase::Attached, 8_000);
    world.host("a").deaf = false;
    let cause = Some("shownElsewhere".into());
    world.send_control("b", &FromHost::DiscInf { token_seq: None, cause });
    world.run_ms(1);
    world.kill("b");
    world.run_ms(3_000);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "a"));
}

#[test]
fn a_display_that_keeps_dying_is_asked_for_ever_less_often() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_session("a");
    world.run_ms(30_000);
    let asked = world.host("a").asked.len();
    assert!((8..=16).contains(&asked), "{asked}");
    assert_eq!(world.at_host(), "a");
}

#[test]
fn a_silent_display_of_a_host_that_lives_is_noticed_within_seconds() {
    let mut world = World::attached(&["a", "b"]);
    world.host("a").session = Proc::Stopped;
    world.run_ms(8_500);
    assert_eq!((world.count("display_lost"), world.count("lost")), (1, 0));
    world.start_session("a");
    world.run_ms(5_000);
    assert_eq!((world.phase(), world.screen.as_str()), (Phase::Attached, "a$ "));
}

// Beacons missed.

#[test]
fn lost_beacons_of_a_host_that_lives_change_nothing() {
    let mut world = World::attached(&["a", "b"]);
    world.host("a").beacons = false;
    world.host("a").said.clear();
    world.run_ms(10_000);
    assert_eq!((world.phase(), world.events.len()), (Phase::Attached, 0));
    assert!((30..=35).contains(&probes(&mut world, "a")), "{}", probes(&mut world, "a"));
    world.host("a").beacons = true;
    world.run_ms(500);
    world.host("a").said.clear();
    world.run_ms(10_000);
    assert!(probes(&mut world, "a") <= 1, "heard again, it is not probed any more");
}

#[test]
fn a_dtu_that_hears_no_beacons_meets_the_same_rule_within_a_second() {
    for offset in (0..300).step_by(10) {
        let mut world = World::attached(&["a", "b"]);
        for name in ["a", "b"] {
            world.host(name).beacons = false;
        }
        world.run_ms(2_000 + offset);
        let start = world.now;
        world.freeze("a");
        world.run_ms(900);
        let (at, _) = world.events.iter().find(|(_, e)| e.name() == "failed_over").unwrap();
        assert!(at.since(start) < ms(500), "offset {offset}: {:?}", at.since(start));
    }
}

#[test]
fn forged_beacons_do_not_keep_a_dead_host_alive() {
    let mut world = World::attached(&["a", "b"]);
    let mut forged = world.host("a").beacon();
    world.freeze("a");
    let start = world.now;
    for _ in 0..60 {
        world.run_ms(10);
        forged.tick += 1;
        forged.chain_value = proto::chain::ChainValue::from_bytes([9; 16]);
        world.input(DtuInput::Beacon { beacon: &forged, from: [10, 0, 0, 1].into(), at: world.now });
    }
    let (at, _) = world.events.iter().find(|(_, e)| e.name() == "lost").unwrap();
    assert!(at.since(start) <= ms(330), "{:?}", at.since(start));
}

#[test]
fn a_beacon_of_another_run_of_our_host_only_prompts_a_question() {
    let mut world = World::attached(&["a", "b"]);
    let mut forged = world.host("a").beacon();
    forged.boot = proto::BootId(666);
    world.host("a").said.clear();
    for _ in 0..100 {
        world.input(DtuInput::Beacon { beacon: &forged, from: [6, 6, 6, 6].into(), at: world.now });
        world.run_ms(10);
    }
    assert_eq!((world.phase(), world.events.len()), (Phase::Attached, 0));
    assert!(probes(&mut world, "a") <= 10, "a flood does not multiply: {}", probes(&mut world, "a"));
}

#[test]
fn a_dtu_that_was_not_run_does_not_accuse_its_host() {
    for stall in [60, 150, 350, 1_000, 30_000, 100_000] {
        let mut world = World::attached(&["a", "b"]);
        world.stall(ms(stall));
        world.run_ms(2_000);
        assert_eq!((world.at_host().as_str(), world.count("lost")), ("a", 0), "after {stall} ms");
        // And it judges again.
        let start = world.now;
        world.freeze("a");
        world.run_ms(600);
        let (at, _) = world.events.iter().find(|(_, e)| e.name() == "failed_over").unwrap();
        assert!(at.since(start) <= ms(520), "after {stall} ms: {:?}", at.since(start));
    }
}

#[test]
fn a_beacon_that_comes_late_answers_for_a_busy_daemon() {
    let mut world = World::attached(&["a", "b"]);
    // The daemon gets no processor for a while; its beacon comes before its answer.
    world.stop_daemon("a");
    world.run_ms(145);
    let beacon = world.host("a").beacon();
    world.input(DtuInput::Beacon { beacon: &beacon, from: [10, 0, 0, 1].into(), at: world.now });
    world.run_ms(75);
    assert_eq!((world.phase(), world.events.len()), (Phase::Attached, 0));
    world.resume_daemon("a");
    world.run_ms(1_000);
    assert_eq!((world.phase(), world.events.len()), (Phase::Attached, 0));
}

#[test]
fn a_busy_session_of_a_host_that_answers_is_not_torn_down() {
    let mut world = World::attached(&["a", "b"]);
    world.host("a").beacons = false;
    world.host("a").session = Proc::Stopped;
    world.run_ms(1_500);
    world.host("a").session = Proc::Runs;
    world.run_ms(300);
    world.type_text("x");
    world.run_ms(3_000);
    assert_eq!((world.phase(), world.events.len()), (Phase::Attached, 0), "{:?}", world.events);
    assert_eq!(world.host("a").typed, b"x");
}

#[test]
fn typing_into_a_way_that_works_in_one_direction_only_is_noticed() {
    let mut world = World::attached(&["a", "b"]);
    world.host("a").deaf = true;
    world.run_ms(3_000);
    assert_eq!(world.events.len(), 0, "what comes still comes");
    world.type_text("ls\r");
    world.run_ms(1_400);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "b"), "{:?}", world.events);
}

// No host reachable.

#[test]
fn with_nobody_left_the_screen_says_so_and_the_first_return_ends_it() {
    let mut world = World::attached(&["a", "b"]);
    world.kill("a");
    world.kill("b");
    world.run_ms(10_000);
    assert_eq!((world.phase(), world.count("no_host")), (Phase::Searching, 1));
    assert!(world.notice.is_some());
    world.start_daemon("b");
    world.start_session("b");
    let took = world.until(Phase::Attached, 1_000);
    assert!(took <= ms(110), "{took:?}");
    world.run_ms(20);
    assert_eq!(gap(&world).screen, world.now.since(gap(&world).since) - since_shown(&world));
}

fn since_shown(world: &World) -> Duration {
    let (at, _) = world.events.iter().find(|(_, e)| e.name() == "failed_over").unwrap();
    world.now.since(*at)
}

#[test]
fn the_host_that_died_is_taken_again_when_it_is_the_only_one_whenever_it_comes_back() {
    for more in 0..40 {
        let mut world = World::attached(&["a"]);
        world.freeze("a");
        world.run_ms(5_000 + more * 50);
        assert_eq!(world.phase(), Phase::Searching);
        world.resume_daemon("a");
        world.host("a").session = Proc::Runs;
        world.until(Phase::Attached, 300);
    }
}

// What was typed.

#[test]
fn what_was_typed_for_a_lost_session_does_not_reach_another_one() {
    let mut world = World::attached(&["a", "b"]);
    world.freeze("a");
    world.type_text("rm -r old\r");
    world.run_ms(1_000);
    assert_eq!((world.screen.as_str(), world.hosts["b"].typed.as_slice()), ("b$ ", &b""[..]));
    assert_eq!(world.count("input_dropped"), 1);
}

#[test]
fn what_was_typed_reaches_the_same_session_wherever_it_is_shown_next() {
    let mut world = World::attached(&["a", "b"]);
    world.host("b").policy = Policy::Grant(1);
    world.freeze("a");
    world.type_text("ls\r");
    world.run_ms(1_000);
    assert_eq!((world.at_host().as_str(), world.hosts["b"].typed.as_slice()), ("b", &b"ls\r"[..]));
}

#[test]
fn a_card_inserted_while_the_session_is_held_gets_a_host_at_once() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_daemon("a");
    world.run_ms(500);
    world.input(DtuInput::CardInserted(card("2")));
    assert_eq!(world.screen, "");
    let took = world.until(Phase::Attached, 1_000);
    assert!(took < ms(20), "{took:?}");
    assert_eq!(world.host("b").asked[0].presented.to_string(), "card.2");
}

#[test]
fn the_gap_counts_from_the_last_sign_of_life() {
    let mut world = World::attached(&["a", "b"]);
    world.run_ms(30);
    world.freeze("a");
    let frozen = world.now;
    world.run_ms(600);
    let gap = gap(&world);
    assert!(gap.since <= frozen + ms(2) && gap.since > frozen - ms(60), "{gap:?} {frozen}");
    assert_ne!(gap.since, Instant::ZERO);
    assert!((ms(175)..=ms(205)).contains(&gap.noticed), "{gap:?}");
}
