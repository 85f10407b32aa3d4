//! Where a new session goes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use std::collections::BTreeMap;

use dtu_emu::dtu::Phase;
use groupmgr::host::admin::Command;
use proto::time::Duration;
use tests::scene::{desk_with_session, drain, end};
use tests::world::{DeskId, DeskPlan, HostPlan, TestRng, World, ms, secs};

/// Puts so many new cards in, this far apart; on which hosts their sessions are.
fn place(w: &mut World, cards: usize, apart_ms: u64) -> BTreeMap<String, usize> {
    let lan = w.lan();
    let hosts: Vec<String> = w.host_names().map(str::to_owned).collect();
    let desks: Vec<DeskId> = (0..cards)
        .map(|n| {
            let server = &hosts[n % hosts.len()];
            let plan = DeskPlan::named(&format!("d{n}"), lan).server(server).card(&format!("card.p{n}"));
            let desk = w.add_desk(plan);
            w.run_for(ms(apart_ms));
            desk
        })
        .collect();
    for desk in &desks {
        w.expect(*desk).attached().within(secs(5));
    }
    let mut count = BTreeMap::new();
    for desk in desks {
        *count.entry(w.host_of(desk).unwrap()).or_default() += 1;
    }
    count
}

#[test]
fn the_more_lightly_loaded_of_two_hosts_gets_new_sessions() {
    let mut w = World::of(2);
    w.set_load("h1", 800, 4_000);
    w.run_for(ms(300));
    assert_eq!(place(&mut w, 6, 150), BTreeMap::from([("h2".to_owned(), 6)]));
}

#[test]
fn a_host_short_of_memory_is_the_last_choice() {
    let mut w = World::of(2);
    w.set_load("h2", 0, 20);
    w.run_for(secs(21));
    assert_eq!(place(&mut w, 6, 150), BTreeMap::from([("h1".to_owned(), 6)]));
}

#[test]
fn nobody_herds_to_the_host_that_was_idle_when_it_was_last_heard() {
    let mut w = World::of(4);
    let count = place(&mut w, 200, 1);
    assert_eq!(count.len(), 4, "{count:?}");
    assert!(count.values().all(|n| (25..=85).contains(n)), "{count:?}");
}

#[test]
fn sessions_spread_over_hosts_that_are_equally_idle() {
    let mut w = World::of(3);
    let count = place(&mut w, 60, 120);
    assert!(count.values().all(|n| (8..=35).contains(n)) && count.len() == 3, "{count:?}");
}

/// Switches so many desks on, each within `within` after the first, at hosts drawn at random or all at the first one;
/// how many sessions are on each host, of all of them.
fn switch_on(w: &mut World, cards: u64, within: Duration, all_at_first: bool) -> Vec<usize> {
    let (lan, hosts) = (w.lan(), w.host_names().map(str::to_owned).collect::<Vec<_>>());
    let mut dice = TestRng::new(cards ^ hosts.len() as u64);
    let desks: Vec<DeskId> = (0..cards)
        .map(|n| {
            let first = if all_at_first { 0 } else { dice.below(hosts.len() as u64) as usize };
            let plan = DeskPlan::named(&format!("d{n}"), lan).server(&hosts[first]);
            let desk = w.add_desk(plan.card(&format!("card.s{n}")));
            w.run_for(within / cards as u32);
            desk
        })
        .collect();
    for desk in &desks {
        w.expect(*desk).attached().within(secs(5));
    }
    hosts.iter().map(|host| w.session_count_on(host)).collect()
}

#[track_caller]
fn assert_even(counts: &[usize], percent_of_mean: usize) {
    let (total, most) = (counts.iter().sum::<usize>(), counts.iter().max().unwrap());
    assert!(most * 100 * counts.len() <= total * percent_of_mean, "{counts:?}");
}

#[test]
fn desks_that_are_switched_on_in_one_moment_spread_within_three_tenths_of_the_mean() {
    for all_at_first in [false, true] {
        let counts = switch_on(&mut World::of(8), 200, ms(4), all_at_first);
        assert_even(&counts, 130);
    }
}

#[test]
fn desks_that_are_switched_on_five_hundred_a_second_spread_within_fifteen_hundredths_of_the_mean() {
    for all_at_first in [false, true] {
        let counts = switch_on(&mut World::of(8), 200, ms(400), all_at_first);
        assert_even(&counts, 115);
    }
}

#[test]
fn the_host_that_a_desk_is_sent_to_is_told_of_it_and_told_again_in_case_it_did_not_hear() {
    let mut w = World::of(2);
    w.set_load("h1", 800, 4_000);
    w.run_for(ms(300));
    w.meter();
    let desk = w.add_desk(DeskPlan::named("d", w.lan()).server("h1").card("card.ann"));
    w.expect(desk).attached_to("h2").within(secs(1));
    w.run_for(ms(100));
    assert_eq!(w.metered().comings, 2);
}

/// DTUs that a host expects, because another one has sent them there.
fn expected_at(w: &World, host: &str) -> usize {
    let tables = w.host(host).unwrap().tables();
    tables.iter().find(|fill| fill.table == "sent here").unwrap().len
}

#[test]
fn a_desk_on_its_way_counts_where_it_goes_until_it_is_there() {
    let mut w = World::of(2);
    w.set_load("h1", 800, 4_000);
    w.run_for(ms(300));
    let lan = w.lan();
    let desk = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
    w.run_until(secs(1), |w| expected_at(w, "h2") == 1).expect("h2 is told");
    w.expect(desk).attached_to("h2").within(secs(1));
    assert_eq!(expected_at(&w, "h2"), 0);
    // One that never arrives counts for two seconds.
    let lost = w.add_desk(DeskPlan::named("lost", lan).server("h1").card("card.bob"));
    w.run_until(secs(1), |w| expected_at(w, "h2") == 1).expect("h2 is told");
    w.put_to_sleep(lost);
    w.run_for(ms(1_800));
    assert_eq!(expected_at(&w, "h2"), 1);
    w.run_for(ms(400));
    assert_eq!(expected_at(&w, "h2"), 0);
}

#[test]
fn in_a_group_where_not_everybody_is_asked_desks_spread_as_well() {
    assert_even(&switch_on(&mut World::of(20), 400, ms(8), false), 130);
}

#[test]
fn among_hosts_of_the_version_before_desks_still_spread() {
    let plan = |n: usize| HostPlan::named(&format!("h{n}"));
    let mut w = World::of_hosts((1..=8).map(|n| if n <= 4 { plan(n).older() } else { plan(n) }));
    let counts = switch_on(&mut w, 200, ms(400), false);
    assert_even(&counts, 150);
    assert_even(&counts[4..], 130);
}

#[test]
fn what_a_host_has_made_itself_weighs_no_more_than_what_others_have_made() {
    let mut w = World::of(2);
    let lan = w.lan();
    for host in ["h1", "h2"] {
        w.set_load(host, 8_000, 4_000);
    }
    w.run_for(ms(300));
    for n in 0..40 {
        let plan = DeskPlan::named(&format!("d{n}"), lan).server("h1").card(&format!("card.p{n}"));
        let desk = w.add_desk(plan);
        // The sessions are waited for that are there, and they are a small part of what else goes on.
        w.expect(desk).attached_to("h1").within(ms(150));
        w.run_for(ms(150));
    }
}

#[test]
fn a_drained_host_gets_no_new_sessions_and_keeps_its_old_ones() {
    let mut w = World::of(3);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    drain(&mut w, &["h2".into()], true);
    let count = place(&mut w, 12, 50);
    assert!(!count.contains_key("h2"), "{count:?}");
    w.expect(desk).attached_to("h2").now();
    // The session there can be reached until it ends.
    let again = w.add_desk(DeskPlan::named("again", lan).server("h1").card("card.ann"));
    w.expect(again).attached_to("h2").within(secs(1));
}

#[test]
fn a_drained_host_is_still_used_when_it_is_the_only_one_left() {
    let mut w = World::of(2);
    w.ask("h1", Command::Drain(true));
    w.kill("h2");
    w.run_for(ms(500));
    assert_eq!(place(&mut w, 1, 1), BTreeMap::from([("h1".to_owned(), 1)]));
}

#[test]
fn an_undrained_host_gets_sessions_again() {
    let mut w = World::of(2);
    drain(&mut w, &["h2".into()], true);
    drain(&mut w, &["h2".into()], false);
    w.set_load("h1", 900, 4_000);
    w.run_for(ms(300));
    assert_eq!(place(&mut w, 3, 150), BTreeMap::from([("h2".to_owned(), 3)]));
}

#[test]
fn a_full_host_gets_no_more_and_when_all_are_full_the_desk_says_so() {
    let mut w =
        World::of_hosts([HostPlan::named("h1").sessions_max(2), HostPlan::named("h2").sessions_max(2)]);
    let lan = w.lan();
    let count = place(&mut w, 4, 150);
    assert_eq!(count, BTreeMap::from([("h1".to_owned(), 2), ("h2".to_owned(), 2)]));
    let fifth = w.add_desk(DeskPlan::named("fifth", lan).card("card.five"));
    w.expect(fifth).in_phase(Phase::Denied).within(secs(2));
    w.expect(fifth).noticing("No host has room").now();
    // Its DTU asks again by itself when somebody has gone.
    let seen = w.sessions_of("card.p0").remove(0);
    w.ask(&seen.host, end(seen.session));
    w.expect(fifth).attached().within(secs(70));
}

#[test]
fn a_token_with_a_session_gets_it_even_where_no_new_one_would_be_made() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").sessions_max(1)]);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.set_load("h2", 9_000, 10);
    w.run_for(ms(300));
    let again = w.add_desk(DeskPlan::named("again", lan).server("h1").card("card.ann"));
    w.expect(again).attached_to("h2").within(secs(1));
}
