//! Claims of sessions that are over are given back (DESIGN 4.3 and 5).

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::ClaimRecord;
use proto::SessionId;
use proto::time::Duration;
use sessiond::manager::Claim;
use tests::scene::{desk_with_session, end};
use tests::world::{DeskPlan, World, ms, secs};

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
