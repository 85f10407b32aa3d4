//! The simulated world itself: that a run can be repeated, that faults are faults, and that size costs what is
//! due and no more.

use tests::world::{DeskId, DeskPlan, HostPlan, Rule, Way, World, ms, secs};

/// A run with a bit of everything, told by its story.
fn eventful(seed: u64) -> String {
    let mut w = World::new(seed);
    let (a, b) = (w.add_lan("a", "10.1.0.0", 16), w.add_lan("b", "10.2.0.0", 16));
    for n in 1..=4 {
        w.add_host(HostPlan::named(&format!("h{n}")).on(a).on(b));
    }
    w.settle();
    let desks: Vec<DeskId> = (0..6)
        .map(|n| {
            let lan = if n % 2 == 0 { a } else { b };
            w.add_desk(DeskPlan::named(&format!("d{n}"), lan).card(&format!("card.c{n}")))
        })
        .collect();
    w.run_for(secs(1));
    w.lose("h2", a, 0.3);
    w.kill("h1");
    w.type_line(desks[0], "count");
    w.run_for(secs(2));
    w.freeze("h3");
    w.run_for(secs(2));
    w.start("h1");
    w.thaw("h3");
    w.kill_store();
    w.run_for(secs(2));
    w.start_store();
    w.run_for(secs(3));
    w.story()
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let (first, second) = (eventful(5), eventful(5));
    assert!(first == second, "the same calls from the same seed must make the same story");
    assert!(first.lines().count() > 50, "{first}");
    assert!(eventful(6) != first, "another seed makes another run");
}

#[test]
fn what_is_lost_of_a_connection_arrives_later_and_in_order() {
    let mut w = World::of(1);
    let lan = w.lan();
    let d = w.add_desk(DeskPlan::named("d", lan).card("card.ann"));
    w.expect(d).attached().within(secs(1));
    w.set_desk_rule(d, Way::Both, Rule { loss: 0.3, ..Rule::default() });
    for n in 1..=30 {
        w.type_line(d, "count");
        w.run_for(ms(n));
    }
    w.set_desk_rule(d, Way::Both, Rule::default());
    w.expect(d).reading("count=30").within(secs(10));
}

#[test]
fn a_machine_without_power_says_nothing_and_one_whose_daemon_is_dead_refuses() {
    for (off, within) in [(true, ms(400)), (false, ms(1))] {
        let mut w = World::of(1);
        let lan = w.lan();
        if off {
            w.power_off("h1");
        } else {
            w.kill("h1");
        }
        let d = w.add_desk(DeskPlan::named("d", lan).server("h1"));
        let failed = move |w: &World| w.count_since(d, "host_failed", proto::Instant::ZERO) > 0;
        let took = w.expect_that("the attempt fails", failed).within(secs(1));
        assert!(took <= within && (took >= ms(300)) == off, "{took:?}");
    }
}

#[test]
fn an_expectation_that_fails_tells_the_story_of_the_run() {
    let told = std::panic::catch_unwind(|| {
        let mut w = World::of(1);
        let lan = w.lan();
        let d = w.desk("d1", lan);
        w.insert(d, "card.ann");
        w.expect(d).attached_to("h9").within(ms(100));
    });
    let text = told.err().and_then(|told| told.downcast_ref::<String>().cloned()).unwrap_or_default();
    for part in
        ["expected within 100ms: d1 is attached to h9", "card card.ann put in", "h1: Made { token: card.ann"]
    {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
}

#[test]
fn two_hundred_desks_on_twelve_hosts_cost_little_and_all_survive_a_dead_host() {
    let mut w = World::new(3);
    w.without_story();
    let lans: Vec<_> = (0..4).map(|n| w.add_lan(&format!("l{n}"), &format!("10.{n}.0.0"), 16)).collect();
    for n in 0..12 {
        w.add_host(HostPlan::named(&format!("h{n}")).on(lans[n % 4]));
    }
    w.settle();
    let desks: Vec<DeskId> = (0..200)
        .map(|n| {
            let plan = DeskPlan::named(&format!("d{n}"), lans[n % 4]).card(&format!("card.c{n}"));
            w.run_for(ms(5));
            w.add_desk(plan.without_display())
        })
        .collect();
    w.run_for(secs(2));
    w.power_off("h0");
    w.run_for(secs(2));
    for desk in desks {
        w.expect(desk).attached().now();
    }
    assert_eq!(w.session_count(), 200);
    assert!(w.work() < 400_000, "{} things happened", w.work());
}
