//! What must happen when: `docs/architecture.md`, "What happens when".

use dtu_emu::dtu::Phase;
use groupmgr::host::admin::{Command, Reply, SessionView};
use groupmgr::topology::Standing;
use sessiond::manager::Claim;
use tests::scene::{desk_with_session, drain, end, pid_on, status};
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

fn sessions(w: &mut World, host: &str) -> Vec<SessionView> {
    match w.ask(host, Command::Sessions) {
        Reply::Sessions(list) => list,
        other => w.fail(&format!("{other:?}")),
    }
}

/// Two desks with the same card on either side of a split; each is served there.
fn split_in_two() -> (World, DeskId, DeskId) {
    let mut w = World::of(4);
    for host in ["h1", "h2", "h3", "h4"] {
        w.set_clock(host, 0);
    }
    let lan = w.lan();
    let a = w.add_desk(DeskPlan::named("a", lan).server("h1"));
    let b = w.add_desk(DeskPlan::named("b", lan).server("h3"));
    w.run_for(secs(1));
    w.split(lan, &["h3", "h4"], &[b]);
    w.run_for(secs(1));
    w.insert(a, "card.ann");
    w.expect(a).attached().within(secs(2));
    w.run_for(ms(500));
    w.insert(b, "card.ann");
    w.expect(b).attached().within(secs(2));
    (w, a, b)
}

#[test]
fn each_side_of_a_partition_serves_its_dtus() {
    let (mut w, a, b) = split_in_two();
    assert_eq!(w.standing("h1", "h3"), Some(Standing::Silent));
    assert_eq!((w.standing("h1", "h2"), w.standing("h3", "h4")), (Some(Standing::Up), Some(Standing::Up)));
    for desk in [a, b] {
        w.type_line(desk, "count");
        w.expect(desk).reading("count=1").within(ms(50));
    }
    let hosts = [w.host_of(a).unwrap(), w.host_of(b).unwrap()];
    assert!(["h1", "h2"].contains(&hosts[0].as_str()) && ["h3", "h4"].contains(&hosts[1].as_str()));
}

#[test]
fn after_a_partition_one_session_is_shown_and_it_is_the_one_last_connected() {
    let (mut w, a, b) = split_in_two();
    let lan = w.lan();
    w.join(lan);
    w.expect(a).in_phase(Phase::Detached).within(ms(300));
    w.expect(b).attached().throughout(secs(3));
    assert_eq!(w.sessions_of("card.ann").len(), 2, "two exist");
}

#[test]
fn after_a_partition_both_sessions_are_listed_and_the_operator_can_end_one() {
    let (mut w, a, b) = split_in_two();
    let lan = w.lan();
    w.join(lan);
    w.run_for(secs(2));
    let mut listed = Vec::new();
    for host in ["h1", "h2", "h3", "h4"] {
        listed.extend(sessions(&mut w, host).into_iter().filter(|s| s.token.as_str() == "card.ann"));
    }
    assert_eq!(listed.len(), 2);
    assert_eq!(listed.iter().filter(|s| s.claimed).count(), 1, "and the operator sees which one is claimed");
    let shown: Vec<&SessionView> = listed.iter().filter(|s| s.shown.is_some()).collect();
    assert_eq!(shown.len(), 1);
    w.expect(b).showing(shown[0].session).now();
    let other = listed.iter().find(|s| s.shown.is_none()).unwrap().clone();
    assert!(matches!(w.ask(other.host.as_str(), end(other.session)), Reply::Done));
    w.expect_that("one is left", |w| w.sessions_of("card.ann").len() == 1).within(secs(1));
    w.type_line(a, "");
    w.expect(a).showing(shown[0].session).within(secs(1));
}

#[test]
fn with_no_host_the_screen_says_so_and_the_first_one_back_is_used_within_a_beacon() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.kill("h1");
    w.kill("h2");
    w.expect(desk).noticing("No host can be reached").within(secs(2));
    for wait in [0, 3, 11, 40] {
        w.run_for(secs(wait));
        w.start("h2");
        let took = w.expect(desk).attached_to("h2").within(secs(1));
        assert!(took <= ms(200), "after {wait} s: {took:?}\n{}", w.story());
        w.kill("h2");
        w.expect(desk).noticing("No host can be reached").within(secs(2));
    }
}

#[test]
fn a_card_pulled_while_no_host_is_there_locks_and_clears_the_screen() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.type_line(desk, "secret");
    w.expect(desk).reading("secret?").within(ms(50));
    w.freeze("h1");
    w.run_for(ms(200));
    w.expect(desk).reading("secret?").now();
    w.remove(desk);
    w.expect(desk).blank().now();
    w.run_for(secs(5));
    w.expect(desk).blank().now();
    w.thaw("h1");
    w.run_for(secs(8));
    let shown = w.screen(desk).join("\n");
    assert!(!shown.contains("secret"), "what comes back is the desk's own, not ann's: {shown}");
}

#[test]
fn a_card_pulled_during_a_failover_is_not_shown_by_the_next_host() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.power_off("h1");
    w.run_for(ms(420));
    w.remove(desk);
    w.run_for(secs(3));
    assert_eq!(w.status(desk).token.kind(), "pseudo");
    let shown = w.shows(desk);
    assert!(w.sessions_of("card.ann").iter().all(|seen| Some(seen.session) != shown), "\n{}", w.story());
}

#[test]
fn without_the_data_store_running_sessions_go_on() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.kill_store();
    for n in 1..=5 {
        w.run_for(secs(5));
        w.type_line(desk, "count");
        w.expect(desk).reading(&format!("count={n}")).within(ms(50));
    }
    w.expect(desk).attached_to("h2").now();
}

#[test]
fn without_the_data_store_a_session_is_still_found_wherever_its_card_is_put_in() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.run_for(secs(1));
    w.kill_store();
    w.run_for(secs(1));
    let lan = w.lan();
    let other = w.add_desk(DeskPlan::named("other", lan).server("h3").card("card.ann"));
    w.expect(other).attached_to("h2").within(secs(1));
}

#[test]
fn without_the_data_store_known_tokens_are_admitted_for_a_while() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.kill_store();
    w.run_for(secs(60));
    w.remove(desk);
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to("h2").within(secs(1));
    w.remove(desk);
    w.run_for(secs(16 * 60));
    w.insert(desk, "card.ann");
    w.expect(desk).noticing("data store cannot be reached").within(secs(1));
    w.start_store();
    w.expect(desk).attached_to("h2").within(secs(3));
}

#[test]
fn without_the_data_store_a_disabled_card_stays_disabled() {
    let mut w = World::of(2);
    let lan = w.lan();
    let key = authmgr::admission::token_key(&"card.mallory".parse().unwrap());
    w.store_put(key.as_str(), "token name=card.mallory disabled=true");
    w.run_for(secs(12));
    w.kill_store();
    w.run_for(secs(1));
    for host in ["h1", "h2"] {
        let d = w.add_desk(DeskPlan::named("d", lan).server(host).card("card.mallory"));
        w.expect(d).in_phase(Phase::Denied).within(secs(2));
        w.expect(d).noticing("disabled").now();
    }
}

#[test]
fn without_the_data_store_a_write_fails_with_a_clear_error_and_never_silently() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.type_line(desk, "put note one");
    w.expect(desk).reading("stored").within(ms(100));
    w.kill_store();
    w.run_for(ms(100));
    w.type_line(desk, "put note two");
    w.expect(desk).reading("error: the data store at - cannot be reached").within(secs(2));
    w.start_store();
    w.run_for(secs(2));
    w.type_line(desk, "get note");
    w.expect(desk).reading("value=one").within(ms(100));
}

#[test]
fn a_write_that_was_under_way_when_the_store_died_is_said_to_be_in_doubt() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.type_line(desk, "put note one");
    w.run_for(core::time::Duration::from_micros(700));
    w.kill_store();
    w.expect(desk).reading("error: a write was sent").within(secs(6));
}

#[test]
fn while_the_store_hangs_a_session_is_made_without_it_and_no_epoch_rises() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let claim = w.stored("claim/card.ann");
    w.run_for(secs(12));
    w.stop_store();
    w.run_for(secs(3));
    w.power_off("h2");
    w.expect(desk).attached_to("h1").within(secs(2));
    let session = w.shows(desk).unwrap();
    assert_eq!(w.claim_of("h1", session), Some(Claim::Unclaimed));
    assert_eq!(w.stored("claim/card.ann"), claim);
    assert_eq!(status(&mut w, "h1").unclaimed, 1);
    w.start_store();
    w.expect_that("it is claimed", move |w| w.claim_of("h1", session) == Some(Claim::Held)).within(secs(5));
}

#[test]
fn nobody_waits_for_a_store_that_hangs_behind_a_claim_that_it_has_not_answered() {
    for pause in (0..30).map(|n| n * 50) {
        let mut w = World::of(1);
        let lan = w.lan();
        let [ann, bob] = ["ann", "bob"].map(|name| w.add_desk(DeskPlan::named(name, lan).server("h1")));
        w.run_for(secs(1));
        w.insert(ann, "card.ann");
        w.run_for(core::time::Duration::from_micros(pause));
        w.stop_store();
        w.insert(bob, "card.bob");
        w.expect_that("both have a session, or are told why not", move |w| {
            [ann, bob].into_iter().all(|desk| {
                let is_told = w.notice(desk).is_some_and(|text| text.contains("data store"));
                is_told || (w.shows(desk).is_some() && w.status(desk).token.as_str().starts_with("card."))
            })
        })
        .within(ms(500));
    }
}

#[test]
fn when_store_and_host_die_together_desks_are_at_work_elsewhere_unclaimed() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.run_for(secs(12));
    w.kill_store();
    w.power_off("h2");
    w.expect_that("it is elsewhere", move |w| {
        w.shows(desk).is_some() && w.host_of(desk).as_deref() != Some("h2")
    })
    .within(secs(1));
    let host = w.host_of(desk).unwrap();
    let session = w.shows(desk).unwrap();
    assert_eq!(w.claim_of(&host, session), Some(Claim::Unclaimed));
    w.start_store();
    w.expect_that("claimed when the store is back", move |w| w.claim_of(&host, session) == Some(Claim::Held))
        .within(secs(5));
}

#[test]
fn a_host_that_cannot_reach_the_store_serves_its_desks_all_the_same() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let pid = pid_on(&mut w, desk);
    w.cut_store("h2", true);
    w.run_for(secs(10));
    w.remove(desk);
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to("h2").within(secs(1));
    assert_eq!(pid_on(&mut w, desk), pid);
    assert!(!status(&mut w, "h2").store_up);
    w.cut_store("h2", false);
    w.run_for(secs(3));
    assert!(status(&mut w, "h2").store_up);
}

#[test]
fn a_store_whose_disk_is_full_shows_in_status_until_there_is_room_and_desks_are_served_meanwhile() {
    let mut w = World::of(2);
    let lan = w.lan();
    w.fill_store(true);
    let desk = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
    w.expect(desk).attached().within(secs(2));
    let host = w.sessions_of("card.ann").remove(0).host;
    let told = status(&mut w, &host);
    assert!(told.store_up && told.store_refuses.is_some_and(|why| why.contains("its disk is full")));
    w.fill_store(false);
    w.run_for(secs(3));
    assert_eq!(status(&mut w, &host).store_refuses, None);
}

#[test]
fn a_drained_hosts_sessions_are_reachable_until_they_end_and_no_new_ones_come() {
    let mut w = World::of(2);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    drain(&mut w, &["h2".into()], true);
    w.expect(desk).attached_to("h2").throughout(secs(5));
    for n in 0..5 {
        let d = w.add_desk(DeskPlan::named("d", lan).server("h2").card(&format!("card.n{n}")));
        w.expect(d).attached_to("h1").within(secs(1));
    }
    w.remove(desk);
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to("h2").within(secs(1));
}

#[test]
fn two_failures_after_each_other_are_survived_one_by_one() {
    let mut w = World::of_hosts((1..=5).map(|n| HostPlan::named(&format!("h{n}"))));
    let desk = desk_with_session(&mut w, "h3", "card.ann");
    for _ in 0..4 {
        let host = w.host_of(desk).unwrap();
        w.power_off(&host);
        w.expect_that("it is elsewhere", move |w| {
            w.shows(desk).is_some() && w.host_of(desk).as_deref() != Some(&host)
        })
        .within(secs(2));
    }
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn hosts_that_die_at_the_same_moment_leave_their_desks_to_the_last_one() {
    let mut w = World::of(4);
    let desks: Vec<DeskId> =
        (1..=3).map(|n| desk_with_session(&mut w, &format!("h{n}"), &format!("card.m{n}"))).collect();
    for host in ["h1", "h2", "h3"] {
        w.power_off(host);
    }
    for desk in desks {
        w.expect(desk).attached_to("h4").within(secs(3));
    }
}
