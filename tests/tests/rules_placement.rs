//! Where a new session goes (DESIGN 4.3 and 5).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use std::collections::BTreeMap;

use dtu_emu::dtu::Phase;
use groupmgr::host::admin::Command;
use tests::scene::{desk_with_session, drain, end};
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

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

#[test]
fn what_a_host_has_made_itself_weighs_no_more_than_what_others_have_made() {
    let mut w = World::of(2);
    let lan = w.lan();
    for host in ["h1", "h2"] {
        w.set_load(host, 2_000, 4_000);
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
