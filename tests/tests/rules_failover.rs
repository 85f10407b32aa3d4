//! What a DTU does when a connection dies: `docs/architecture.md`, "What a DTU does when a connection
//! dies".

use dtu_emu::dtu::{DtuEvent, Gap, Phase};
use proto::beacon::INTERVAL;
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::line::Line;
use tests::scene::{desk_with_session, pid_on};
use tests::world::{DeskId, DeskPlan, Duration, HostPlan, Rule, Way, World, ms, secs};

/// The gap of the newest failover a desk has reported.
fn gap(w: &World, desk: DeskId) -> Gap {
    let gaps = w.events_since(desk, proto::Instant::ZERO).filter_map(|event| match event {
        DtuEvent::FailedOver { gap, .. } => Some(*gap),
        _ => None,
    });
    match gaps.last() {
        Some(gap) => gap,
        None => w.fail("it did not fail over"),
    }
}

/// How long it takes until a desk is at work on another host than this one.
fn elsewhere(w: &mut World, desk: DeskId, host: &str, within: Duration) -> Duration {
    let host = host.to_owned();
    let is_elsewhere =
        move |w: &World| w.shows(desk).is_some() && w.host_of(desk).is_some_and(|now| now != host);
    w.expect_that("it is at work on another host", is_elsewhere).within(within)
}

/// A world of three hosts, the first kept, and a desk with a session there.
fn kept() -> (World, DeskId) {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2"), HostPlan::named("h3")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    (w, desk)
}

#[test]
fn control_dead_and_display_alive_a_daemons_restart_is_invisible() {
    let (mut w, desk) = kept();
    let pid = pid_on(&mut w, desk);
    let at = w.now();
    w.kill("h1");
    w.type_line(desk, "count");
    w.expect(desk).reading("count=1").within(ms(20));
    w.run_for(secs(2));
    w.expect(desk).in_phase(Phase::Held).now();
    w.type_line(desk, "count");
    w.expect(desk).reading("count=2").within(ms(20));
    w.start("h1");
    w.expect(desk).attached_to("h1").within(ms(400));
    assert_eq!(pid_on(&mut w, desk), pid);
    assert_eq!((w.count_since(desk, "held", at), w.count_since(desk, "rejoined", at)), (1, 1));
    assert_eq!((w.count_since(desk, "lost", at), w.count_since(desk, "display_lost", at)), (0, 0));
}

#[test]
fn control_dead_and_display_alive_it_is_held_until_the_grace_time_ends() {
    let (mut w, desk) = kept();
    w.kill("h1");
    w.expect(desk).in_phase(Phase::Held).within(ms(100));
    w.expect(desk).in_phase(Phase::Held).throughout(secs(9));
    w.expect(desk).attached().within(secs(3));
    assert_ne!(w.host_of(desk).as_deref(), Some("h1"));
}

#[test]
fn a_stopped_daemon_whose_session_answers_is_held_and_nothing_is_lost_when_it_runs_on() {
    let (mut w, desk) = kept();
    let at = w.now();
    w.stop_daemon("h1");
    w.expect(desk).in_phase(Phase::Held).within(ms(600));
    w.type_line(desk, "count");
    w.expect(desk).reading("count=1").within(ms(20));
    w.run_for(secs(3));
    w.continue_daemon("h1");
    w.expect(desk).attached_to("h1").within(ms(400));
    assert_eq!(w.count_since(desk, "lost", at), 0, "\n{}", w.story());
}

#[test]
fn a_daemon_stopped_for_less_than_three_beacons_is_not_even_noticed() {
    let (mut w, desk) = kept();
    let at = w.now();
    w.stop_daemon("h1");
    w.run_for(ms(90));
    w.continue_daemon("h1");
    w.run_for(secs(2));
    assert_eq!(w.events_since(desk, at).count(), 0, "\n{}", w.story());
}

#[test]
fn control_dead_and_display_reset_fails_over_at_once() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.kill("h1");
    let took = elsewhere(&mut w, desk, "h1", secs(1));
    assert!(took <= ms(12), "{took:?}");
    let gap = gap(&w, desk);
    assert!(gap.screen - gap.noticed <= ms(12), "{gap:?}");
}

#[test]
fn control_dead_and_display_silent_fails_over_within_half_a_second() {
    type Fault = fn(&mut World);
    let faults: [(&str, Fault); 3] = [
        ("power", |w| w.power_off("h1")),
        ("freeze", |w| w.freeze("h1")),
        ("cut", |w| {
            let lan = w.lan();
            w.cut("h1", lan);
        }),
    ];
    for (name, fault) in faults {
        for pause in [0, 17, 33, 51, 68, 84, 99] {
            let mut w = World::of(3);
            let desk = desk_with_session(&mut w, "h1", "card.ann");
            w.run_for(ms(pause));
            fault(&mut w);
            elsewhere(&mut w, desk, "h1", secs(1));
            let gap = gap(&w, desk);
            assert!(gap.screen <= ms(500), "{name}: {gap:?}\n{}", w.story());
        }
    }
}

#[test]
fn control_alive_and_display_dead_presents_itself_again_to_the_same_host() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let at = w.now();
    w.run_for(secs(5));
    let session = w.shows(desk).unwrap();
    w.kill_session("h1", session);
    w.expect_that("another session", move |w| w.shows(desk).is_some_and(|now| now != session))
        .within(ms(500));
    assert_eq!((w.count_since(desk, "display_lost", at), w.count_since(desk, "lost", at)), (1, 0));
    assert_eq!(w.count_since(desk, "restored", at), 1, "\n{}", w.story());
}

#[test]
fn missed_beacons_prompt_a_probe_and_its_answer_ends_the_matter() {
    let mut w = World::of(3);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let at = w.now();
    // Broadcasts are lost on the way to the desk; what is sent to it alone arrives.
    w.mute_broadcasts(desk, true);
    w.run_for(secs(30));
    w.expect(desk).attached_to("h1").now();
    assert_eq!(
        w.events_since(desk, at).count(),
        0,
        "beacons lost, host alive: nothing happens\n{}",
        w.story()
    );
    w.mute_broadcasts(desk, false);
    w.cut("h1", lan);
    w.expect(desk).not_attached().within(ms(500));
}

/// A world of one host with so many desks that show nothing, and the moment at which its next beacon is due.
fn crowd(desks: usize) -> (World, Vec<DeskId>) {
    let mut w = World::of(1);
    let lan = w.lan();
    let plan = |n| DeskPlan::named(&format!("d{n}"), lan).without_display();
    let desks: Vec<DeskId> = (0..desks).map(|n| w.add_desk(plan(n))).collect();
    w.run_for(secs(1));
    desks.iter().for_each(|desk| w.expect(*desk).attached().now());
    // A host alone receives nothing but what its desks send.
    w.meter();
    while w.metered().sent == 0 {
        w.run_for(ms(1));
    }
    w.run_for(INTERVAL - ms(1));
    (w, desks)
}

#[test]
fn when_a_broadcast_is_lost_all_desks_ask_within_half_an_interval_not_at_once_and_none_leaves() {
    const DESKS: u64 = 500;
    let (mut w, desks) = crowd(DESKS as usize);
    let at = w.now();
    w.lose_beacons("h1", INTERVAL);
    // Until half an interval after the beacon that is lost.
    w.run_for(INTERVAL / 2 - ms(1));
    w.meter();
    let mut most = 0;
    for _ in 0..11 {
        let before = w.metered().received;
        w.run_for(INTERVAL / 20);
        most = most.max(w.metered().received - before);
    }
    assert_eq!(w.metered().received, DESKS, "each asks once");
    assert!(most < DESKS / 5, "{most} of {DESKS} within a twentieth of an interval");
    for beacons in [1, 2, 3] {
        w.run_for(ms(400));
        w.lose_beacons("h1", INTERVAL * beacons);
        w.run_for(secs(1));
    }
    let lost: usize = desks.iter().map(|desk| w.events_since(*desk, at).count()).sum();
    assert_eq!(lost, 0, "\n{}", w.story());
}

#[test]
fn a_host_is_left_when_three_beacons_were_missed_and_hardly_later() {
    for pause in [0, 13, 26, 39, 52, 65, 78, 91] {
        let (mut w, desks) = crowd(20);
        w.add_host(HostPlan::named("h2").on(w.lan()));
        w.run_for(secs(1) + ms(pause));
        w.power_off("h1");
        let off = w.now();
        let mut first = None;
        while desks.iter().any(|desk| w.host_of(*desk).as_deref() != Some("h2")) {
            w.run_for(ms(1));
            let lost = desks.iter().any(|desk| w.count_since(*desk, "lost", off) > 0);
            first = first.or(lost.then(|| w.now()));
            assert!(w.now().since(off) < secs(1), "\n{}", w.story());
        }
        for desk in &desks {
            let gap = gap(&w, *desk);
            assert!((ms(150)..=ms(205)).contains(&gap.noticed) && gap.screen <= ms(215), "{gap:?}");
        }
        assert!(first.is_some_and(|at| at.since(off) >= ms(125)), "{first:?}");
    }
}

#[test]
fn a_desk_that_hears_no_beacons_keeps_the_same_rule_in_under_a_second() {
    let mut w = World::new(6);
    let (a, far) = (w.add_lan("a", "10.1.0.0", 16), w.add_lan("far", "10.9.0.0", 16));
    w.route(&[a, far]);
    for host in ["h1", "h2", "h3"] {
        w.add_host(HostPlan::named(host).on(a));
    }
    w.settle();
    for (n, pause) in [0, 60, 130, 210, 290].into_iter().enumerate() {
        let d = w.add_desk(DeskPlan::named(&format!("d{n}"), far).server("h1").card(&format!("card.r{n}")));
        w.expect(d).attached().within(secs(1));
        w.run_for(secs(2) + ms(pause));
        let host = w.host_of(d).unwrap();
        w.power_off(&host);
        elsewhere(&mut w, d, &host, secs(1));
        assert!(gap(&w, d).screen < secs(1), "{:?}", gap(&w, d));
        w.start(&host);
        w.run_for(secs(2));
    }
}

#[test]
fn a_storm_of_desks_spreads_over_the_hosts_that_are_left() {
    let mut w = World::of(4);
    let desks: Vec<DeskId> =
        (0..40).map(|n| desk_with_session(&mut w, "h1", &format!("card.s{n}"))).collect();
    w.power_off("h1");
    for desk in &desks {
        elsewhere(&mut w, *desk, "h1", secs(1));
    }
    for host in ["h2", "h3", "h4"] {
        let count = w.session_count_on(host);
        assert!((5..=22).contains(&count), "{host} has {count} of 40");
    }
    for n in 0..40 {
        assert_eq!(w.sessions_of(&format!("card.s{n}")).len(), 1);
    }
}

#[test]
fn a_host_that_stops_on_purpose_sends_its_desks_on() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.stop("h2");
    let took = elsewhere(&mut w, desk, "h2", ms(100));
    assert!(took <= ms(20), "{took:?}");
}

#[test]
fn a_desk_that_was_not_run_for_a_while_accuses_nobody() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let at = w.now();
    for pause in [200, 700, 5_000, 12_000] {
        w.put_to_sleep(desk);
        w.run_for(ms(pause));
        w.wake_up(desk);
        w.run_for(secs(2));
    }
    w.expect(desk).attached_to("h1").now();
    assert_eq!(w.count_since(desk, "lost", at), 0, "\n{}", w.story());
}

#[test]
fn a_strangers_beacons_do_not_keep_a_dead_host_alive() {
    let mut w = World::of(3);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let stranger = w.stranger(lan);
    w.run_for(secs(2));
    let tape = w.recording(stranger);
    let foreign = KeyRing::new(GroupKey::new(&[3; 32]).unwrap(), Vec::new());
    let from_h1: Vec<_> = tape
        .iter()
        .filter(|h| h.from == w.address("h1", lan) && h.bytes.starts_with(b"beacon "))
        .cloned()
        .collect();
    w.power_off("h1");
    let start = w.now();
    while w.host_of(desk).as_deref() == Some("h1") && w.now().since(start) < secs(3) {
        for heard in from_h1.iter().rev().take(5) {
            // What was recorded, and the same with higher numbers under another key.
            w.stranger_shouts(stranger, &heard.bytes);
            let line = Line::parse(&heard.bytes).unwrap();
            let mut forged = Line::new("beacon");
            for (key, value) in line.pairs().filter(|(key, _)| !["kid", "sig"].contains(key)) {
                let higher = value.parse::<u64>().map(|n| n + 1_000).ok();
                match (key, higher) {
                    ("seq" | "tick", Some(n)) => forged.push(key, n),
                    _ => forged.push(key, value),
                }
            }
            w.stranger_shouts(stranger, &foreign.seal(Purpose::Beacon, &forged));
        }
        w.run_for(ms(20));
    }
    assert!(w.now().since(start) <= ms(520), "{:?}", w.now().since(start));
}

#[test]
fn a_strangers_beacons_do_not_drive_a_desk_away_from_a_living_host() {
    let mut w = World::of(2);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let stranger = w.stranger(lan);
    w.run_for(secs(1));
    let at = w.now();
    let heard = w.recording(stranger);
    let beacon = heard.iter().find(|h| h.bytes.starts_with(b"beacon host=h1 ")).unwrap();
    let text = String::from_utf8_lossy(&beacon.bytes).into_owned();
    let boot = w.boot_of("h1").unwrap().to_string();
    for n in 0..400 {
        let other_boot = format!("{n:016x}");
        w.stranger_shouts(stranger, text.replace(&boot, &other_boot).as_bytes());
        w.run_for(ms(10));
    }
    assert_eq!(w.events_since(desk, at).count(), 0, "\n{}", w.story());
}

#[test]
fn what_is_typed_is_applied_once_whatever_happens_to_the_daemon() {
    let (mut w, desk) = kept();
    for round in 1..=5 {
        w.type_line(desk, "count");
        w.kill("h1");
        w.type_line(desk, "count");
        w.run_for(ms(70));
        w.start("h1");
        w.type_line(desk, "count");
        w.expect(desk).reading(&format!("count={}", round * 3)).within(secs(1));
        w.expect(desk).attached_to("h1").within(secs(1));
        w.run_for(ms(300));
    }
}

#[test]
fn what_is_typed_while_a_link_is_cut_arrives_once_when_it_heals() {
    let mut w = World::of(1);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    for n in 1..=4_u64 {
        w.cut("h1", lan);
        w.type_line(desk, "count");
        w.run_for(ms(120 * n));
        w.heal("h1", lan);
        w.expect(desk).attached_to("h1").within(secs(15));
        w.type_line(desk, "count");
        w.expect(desk).reading(&format!("count={}", 2 * n)).within(secs(1));
    }
}

#[test]
fn a_link_that_is_slow_and_not_dead_changes_nothing() {
    let mut w = World::of(2);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let at = w.now();
    w.delay("h1", lan, ms(35));
    w.run_for(secs(20));
    assert_eq!(w.events_since(desk, at).count(), 0, "\n{}", w.story());
}

#[test]
fn a_desk_whose_own_link_is_cut_finds_its_session_as_it_was() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let pid = pid_on(&mut w, desk);
    w.set_desk_rule(desk, Way::Both, Rule { cut: true, ..Rule::default() });
    w.expect(desk).noticing("No host can be reached").within(secs(3));
    w.run_for(secs(20));
    w.set_desk_rule(desk, Way::Both, Rule::default());
    let took = w.expect(desk).attached_to("h2").within(secs(6));
    assert!(took <= ms(700), "{took:?}");
    assert_eq!(pid_on(&mut w, desk), pid);
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn a_frozen_host_that_thaws_does_not_take_its_desks_back() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.freeze("h1");
    w.expect(desk).attached_to("h2").within(secs(1));
    w.run_for(secs(10));
    w.thaw("h1");
    w.expect(desk).attached_to("h2").throughout(secs(5));
    // Its own session is known not to be the claimed one, and stays until somebody ends it.
    let on_h1 = w.sessions_of("card.ann").into_iter().find(|seen| seen.host == "h1").expect("kept");
    assert_eq!(w.claim_of("h1", on_h1.session), Some(sessiond::manager::Claim::Superseded));
}

#[test]
fn the_last_host_that_comes_back_after_a_freeze_of_all_is_used_again() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let pid = pid_on(&mut w, desk);
    w.freeze("h1");
    w.freeze("h2");
    w.expect(desk).noticing("No host can be reached").within(secs(3));
    w.thaw("h1");
    w.expect(desk).attached_to("h1").within(secs(6));
    assert_eq!(pid_on(&mut w, desk), pid, "nobody took the session over");
}

#[test]
fn a_beacons_chain_that_is_used_up_begins_anew_and_no_desk_notices() {
    let mut w = World::of_hosts([HostPlan::named("h1").chain_len(256), HostPlan::named("h2")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let at = w.now();
    w.run_for(secs(90));
    assert_eq!(w.events_since(desk, at).count(), 0, "\n{}", w.story());
    let lan = w.lan();
    w.cut("h1", lan);
    w.expect(desk).attached_to("h2").within(ms(600));
    assert!(gap(&w, desk).screen <= ms(600));
}
