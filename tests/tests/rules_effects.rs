//! What a session does outside of itself happens once, whichever of its homes does it.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use proto::SessionId;
use tests::scene::desk_with_session;
use tests::sim::check::{Check as _, Effects, Health, Moment};
use tests::world::{DeskId, World, ms, secs};

const REPLICATED: &str = "continuity = \"replicated\"\n[[service]]\nname = \"terminal\"\n";

/// Where it is seen what was paid.
const PAID: &str = "data/card.ann/paid/1";

/// A desk that is shown ann's session on h1, of which another host has all.
fn protected() -> (World, DeskId, SessionId) {
    let mut w = World::of(3);
    w.watch();
    w.store_put("template/default", REPLICATED);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.run_for(secs(3));
    w.type_line(desk, "pay 0");
    w.expect(desk).reading("paid=0").within(secs(1));
    (w, desk, session)
}

/// The session goes on at another host, and has paid.
#[track_caller]
fn goes_on_and_has_paid(w: &mut World, desk: DeskId, session: SessionId) {
    let is_elsewhere =
        move |w: &World| w.shows(desk) == Some(session) && w.host_of(desk).is_some_and(|host| host != "h1");
    w.expect_that("another host shows the session", is_elsewhere).within(secs(20));
    w.expect(desk).reading("paid=1").within(secs(2));
}

/// The simulator's checker has seen so many effects, and has nothing against them.
#[track_caller]
fn is_in_order(w: &mut World, effects: u64) {
    let (health, mut check) = (Health::default(), Effects::default());
    for (now, seen) in w.observations() {
        assert_eq!(check.see(Moment { now, health: &health }, &seen), Ok(()), "\n{}", w.story());
    }
    assert_eq!(check.evaluated(), effects);
}

#[test]
fn what_was_done_before_its_home_died_is_not_done_again_by_the_next_one() {
    let (mut w, desk, session) = protected();
    // The store does it, and its answer comes too late.
    w.slow_down_store(ms(200));
    w.type_line(desk, "pay 1");
    w.expect_that("the store has it", |w| w.stored(PAID).is_some()).within(secs(1));
    w.power_off("h1");
    w.slow_down_store(ms(0));
    w.store_put(PAID, "eaten");
    goes_on_and_has_paid(&mut w, desk, session);
    assert_eq!(w.stored(PAID).as_deref(), Some("eaten"), "once\n{}", w.story());
    is_in_order(&mut w, 2);
}

#[test]
fn what_a_dead_home_has_asked_for_and_comes_late_is_refused() {
    let (mut w, desk, session) = protected();
    // What is on its way to the disk now takes longer than it takes another host to go on.
    w.set_fsync(secs(8));
    w.type_line(desk, "pay 1");
    w.run_for(ms(100));
    w.power_off("h1");
    w.set_fsync(ms(1));
    goes_on_and_has_paid(&mut w, desk, session);
    assert_eq!(w.stored(PAID).as_deref(), Some("1"), "the next home has done it\n{}", w.story());
    w.store_put(PAID, "eaten");
    w.run_for(secs(10));
    assert_eq!(w.stored(PAID).as_deref(), Some("eaten"), "and nobody else\n{}", w.story());
    is_in_order(&mut w, 2);
}

#[test]
fn what_is_remembered_of_a_sessions_effects_goes_with_the_session() {
    let (mut w, desk, session) = protected();
    let memory = format!("once/session/{session}");
    assert!(w.stored(&memory).is_some(), "\n{}", w.story());
    w.type_line(desk, "exit 0");
    w.expect_that("its record is gone", move |w| w.record_of(session).is_none()).within(secs(20));
    assert_eq!(w.stored(&memory), None, "\n{}", w.story());
}

/// What is not known to have happened is not committed; a person may try again.
#[test]
fn a_store_that_is_full_or_away_does_nothing_and_says_so() {
    let (mut w, desk, session) = protected();
    w.fill_store(true);
    w.type_line(desk, "pay 1");
    w.expect(desk).reading("unpaid=1").within(secs(1));
    w.fill_store(false);
    w.kill_store();
    w.type_line(desk, "pay 2");
    w.expect(desk).reading("unpaid=2").within(secs(3));
    w.start_store();
    w.run_for(secs(5));
    w.type_line(desk, "pay 3");
    w.expect(desk).reading("paid=3").within(secs(2));
    let paid = [1, 2, 3].map(|n| w.stored(&format!("data/card.ann/paid/{n}")).is_some());
    assert_eq!((w.shows(desk), paid), (Some(session), [false, false, true]), "\n{}", w.story());
    is_in_order(&mut w, 2);
}
