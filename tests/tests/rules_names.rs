//! A name is one host's: a second one is kept out or noticed by all, and a restart is never taken for one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use groupmgr::host::Note;
use groupmgr::host::admin::Status;
use groupmgr::topology::{Change, Standing};
use proto::{BootId, Instant};
use tests::scene::{desk_with_session, status};
use tests::world::{HostPlan, Way, World, ms, secs};

/// How often any of these hosts has said since `from` that two have one name.
fn alarms(w: &World, hosts: &[&str], from: Instant) -> usize {
    let is_alarm = |note: &&Note| matches!(note, Note::Host(Change::Two(_)));
    hosts.iter().map(|host| w.notes_since(host, from).filter(is_alarm).count()).sum()
}

fn has_said_it(w: &World, host: &str, from: Instant) -> bool {
    alarms(w, &[host], from) > 0
}

fn row_of(w: &World, host: &str, name: &str) -> (BootId, Standing) {
    let row = w.host(host).unwrap().topology().row(&name.parse().unwrap()).unwrap();
    (row.boot(), row.standing())
}

#[test]
fn a_newcomer_whose_name_is_in_use_does_not_start_and_nobody_is_disturbed() {
    let mut w = World::of(3);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.a");
    let (at, shown, first) = (w.now(), w.shows(desk), w.boot_of("h1").unwrap());
    for n in 0..20 {
        let name = format!("clone{n}");
        w.add_host(HostPlan::named(&name).called("h1").on(lan));
        w.run_for(ms(117));
        assert!(w.host(&name).is_none(), "{name} runs");
    }
    w.run_for(secs(2));
    for host in ["h2", "h3"] {
        assert_eq!(row_of(&w, host, "h1"), (first, Standing::Up));
        assert_eq!(w.notes_since(host, at).filter(|n| matches!(n, Note::Host(_))).count(), 0);
    }
    assert_eq!((w.shows(desk), w.host_of(desk).as_deref()), (shown, Some("h1")));
}

/// All who hear both say so within a second, and the elder one has its place.
fn all_say_that_there_are_two(w: &mut World, at: Instant, first: BootId) {
    for host in ["h1", "clone", "h2", "h3"] {
        let said = move |w: &World| has_said_it(w, host, at);
        w.expect_that(&format!("{host} says that there are two"), said).within(secs(1));
    }
    w.run_for(ms(500));
    let told: Vec<Status> = ["h1", "clone", "h2", "h3"].map(|host| status(w, host)).into();
    let (of_h1, of_clone) = (w.address("h1", w.lan()), w.address("clone", w.lan()));
    for status in &told {
        let doubles: Vec<_> = status.doubles.iter().map(|d| (d.host.as_str(), d.first, d.second)).collect();
        assert_eq!(doubles, [("h1", of_h1, of_clone)], "{}", status.host);
    }
    let lacks: Vec<bool> = told.iter().map(|status| status.lacks.contains_key("name")).collect();
    assert_eq!(lacks, [false, true, false, false], "only the newcomer takes no sessions");
    for host in ["h2", "h3"] {
        assert_eq!(row_of(w, host, "h1"), (first, Standing::Up), "{host}");
    }
}

#[test]
fn when_a_split_heals_that_has_let_a_second_host_start_all_say_so_and_the_first_has_its_place_again() {
    let mut w = World::of(3);
    let lan = w.lan();
    let first = w.boot_of("h1").unwrap();
    w.split(lan, &["h1"], &[]);
    w.run_for(secs(1));
    w.add_host(HostPlan::named("clone").called("h1").on(lan));
    w.run_for(secs(2));
    assert_eq!(
        row_of(&w, "h2", "h1"),
        (w.boot_of("clone").unwrap(), Standing::Up),
        "it was taken for a restart"
    );
    let at = w.now();
    w.join(lan);
    all_say_that_there_are_two(&mut w, at, first);
    // And when the newcomer is gone, all is as before.
    let at = w.now();
    w.kill("clone");
    for host in ["h1", "h2", "h3"] {
        let over = move |w: &World| {
            w.notes_since(host, at).any(|note| matches!(note, Note::Host(Change::OneAgain(_))))
        };
        w.expect_that(&format!("{host} knows that there is one again"), over).within(secs(3));
        assert!(status(&mut w, host).doubles.is_empty());
    }
    assert_eq!(row_of(&w, "h2", "h1"), (first, Standing::Up));
}

#[test]
fn a_host_that_was_frozen_while_a_second_one_started_has_its_place_again() {
    let mut w = World::of(3);
    let lan = w.lan();
    let first = w.boot_of("h1").unwrap();
    w.freeze("h1");
    w.run_for(secs(1));
    w.add_host(HostPlan::named("clone").called("h1").on(lan));
    w.run_for(secs(2));
    let at = w.now();
    w.thaw("h1");
    all_say_that_there_are_two(&mut w, at, first);
}

#[test]
fn a_second_host_that_could_not_hear_the_first_one_is_noticed_and_does_not_take_its_place() {
    let mut w = World::of(3);
    let lan = w.lan();
    let first = w.boot_of("h1").unwrap();
    let desk = desk_with_session(&mut w, "h1", "card.a");
    let shown = w.shows(desk);
    // The clone's machine is deaf for as long as it listens.
    w.cut_way("h1", lan, Way::Out);
    w.run_for(ms(45));
    w.add_host(HostPlan::named("clone").called("h1").on(lan));
    w.run_for(ms(65));
    w.heal("h1", lan);
    let at = w.now() - ms(100);
    all_say_that_there_are_two(&mut w, at, first);
    assert_eq!((w.shows(desk), w.host_of(desk).as_deref()), (shown, Some("h1")));
}

/// Two hosts of one name, of which h3 hears and cannot answer for so long, while a stranger plays recordings of them and
/// of earlier runs. As soon as h3 is heard again it knows of both.
fn is_noticed_after_an_outage(of_ms: u64, played_every_ms: u64) {
    let mut w = World::of(3);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    for _ in 0..3 {
        w.run_for(ms(700));
        w.kill("h1");
        w.run_for(ms(400));
        w.start("h1");
    }
    w.run_for(secs(1));
    w.freeze("h1");
    w.run_for(secs(1));
    w.add_host(HostPlan::named("clone").called("h1").on(lan));
    w.run_for(secs(1));
    w.kill("h3");
    w.cut_way("h3", lan, Way::Out);
    w.start("h3");
    w.thaw("h1");
    let is_of_h1 = |bytes: &[u8]| bytes.windows(8).any(|word| word == b"host=h1 ");
    let tape: Vec<_> = w.recording(stranger).into_iter().filter(|heard| is_of_h1(&heard.bytes)).collect();
    let play = |w: &mut World, for_ms: u64| {
        for n in 0..for_ms / played_every_ms {
            w.stranger_shouts(stranger, &tape[(n as usize * 37) % tape.len()].bytes);
            w.run_for(ms(played_every_ms));
        }
    };
    play(&mut w, of_ms);
    assert!(status(&mut w, "h3").doubles.is_empty(), "it cannot know");
    w.heal("h3", lan);
    play(&mut w, 1_000);
    let knows = !status(&mut w, "h3").doubles.is_empty();
    assert!(knows, "after an outage of {of_ms} ms, a recording every {played_every_ms} ms");
}

#[test]
fn two_hosts_of_one_name_are_noticed_within_a_second_after_an_outage_whatever_a_stranger_plays() {
    for of_ms in (1_000..7_000).step_by(210) {
        [10, 40].into_iter().for_each(|every_ms| is_noticed_after_an_outage(of_ms, every_ms));
    }
}

/// A daemon is killed and started again after so long: nobody takes it for a second host, all have it up soon, and what
/// it keeps is kept.
fn restarts(after_ms: u64, keep: bool) {
    let plan = |name: &str| if keep { HostPlan::named(name).keep() } else { HostPlan::named(name) };
    let mut w = World::of_hosts(["h1", "h2", "h3"].map(plan));
    let desk = desk_with_session(&mut w, "h1", "card.a");
    let shown = w.shows(desk).unwrap();
    w.run_for(ms(after_ms * 37 % 100));
    let at = w.now();
    w.kill("h1");
    w.run_for(ms(after_ms));
    w.start("h1");
    for other in ["h2", "h3"] {
        let up = move |w: &World| w.is_up_at(other, "h1");
        w.expect_that(&format!("{other} has the new h1, {after_ms} ms"), up).within(ms(350));
    }
    w.run_for(secs(4));
    assert_eq!(alarms(&w, &["h1", "h2", "h3"], at), 0, "{after_ms} ms");
    assert!(status(&mut w, "h1").lacks.is_empty(), "{after_ms} ms");
    if keep {
        assert_eq!((w.shows(desk), w.host_of(desk).as_deref()), (Some(shown), Some("h1")), "{after_ms} ms");
    }
    assert_eq!(w.sessions_of("card.a").len(), 1, "{after_ms} ms");
    assert!(w.shows(desk).is_some(), "{after_ms} ms");
}

#[test]
fn a_kill_and_a_restart_at_whatever_distance_is_a_restart_and_loses_no_kept_session() {
    (0..=400).step_by(5).for_each(|after_ms| restarts(after_ms, true));
}

#[test]
fn a_kill_and_a_restart_at_whatever_distance_is_a_restart() {
    (0..=400).step_by(5).for_each(|after_ms| restarts(after_ms, false));
}

#[test]
fn a_host_that_goes_on_at_another_address_is_known_as_soon_as_its_old_one_refuses() {
    let mut w = World::of(3);
    let lan = w.lan();
    w.run_for(ms(90));
    w.kill("h1");
    w.add_host(HostPlan::named("moved").called("h1").on(lan));
    let boot = w.boot_of("moved").unwrap();
    let known = move |w: &World| row_of(w, "h2", "h1") == (boot, Standing::Up);
    w.expect_that("h2 has it", known).within(ms(115));
    w.run_for(secs(3));
    assert_eq!(alarms(&w, &["h2", "h3", "moved"], Instant::ZERO), 0);
}

#[test]
fn a_recording_raises_no_alarm_and_keeps_no_host_from_starting() {
    let mut w = World::of(3);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.run_for(secs(45));
    let tape = w.recording(stranger);
    let at = w.now();
    w.kill("h1");
    w.run_for(secs(1));
    w.start("h1");
    let boot = w.boot_of("h1").unwrap();
    for heard in tape.iter().rev().take(3_000) {
        w.stranger_shouts(stranger, &heard.bytes);
        w.run_for(ms(1));
    }
    assert_eq!(w.boot_of("h1"), Some(boot), "it runs");
    for other in ["h2", "h3"] {
        assert_eq!(row_of(&w, other, "h1"), (boot, Standing::Up));
    }
    assert_eq!(alarms(&w, &["h1", "h2", "h3"], at), 0);
}

#[test]
fn a_stranger_without_the_key_keeps_no_host_from_starting() {
    let mut w = World::of(2);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.kill("h1");
    w.run_for(secs(1));
    w.start("h1");
    let text = "host=h1 addr=0a0000c8 time=950739941 numifs=1 flags=0 cpus=64 clock=9000 \
                interface=eth0 ip=0a0000c8 mask=ffff0000 bcast=0a00ffff ver=2 boot=00000000000000aa seq=9 if=eth0 \
                port=7009 load=0 mem=1 sessions=0 machine=0000000000000001 drain=0 keep=0";
    for _ in 0..200 {
        w.stranger_shouts(stranger, text.as_bytes());
        w.run_for(ms(1));
    }
    assert!(w.is_up_at("h2", "h1"));
    assert_eq!(alarms(&w, &["h1", "h2"], Instant::ZERO), 0);
}
