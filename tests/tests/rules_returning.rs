//! What a person at a desk has of a session that goes on at another host.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use tests::scene::desk_with_session;
use tests::world::{DeskId, World, ms, secs};

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
