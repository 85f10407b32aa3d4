//! Which host keeps the copies of a session: one that does not die with its primary, and has the least to do.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use std::collections::BTreeMap;

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
