//! Hosts of neighbouring versions in one group: what a later one adds to a record is read past and stays, and no host
//! refuses what another one wrote.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::admin::{Command, Reply};
use proto::SessionId;
use sessiond::manager::Claim;
use tests::scene::{desk_with_session, end, pid_on, registry};
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

/// What a later version may add to a record.
const FIELD: &str = "colour=red";

/// The claim of the card, with a field that only a later version knows.
fn add_field(w: &mut World) {
    let claim = w.stored("claim/card.ann").unwrap();
    w.store_put("claim/card.ann", &format!("{claim} {FIELD}"));
}

fn has_field(w: &World) -> bool {
    w.stored("claim/card.ann").is_some_and(|claim| claim.contains(FIELD))
}

/// A host that keeps its sessions and another one; ann's session is on the first, its claim has the field.
fn scene() -> (World, DeskId, SessionId) {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    add_field(&mut w);
    (w, desk, session)
}

#[test]
fn a_session_whose_claim_has_a_field_of_a_later_version_is_found_and_shown() {
    let (mut w, first, session) = scene();
    let lan = w.lan();
    let desk = w.add_desk(DeskPlan::named("d", lan).server("h2").card("card.ann"));
    w.expect(desk).attached_to("h1").within(secs(1));
    assert_eq!((w.shows(desk), w.shows(first)), (Some(session), None));
    assert!(has_field(&w));
}

#[test]
fn a_claim_with_a_field_of_a_later_version_is_held_through_a_restart_and_given_back_at_the_end() {
    let (mut w, desk, session) = scene();
    let before = pid_on(&mut w, desk);
    w.restart("h1");
    w.expect(desk).attached_to("h1").within(secs(5));
    w.run_for(secs(5));
    assert_eq!((w.claim_of("h1", session), pid_on(&mut w, desk)), (Some(Claim::Held), before));
    add_field(&mut w);
    w.run_for(secs(60));
    assert_eq!(w.claim_of("h1", session), Some(Claim::Held));
    assert!(has_field(&w), "nobody has a reason to write it anew");
    w.remove(desk);
    w.ask("h1", end(session));
    w.expect_that("nobody has the claim", |w| w.stored("claim/card.ann").is_none()).within(secs(5));
}

#[test]
fn a_claim_with_a_field_of_a_later_version_is_taken_over_from_a_dead_host_and_renewed_after_a_restore() {
    let (mut w, desk, session) = scene();
    let epoch = w.claim_on("card.ann").unwrap().epoch;
    let backup = w.back_up_store();
    w.restore_store(backup);
    w.run_for(secs(20));
    assert_eq!(w.claim_of("h1", session), Some(Claim::Held), "in the generation after the backup");
    add_field(&mut w);
    w.power_off("h1");
    w.expect(desk).attached_to("h2").within(secs(5));
    w.run_for(secs(1));
    let claim = w.claim_on("card.ann").unwrap();
    assert_eq!((claim.host.as_str(), w.shows(desk)), ("h2", Some(claim.session)));
    assert!(claim.epoch > epoch && claim.session != session);
}

#[test]
fn what_a_later_version_registered_admits_as_what_this_one_knows_of_it_says() {
    let mut w = World::of(1);
    registry(&mut w, "card.ann", &format!("owner=ann {FIELD}"));
    registry(&mut w, "card.bob", &format!("disabled=true {FIELD}"));
    w.store_put(
        authmgr::admission::policy_key().as_str(),
        &format!("login pseudo=allow cards=registered {FIELD}"),
    );
    w.run_for(secs(1));
    let lan = w.lan();
    let explain = |w: &mut World, token: &str| match w.ask("h1", Command::Explain(token.parse().unwrap())) {
        Reply::Explain(told) => told.admitted,
        other => w.fail(&format!("no explanation: {other:?}")),
    };
    assert_eq!(explain(&mut w, "card.ann"), Some(true));
    assert_eq!((explain(&mut w, "card.bob"), explain(&mut w, "card.eve")), (Some(false), Some(false)));
    let desk = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
    w.expect(desk).attached_to("h1").within(secs(1));
}

#[test]
fn a_card_moves_and_fails_over_between_hosts_of_the_version_before_and_of_this_one() {
    for older in ["h1", "h2"] {
        let plan = |name: &str| {
            let plan = HostPlan::named(name);
            if name == older { plan.older() } else { plan }
        };
        let mut w = World::of_hosts([plan("h1"), plan("h2")]);
        let lan = w.lan();
        let first = desk_with_session(&mut w, "h1", "card.ann");
        let pid = pid_on(&mut w, first);
        let second = w.add_desk(DeskPlan::named("d", lan).server("h2").card("card.ann"));
        w.expect(second).attached_to("h1").within(secs(1));
        assert_eq!(pid_on(&mut w, second), pid, "{older} is older");
        w.run_for(ms(500));
        w.kill("h1");
        w.expect(second).attached_to("h2").within(secs(1));
        w.start("h1");
        w.run_for(secs(2));
        w.insert(first, "card.ann");
        w.expect(first).attached_to("h2").within(secs(2));
    }
}
