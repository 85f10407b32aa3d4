//! A session that is replicated goes on under its own id when its home is gone, with what another host has kept of it.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::admin::{Command, Reply};
use groupmgr::host::{Note, SessionRecord};
use proto::{Epoch, HostName, SessionId};
use sessiond::control::{Kind, Protection};
use sessiond::template::Continuity;
use tests::scene::{desk_with_session, drain, end};
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

const REPLICATED: &str = "continuity = \"replicated\"\n[[service]]\nname = \"terminal\"\n";

/// What a program has kept.
const TEXT: &str = "what-it-was-about";

fn put_record(w: &mut World, session: SessionId, record: &SessionRecord) {
    let value = record.value().unwrap();
    w.store_put(&format!("session/{session}"), core::str::from_utf8(value.as_bytes()).unwrap());
}

fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

/// A desk that is shown ann's session on h1, of which h2 keeps a copy.
fn protected(w: &mut World) -> (DeskId, SessionId, Epoch) {
    w.store_put("template/default", REPLICATED);
    let desk = desk_with_session(w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.run_for(secs(3));
    w.type_line(desk, &format!("keep {TEXT}"));
    w.expect(desk).reading(&format!("kept={TEXT}")).within(secs(1));
    let record = w.record_of(session).unwrap();
    assert_eq!((record.class, record.secondary), (Continuity::Replicated, Some(name("h2"))));
    (desk, session, record.epoch)
}

/// The same with the card in nobody's desk and its home gone, and another desk, at the host `server`.
fn shown_nowhere(w: &mut World, server: &str) -> (DeskId, DeskId, SessionId, Epoch) {
    let lan = w.lan();
    let other = w.add_desk(DeskPlan::named("other", lan).server(server));
    let (desk, session, before) = protected(w);
    w.remove(desk);
    w.run_for(secs(1));
    w.power_off("h1");
    w.run_for(secs(2));
    (desk, other, session, before)
}

/// The session runs on this host alone, with what was kept of it, as everybody knows.
#[track_caller]
fn goes_on(w: &World, host: &str, session: SessionId, before: Epoch) {
    let homes: Vec<String> = w.sessions_of("card.ann").into_iter().map(|seen| seen.host).collect();
    assert_eq!(homes, [host], "\n{}", w.story());
    let (record, claim) = (w.record_of(session).unwrap(), w.claim_on("card.ann").unwrap());
    assert_eq!((record.home.as_str(), claim.host.as_str(), claim.session), (host, host, session));
    assert!(record.epoch > before && record.epoch == claim.epoch, "{record:?} {claim:?}");
    assert_eq!(w.begun(host, session).unwrap().epoch, record.epoch);
    let has_text = |bytes: &[u8]| bytes.windows(TEXT.len()).any(|window| window == TEXT.as_bytes());
    let restored = w.restored(host, session);
    assert!(restored.iter().any(|(part, bytes)| part.kind == Kind::State && has_text(bytes)), "{restored:?}");
}

/// Which other host than h1 shows the desk its session, as soon as one does.
fn heir(w: &mut World, desk: DeskId) -> String {
    let is_elsewhere =
        move |w: &World| w.shows(desk).is_some() && w.host_of(desk).is_some_and(|host| host != "h1");
    w.expect_that("another host serves the desk", is_elsewhere).within(secs(20));
    w.host_of(desk).unwrap()
}

#[test]
fn the_same_session_goes_on_at_its_keeper_or_at_any_other_host_when_its_home_is_killed() {
    for (heir, other) in [("h2", "h3"), ("h3", "h2")] {
        let mut w = World::of(3);
        let (desk, session, before) = protected(&mut w);
        drain(&mut w, &[other.to_owned()], true);
        w.power_off("h1");
        w.expect(desk).attached_to(heir).within(secs(2));
        w.expect(desk).showing(session).now();
        goes_on(&w, heir, session, before);
        let beginning = w.begun(heir, session).unwrap();
        assert_eq!(beginning.lost, Some(name("h1")));
        // The keeper stays one, and then nothing gets out before it has what is new; it does not keep its own.
        let (keeper, protection) = match heir {
            "h2" => (None, Protection::Alone),
            _ => (Some(name("h2")), Protection::Held),
        };
        assert_eq!(w.record_of(session).unwrap().secondary, keeper);
        assert_eq!(beginning.protection, protection);
        w.run_for(secs(100));
        goes_on(&w, heir, session, before);
    }
}

#[test]
fn a_home_that_was_frozen_ends_what_has_moved_away() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2"), HostPlan::named("h3")]);
    let (desk, session, before) = protected(&mut w);
    w.freeze("h1");
    let heir = heir(&mut w, desk);
    w.expect(desk).showing(session).now();
    w.run_for(secs(10));
    w.thaw("h1");
    w.expect_that("the old home has ended it", move |w| w.sessions_on("h1").is_empty()).within(secs(2));
    goes_on(&w, &heir, session, before);
    w.expect(desk).attached_to(&heir).now();
    assert_eq!(w.done("h1", "session_moved_away"), 1);
}

#[test]
fn a_home_that_is_cut_off_from_all_but_the_store_writes_nothing_more_and_ends_what_has_moved_away() {
    let mut w = World::of(3);
    let (desk, session, before) = protected(&mut w);
    let lan = w.lan();
    w.split(lan, &["h1"], &[]);
    let heir = heir(&mut w, desk);
    w.expect(desk).showing(session).now();
    w.type_line(desk, "put note new");
    w.expect(desk).reading("stored").within(ms(500));
    w.join(lan);
    w.expect_that("the old home has ended it", move |w| w.sessions_on("h1").is_empty()).within(secs(80));
    goes_on(&w, &heir, session, before);
    assert_eq!(w.stored("data/card.ann/note").as_deref(), Some("new"));
}

#[test]
fn when_its_keeper_is_gone_as_well_there_is_a_fresh_session_and_the_desk_is_told() {
    let mut w = World::of(4);
    let (desk, session, _) = protected(&mut w);
    w.power_off("h2");
    w.power_off("h1");
    w.expect(desk).noticing("Waiting for host h2").within(secs(3));
    w.expect(desk).noticing("kept by host h2, and both are gone").within(secs(15));
    heir(&mut w, desk);
    assert_ne!(w.shows(desk), Some(session));
    w.expect_that("its record is removed", move |w| w.record_of(session).is_none()).within(secs(200));
}

/// Their kernels say so: nobody is waited for.
#[test]
fn when_the_daemons_of_both_are_gone_the_desk_is_told_at_once() {
    for first in ["h1", "h2"] {
        let mut w = World::of(4);
        let (desk, session, _) = protected(&mut w);
        w.kill(first);
        w.kill(if first == "h1" { "h2" } else { "h1" });
        w.expect(desk).noticing("kept by host h2, and both are gone").within(secs(1));
        heir(&mut w, desk);
        assert_ne!(w.shows(desk), Some(session));
    }
}

#[test]
fn a_keeper_that_is_silent_for_a_while_is_waited_for() {
    let mut w = World::of(3);
    let (desk, session, before) = protected(&mut w);
    w.freeze("h2");
    w.run_for(ms(50));
    w.power_off("h1");
    w.expect(desk).noticing("Waiting for host h2").within(secs(3));
    w.run_for(secs(3));
    w.thaw("h2");
    let heir = heir(&mut w, desk);
    w.expect(desk).showing(session).now();
    goes_on(&w, &heir, session, before);
}

#[test]
fn a_keeper_that_has_begun_anew_has_nothing() {
    let mut w = World::of(3);
    let (desk, session, _) = protected(&mut w);
    w.restart("h2");
    w.power_off("h1");
    w.expect(desk).noticing("both are gone").within(secs(5));
    heir(&mut w, desk);
    assert_ne!(w.shows(desk), Some(session));
}

#[test]
fn without_the_store_nobody_becomes_its_home_and_the_desk_waits_and_is_told() {
    let mut w = World::of(3);
    let (desk, session, before) = protected(&mut w);
    w.kill_store();
    w.run_for(ms(100));
    w.power_off("h1");
    w.expect(desk).noticing("Waiting for the data store").within(secs(3));
    w.expect(desk).not_attached().throughout(secs(60));
    assert_eq!(w.session_count(), 0, "\n{}", w.story());
    w.start_store();
    let heir = heir(&mut w, desk);
    w.expect(desk).showing(session).now();
    goes_on(&w, &heir, session, before);
}

#[test]
fn of_two_desks_that_come_at_once_one_gets_it_and_it_runs_once() {
    for pause in 0..12 {
        let mut w = World::of(3);
        let (desk, other, session, before) = shown_nowhere(&mut w, "h3");
        w.insert(desk, "card.ann");
        w.run_for(ms(pause));
        w.insert(other, "card.ann");
        w.run_for(secs(6));
        let home = w.sessions_of("card.ann")[0].host.clone();
        goes_on(&w, &home, session, before);
        let shown = [desk, other].into_iter().filter(|desk| w.shows(*desk) == Some(session)).count();
        assert_eq!(shown, 1, "pause {pause}\n{}", w.story());
    }
}

#[test]
fn two_desks_of_one_host_that_come_at_once_take_it_over_once() {
    for pause in 0..12 {
        let mut w = World::of(2);
        let (desk, other, session, before) = shown_nowhere(&mut w, "h2");
        w.insert(desk, "card.ann");
        w.run_for(core::time::Duration::from_micros(pause * 400));
        w.insert(other, "card.ann");
        w.run_for(secs(4));
        goes_on(&w, "h2", session, before);
        assert_eq!(w.record_of(session).unwrap().epoch, before.next(before.generation), "once");
    }
}

#[test]
fn both_sessions_of_a_token_come_back_each_in_its_next_epoch() {
    let mut w = World::of(3);
    let (desk, first, before) = protected(&mut w);
    let new = Command::NewSession { token: "card.ann".parse().unwrap(), template: None };
    let Reply::Made(second) = w.ask("h1", new) else { w.fail("no second session") };
    w.run_for(secs(3));
    let record = w.record_of(second).unwrap();
    assert!(record.secondary.is_some(), "{record:?}");
    w.power_off("h1");
    let heir = heir(&mut w, desk);
    w.expect(desk).showing(first).now();
    w.run_for(secs(1));
    let all: Vec<(String, SessionId)> =
        w.sessions_of("card.ann").into_iter().map(|seen| (seen.host, seen.session)).collect();
    assert_eq!(all.len(), 2, "{all:?}\n{}", w.story());
    for (session, before) in [(first, before), (second, record.epoch)] {
        assert!(all.contains(&(heir.clone(), session)), "{all:?}");
        let now = w.record_of(session).unwrap();
        assert_eq!((now.home.as_str(), now.epoch), (heir.as_str(), before.next(before.generation)));
        assert!(!w.restored(&heir, session).is_empty(), "with what was kept of it");
    }
    assert_eq!(w.claim_on("card.ann").unwrap().session, first);
    let own = w.claim_on(&format!("card.ann/{second}")).unwrap();
    assert_eq!((own.host.as_str(), own.session), (heir.as_str(), second));
}

#[test]
fn a_copy_of_before_what_the_record_demands_is_not_taken_up() {
    let mut w = World::of(3);
    let (desk, session, epoch) = protected(&mut w);
    let record = w.record_of(session).unwrap();
    put_record(&mut w, session, &SessionRecord { floor: Some(epoch.next(epoch.generation)), ..record });
    w.power_off("h1");
    heir(&mut w, desk);
    assert_ne!(w.shows(desk), Some(session));
}

/// A host that was about to become its home died between two keys.
#[test]
fn a_record_whose_claim_was_not_swapped_yet_is_gone_on_with() {
    let mut w = World::of(3);
    let (desk, session, before) = protected(&mut w);
    let record = w.record_of(session).unwrap();
    let (home, boot) = (name("h3"), w.boot_of("h3").unwrap());
    w.power_off("h1");
    w.power_off("h3");
    let epoch = before.next(before.generation);
    put_record(&mut w, session, &SessionRecord { home, boot, epoch, ..record });
    heir(&mut w, desk);
    w.expect(desk).showing(session).now();
    assert!(w.record_of(session).unwrap().epoch > epoch);
    goes_on(&w, "h2", session, before);
}

#[test]
fn a_session_that_ends_leaves_neither_record_nor_claim() {
    let mut w = World::of(2);
    let (desk, session, _) = protected(&mut w);
    w.remove(desk);
    w.ask("h1", end(session));
    let is_gone = move |w: &World| w.record_of(session).is_none() && w.claim_on("card.ann").is_none();
    w.expect_that("nothing is left of it", is_gone).within(secs(1));
}

#[test]
fn a_session_whose_process_ends_does_not_come_back_and_is_not_said_to_be_lost() {
    let mut w = World::of(3);
    let (desk, session, _) = protected(&mut w);
    let from = w.now();
    w.kill_session("h1", session);
    w.expect_that("another one is shown", move |w| w.shows(desk).is_some_and(|now| now != session))
        .within(secs(2));
    w.run_for(secs(3));
    assert!(w.record_of(session).is_none() && w.sessions_of("card.ann").iter().all(|s| s.session != session));
    assert!(w.notes_since("h1", from).all(|note| !matches!(note, Note::StateLost { .. })), "\n{}", w.story());
}

/// A desk that had no way to its host got a session beside; then the host dies, and that session lives on.
#[test]
fn a_session_that_is_kept_keeps_its_claim_while_another_one_of_its_token_lives() {
    for is_kept in [true, false] {
        let mut w = World::of(3);
        let (desk, session, before) = protected(&mut w);
        w.keep_apart(desk, "h1");
        w.expect_that("it has one beside", move |w| w.shows(desk).is_some_and(|now| now != session))
            .within(secs(20));
        let beside = w.shows(desk).unwrap();
        if !is_kept {
            let record = w.record_of(session).unwrap();
            put_record(&mut w, session, &SessionRecord { secondary: None, ..record });
        }
        let from = w.now();
        w.power_off("h1");
        w.run_for(secs(25));
        w.expect(desk).showing(beside).now();
        let host = w.host_of(desk).unwrap();
        let has_claim = w.claim_on("card.ann").unwrap().session;
        let is_said = w.notes_since(&host, from).any(|note| matches!(note, Note::StateLost { .. }));
        assert_eq!(
            (has_claim, is_said),
            (if is_kept { session } else { beside }, !is_kept),
            "\n{}",
            w.story()
        );
        if is_kept {
            // When that one is over, it comes back.
            w.kill_session(&host, beside);
            w.expect(desk).showing(session).within(secs(20));
            let home = w.host_of(desk).unwrap();
            goes_on(&w, &home, session, before);
        }
    }
}

/// Its home was cut off meanwhile, and cannot know.
#[test]
fn a_session_that_has_ended_at_its_next_home_does_not_rise_again_at_the_one_before() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2"), HostPlan::named("h3")]);
    let (desk, session, _) = protected(&mut w);
    w.freeze("h1");
    let heir = heir(&mut w, desk);
    w.remove(desk);
    w.ask(&heir, end(session));
    w.expect_that("nothing is left of it", move |w| w.record_of(session).is_none()).within(secs(1));
    w.run_for(secs(3));
    w.thaw("h1");
    w.run_for(secs(5));
    assert_eq!(w.sessions_of("card.ann"), [], "\n{}", w.story());
    assert!(w.record_of(session).is_none() && w.claim_on("card.ann").is_none());
}

/// The same where the daemon was not there meanwhile.
#[test]
fn a_session_that_has_ended_at_its_next_home_is_not_taken_up_by_the_next_daemon_of_the_one_before() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2"), HostPlan::named("h3")]);
    let (desk, session, _) = protected(&mut w);
    w.kill("h1");
    let heir = heir(&mut w, desk);
    w.remove(desk);
    w.ask(&heir, end(session));
    w.expect_that("nothing is left of it", move |w| w.record_of(session).is_none()).within(secs(1));
    w.start("h1");
    w.expect_that("it has no record", move |w| w.record_of(session).is_none()).throughout(secs(5));
    assert_eq!(w.sessions_of("card.ann"), [], "\n{}", w.story());
    assert!(w.claim_on("card.ann").is_none());
}

#[test]
fn a_session_that_its_daemon_takes_up_again_goes_on_with_its_secondary() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2"), HostPlan::named("h3")]);
    let (desk, session, _) = protected(&mut w);
    w.restart("h1");
    w.run_for(secs(6));
    w.expect(desk).showing(session).now();
    assert_eq!(w.sessions_of("card.ann").len(), 1);
    assert!(w.record_of(session).unwrap().secondary.is_some(), "\n{}", w.story());
}

/// It was killed just as the data store went away.
#[test]
fn a_session_that_its_daemon_takes_up_again_is_in_no_other_epoch_without_the_stores_word() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2")]);
    let (_, session, before) = protected(&mut w);
    w.stop_store();
    w.restart("h1");
    w.run_for(secs(8));
    assert_eq!(w.epoch_of("h1", session), Some(before), "\n{}", w.story());
    w.start_store();
    w.run_for(secs(8));
    let record = w.record_of(session).unwrap();
    assert_eq!((record.home, w.epoch_of("h1", session)), (name("h1"), Some(record.epoch)));
}

/// Its first session had ended, and the claim of its own was about to be removed.
#[test]
fn a_claim_of_a_sessions_own_that_an_earlier_home_has_left_is_removed_by_the_next() {
    for takes_up in [true, false] {
        let plan = HostPlan::named("h1").keep();
        let mut w = World::of_hosts([plan, HostPlan::named("h2"), HostPlan::named("h3")]);
        let (desk, session, _) = protected(&mut w);
        let own = format!("card.ann/{session}");
        let claim = w.claim_on("card.ann").unwrap();
        w.store_put(
            &format!("claim/{own}"),
            core::str::from_utf8(claim.value().unwrap().as_bytes()).unwrap(),
        );
        if takes_up {
            w.restart("h1");
            w.run_for(secs(3));
        } else {
            w.power_off("h1");
            heir(&mut w, desk);
        }
        w.expect(desk).showing(session).within(secs(2));
        w.expect_that("it has the token's claim alone", move |w| w.claim_on(&own).is_none()).within(secs(2));
    }
}

#[test]
fn a_claim_of_a_sessions_own_that_a_backup_brings_back_is_removed() {
    let mut w = World::of(2);
    let (_, session, _) = protected(&mut w);
    let own = format!("claim/card.ann/{session}");
    let claim = w.claim_on("card.ann").unwrap();
    w.store_put(&own, core::str::from_utf8(claim.value().unwrap().as_bytes()).unwrap());
    let backup = w.back_up_store();
    w.store_delete(&own);
    w.run_for(secs(1));
    w.restore_store(backup);
    assert!(w.stored(&own).is_some());
    w.expect_that("it is removed again", move |w| w.stored(&own).is_none()).within(secs(15));
}

#[test]
fn a_host_that_stops_leaves_its_sessions_to_the_next() {
    let mut w = World::of(3);
    let (desk, session, before) = protected(&mut w);
    w.stop("h1");
    let heir = heir(&mut w, desk);
    w.expect(desk).showing(session).now();
    goes_on(&w, &heir, session, before);
}

/// Its process is slow to end there.
#[test]
fn a_session_does_not_come_back_to_a_home_where_it_is_still_ending() {
    let mut w = World::of(3);
    let (desk, session, before) = protected(&mut w);
    drain(&mut w, &["h3".to_owned()], true);
    w.stop_session("h1", session);
    w.stop_daemon("h1");
    w.expect(desk).attached_to("h2").within(secs(20));
    drain(&mut w, &["h3".to_owned()], false);
    w.expect_that("another host keeps it", move |w| {
        w.record_of(session).is_some_and(|record| record.secondary.is_some())
    })
    .within(secs(5));
    drain(&mut w, &["h3".to_owned()], true);
    w.continue_daemon("h1");
    w.run_for(ms(500));
    w.power_off("h2");
    w.expect(desk).attached_to("h1").within(secs(20));
    w.run_for(secs(8));
    w.expect(desk).showing(session).now();
    goes_on(&w, "h1", session, before);
}

/// What could not be written of another session is tried again just then.
#[test]
fn the_record_of_a_session_that_is_about_to_be_made_stays() {
    for pause in (0..30).map(|n| n * 100) {
        let mut w = World::of(2);
        let lan = w.lan();
        let bob = w.add_desk(DeskPlan::named("bob", lan).server("h2"));
        let (desk, _, session, _) = shown_nowhere(&mut w, "h2");
        w.insert(bob, "card.bob");
        w.run_for(secs(2));
        w.remove(bob);
        let other = w.shows(bob);
        w.slow_down_store(ms(700));
        if let Some(seen) = w.sessions_of("card.bob").first() {
            w.ask("h2", end(seen.session));
        }
        w.run_for(ms(600));
        w.slow_down_store(ms(150));
        w.run_for(ms(pause));
        w.insert(desk, "card.ann");
        w.expect_that("it has a record", move |w| w.record_of(session).is_some()).throughout(secs(4));
        w.expect(desk).showing(session).now();
        assert_eq!(other, None);
    }
}
