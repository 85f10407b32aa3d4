//! What a person at a desk has of a session that goes on at another host.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use proto::HostName;
use tests::scene::{desk_with_session, drain};
use tests::world::{DeskId, DeskPlan, World, ms, secs};

const REPLICATED: &str = "continuity = \"replicated\"\n[[service]]\nname = \"terminal\"\n";

/// A desk that is shown ann's session on h1, which h2 keeps.
fn protected(w: &mut World) -> DeskId {
    w.store_put("template/default", REPLICATED);
    let desk = desk_with_session(w, "h1", "card.ann");
    w.run_for(secs(3));
    w.type_line(desk, "keep page-3");
    w.expect(desk).reading("kept=page-3").within(secs(1));
    desk
}

#[test]
fn the_old_screen_is_above_and_half_a_line_never_reaches_a_shell_that_has_not_seen_the_other_half() {
    for typed_when_lost in ["ne\r", ""] {
        let mut w = World::of(2);
        let desk = protected(&mut w);
        let session = w.shows(desk).unwrap();
        w.type_line(desk, "count");
        w.type_line(desk, "count");
        w.expect(desk).reading("count=2").within(secs(1));
        w.type_keys(desk, "half a li");
        w.expect(desk).reading("half a li").within(secs(1));
        w.power_off("h1");
        w.type_keys(desk, typed_when_lost);
        w.expect(desk).attached_to("h2").within(secs(3));
        w.expect(desk).reading("Host h1 is gone").within(secs(1));
        assert_eq!(w.shows(desk), Some(session));
        assert!(w.can_read(desk, "count=2") && w.can_read(desk, "half a li"), "the old screen is above");
        w.type_line(desk, "count");
        w.expect(desk).reading("count=1").within(secs(1));
        w.type_line(desk, "kept");
        w.expect(desk).reading("has=page-3").within(secs(1));
        w.run_for(ms(500));
        assert!(!w.can_read(desk, "ne?"), "what had not arrived was dropped");
        assert_eq!(w.status(desk).input_dropped, typed_when_lost.len() as u64, "and the desk knows");
    }
}

/// Its keeper has become its home, and has not begun it: nobody else has a copy.
#[test]
fn a_session_whose_desk_leaves_while_it_is_about_to_come_back_comes_back_to_the_next_desk() {
    for (next, has_claim) in [("h2", false), ("h2", true), ("h3", false), ("h3", true)] {
        let mut w = World::of(3);
        let lan = w.lan();
        let other = w.add_desk(DeskPlan::named("other", lan).server("h2"));
        let last = w.add_desk(DeskPlan::named("last", lan).server(next));
        let desk = protected(&mut w);
        let session = w.shows(desk).unwrap();
        let keeper: HostName = "h2".parse().unwrap();
        assert_eq!(w.record_of(session).unwrap().secondary.as_ref(), Some(&keeper));
        w.remove(desk);
        w.run_for(secs(1));
        drain(&mut w, &["h3".to_owned()], true);
        w.power_off("h1");
        w.run_for(secs(2));
        w.slow_down_store(ms(300));
        w.insert(other, "card.ann");
        let home = keeper.clone();
        w.expect_that("its keeper is about to begin it", move |w| match has_claim {
            true => w.claim_on("card.ann").is_some_and(|claim| claim.host == home),
            false => w.record_of(session).is_some_and(|record| record.home == home),
        })
        .within(secs(5));
        w.remove(other);
        w.run_for(secs(2));
        w.slow_down_store(ms(0));
        let record = w.record_of(session).unwrap();
        assert_eq!((record.home, record.secondary), (keeper, None));
        assert_eq!(w.sessions_of("card.ann"), [], "\n{}", w.story());
        // For longer than a copy is kept that nobody needs.
        w.run_for(secs(60));
        drain(&mut w, &["h3".to_owned()], false);
        drain(&mut w, &["h2".to_owned()], next == "h3");
        w.insert(last, "card.ann");
        w.expect(last).attached_to(next).within(secs(8));
        w.expect(last).showing(session).now();
        w.type_line(last, "kept");
        w.expect(last).reading("has=page-3").within(secs(1));
    }
}
