//! Which host keeps the copies of a session: one that does not die with its primary, and has the least to do.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use std::collections::BTreeMap;

use groupmgr::host::admin::{Command, Reply};
use proto::host_message::Label;
use tests::scene::{self, desk_with_session};
use tests::world::{DeskId, HostPlan, World, ms, secs};

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

/// The host that keeps the only session of `host`, if the session is protected.
fn secondary(w: &mut World, host: &str) -> Option<String> {
    let own = scene::copies(w, host).own;
    let own = own.first()?;
    own.secondary.as_ref().filter(|_| own.state == "protected").map(ToString::to_string)
}

/// Sessions that each host keeps.
fn kept(w: &mut World, hosts: &[&str]) -> BTreeMap<String, usize> {
    hosts.iter().map(|host| ((*host).to_owned(), scene::copies(w, host).kept.len())).collect()
}

/// A desk at `h1` in a group of these hosts, whose card has a session that another host keeps.
fn replicated(plans: impl IntoIterator<Item = HostPlan>) -> (World, DeskId) {
    let mut w = World::of_hosts(plans);
    scene::replicate(&mut w, "");
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.run_for(secs(1));
    (w, desk)
}

#[test]
fn another_machine_comes_first_then_another_rack_then_another_site() {
    let host = |name: &str, machine, rack: &str, site: &str| {
        HostPlan::named(name).machine(machine).at(&label(rack), &label(site))
    };
    let (mut w, _) = replicated([
        host("h1", 1, "r1", "s1"),
        host("same-machine", 1, "r9", "s9"),
        host("same-rack", 2, "r1", "s9"),
        host("same-site", 3, "r3", "s1"),
        host("far", 4, "r4", "s4"),
    ]);
    w.run_for(secs(5));
    for expected in ["far", "same-site", "same-rack", "same-machine"] {
        assert_eq!(secondary(&mut w, "h1").as_deref(), Some(expected), "\n{}", w.story());
        let own = scene::copies(&mut w, "h1").own;
        assert_eq!(own[0].same_machine, expected == "same-machine", "and then it is said");
        w.power_off(expected);
        w.run_for(secs(5));
    }
    assert_eq!(secondary(&mut w, "h1"), None);
    let own = scene::copies(&mut w, "h1").own;
    assert_eq!((own[0].state.as_str(), own[0].why.as_str()), ("unprotected", "there is no other host"));
}

#[test]
fn a_new_host_is_used_within_5_s_by_a_session_without_a_secondary_or_with_one_on_its_machine() {
    let host = |name: &str, machine| HostPlan::named(name).machine(machine);
    let (mut w, _) = replicated([host("h1", 1)]);
    assert_eq!(secondary(&mut w, "h1"), None);
    for (name, machine) in [("h2", 1), ("h3", 2)] {
        let lan = w.lan();
        w.add_host(host(name, machine).on(lan));
        w.run_for(secs(5));
        assert_eq!(secondary(&mut w, "h1").as_deref(), Some(name), "\n{}", w.story());
    }
    assert_eq!(kept(&mut w, &["h2", "h3"]), [("h2".into(), 0), ("h3".into(), 1)].into(), "and nowhere else");
}

#[test]
fn sessions_are_spread_over_hosts_that_are_alike_and_a_busy_host_gets_none() {
    let mut w = World::of(5);
    scene::replicate(&mut w, "");
    w.set_load("h5", 500, 4_000);
    for n in 0..20 {
        desk_with_session(&mut w, "h1", &format!("card.c{n}"));
    }
    w.run_for(secs(1));
    // Whoever has them now, all are to be kept by others in one moment.
    let before = kept(&mut w, &["h2", "h3", "h4"]);
    let most = before.iter().max_by_key(|(_, sessions)| **sessions).unwrap().0.clone();
    w.power_off(&most);
    w.run_for(secs(5));
    let others: Vec<&str> = ["h2", "h3", "h4"].into_iter().filter(|host| *host != most).collect();
    let kept = kept(&mut w, &[&others[..], &["h5"]].concat());
    assert!(
        others.iter().all(|host| (6..=14).contains(&kept[*host])) && kept["h5"] == 0,
        "{before:?} {kept:?}"
    );
}

#[test]
fn a_secondary_that_has_started_again_counts_only_when_it_is_filled() {
    let (mut w, desk) = replicated((1..=2).map(|n| HostPlan::named(&format!("h{n}"))));
    w.type_line(desk, "keep one");
    w.expect(desk).reading("kept=one").within(secs(1));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some("h2"));
    w.kill("h2");
    w.start("h2");
    let restarted = w.now();
    let mut was_bare = false;
    while w.now() < restarted + secs(5) {
        w.run_for(ms(5));
        let names_it = scene::record_of(&w, "card.ann").is_some_and(|record| record.secondary.is_some());
        let is_filled =
            w.host("h2").is_some() && scene::copies(&mut w, "h2").kept.iter().any(|k| k.parts > 0);
        was_bare |= !names_it;
        // Until its death is known it is named still.
        assert!(!names_it || !was_bare || is_filled, "named and empty\n{}", w.story());
    }
    assert!(was_bare);
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some("h2"));
}

#[test]
fn a_drained_host_keeps_nothing_new() {
    let mut w = World::of(3);
    scene::replicate(&mut w, "");
    scene::drain(&mut w, &["h2".to_owned()], true);
    desk_with_session(&mut w, "h1", "card.ann");
    scene::drain(&mut w, &["h2".to_owned()], true);
    w.run_for(secs(5));
    let kept = kept(&mut w, &["h2", "h3"]);
    assert_eq!(kept["h2"] + kept["h3"], 1, "{kept:?}");
}

#[test]
fn a_host_that_is_drained_hands_what_it_keeps_to_another_if_there_is_one() {
    let (mut w, _) = replicated([HostPlan::named("h1"), HostPlan::named("h2"), HostPlan::named("h3")]);
    let first = secondary(&mut w, "h1").unwrap();
    let other = if first == "h2" { "h3" } else { "h2" };
    scene::drain(&mut w, std::slice::from_ref(&first), true);
    w.run_for(secs(12));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some(other), "\n{}", w.story());
    assert_eq!(scene::copies(&mut w, &first).kept.len(), 0, "no copy stays behind");
    scene::drain(&mut w, &[other.to_owned()], true);
    w.run_for(secs(25));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some(other), "there is nobody else");
}

#[test]
fn a_host_that_is_paired_with_another_has_it_keep_its_sessions_whenever_that_can() {
    let host = |name: &str, machine| HostPlan::named(name).machine(machine).at(&label("r1"), &label("s1"));
    let (mut w, _) = replicated([
        host("h1", 1).paired_with("h2"),
        host("h2", 2),
        host("h3", 3),
        HostPlan::named("far").machine(4).at(&label("r9"), &label("s9")),
    ]);
    w.run_for(secs(5));
    assert_eq!(
        secondary(&mut w, "h1").as_deref(),
        Some("h2"),
        "though another is farther away\n{}",
        w.story()
    );
    w.power_off("h2");
    w.run_for(secs(6));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some("far"));
    w.start("h2");
    w.run_for(secs(6));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some("h2"), "\n{}", w.story());
    assert_eq!(scene::status(&mut w, "h1").pair.map(|pair| pair.to_string()).as_deref(), Some("h2"));
}

#[test]
fn a_pair_on_one_machine_counts_only_where_there_is_no_other_machine() {
    let host = |name: &str, machine| HostPlan::named(name).machine(machine);
    let (mut w, _) = replicated([host("h1", 1).paired_with("h2"), host("h2", 1), host("h3", 2)]);
    w.run_for(secs(10));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some("h3"), "\n{}", w.story());
    let moved = |w: &mut World| scene::status(w, "h1").done.get("session_protected").copied();
    let before = moved(&mut w);
    w.run_for(secs(30));
    assert_eq!(moved(&mut w), before, "and it stays there");
    w.power_off("h3");
    w.run_for(secs(6));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some("h2"));
}

#[test]
fn a_pair_that_is_nobody_is_as_good_as_none() {
    for pair in ["h1", "nobody"] {
        let plans = [HostPlan::named("h1").paired_with(pair), HostPlan::named("h2")];
        let (mut w, _) = replicated(plans);
        w.run_for(secs(5));
        assert_eq!(secondary(&mut w, "h1").as_deref(), Some("h2"), "{pair}");
        let before = scene::status(&mut w, "h1").done.get("session_protected").copied();
        w.run_for(secs(30));
        assert_eq!(scene::status(&mut w, "h1").done.get("session_protected").copied(), before);
    }
}

#[test]
fn of_hosts_that_are_alike_the_one_that_acknowledges_soonest_is_chosen() {
    let mut w = World::of(4);
    scene::replicate(&mut w, "");
    let lan = w.lan();
    w.delay("h2", lan, ms(20));
    w.run_for(secs(1));
    let make = |w: &mut World, n: usize| {
        let new = Command::NewSession { token: format!("card.c{n}").parse().unwrap(), template: None };
        assert!(matches!(w.ask("h1", new), Reply::Made(_)));
        w.run_for(secs(1));
        kept(w, &["h2", "h3", "h4"])
    };
    // All are tried, and known from then on. Where each has as many, the next two go to those that are near.
    let expected = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 3, 3]];
    let counts: Vec<Vec<usize>> = (0..8).map(|n| make(&mut w, n).into_values().collect()).collect();
    let seen = [2, 4, 5, 7].map(|at| counts[at].clone());
    assert_eq!(seen, expected, "\n{}", w.story());
}

#[test]
fn a_better_place_that_keeps_failing_does_not_have_a_session_moved_to_and_fro() {
    let host = |name: &str, machine| HostPlan::named(name).machine(machine);
    let (mut w, desk) = replicated([host("h1", 1), host("h2", 1), host("h3", 2)]);
    w.run_for(secs(5));
    assert_eq!(secondary(&mut w, "h1").as_deref(), Some("h3"));
    // Its beacons come, and nothing that is said to it arrives in time.
    let lan = w.lan();
    w.delay("h3", lan, ms(400));
    for n in 0..60 {
        w.type_line(desk, &format!("keep {n}"));
        w.run_for(secs(1));
    }
    let moved = w.done("h1", "session_protected");
    assert!((5..=12).contains(&moved), "{moved}\n{}", w.story());
}

#[test]
fn a_host_that_is_alone_says_which_sessions_nobody_keeps() {
    let mut w = World::of(1);
    let cannot_keep = |w: &mut World| scene::status(w, "h1").cannot_keep;
    assert_eq!(cannot_keep(&mut w), ["replicated"]);
    let lan = w.lan();
    w.add_host(HostPlan::named("h2").on(lan));
    w.run_for(secs(1));
    assert_eq!(cannot_keep(&mut w), [""; 0]);
    scene::drain(&mut w, &["h2".to_owned()], true);
    assert_eq!(cannot_keep(&mut w), ["replicated"]);
}

#[test]
fn hosts_come_and_go_for_good_under_work_and_no_session_loses_its_state() {
    let mut w = World::of(3);
    scene::replicate(&mut w, "");
    let desks: Vec<DeskId> = (0..6).map(|n| desk_with_session(&mut w, "h1", &format!("card.c{n}"))).collect();
    w.run_for(secs(2));
    let sessions: Vec<_> = desks.iter().map(|desk| w.shows(*desk)).collect();
    let at = w.now();
    for (new, old) in [("h4", "h2"), ("h5", "h3"), ("h6", "h4")] {
        let lan = w.lan();
        w.add_host(HostPlan::named(new).on(lan));
        w.run_for(secs(2));
        w.stop(old);
        w.run_for(secs(1));
        for host in ["h1", new] {
            let forget = w.ask(host, Command::Forget(old.parse().unwrap()));
            assert!(matches!(forget, Reply::Done), "{forget:?}");
        }
        for (n, desk) in desks.iter().enumerate() {
            w.type_line(*desk, &format!("keep {n}-{new}"));
            w.expect(*desk).reading(&format!("kept={n}-{new}")).within(secs(2));
        }
        w.run_for(secs(5));
        let own = scene::copies(&mut w, "h1").own;
        let is_kept = |host: &proto::HostName| host.as_str() != old;
        assert!(
            own.iter().all(|copy| copy.state == "protected" && copy.secondary.as_ref().is_some_and(is_kept))
        );
    }
    let lost =
        |desk: &DeskId| ["lost", "display_lost"].iter().map(|name| w.count_since(*desk, name, at)).sum();
    assert_eq!(desks.iter().map(lost).collect::<Vec<usize>>(), [0; 6]);
    // And what they keep is good.
    w.power_off("h1");
    w.run_for(secs(3));
    assert_eq!(desks.iter().map(|desk| w.shows(*desk)).collect::<Vec<_>>(), sessions, "\n{}", w.story());
}
