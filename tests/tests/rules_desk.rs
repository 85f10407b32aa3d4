//! Which path a desk trusts, and what the person at it is told.

use tests::scene::{desk_with_session, pid_on};
use tests::world::{DeskId, Duration, HostPlan, Rule, Way, World, ms, secs};

/// How long after a fault a desk reports an event, idle or typed at every 10 ms.
fn takes(name: &str, event: &str, types: bool, pause: u64, fault: impl Fn(&mut World, DeskId)) -> Duration {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.run_for(secs(1) + ms(pause));
    let at = w.now();
    fault(&mut w, desk);
    while w.count_since(desk, event, at) == 0 {
        if types {
            w.type_line(desk, "x");
        }
        w.run_for(ms(10));
        assert!(w.now().since(at) < secs(6), "{name}, typing: {types}\n{}", w.story());
    }
    w.now().since(at)
}

#[test]
fn a_desk_whose_host_gets_another_address_is_at_work_within_half_a_second_idle_or_not() {
    let moves = |w: &mut World, _: DeskId| {
        let lan = w.lan();
        w.readdress("h1", lan);
    };
    for types in [false, true] {
        for pause in [0, 17, 33, 51, 68, 84, 99] {
            let took = takes("moved", "failed_over", types, pause, moves);
            assert!(took <= ms(500), "typing: {types}, {took:?}");
        }
    }
}

#[test]
fn a_broken_connection_to_a_host_that_is_heard_is_left_within_half_a_second_of_typing_and_5_s_idle() {
    type Break = fn(&mut World, DeskId);
    let breaks: [(&str, &str, Break); 3] = [
        ("firewall", "lost", |w, desk| w.break_conns(desk, "h1")),
        ("one way", "lost", |w, desk| w.set_desk_rule(desk, Way::Out, Rule { cut: true, ..Rule::default() })),
        ("display alone", "restored", |w, desk| w.break_displays(desk, "h1")),
    ];
    for (name, event, breaks) in breaks {
        for (types, limit) in [(true, ms(500)), (false, secs(5))] {
            let took = takes(name, event, types, 0, breaks);
            assert!(took <= limit, "{name}, typing: {types}, {took:?}");
        }
    }
}

#[test]
fn a_desk_that_hears_its_host_from_another_address_alone_asks_by_itself() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let at = w.now();
    // As after a second address of the interface, or a router: its beacons say nothing about the connection.
    w.rewrite_beacons(desk, true);
    w.run_for(secs(20));
    assert_eq!(w.events_since(desk, at).count(), 0, "{}", w.story());
    w.freeze("h1");
    let frozen = w.now();
    w.expect_that("it is at work on h2", move |w| w.host_of(desk).as_deref() == Some("h2")).within(secs(1));
    assert!(w.now().since(frozen) <= ms(700), "{:?}", w.now().since(frozen));
}

#[test]
fn the_only_host_is_found_again_at_its_new_address() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let pid = pid_on(&mut w, desk);
    let lan = w.lan();
    w.run_for(secs(1));
    w.readdress("h1", lan);
    w.expect_that("it is at h1 again", move |w| {
        w.count_since(desk, "failed_over", proto::Instant::ZERO) == 1
    })
    .within(secs(1));
    assert_eq!(pid_on(&mut w, desk), pid, "the same session");
}

#[test]
fn after_a_failover_one_line_says_what_happened_and_passes() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.kill("h1");
    w.expect(desk).attached_to("h2").within(secs(1));
    w.run_for(ms(100));
    let said = w.notice(desk).unwrap_or_default().to_owned();
    assert!(said.contains("Host h1") && said.contains("another one"), "{said}\n{}", w.story());
    w.run_for(secs(16));
    assert_eq!(w.notice(desk), None);
}

#[test]
fn a_desk_that_finds_its_session_again_is_told_nothing() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let lan = w.lan();
    w.readdress("h1", lan);
    w.run_for(secs(2));
    w.expect(desk).attached_to("h1").now();
    assert_eq!(w.notice(desk), None, "{}", w.story());
}

#[test]
fn a_session_is_promised_only_where_it_may_come_back() {
    type Fault = fn(&mut World);
    let faults: [(&str, bool, Fault); 3] = [
        ("killed", false, |w| w.kill("h1")),
        ("stopped", false, |w| w.stop("h1")),
        ("cut off", true, |w| {
            let lan = w.lan();
            w.cut("h1", lan);
        }),
    ];
    for (name, may_come_back, fault) in faults {
        let mut w = World::of(1);
        let desk = desk_with_session(&mut w, "h1", "card.ann");
        fault(&mut w);
        w.run_for(secs(3));
        let said = w.notice(desk).unwrap_or_default().to_owned();
        assert!(said.contains("No host can be reached"), "{name}: {said}");
        assert_eq!(said.contains("still runs"), may_come_back, "{name}: {said}");
    }
}

#[test]
fn a_desk_whose_host_stopped_and_keeps_its_sessions_says_that_it_waits_and_what_was_lost() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2"), HostPlan::named("h3")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.stop("h1");
    w.type_line(desk, "count");
    w.expect(desk).reading("count=1").within(ms(20));
    w.run_for(secs(4));
    let said = w.notice(desk).unwrap_or_default().to_owned();
    assert!(said.contains("h1") && said.contains("waited for"), "{said}\n{}", w.story());
    w.run_for(secs(8));
    w.expect(desk).attached().now();
    let said = w.notice(desk).unwrap_or_default().to_owned();
    assert!(said.contains("another one"), "{said}");
}

#[test]
fn keys_that_no_session_will_have_are_not_lost_in_silence() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.freeze("h1");
    w.type_line(desk, "for the session on h1 alone");
    w.expect_that("it is at work on h2", move |w| w.host_of(desk).as_deref() == Some("h2")).within(secs(1));
    w.run_for(ms(100));
    let said = w.notice(desk).unwrap_or_default().to_owned();
    assert!(said.contains("What you typed last is lost"), "{said}\n{}", w.story());
}
