//! What tokens may cause that nobody registered.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use dtu_emu::dtu::Phase;
use groupmgr::host::guests::GuestLimits;
use proto::time::Duration;
use tests::scene::status;
use tests::world::{DeskPlan, HostPlan, World, ms, secs};

const LIMITS: GuestLimits = GuestLimits { sessions: 0, left: 4, idle: Duration::from_secs(60) };

fn group(limits: GuestLimits) -> World {
    let mut w = World::of_hosts([HostPlan::named("h1").guests(limits)]);
    w.store_put(authmgr::admission::policy_key().as_str(), "login pseudo=deny cards=any");
    w.run_for(secs(11));
    w
}

fn register(w: &mut World, token: &str) {
    let key = authmgr::admission::token_key(&token.parse().unwrap());
    w.store_put(key.as_str(), &format!("token name={token} owner=ann"));
}

fn sessions(w: &mut World) -> usize {
    status(w, "h1").sessions
}

#[test]
fn one_desk_that_presents_cards_without_end_has_few_sessions_and_others_get_theirs() {
    let mut w = group(LIMITS);
    let lan = w.lan();
    let (greedy, other) = (w.desk("greedy", lan), w.desk("other", lan));
    w.run_for(secs(1));
    for n in 0..60 {
        w.insert(greedy, &format!("card.invented{n}"));
        w.run_for(ms(300));
    }
    w.remove(greedy);
    assert_eq!(sessions(&mut w), LIMITS.left);
    assert!(status(&mut w, "h1").refused["guests_of_address"] > 0);
    w.insert(greedy, "card.last");
    w.expect(greedy).in_phase(Phase::Denied).within(secs(1));
    w.expect(greedy).noticing("registered").now();
    w.insert(other, "card.visitor");
    w.expect(other).attached().within(secs(1));
    // Whoever comes later to that desk is let in: what was hardly used makes room.
    w.remove(greedy);
    w.run_for(secs(15));
    w.insert(greedy, "card.later");
    w.expect(greedy).attached().within(secs(1));
    // And a registered card is nobody's guest.
    register(&mut w, "card.ann");
    w.run_for(secs(2));
    w.insert(greedy, "card.ann");
    w.expect(greedy).attached().within(secs(1));
}

#[test]
fn a_guests_session_ends_when_nobody_was_shown_it_for_its_time_and_leaves_no_claim() {
    let mut w = group(LIMITS);
    let lan = w.lan();
    register(&mut w, "card.ann");
    w.run_for(secs(2));
    let (shown, left, ann) = (w.desk("shown", lan), w.desk("left", lan), w.desk("ann", lan));
    for (desk, card) in [(shown, "card.shown"), (left, "card.left"), (ann, "card.ann")] {
        w.insert(desk, card);
        w.expect(desk).attached().within(secs(1));
    }
    w.remove(left);
    w.remove(ann);
    w.run_for(secs(50));
    assert_eq!(w.sessions_of("card.left").len(), 1);
    w.run_for(secs(25));
    assert!(w.sessions_of("card.left").is_empty() && w.stored("claim/card.left").is_none());
    assert_eq!((w.sessions_of("card.ann").len(), w.sessions_of("card.shown").len()), (1, 1));
    w.insert(left, "card.left");
    w.expect(left).attached().within(secs(1));
}

#[test]
fn a_card_that_is_registered_meanwhile_keeps_its_session() {
    let mut w = group(LIMITS);
    let lan = w.lan();
    let desk = w.desk("d", lan);
    w.insert(desk, "card.ann");
    w.expect(desk).attached().within(secs(2));
    let session = w.shows(desk).unwrap();
    w.remove(desk);
    register(&mut w, "card.ann");
    w.run_for(secs(2));
    w.insert(desk, "card.ann");
    w.expect(desk).showing(session).within(secs(1));
    w.remove(desk);
    w.run_for(secs(90));
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn a_host_takes_so_many_guests_and_more_registered_cards() {
    let mut w = group(GuestLimits { sessions: 2, ..LIMITS });
    let lan = w.lan();
    for (n, phase) in [Phase::Attached, Phase::Attached, Phase::Denied].into_iter().enumerate() {
        let desk = w.desk(&format!("d{n}"), lan);
        w.insert(desk, &format!("card.n{n}"));
        w.expect(desk).in_phase(phase).within(secs(2));
    }
    register(&mut w, "card.ann");
    let desk = w.desk("ann", lan);
    w.insert(desk, "card.ann");
    w.expect(desk).attached().within(secs(2));
}

#[test]
fn a_kept_session_of_a_guest_is_one_for_the_next_daemon_too() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep().guests(LIMITS)]);
    let lan = w.lan();
    let desk = w.add_desk(DeskPlan::named("d", lan).card("card.x"));
    w.expect(desk).attached().within(secs(2));
    w.remove(desk);
    w.kill("h1");
    w.run_for(secs(1));
    w.start("h1");
    w.run_for(secs(50));
    assert_eq!(w.sessions_of("card.x").len(), 1);
    w.run_for(secs(30));
    assert!(w.sessions_of("card.x").is_empty());
}
