//! Sessions whose secondary goes on with them unasked when their home is gone.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::admin::{Command, Reply};
use proto::{Epoch, SessionId};
use tests::scene::{self, desk_with_session};
use tests::world::{DeskId, HostPlan, World, ms, secs};

const PING: &str = "promote = \"ping\"\n";

/// Ann's session on `h1`, which another host keeps, with her card in no desk.
fn left_alone(w: &mut World, policy: &str) -> (DeskId, SessionId, Epoch) {
    let (desk, session) = scene::desk_with_kept_page(w, policy);
    w.remove(desk);
    w.run_for(secs(1));
    let record = w.record_of(session).unwrap();
    assert!(record.secondary.is_some());
    (desk, session, record.epoch)
}

fn keeper(w: &World, session: SessionId) -> String {
    w.record_of(session).unwrap().secondary.unwrap().to_string()
}

/// It runs at this host alone, as everybody knows, and a desk that comes finds it.
#[track_caller]
fn runs_at(w: &mut World, host: &str, desk: DeskId, session: SessionId, before: Epoch) {
    let homes: Vec<String> = w.sessions_of("card.ann").into_iter().map(|seen| seen.host).collect();
    assert_eq!(homes, [host], "\n{}", w.story());
    let (record, claim) = (w.record_of(session).unwrap(), w.claim_on("card.ann").unwrap());
    assert_eq!((record.home.as_str(), claim.host.as_str(), claim.session), (host, host, session));
    assert!(record.epoch > before && record.epoch == claim.epoch, "{record:?} {claim:?}");
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to(host).within(secs(3));
    w.expect(desk).showing(session).now();
    w.type_line(desk, "kept");
    w.expect(desk).reading("has=page-3").within(secs(1));
}

#[test]
fn a_session_is_gone_on_with_before_anybody_comes_as_soon_as_its_home_is_gone() {
    type Fault = fn(&mut World);
    let cut: Fault = |w| {
        let lan = w.lan();
        w.split(lan, &["h1"], &[]);
    };
    let faults: [(Fault, u64); 4] =
        [(|w| w.kill("h1"), 100), (|w| w.power_off("h1"), 360), (|w| w.freeze("h1"), 360), (cut, 360)];
    for (fault, within) in faults {
        let mut w = World::of(3);
        let (desk, session, before) = left_alone(&mut w, PING);
        let heir = keeper(&w, session);
        fault(&mut w);
        let to = heir.clone();
        let runs = move |w: &World| w.sessions_of("card.ann").iter().any(|seen| seen.host == to);
        w.expect_that("its keeper runs it", runs).within(ms(within));
        w.run_for(ms(100));
        if w.sessions_of("card.ann").len() > 1 {
            // What is cut off or frozen cannot know yet.
            continue;
        }
        runs_at(&mut w, &heir, desk, session, before);
    }
}

#[test]
fn without_that_word_nobody_goes_on_with_it_before_its_card_comes() {
    let mut w = World::of(3);
    let (desk, session, before) = left_alone(&mut w, "promote = \"card\"\n");
    let heir = keeper(&w, session);
    w.kill("h1");
    w.run_for(secs(30));
    assert_eq!(w.sessions_of("card.ann"), [], "\n{}", w.story());
    let other = if heir == "h2" { "h3" } else { "h2" };
    scene::drain(&mut w, &[other.to_owned()], true);
    w.insert(desk, "card.ann");
    w.expect(desk).showing(session).within(secs(5));
    assert!(w.record_of(session).unwrap().epoch > before);
}

#[test]
fn with_the_store_away_nobody_becomes_its_home() {
    let mut w = World::of(3);
    let (desk, session, before) = left_alone(&mut w, PING);
    let heir = keeper(&w, session);
    w.kill_store();
    w.run_for(ms(100));
    w.power_off("h1");
    w.run_for(secs(60));
    assert_eq!(w.sessions_of("card.ann"), [], "\n{}", w.story());
    w.start_store();
    w.run_for(secs(4));
    runs_at(&mut w, &heir, desk, session, before);
}

#[test]
fn a_home_that_lives_keeps_its_session_though_the_link_to_it_breaks() {
    let mut w = World::of(3);
    let (desk, session, before) = left_alone(&mut w, PING);
    let heir = keeper(&w, session);
    for _ in 0..5 {
        w.lose_peer(&heir, "h1");
        w.run_for(ms(700));
    }
    assert_eq!(w.record_of(session).unwrap().epoch, before);
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to("h1").within(secs(2));
    w.expect(desk).showing(session).now();
}

#[test]
fn a_home_that_was_frozen_ends_what_has_moved_away() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2"), HostPlan::named("h3")]);
    let (desk, session, before) = left_alone(&mut w, PING);
    let heir = keeper(&w, session);
    w.freeze("h1");
    w.run_for(secs(3));
    w.thaw("h1");
    w.expect_that("the old home has ended it", |w| w.sessions_of("card.ann").len() == 1).within(secs(2));
    runs_at(&mut w, &heir, desk, session, before);
}

#[test]
fn a_desk_that_comes_at_the_same_time_gets_the_same_session() {
    for pause in 0..12 {
        let mut w = World::of(3);
        let (desk, session, _) = left_alone(&mut w, PING);
        w.power_off("h1");
        w.run_for(ms(250 + 10 * pause));
        w.insert(desk, "card.ann");
        w.expect(desk).showing(session).within(secs(3));
        w.run_for(secs(2));
        assert_eq!(w.sessions_of("card.ann").len(), 1, "pause {pause}\n{}", w.story());
        assert_eq!(w.record_of(session).unwrap().home.as_str(), w.sessions_of("card.ann")[0].host);
    }
}

#[test]
fn all_sessions_of_a_dead_host_are_gone_on_with_also_the_further_ones_of_a_token() {
    let mut w = World::of(3);
    scene::replicate(&mut w, PING);
    for n in 0..25 {
        let desk = desk_with_session(&mut w, "h1", &format!("card.n{n}"));
        w.remove(desk);
    }
    let new = Command::NewSession { token: "card.n0".parse().unwrap(), template: None };
    let Reply::Made(second) = w.ask("h1", new) else { w.fail("no second session") };
    w.run_for(secs(5));
    let before = w.record_of(second).unwrap().epoch;
    w.kill("h1");
    w.run_for(secs(3));
    for n in 0..25 {
        let has = w.sessions_of(&format!("card.n{n}")).len();
        assert_eq!(has, if n == 0 { 2 } else { 1 }, "n{n}\n{}", w.story());
    }
    assert!(w.record_of(second).unwrap().epoch > before);
}
