//! One session per token is a claim, not a hope.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use dtu_emu::dtu::Phase;
use groupmgr::host::ClaimRecord;
use proto::SessionId;
use sessiond::manager::Claim;
use tests::scene::{desk_with_session, end, know_the_card, status};
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

fn claim(w: &World, token: &str) -> Option<ClaimRecord> {
    ClaimRecord::parse(w.stored(&format!("claim/{token}"))?.as_bytes()).ok()
}

/// Desks without a card, each connected to a host of its own.
fn desks_at(w: &mut World, hosts: &[&str]) -> Vec<DeskId> {
    let lan = w.lan();
    let desks = hosts.iter().map(|h| w.add_desk(DeskPlan::named(&format!("at-{h}"), lan).server(h)));
    let desks: Vec<DeskId> = desks.collect();
    w.run_for(secs(1));
    desks
}

/// Desks that wait for a card, each connected to a host of its own: nobody gets a session without a card.
fn idle_desks_at(w: &mut World, hosts: &[&str]) -> Vec<DeskId> {
    w.store_put(authmgr::admission::policy_key().as_str(), "login pseudo=deny cards=any");
    w.run_for(secs(11));
    desks_at(w, hosts)
}

#[test]
fn one_card_put_in_at_two_hosts_at_the_same_instant_makes_one_session() {
    for seed_pause in 0..20 {
        let mut w = World::of(2);
        let desks = idle_desks_at(&mut w, &["h1", "h2"]);
        w.run_for(ms(seed_pause * 7));
        w.insert(desks[0], "card.ann");
        w.insert(desks[1], "card.ann");
        w.run_for(secs(2));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
        let shown: Vec<&DeskId> = desks.iter().filter(|d| w.shows(**d).is_some()).collect();
        assert_eq!(shown.len(), 1, "one shows it, the other is told why not\n{}", w.story());
        let session = w.sessions_of("card.ann")[0].session;
        assert_eq!(claim(&w, "card.ann").map(|c| c.session), Some(session));
    }
}

#[test]
fn one_card_put_in_at_ten_hosts_within_a_few_milliseconds_makes_one_session() {
    let names: Vec<String> = (1..=10).map(|n| format!("h{n}")).collect();
    let mut w = World::of(10);
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let desks = idle_desks_at(&mut w, &hosts);
    for desk in &desks {
        w.insert(*desk, "card.ann");
        w.run_for(ms(1));
    }
    w.run_for(secs(5));
    assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
    assert_eq!(desks.iter().filter(|d| w.shows(**d).is_some()).count(), 1);
}

#[test]
fn one_card_put_in_at_two_desks_of_one_host_makes_one_session() {
    for pause in [0, 100, 300, 500, 700, 900, 1_100, 1_300, 1_500, 2_500] {
        let mut w = World::of(2);
        let desks = idle_desks_at(&mut w, &["h1", "h1"]);
        w.insert(desks[0], "card.ann");
        w.run_for(core::time::Duration::from_micros(pause));
        w.insert(desks[1], "card.ann");
        w.run_for(secs(2));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
        assert_eq!(desks.iter().filter(|d| w.shows(**d).is_some()).count(), 1, "\n{}", w.story());
    }
}

#[test]
fn whoever_is_asked_just_before_a_claim_is_made_makes_no_second_session() {
    for pause in (0..30).map(|n| n * 100) {
        let mut w = World::of(2);
        let desks = idle_desks_at(&mut w, &["h1", "h2"]);
        w.insert(desks[0], "card.ann");
        w.run_for(core::time::Duration::from_micros(pause));
        w.insert(desks[1], "card.ann");
        w.run_for(secs(2));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "pause {pause} µs\n{}", w.story());
        assert_eq!(desks.iter().filter(|d| w.shows(**d).is_some()).count(), 1, "\n{}", w.story());
    }
}

#[test]
fn a_host_that_has_just_started_takes_over_no_claim_before_it_has_listened() {
    for pause in [0, 10, 50, 99, 200] {
        let mut w = World::of(3);
        let desk = desk_with_session(&mut w, "h2", "card.ann");
        w.remove(desk);
        w.restart("h1");
        w.run_for(ms(pause));
        let lan = w.lan();
        let d = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
        w.expect(d).attached_to("h2").within(ms(700));
        assert_eq!(w.sessions_of("card.ann").len(), 1);
    }
}

#[test]
fn who_loses_the_claim_sends_its_dtu_to_the_winner() {
    let mut w = World::of(2);
    let desks = idle_desks_at(&mut w, &["h1", "h2"]);
    w.insert(desks[0], "card.ann");
    w.insert(desks[1], "card.ann");
    w.run_for(secs(2));
    let lost = w.done("h1", "claim_lost") + w.done("h2", "claim_lost");
    let winner = w.sessions_of("card.ann")[0].host.clone();
    assert_eq!(lost, 1, "\n{}", w.story());
    for desk in desks {
        assert_eq!(w.status(desk).host.map(|h| h.to_string()), Some(winner.clone()), "\n{}", w.story());
    }
}

#[test]
fn a_session_that_is_there_is_attached_without_the_data_store() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let before = w.stored("claim/card.ann");
    let lan = w.lan();
    for n in 0..5 {
        let d = w.add_desk(DeskPlan::named(&format!("d{n}"), lan).server("h1").card("card.ann"));
        w.expect(d).attached_to("h2").within(secs(1));
    }
    assert_eq!(w.stored("claim/card.ann"), before, "to attach changes no claim");
    w.kill_store();
    w.run_for(ms(50));
    w.type_line(desk, "");
    w.expect(desk).attached_to("h2").within(ms(100));
}

#[test]
fn the_claim_of_a_dead_host_is_taken_over_with_a_higher_epoch() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let old = claim(&w, "card.ann").unwrap();
    w.power_off("h2");
    w.expect(desk).attached_to("h1").within(secs(1));
    let new = claim(&w, "card.ann").unwrap();
    assert_eq!(new.host.as_str(), "h1");
    assert!(new.epoch > old.epoch, "{} after {}", new.epoch, old.epoch);
}

#[test]
fn a_restored_store_gives_out_no_epoch_of_before() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let backup = w.back_up_store();
    for host in ["h2", "h1", "h2"] {
        w.restart(host);
        w.expect(desk).attached().within(secs(2));
        w.run_for(secs(1));
    }
    let before = claim(&w, "card.ann").unwrap().epoch;
    w.restore_store(backup);
    w.run_for(secs(3));
    w.restart("h1");
    w.restart("h2");
    w.expect(desk).attached().within(secs(3));
    w.run_for(secs(5));
    let after = claim(&w, "card.ann").unwrap().epoch;
    assert!(after > before && after.generation == 2, "{after} after {before}\n{}", w.story());
}

#[test]
fn the_claim_of_a_session_that_ended_is_given_back() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let session = w.shows(desk).unwrap();
    w.run_for(secs(3));
    w.remove(desk);
    w.ask("h2", end(session));
    w.expect_that("the claim is gone", |w| w.stored("claim/card.ann").is_none()).within(secs(1));
    assert_eq!(w.sessions_of("card.ann"), []);
}

#[test]
fn the_claim_of_an_earlier_run_without_kept_sessions_binds_nobody() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.restart("h2");
    w.run_for(ms(300));
    let lan = w.lan();
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
    w.expect(d).attached().within(secs(1));
    assert_eq!(w.sessions_of("card.ann").len(), 1);
    assert_eq!(claim(&w, "card.ann").map(|c| Some(c.boot)), Some(w.boot_of(&w.host_of(d).unwrap())));
}

#[test]
fn while_the_store_is_away_the_lowest_host_makes_the_session_and_it_is_unclaimed() {
    let mut w = World::of(3);
    let desks = idle_desks_at(&mut w, &["h1", "h2", "h3"]);
    know_the_card(&mut w, &desks, "card.ann");
    w.kill_store();
    w.run_for(ms(100));
    for desk in &desks {
        w.insert(*desk, "card.ann");
    }
    w.run_for(secs(3));
    let made = w.sessions_of("card.ann");
    assert_eq!(made.len(), 1, "\n{}", w.story());
    assert_eq!(made[0].host, "h1");
    assert_eq!(w.claim_of("h1", made[0].session), Some(Claim::Unclaimed));
    assert_eq!(status(&mut w, "h1").unclaimed, 1);
    assert_eq!(w.stored("claim/card.ann"), None);

    w.start_store();
    w.expect_that("the session is claimed once the store is back", |w| w.stored("claim/card.ann").is_some())
        .within(secs(4));
    assert_eq!(claim(&w, "card.ann").map(|c| c.session), Some(made[0].session));
    w.run_for(ms(100));
    assert_eq!(w.claim_of("h1", made[0].session), Some(Claim::Held));
}

#[test]
fn a_session_made_while_the_store_was_away_yields_to_one_that_was_claimed() {
    let mut w = World::of(2);
    let desks = idle_desks_at(&mut w, &["h1", "h2"]);
    let lan = w.lan();
    // h2 loses both the store and the other hosts; h1 makes and claims.
    w.insert(desks[1], "card.ann");
    w.expect(desks[1]).attached().within(secs(1));
    let seen = w.sessions_of("card.ann").remove(0);
    w.remove(desks[1]);
    w.ask(&seen.host, end(seen.session));
    w.run_for(secs(1));
    w.cut_store("h2", true);
    w.split(lan, &["h2"], &[desks[1]]);
    w.run_for(secs(2));
    w.insert(desks[0], "card.ann");
    w.insert(desks[1], "card.ann");
    w.expect(desks[0]).attached_to("h1").within(secs(2));
    w.expect(desks[1]).attached_to("h2").within(secs(2));
    let on_h2 = w.shows(desks[1]).unwrap();
    assert_eq!(w.claim_of("h2", on_h2), Some(Claim::Unclaimed));
    w.cut_store("h2", false);
    w.join(lan);
    w.run_for(secs(5));
    let holder = claim(&w, "card.ann").map(|c| c.host.to_string());
    assert_eq!(holder.as_deref(), Some("h1"), "\n{}", w.story());
    assert_eq!(w.claim_of("h2", on_h2), Some(Claim::Superseded));
    let shown = desks.iter().filter(|d| w.shows(**d).is_some()).count();
    assert_eq!(shown, 1, "\n{}", w.story());
}

#[test]
fn a_slow_store_costs_a_desk_less_than_half_a_second_and_a_late_claim_is_known_to_be_held() {
    let mut w = World::of(1);
    let desks = idle_desks_at(&mut w, &["h1"]);
    w.insert(desks[0], "card.bob");
    w.expect(desks[0]).attached().within(secs(1));
    w.remove(desks[0]);
    for seen in w.sessions_of("card.bob") {
        w.ask("h1", end(seen.session));
    }
    w.run_for(secs(1));
    w.slow_down_store(ms(900));
    w.insert(desks[0], "card.bob");
    w.expect(desks[0]).attached().within(ms(900));
    w.run_for(secs(8));
    let session = w.shows(desks[0]).unwrap();
    w.slow_down_store(ms(0));
    w.run_for(secs(5));
    assert_eq!(claim(&w, "card.bob").map(|c| c.session), Some(session), "\n{}", w.story());
    assert_eq!(w.claim_of("h1", session), Some(Claim::Held));
}

#[test]
fn when_it_is_unknown_whether_a_claim_was_written_the_truth_is_found_out() {
    for after in [1, 300, 700, 1_100, 1_300, 1_500, 2_000] {
        let mut w = World::of(2);
        let desks = idle_desks_at(&mut w, &["h1", "h2"]);
        w.insert(desks[0], "card.ann");
        w.run_for(core::time::Duration::from_micros(after));
        w.kill_store();
        w.run_for(ms(300));
        w.start_store();
        w.expect(desks[0]).attached().within(secs(4));
        w.run_for(secs(5));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
        let session = w.shows(desks[0]).unwrap();
        assert_eq!(claim(&w, "card.ann").map(|c| c.session), Some(session), "\n{}", w.story());
        let host = w.host_of(desks[0]).unwrap();
        assert_eq!(w.claim_of(&host, session), Some(Claim::Held), "\n{}", w.story());
    }
}

#[test]
fn a_dtu_that_leaves_while_its_session_is_claimed_leaves_no_claim_behind() {
    let mut w = World::of(1);
    let desks = idle_desks_at(&mut w, &["h1"]);
    w.insert(desks[0], "card.ann");
    // Into the middle of the swap.
    w.run_for(core::time::Duration::from_micros(2_000));
    w.remove(desks[0]);
    w.run_for(secs(10));
    let sessions = w.sessions_of("card.ann");
    let held = claim(&w, "card.ann").map(|c| c.session);
    assert_eq!(held, sessions.first().map(|seen| seen.session), "\n{}", w.story());
}

#[test]
fn a_token_whose_session_process_cannot_be_made_is_denied_and_holds_no_claim() {
    let mut w = World::of_hosts([HostPlan::named("h1").cannot_spawn("no ptys left")]);
    let lan = w.lan();
    let d = w.add_desk(DeskPlan::named("d1", lan).card("card.ann"));
    w.expect(d).in_phase(Phase::Denied).within(secs(1));
    w.expect(d).noticing("could not be started").now();
    w.run_for(ms(100));
    assert_eq!(w.stored("claim/card.ann"), None);
    w.set_cannot_spawn("h1", None);
    w.expect(d).attached().within(secs(6));
}

#[test]
fn of_two_desks_that_are_sent_to_one_host_with_one_card_both_get_the_one_session() {
    let mut w = World::of(2);
    let lan = w.lan();
    w.set_load("h1", 3_000, 4_000);
    w.run_for(ms(200));
    let desks: Vec<DeskId> = (0..2)
        .map(|n| w.add_desk(DeskPlan::named(&format!("d{n}"), lan).server("h1").card("card.ann")))
        .collect();
    w.run_for(secs(2));
    assert_eq!(w.sessions_of("card.ann").len(), 1, "{}", w.story());
    assert_eq!(desks.iter().filter(|desk| w.shows(**desk).is_some()).count(), 1);
}

#[test]
fn a_claim_that_a_restored_backup_does_not_hold_is_made_again() {
    let mut w = World::of(2);
    let backup = w.back_up_store();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk);
    w.restore_store(backup);
    let claimed = move |w: &World| w.claim_on("card.ann").map(|claim| claim.session) == session;
    w.expect_that("the session is claimed again", claimed).within(secs(15));
}

#[test]
fn a_claim_of_a_restored_backup_whose_session_is_gone_gives_way_to_the_one_that_is_there() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let backup = w.back_up_store();
    w.set_load("h1", 3_000, 4_000);
    // Longer than a session lives that is not made anew by itself.
    w.run_for(secs(3));
    let first = w.shows(desk).unwrap();
    w.kill_session("h1", first);
    w.expect(desk).attached_to("h2").within(secs(1));
    let session = w.shows(desk);
    w.restore_store(backup);
    let claimed = move |w: &World| {
        let claim = w.claim_on("card.ann").map(|claim| claim.session);
        claim == session && session.is_some_and(|s| w.claim_of("h2", s) == Some(Claim::Held))
    };
    w.expect_that("the session that is there is the claimed one", claimed).within(secs(25));
}

#[test]
fn a_session_whose_offer_was_not_answered_is_offered_again() {
    let mut w = World::of(2);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.split(lan, &["h2"], &[]);
    w.run_for(secs(1));
    let away = w.add_desk(DeskPlan::named("away", lan).server("h2").off());
    w.split(lan, &["h2"], &[away]);
    w.insert(away, "card.ann");
    w.switch_on(away);
    w.expect(away).attached_to("h2").within(secs(2));
    w.join(lan);
    w.remove(desk);
    w.run_for(secs(3));
    // The claim went to h2 with the desk that was cut off. That session ends while the store says nothing.
    let (first, second) = (w.sessions_of("card.ann")[0].clone(), w.shows(away).unwrap());
    assert_eq!(w.claim_of("h1", first.session), Some(Claim::Superseded));
    w.stop_store();
    w.kill_session("h2", second);
    w.expect(away).showing(first.session).within(secs(1));
    w.run_for(secs(1));
    w.start_store();
    let claimed = move |w: &World| w.claim_of("h1", first.session) == Some(Claim::Held);
    w.expect_that("the session that is shown has the claim", claimed).within(secs(5));
}

#[test]
fn a_session_that_is_shown_takes_the_claim_when_the_one_that_had_it_is_gone() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    let other = ClaimRecord {
        session: SessionId(7),
        host: "h2".parse().unwrap(),
        boot: w.boot_of("h2").unwrap(),
        ..w.claim_on("card.ann").unwrap()
    };
    let text = |claim: &ClaimRecord| String::from_utf8(claim.value().unwrap().as_bytes().to_vec()).unwrap();
    w.store_put("claim/card.ann", &text(&other));
    w.stop_daemon("h1");
    w.run_for(ms(290));
    w.continue_daemon("h1");
    w.run_for(ms(500));
    assert_eq!(w.claim_of("h1", session), Some(Claim::Superseded));
    w.store_put("claim/card.ann", &text(&ClaimRecord { boot: proto::BootId(1), ..other }));
    let claimed = move |w: &World| w.claim_of("h1", session) == Some(Claim::Held);
    w.expect_that("the session that is shown has the claim", claimed).within(secs(12));
}

/// Somebody took the claim over who has never met anybody here, and is gone again.
fn claim_by_nobody(w: &mut World, token: &str) {
    let boot = proto::BootId(1);
    let other = ClaimRecord { session: SessionId(7), boot, ..w.claim_on(token).unwrap() };
    w.store_put(&format!("claim/{token}"), core::str::from_utf8(other.value().unwrap().as_bytes()).unwrap());
}

#[test]
fn a_session_whose_claim_was_taken_over_out_of_its_sight_finds_out_while_it_is_shown() {
    let mut w = World::of(2);
    let desks: Vec<DeskId> =
        (0..40).map(|n| desk_with_session(&mut w, "h1", &format!("card.n{n}"))).collect();
    let shown: Vec<(String, SessionId)> =
        desks.iter().enumerate().map(|(n, d)| (format!("card.n{n}"), w.shows(*d).unwrap())).collect();
    shown.iter().for_each(|(token, _)| claim_by_nobody(&mut w, token));
    let claimed = move |w: &World| {
        shown.iter().all(|(token, session)| w.claim_on(token).is_some_and(|claim| claim.session == *session))
    };
    w.expect_that("the sessions that are shown have their claims", claimed).within(secs(35));
}

#[test]
fn a_session_whose_claim_was_taken_over_out_of_its_sight_finds_out_when_it_is_shown() {
    for the_store_was_away in [false, true] {
        let mut w = World::of(2);
        let desk = desk_with_session(&mut w, "h1", "card.ann");
        let session = w.shows(desk).unwrap();
        w.remove(desk);
        w.run_for(secs(3));
        claim_by_nobody(&mut w, "card.ann");
        if the_store_was_away {
            w.kill_store();
            w.run_for(ms(500));
        }
        w.insert(desk, "card.ann");
        w.expect(desk).showing(session).within(secs(2));
        w.start_store();
        let claimed = move |w: &World| w.claim_on("card.ann").map(|claim| claim.session) == Some(session);
        w.expect_that("the session that is shown has the claim", claimed).within(secs(5));
    }
}
