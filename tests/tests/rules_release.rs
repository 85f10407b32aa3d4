//! Claims of sessions that are over are given back.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::ClaimRecord;
use groupmgr::host::admin::Command;
use proto::time::Duration;
use proto::{BootId, Epoch, SessionId};
use sessiond::manager::Claim;
use tests::scene::{desk_with_session, end};
use tests::world::{DeskPlan, HostPlan, World, ms, secs};

/// Two hosts and the session of a card, which is on h1 and whose card has been taken out.
fn session_without_desk() -> (World, SessionId) {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.remove(desk);
    w.run_for(secs(1));
    (w, session)
}

fn nobody_has_the_claim_soon(w: &mut World) {
    w.expect_that("nobody has the claim", |w| w.claim_on("card.ann").is_none()).within(secs(5));
}

#[test]
fn a_claim_that_could_not_be_given_back_is_given_back_when_the_store_answers_again() {
    let (mut w, session) = session_without_desk();
    w.kill_store();
    w.ask("h1", end(session));
    w.run_for(secs(2));
    w.start_store();
    nobody_has_the_claim_soon(&mut w);
}

#[test]
fn a_claim_of_which_it_is_not_known_whether_it_is_held_is_given_back_too_when_its_session_ends() {
    let (mut w, session) = session_without_desk();
    w.stop_store();
    w.stop_daemon("h1");
    w.run_for(ms(290));
    w.continue_daemon("h1");
    w.run_for(secs(1));
    assert_eq!(w.claim_of("h1", session), Some(Claim::Unclaimed));
    w.kill_session("h1", session);
    w.run_for(secs(1));
    w.start_store();
    nobody_has_the_claim_soon(&mut w);
}

#[test]
fn a_claim_that_was_written_anew_without_an_answer_is_given_back_as_it_stands() {
    let (mut w, session) = session_without_desk();
    let held = w.claim_on("card.ann").unwrap();
    // As a write that reached the store and whose answer did not come back leaves it.
    let later = ClaimRecord { epoch: held.epoch.next(1), ..held };
    w.store_put("claim/card.ann", core::str::from_utf8(later.value().unwrap().as_bytes()).unwrap());
    w.kill_session("h1", session);
    nobody_has_the_claim_soon(&mut w);
}

#[test]
fn a_claim_that_may_have_been_made_for_a_desk_that_has_gone_is_given_back() {
    let (mut made_unheard, mut never_made) = (0, 0);
    for pause in (0..60).map(|n| n * 50) {
        let mut w = World::of(1);
        let lan = w.lan();
        let desk = w.add_desk(DeskPlan::named("d", lan).server("h1"));
        w.run_for(secs(1));
        w.insert(desk, "card.ann");
        w.run_for(Duration::from_micros(pause));
        w.remove(desk);
        w.run_for(Duration::from_micros(150));
        // Nobody hears any more what became of a write that is under way.
        w.cut_store("h1", true);
        w.run_for(secs(8));
        // Whether the write had gone out and reached the store when nobody heard of it any more.
        match w.claim_on("card.ann") {
            Some(_) if w.sessions_of("card.ann").is_empty() => made_unheard += 1,
            _ => never_made += 1,
        }
        w.cut_store("h1", false);
        w.run_for(secs(8));
        let is_there = w
            .claim_on("card.ann")
            .is_none_or(|claim| w.sessions_of("card.ann").iter().any(|seen| seen.session == claim.session));
        assert!(is_there, "{pause}\n{}", w.story());
    }
    assert!(
        made_unheard >= 3 && never_made >= 3,
        "{made_unheard} pauses hit the window, {never_made} did not"
    );
}

/// A claim of the card's, as somebody else has left it in the store.
fn leave_claim(w: &mut World, token: &str, host: &str, boot: BootId, session: u128) {
    let epoch = Epoch { generation: 1, counter: 5 };
    let (session, host) = (SessionId(session), host.parse().unwrap());
    let claim = ClaimRecord { session, host, boot, epoch, is_replicated: false };
    w.store_put(&format!("claim/{token}"), core::str::from_utf8(claim.value().unwrap().as_bytes()).unwrap());
}

fn claims_of(w: &World, host: &str) -> usize {
    w.claims().iter().filter(|(_, claim)| claim.host.as_str() == host).count()
}

#[test]
fn claims_of_a_host_that_is_down_are_removed_by_the_lowest_that_lives_and_a_few_at_a_time() {
    let mut w = World::of(3);
    w.run_for(secs(15));
    let boot = w.boot_of("h3").unwrap();
    for n in 0..300 {
        leave_claim(&mut w, &format!("card.n{n}"), "h3", boot, n);
    }
    w.run_for(secs(5));
    assert_eq!(claims_of(&w, "h3"), 300, "it is up: what it has claimed is its own");
    w.power_off("h3");
    w.run_for(secs(55));
    assert_eq!(claims_of(&w, "h3"), 300, "it may be heard again");
    w.expect_that("they are gone", |w| claims_of(w, "h3") == 0).within(secs(25));
    assert_eq!(
        (w.done("h1", "stray_claim"), w.done("h2", "stray_claim")),
        (300, 0),
        "the lowest does it alone"
    );
}

#[test]
fn claims_that_a_host_left_in_an_earlier_run_are_removed_soon_after_it_is_back() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.restart("h2");
    w.run_for(secs(1));
    assert_eq!(claims_of(&w, "h2"), 1, "nobody has given it back");
    w.expect_that("they are gone", |w| w.claim_on("card.ann").is_none()).within(secs(15));
}

#[test]
fn claims_of_a_host_that_may_come_back_with_its_sessions_stay_until_an_operator_says_that_it_does_not() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let session = w.shows(desk).unwrap();
    w.remove(desk);
    w.kill("h2");
    w.run_for(secs(300));
    assert_eq!(w.claim_on("card.ann").map(|claim| claim.session), Some(session));
    w.start("h2");
    w.run_for(secs(60));
    assert_eq!(
        w.claim_on("card.ann").map(|claim| (claim.session, claim.boot)),
        w.boot_of("h2").map(|b| (session, b))
    );
    w.power_off("h2");
    w.run_for(secs(300));
    assert_eq!(claims_of(&w, "h2"), 1);
    w.ask("h1", Command::Forget("h2".parse().unwrap()));
    w.expect_that("they are gone", |w| claims_of(w, "h2") == 0).within(secs(2));
}

#[test]
fn claims_of_a_host_of_which_nobody_ever_heard_stay_for_a_day() {
    let mut w = World::of(1);
    leave_claim(&mut w, "card.ann", "h9", BootId(7), 9);
    for (hours, claims) in [(23, 1), (1, 0)] {
        // Nothing happens on the machine, so this takes no time.
        w.stop_daemon("h1");
        w.run_for(secs(hours * 3_600));
        w.continue_daemon("h1");
        w.run_for(secs(30));
        assert_eq!(claims_of(&w, "h9"), claims, "after {hours} hours more");
    }
}

#[test]
fn a_host_removes_claims_of_its_own_whose_sessions_it_does_not_have() {
    let mut w = World::of(2);
    let boot = w.boot_of("h2").unwrap();
    leave_claim(&mut w, "card.ann", "h2", boot, 9);
    w.expect_that("it is gone", |w| claims_of(w, "h2") == 0).within(secs(320));
    assert_eq!(w.done("h2", "stray_claim"), 1);
}

#[test]
fn a_session_whose_claim_was_removed_while_its_host_was_taken_for_dead_makes_it_again() {
    let mut w = World::of(2);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let session = w.shows(desk).unwrap();
    w.remove(desk);
    w.run_for(secs(3));
    let epoch = w.claim_on("card.ann").unwrap().epoch;
    // Both reach the store, and neither hears the other.
    w.cut("h2", lan);
    w.expect_that("it is taken for dead", |w| w.claim_on("card.ann").is_none()).within(secs(80));
    w.heal("h2", lan);
    w.expect_that("it is claimed again", move |w| {
        w.claim_on("card.ann").is_some_and(|c| c.session == session)
    })
    .within(secs(5));
    assert!(w.claim_on("card.ann").unwrap().epoch >= epoch);
}

#[test]
fn a_host_that_stops_gives_back_what_it_has_claimed() {
    let mut w = World::of(2);
    for n in 0..100 {
        let desk = desk_with_session(&mut w, "h2", &format!("card.n{n}"));
        w.remove(desk);
    }
    assert!(claims_of(&w, "h2") >= 100);
    w.stop("h2");
    w.expect_that("it has ended", |w| w.host("h2").is_none()).within(secs(1));
    assert_eq!(claims_of(&w, "h2"), 0, "\n{}", w.story());
}

#[test]
fn a_host_that_stops_does_not_wait_for_a_store_that_says_nothing() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.stop_store();
    w.stop("h2");
    w.expect_that("it has ended", |w| w.host("h2").is_none()).within(ms(2_100));
    w.start_store();
    w.expect_that("others do it", |w| claims_of(w, "h2") == 0).within(secs(25));
}

#[test]
fn a_host_that_stops_and_keeps_its_sessions_keeps_their_claims() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    let before = w.claim_on("card.ann");
    w.stop("h2");
    w.run_for(secs(20));
    assert_eq!(w.claim_on("card.ann"), before);
}
