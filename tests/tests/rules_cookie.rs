//! A desk is told which host keeps its session, and goes there first when its own is dead. It is a hint: whoever is asked
//! finds out by itself.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use dtu_emu::dtu::{DtuEvent, Gap};
use proto::Instant;
use proto::alp::Cookie;
use tests::scene::{desk_with_session, drain, record_of, replicate};
use tests::world::{DeskId, HostPlan, World, ms, secs};

/// Desks at h1, each with a session that another host keeps, in a group of so many hosts.
fn kept(hosts: usize, desks: usize) -> (World, Vec<DeskId>) {
    let mut w = World::of(hosts);
    replicate(&mut w, "");
    let desks = (0..desks).map(|n| desk_with_session(&mut w, "h1", &card(n))).collect();
    w.run_for(secs(2));
    (w, desks)
}

fn card(n: usize) -> String {
    format!("card.c{n}")
}

/// Who keeps the session of a card, as its record says.
fn keeper(w: &World, n: usize) -> Option<String> {
    Some(record_of(w, &card(n))?.secondary?.to_string())
}

/// The hosts that a desk has come to, in order.
fn came_to(w: &World, desk: DeskId, since: Instant) -> Vec<String> {
    let found = w.events_since(desk, since).filter_map(|event| match event {
        DtuEvent::HostFound { host } | DtuEvent::HostFailed { host, .. } => host.name.as_ref(),
        _ => None,
    });
    found.map(ToString::to_string).collect()
}

/// The gap of the failover since then.
fn gap(w: &World, desk: DeskId, since: Instant) -> Gap {
    let mut gaps = w.events_since(desk, since).filter_map(|event| match event {
        DtuEvent::FailedOver { gap, .. } => Some(*gap),
        _ => None,
    });
    gaps.next().unwrap_or_else(|| w.fail("it did not fail over"))
}

#[test]
fn every_desk_of_a_dead_host_goes_to_the_host_that_keeps_its_session_and_that_one_goes_on_with_it() {
    for power in [false, true] {
        let (mut w, desks) = kept(6, 8);
        let before: Vec<_> =
            desks.iter().enumerate().map(|(n, desk)| (keeper(&w, n).unwrap(), w.shows(*desk))).collect();
        let at = w.now();
        if power {
            w.power_off("h1");
        } else {
            w.kill("h1");
        }
        w.run_for(secs(1));
        let gaps = desks.iter().map(|desk| gap(&w, *desk, at)).map(|gap| gap.screen - gap.noticed);
        println!("from notice to screen, power off {power}: {:?}", gaps.collect::<Vec<_>>());
        for (desk, (keeper, session)) in desks.into_iter().zip(before) {
            assert_eq!(came_to(&w, desk, at).join(" "), keeper, "first and only\n{}", w.story());
            assert_eq!((w.host_of(desk), w.shows(desk)), (Some(keeper), session));
        }
    }
}

#[test]
fn a_host_that_has_the_session_goes_on_with_it_though_another_has_less_to_do() {
    let (mut w, desks) = kept(3, 1);
    let keeper = keeper(&w, 0).unwrap();
    w.set_load(&keeper, 900, 4_000);
    w.run_for(secs(1));
    let at = w.now();
    w.kill("h1");
    w.run_for(secs(1));
    assert_eq!(w.host_of(desks[0]), Some(keeper));
    assert_eq!(w.count_since(desks[0], "redirected", at), 0);
}

#[test]
fn a_desk_is_told_anew_at_every_home_of_its_session() {
    for n in 0..3 {
        let (mut w, desks) = kept(5, n + 1);
        let (desk, session) = (desks[n], w.shows(desks[n]));
        let mut home = "h1".to_owned();
        for _ in 0..3 {
            let (next, at) = (keeper(&w, n).unwrap(), w.now());
            w.power_off(&home);
            w.run_for(secs(3));
            assert_eq!(came_to(&w, desk, at).join(" "), next, "\n{}", w.story());
            assert_eq!((w.host_of(desk), w.shows(desk)), (Some(next.clone()), session));
            home = next;
        }
    }
}

#[test]
fn a_desk_is_told_when_its_keeper_is_struck_and_when_there_is_another() {
    let (mut w, desks) = kept(6, 6);
    let first = keeper(&w, 0).unwrap();
    w.power_off(&first);
    w.run_for(secs(6));
    let (keepers, at): (Vec<_>, _) = ((0..6).map(|n| keeper(&w, n).unwrap()).collect(), w.now());
    assert!(!keepers.contains(&first));
    w.kill("h1");
    w.run_for(secs(1));
    for (desk, keeper) in desks.into_iter().zip(keepers) {
        assert_eq!(came_to(&w, desk, at).join(" "), keeper, "\n{}", w.story());
        assert_eq!(w.host_of(desk), Some(keeper));
    }
}

/// The desk cannot get to its host, and everybody else can.
#[test]
fn what_a_desk_says_of_its_host_ends_no_session() {
    let (mut w, desks) = kept(4, 1);
    let (before, at) = (record_of(&w, "card.c0").unwrap(), w.now());
    w.keep_apart(desks[0], "h1");
    w.run_for(ms(700));
    assert_eq!(
        came_to(&w, desks[0], at).first(),
        before.secondary.as_ref().map(ToString::to_string).as_ref()
    );
    w.run_for(secs(10));
    let after = record_of(&w, "card.c0").unwrap();
    assert_eq!((after.home.as_str(), after.epoch), ("h1", before.epoch), "\n{}", w.story());
    assert_eq!(w.sessions_on("h1").len(), 1);
}

/// With its keeper drained a desk goes to another host, which has to fetch first: what the hint saves.
#[test]
fn from_kill_to_screen_is_shorter_where_the_session_is_kept() {
    let gaps = [false, true].map(|is_elsewhere| {
        let (mut w, desks) = kept(4, 1);
        let keeper = keeper(&w, 0).unwrap();
        if is_elsewhere {
            drain(&mut w, std::slice::from_ref(&keeper), true);
        }
        let (at, session) = (w.now(), w.shows(desks[0]));
        w.kill("h1");
        w.run_for(secs(2));
        assert_eq!(w.host_of(desks[0]) == Some(keeper), !is_elsewhere);
        assert_eq!(w.shows(desks[0]), session);
        let gap = gap(&w, desks[0], at);
        gap.screen - gap.noticed
    });
    let [kept_there, fetched] = gaps;
    println!("from notice to screen: {kept_there:?} where it is kept, {fetched:?} where it is fetched");
    assert!(kept_there < fetched, "{gaps:?}");
}

/// What a terminal at h1 is told of who keeps its session, in its grant and later.
fn told(host: HostPlan, plain: bool, template: &str) -> Vec<Cookie> {
    let mut w = World::of_hosts([host, HostPlan::named("h2")]);
    if !template.is_empty() {
        replicate(&mut w, template);
    }
    drain(&mut w, &["h2".into()], true);
    let lan = w.lan();
    let (hand, h1) = (w.hand("0a0000000001", lan), w.address("h1", lan));
    if plain {
        w.speak_plain(hand);
    }
    w.hand_opens(hand, 1, h1);
    w.run_for(ms(2));
    w.hand_presents(hand, 1, "card.ann", 1, "cause=insert");
    w.run_for(ms(300));
    assert_eq!(w.last_heard(hand, "connInf").and_then(|line| line.get("access")), Some("allowed"));
    w.hand_says(hand, 1, "connRsp access=allowed");
    drain(&mut w, &["h2".into()], false);
    w.run_for(secs(6));
    w.heard(hand).iter().filter_map(|line| line.get("cookie")).map(|text| text.parse().unwrap()).collect()
}

#[test]
fn only_who_shows_a_replicated_session_and_speaks_tls_is_told_who_keeps_it() {
    let kept = told(HostPlan::named("h1"), false, "protect = \"best\"\n");
    let last = kept.last().unwrap();
    assert_eq!((last.primary.as_str(), last.secondary.as_ref().unwrap().as_str()), ("h1", "h2"));
    assert!(kept.is_sorted_by(|a, b| !b.is_older_than(a)), "{kept:?}");
    assert_eq!(told(HostPlan::named("h1"), false, ""), [], "nobody keeps a session that begins anew");
    assert_eq!(told(HostPlan::named("h1").plain(), true, "protect = \"best\"\n"), []);
}

#[test]
fn a_host_of_many_names_the_keeper_among_those_to_go_to() {
    // Sixteen are told at most, and by their names this one is the last.
    let others = (2..=18).map(|n| HostPlan::named(&format!("h{n}")));
    let mut w = World::of_hosts([HostPlan::named("h1").paired_with("h9")].into_iter().chain(others));
    replicate(&mut w, "");
    let desk = desk_with_session(&mut w, "h1", &card(0));
    // The first that was not drained any more has it for a while.
    w.run_for(secs(6));
    assert_eq!(keeper(&w, 0).as_deref(), Some("h9"));
    let at = w.now();
    // Beacons do not get to this desk.
    w.mute_broadcasts(desk, true);
    w.run_for(secs(3));
    w.break_conns(desk, "h1");
    w.keep_apart(desk, "h1");
    w.run_for(ms(600));
    assert_eq!(came_to(&w, desk, at).first().map(String::as_str), Some("h9"), "\n{}", w.story());
}
