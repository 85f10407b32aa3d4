//! Each session has a record in the data store, which names its home and its epoch.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::admin::{Command, Reply, SessionView};
use groupmgr::host::{ClaimRecord, SessionRecord};
use proto::{BootId, Epoch, SessionId};
use sessiond::manager::Claim;
use sessiond::template::Continuity;
use tests::scene::{desk_with_session, end};
use tests::world::{DeskId, HostPlan, World, ms, secs};

fn put_record(w: &mut World, session: SessionId, record: &SessionRecord) {
    let value = record.value().unwrap();
    w.store_put(&format!("session/{session}"), core::str::from_utf8(value.as_bytes()).unwrap());
}

fn put_claim(w: &mut World, key: &str, claim: &ClaimRecord) {
    w.store_put(key, core::str::from_utf8(claim.value().unwrap().as_bytes()).unwrap());
}

/// The record of a replicated session that ran on a host which nobody knows any more.
fn left_behind(w: &World) -> SessionRecord {
    SessionRecord {
        token: "card.eve".parse().unwrap(),
        name: "default".into(),
        class: Continuity::Replicated,
        home: "h3".parse().unwrap(),
        boot: w.boot_of("h3").unwrap(),
        epoch: Epoch { generation: 1, counter: 4 },
        secondary: Some("h2".parse().unwrap()),
        floor: None,
        expiry: None,
    }
}

fn kept(w: &mut World, host: &str) -> Vec<SessionView> {
    match w.ask(host, Command::Sessions) {
        Reply::Sessions(all) => all.into_iter().filter(|s| s.state == "kept").collect(),
        other => w.fail(&format!("not sessions: {other:?}")),
    }
}

/// A desk with ann's session on h1, and a second one there, made by an operator.
fn two_sessions(w: &mut World) -> (DeskId, SessionId, SessionId) {
    let desk = desk_with_session(w, "h1", "card.ann");
    let first = w.shows(desk).unwrap();
    let new = Command::NewSession { token: "card.ann".parse().unwrap(), template: None };
    let Reply::Made(second) = w.ask("h1", new) else { w.fail("no second session") };
    w.run_for(ms(500));
    (desk, first, second)
}

#[test]
fn a_session_has_a_record_that_names_its_home_for_as_long_as_it_lives() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.run_for(ms(100));
    let (record, claim) = (w.record_of(session).unwrap(), w.claim_on("card.ann").unwrap());
    assert_eq!((&record.home, record.boot, record.epoch), (&claim.host, claim.boot, claim.epoch));
    assert_eq!((record.class, record.name.as_str()), (Continuity::Restart, "default"));
    w.remove(desk);
    w.ask("h1", end(session));
    w.expect_that("its record is gone", move |w| w.record_of(session).is_none()).within(secs(1));
}

#[test]
fn the_second_session_of_a_token_has_an_epoch_a_record_and_a_claim_of_its_own() {
    let mut w = World::of(2);
    let (desk, first, second) = two_sessions(&mut w);
    assert_eq!(w.claim_on("card.ann").unwrap().session, first);
    assert_eq!(w.claim_of("h1", second), Some(Claim::Superseded));
    let of_its_own = format!("card.ann/{second}");
    let (claim, record) = (w.claim_on(&of_its_own).unwrap(), w.record_of(second).unwrap());
    assert!(record.epoch >= Epoch { generation: 1, counter: 1 });
    assert_eq!((claim.session, claim.epoch), (second, record.epoch));
    assert_eq!(w.epoch_of("h1", second), Some(record.epoch));
    // When the first is over it is the token's.
    w.remove(desk);
    w.ask("h1", end(first));
    w.insert(desk, "card.ann");
    w.expect(desk).showing(second).within(secs(1));
    let is_first = move |w: &World| w.claim_on("card.ann").is_some_and(|claim| claim.session == second);
    w.expect_that("it has the token's claim", is_first).within(secs(12));
    w.expect_that("and none beside", move |w| w.claim_on(&of_its_own).is_none()).within(secs(1));
}

#[test]
fn what_sessions_of_a_dead_host_have_left_is_removed() {
    let mut w = World::of(3);
    let (_, first, second) = two_sessions(&mut w);
    w.power_off("h1");
    let is_gone = move |w: &World| {
        let records = w.records().into_iter().map(|(session, _)| session);
        let claims = w.claims().into_iter().map(|(_, claim)| claim.session);
        records.chain(claims).all(|session| session != first && session != second)
    };
    w.expect_that("nothing names them", is_gone).within(secs(90));
}

#[test]
fn a_record_to_which_nothing_points_is_removed_after_a_minute_and_one_that_is_kept_is_listed() {
    let mut w = World::of(3);
    let (one, two, three) = (SessionId(1), SessionId(2), SessionId(3));
    let record = left_behind(&w);
    let second = SessionRecord { token: "card.bob".parse().unwrap(), ..record.clone() };
    for (session, record) in [(one, &record), (two, &record), (three, &second)] {
        put_record(&mut w, session, record);
    }
    let claim = ClaimRecord {
        session: one,
        host: record.home.clone(),
        boot: record.boot,
        epoch: record.epoch,
        is_replicated: true,
    };
    put_claim(&mut w, "claim/card.eve", &claim);
    put_claim(&mut w, &format!("claim/card.bob/{three}"), &ClaimRecord { session: three, ..claim.clone() });
    // Its claim points to no record.
    put_claim(&mut w, "claim/card.dan", &ClaimRecord { session: SessionId(9), ..claim });
    w.power_off("h3");
    let is_listed = |w: &World| w.host("h1").is_some() && w.stored("claim/card.dan").is_none();
    w.expect_that("what points nowhere is removed", is_listed).within(secs(90));
    w.run_for(secs(5));
    let listed: Vec<SessionId> = kept(&mut w, "h1").iter().map(|s| s.session).collect();
    assert_eq!(listed, [one, three]);
    assert_eq!(kept(&mut w, "h1")[0].host.as_str(), "h2", "its keeper");
    assert!(kept(&mut w, "h2").is_empty(), "one host tells of them");
    assert!(w.record_of(two).is_some(), "for a minute");
    w.expect_that("the orphan is gone", move |w| w.record_of(two).is_none()).within(secs(80));
    w.run_for(secs(700));
    assert!(w.record_of(one).is_some() && w.record_of(three).is_some(), "\n{}", w.story());
    assert!(w.record_of(one).unwrap().expiry.is_some(), "but not for ever");
}

/// The host was cut off meanwhile, or its clock says otherwise.
#[test]
fn who_finds_a_later_home_in_the_record_of_its_session_ends_what_runs_of_it() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.run_for(secs(3));
    let record = w.record_of(session).unwrap();
    w.type_line(desk, "put note one");
    w.expect(desk).reading("stored").within(ms(500));
    let epoch = record.epoch.next(1);
    let later = SessionRecord { home: "h2".parse().unwrap(), boot: BootId(1), epoch, ..record };
    put_record(&mut w, session, &later);
    let (host, boot) = (later.home.clone(), later.boot);
    let claim = ClaimRecord { host, boot, epoch, ..w.claim_on("card.ann").unwrap() };
    put_claim(&mut w, "claim/card.ann", &claim);
    w.type_line(desk, "put note two");
    w.expect_that("it is ended", move |w| w.sessions_of("card.ann").iter().all(|s| s.session != session))
        .within(secs(1));
    assert_eq!(w.stored("data/card.ann/note").as_deref(), Some("one"), "its writes are refused");
    assert_eq!(w.refused("h1", "write_of_a_former_home"), 1);
    w.run_for(secs(1));
    assert_eq!(w.record_of(session), Some(later), "and neither the record is its own any more");
    // The desk got another session, in the place of the claim that the later home had left.
    let now = w.claim_on("card.ann").unwrap();
    assert!(now.session != session && now.epoch == epoch.next(1), "nor was the claim: {now:?}");
    assert_eq!(w.claim_on(&format!("card.ann/{session}")), None);
}

/// It has just become its token's first one here, and needs no claim of its own any more.
#[test]
fn the_claim_of_its_own_that_the_next_home_of_a_session_has_written_stays() {
    let mut w = World::of(2);
    let (desk, first, second) = two_sessions(&mut w);
    let (record, own) = (w.record_of(second).unwrap(), format!("card.ann/{second}"));
    let (home, boot, epoch) = ("h2".parse().unwrap(), w.boot_of("h2").unwrap(), record.epoch.next(1));
    let claim = ClaimRecord { host: "h2".parse().unwrap(), boot, epoch, ..w.claim_on(&own).unwrap() };
    put_record(&mut w, second, &SessionRecord { home, boot, epoch, ..record });
    put_claim(&mut w, &format!("claim/{own}"), &claim);
    w.remove(desk);
    w.ask("h1", end(first));
    w.insert(desk, "card.ann");
    w.expect_that("the claim stays", move |w| w.claim_on(&own).as_ref() == Some(&claim)).throughout(secs(4));
    assert_eq!(w.done("h1", "session_moved_away"), 1);
}

/// By a host that heard nothing of its home, which heard everybody.
#[test]
fn a_record_that_was_removed_out_of_its_homes_sight_is_written_again() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.run_for(secs(3));
    let before = w.record_of(session);
    w.store_delete(&format!("session/{session}"));
    w.expect_that("its record is back", move |w| w.record_of(session) == before).within(secs(65));
}

#[test]
fn a_record_that_is_lost_with_a_restored_backup_is_written_again() {
    let mut w = World::of(2);
    let backup = w.back_up_store();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.run_for(secs(1));
    let before = w.record_of(session).unwrap().epoch;
    w.restore_store(backup);
    let is_back = move |w: &World| {
        let (record, claim) = (w.record_of(session), w.claim_on("card.ann"));
        record.zip(claim).is_some_and(|(record, claim)| record.epoch == claim.epoch && record.epoch > before)
    };
    w.expect_that("its record is back, and of the claim's new epoch", is_back).within(secs(15));
}

#[test]
fn a_daemon_that_takes_its_sessions_up_writes_its_run_into_their_records() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2")]);
    let (_, first, second) = two_sessions(&mut w);
    let before = w.record_of(second).unwrap();
    w.restart("h1");
    w.run_for(secs(5));
    for session in [first, second] {
        let record = w.record_of(session).unwrap();
        assert_eq!(Some(record.boot), w.boot_of("h1"), "{session}");
        assert!(record.epoch >= before.epoch && record.name == "default");
    }
    assert_eq!(w.claim_on(&format!("card.ann/{second}")).unwrap().boot, w.boot_of("h1").unwrap());
}

/// The claim of a replicated session says so, and a host of the version before reads the rest.
#[test]
fn a_claim_of_a_replicated_session_has_one_field_more() {
    let mut w = World::of(2);
    w.store_put("template/default", "continuity = \"replicated\"\n[[service]]\nname = \"terminal\"\n");
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let text = w.stored("claim/card.ann").unwrap();
    assert!(text.ends_with("class=replicated"), "{text}");
    let claim = ClaimRecord::parse(text.as_bytes()).unwrap();
    assert_eq!((Some(claim.session), claim.is_replicated), (w.shows(desk), true));
}
