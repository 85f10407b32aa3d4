//! A host that is drained hands its replicated sessions over to the hosts that keep them, and nothing is lost by it.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::SessionRecord;
use groupmgr::host::admin::{Command, Reply};
use groupmgr::keep::Message;
use proto::{Epoch, HostName, SessionId};
use tests::scene::{self, desk_with_session};
use tests::world::{DeskId, HostPlan, World, ms, secs};

/// A desk that shows ann's session on `h1`, which another host keeps.
fn protected(w: &mut World, policy: &str) -> (DeskId, SessionId, Epoch) {
    let (desk, session) = scene::desk_with_kept_page(w, policy);
    w.type_line(desk, "count");
    w.type_line(desk, "count");
    w.expect(desk).reading("count=2").within(secs(1));
    let record = w.record_of(session).unwrap();
    assert!(record.secondary.is_some());
    (desk, session, record.epoch)
}

fn drain(w: &mut World, host: &str) {
    w.ask(host, Command::Drain(true));
}

/// It runs at this host alone, in a later epoch, with what was kept.
#[track_caller]
fn goes_on_at(w: &mut World, host: &str, desk: DeskId, session: SessionId, before: Epoch) -> SessionRecord {
    w.expect(desk).showing(session).now();
    let homes: Vec<String> = w.sessions_of("card.ann").into_iter().map(|seen| seen.host).collect();
    assert_eq!(homes, [host], "\n{}", w.story());
    let (record, claim) = (w.record_of(session).unwrap(), w.claim_on("card.ann").unwrap());
    assert_eq!((record.home.as_str(), claim.host.as_str(), claim.session), (host, host, session));
    assert!(record.epoch > before && record.epoch == claim.epoch, "{record:?} {claim:?}");
    w.type_line(desk, "kept");
    w.expect(desk).reading("has=page-3").within(secs(1));
    record
}

/// The session stays where it was, and somebody at it can type.
#[track_caller]
fn stays(w: &mut World, desk: DeskId, session: SessionId, before: Epoch) {
    w.expect(desk).attached_to("h1").now();
    w.expect(desk).showing(session).now();
    assert_eq!(w.record_of(session).unwrap().epoch, before);
    w.type_line(desk, "count");
    w.expect(desk).reading("count=3").within(secs(1));
}

#[test]
fn a_drained_host_hands_a_session_over_and_its_desk_follows() {
    for (hosts, policy) in [(2, ""), (2, "ack = \"batch\"\n"), (3, "protect = \"must\"\n")] {
        let mut w = World::of(hosts);
        let (desk, session, before) = protected(&mut w, policy);
        let to = w.record_of(session).unwrap().secondary.unwrap().to_string();
        drain(&mut w, "h1");
        w.expect(desk).attached_to(&to).within(secs(1));
        goes_on_at(&mut w, &to, desk, session, before);
        w.expect(desk).reading("Your session has moved here from host h1").now();
        assert!(w.can_read(desk, "count=2"), "the old screen is above");
        assert_eq!(w.done(&to, "session_moved_here"), 1);
        w.run_for(secs(100));
        let record = goes_on_at(&mut w, &to, desk, session, before);
        // It is kept where it came from, unless there is another host, which is not drained.
        let keeper = match (hosts, to.as_str()) {
            (2, _) => "h1",
            (_, "h2") => "h3",
            _ => "h2",
        };
        assert_eq!(record.secondary.as_ref().map(HostName::as_str), Some(keeper));
    }
}

#[test]
fn what_is_typed_while_a_session_moves_is_applied_once_and_there() {
    for pause in 0..16 {
        let mut w = World::of(2);
        let (desk, session, before) = protected(&mut w, "");
        drain(&mut w, "h1");
        w.run_for(ms(95));
        let mut numbers = 0;
        for _ in 0..8 {
            w.run_for(core::time::Duration::from_micros(600 + pause * 100));
            numbers += 1;
            w.type_line(desk, &format!("echo n{numbers}."));
        }
        w.expect(desk).attached_to("h2").within(secs(1));
        w.run_for(secs(1));
        for n in 1..=numbers {
            assert!(w.can_read(desk, &format!("echo n{n}.?")), "n{n} of pause {pause}\n{}", w.story());
        }
        assert_eq!(w.status(desk).input_dropped, 0);
        goes_on_at(&mut w, "h2", desk, session, before);
    }
}

#[test]
fn half_a_line_does_not_reach_a_shell_that_has_not_seen_the_other_half() {
    let mut w = World::of(2);
    let (desk, session, before) = protected(&mut w, "");
    w.type_keys(desk, "half a li");
    w.expect(desk).reading("half a li").within(secs(1));
    drain(&mut w, "h1");
    w.run_for(ms(1001));
    w.type_keys(desk, "ne\r");
    w.expect(desk).attached_to("h2").within(secs(1));
    w.run_for(ms(500));
    assert!(!w.can_read(desk, "ne?"), "\n{}", w.story());
    assert_eq!(w.status(desk).input_dropped, 3, "and the desk knows");
    goes_on_at(&mut w, "h2", desk, session, before);
    // One that is finished in time is waited for.
    let mut w = World::of(2);
    let (desk, session, before) = protected(&mut w, "");
    w.type_keys(desk, "echo wh");
    w.expect(desk).reading("echo wh").within(secs(1));
    drain(&mut w, "h1");
    w.run_for(ms(100));
    w.type_keys(desk, "ole\recho next\r");
    w.expect(desk).attached_to("h2").within(secs(1));
    w.run_for(ms(500));
    assert!(w.can_read(desk, "echo whole?") && w.can_read(desk, "echo next?"), "\n{}", w.story());
    assert_eq!(w.status(desk).input_dropped, 0);
    goes_on_at(&mut w, "h2", desk, session, before);
}

#[test]
fn without_a_host_that_could_take_it_a_session_stays_as_it_was() {
    let mut w = World::of(2);
    let (desk, session, before) = protected(&mut w, "");
    scene::drain(&mut w, &["h2".to_owned()], true);
    drain(&mut w, "h1");
    w.expect(desk).attached_to("h1").throughout(secs(20));
    stays(&mut w, desk, session, before);
    // As soon as there is one it goes.
    w.ask("h2", Command::Drain(false));
    w.expect(desk).attached_to("h2").within(secs(5));
    goes_on_at(&mut w, "h2", desk, session, before);
}

#[test]
fn a_session_whose_secondary_is_drained_too_moves_to_a_third_host() {
    let mut w = World::of(3);
    let (desk, session, before) = protected(&mut w, "");
    let keeper = w.record_of(session).unwrap().secondary.unwrap().to_string();
    let third = if keeper == "h2" { "h3" } else { "h2" };
    scene::drain(&mut w, &[keeper], true);
    drain(&mut w, "h1");
    w.expect(desk).attached_to(third).within(secs(5));
    goes_on_at(&mut w, third, desk, session, before);
}

#[test]
fn a_session_stays_while_its_secondary_can_make_none() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").sessions_max(1)]);
    let (desk, session, before) = protected(&mut w, "");
    let Reply::Made(_) =
        w.ask("h2", Command::NewSession { token: "card.bob".parse().unwrap(), template: None })
    else {
        w.fail("no session that is in the way")
    };
    drain(&mut w, "h1");
    w.run_for(secs(4));
    assert_eq!(w.done("h2", "session_not_moved_here"), 1);
    stays(&mut w, desk, session, before);
}

#[test]
fn without_the_store_a_session_stays() {
    let mut w = World::of(2);
    let (desk, session, _) = protected(&mut w, "");
    w.kill_store();
    w.run_for(ms(500));
    drain(&mut w, "h1");
    w.expect(desk).attached_to("h1").throughout(secs(20));
    w.type_line(desk, "count");
    w.expect(desk).reading("count=3").within(secs(1));
    w.start_store();
    w.expect(desk).attached_to("h2").within(secs(20));
    w.expect(desk).showing(session).now();
}

#[test]
fn a_session_that_must_be_protected_does_not_move_to_where_it_would_not_be() {
    let mut w = World::of(2);
    let (desk, session, before) = protected(&mut w, "protect = \"must\"\n");
    drain(&mut w, "h1");
    w.run_for(secs(20));
    stays(&mut w, desk, session, before);
}

/// Whatever dies while a session moves, it goes on where its record says, and nothing that was acknowledged is lost.
#[test]
fn a_move_that_fails_half_way_loses_nothing() {
    for victim in ["h1", "h2", "store"] {
        for pause in 0..14 {
            let mut w = World::of(3);
            scene::drain(&mut w, &["h3".to_owned()], true);
            let (desk, session, _) = protected(&mut w, "");
            drain(&mut w, "h1");
            w.run_for(core::time::Duration::from_micros(98_000 + 850 * pause));
            match victim {
                "store" => w.kill_store(),
                host => w.freeze(host),
            }
            w.type_line(desk, "echo typed");
            w.run_for(secs(5));
            match victim {
                "store" => w.start_store(),
                host => w.thaw(host),
            }
            w.run_for(secs(30));
            w.expect(desk).showing(session).now();
            let homes = w.sessions_of("card.ann");
            assert_eq!(homes.len(), 1, "{victim} {pause}\n{}", w.story());
            assert_eq!(w.record_of(session).unwrap().home.as_str(), homes[0].host, "{victim} {pause}");
            w.type_line(desk, "kept");
            w.expect(desk).reading("has=page-3").within(secs(2));
        }
    }
}

/// One of the version before reads past what it is asked.
#[test]
fn a_session_goes_on_where_it_was_when_its_secondary_does_not_know_what_is_wanted() {
    let mut w = World::of(2);
    let (_, session, before) = protected(&mut w, "");
    let refused = w.refused("h2", "word_of_copies");
    w.hear_of_copies("h2", "h1", Message::Other);
    w.run_for(ms(10));
    assert_eq!(w.refused("h2", "word_of_copies"), refused + 1);
    // Nor is one believed that was handed nothing, or something else.
    w.hear_of_copies("h1", "h2", Message::HandedOver { session, epoch: before, done: true });
    w.hear_of_copies("h2", "h1", Message::HandOver { session: SessionId(7), epoch: before });
    w.hear_of_copies("h2", "h1", Message::HandOver { session, epoch: Epoch::default() });
    w.run_for(secs(3));
    assert_eq!(w.record_of(session).unwrap().epoch, before);
}

#[test]
fn all_sessions_of_a_drained_host_go_a_few_at_a_time_and_operators_see_it() {
    let mut w = World::of(3);
    scene::replicate(&mut w, "");
    let desks: Vec<DeskId> =
        (0..30).map(|n| desk_with_session(&mut w, "h1", &format!("card.n{n}"))).collect();
    w.run_for(secs(5));
    drain(&mut w, "h1");
    w.run_for(ms(2));
    let Reply::Sessions(listed) = w.ask("h1", Command::Sessions) else { w.fail("no list") };
    let moving = listed.iter().filter(|view| view.state.starts_with("moving to h")).count();
    assert!((1..=8).contains(&moving), "{moving}");
    assert_eq!(scene::copies(&mut w, "h1").own.iter().filter(|own| own.state == "moving").count(), moving);
    w.expect_that("h1 is empty", |w| w.sessions_on("h1").is_empty()).within(secs(10));
    w.run_for(ms(100));
    for desk in desks {
        assert!(w.shows(desk).is_some() && w.host_of(desk).as_deref() != Some("h1"));
    }
}
