//! What the topology table says, and what follows from it (seed 003, Table A).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use proto::StoreId;
use tests::world::{DeskPlan, World, ms, secs};

/// Its claims and permanent data would be apart from those of the group.
#[test]
fn a_host_that_uses_another_data_store_is_not_chosen_for_a_session() {
    let mut w = World::of(2);
    w.set_load("h1", 800, 4_000);
    w.set_store("h2", StoreId(0xbad));
    w.run_for(ms(300));
    let lan = w.lan();
    for n in 0..4 {
        let plan = DeskPlan::named(&format!("d{n}"), lan).server("h1").card(&format!("card.p{n}"));
        let desk = w.add_desk(plan);
        w.expect(desk).attached().within(secs(5));
        assert_eq!(w.host_of(desk).as_deref(), Some("h1"), "h2 is idle, and has another store");
    }
}

/// The rule above is about stores that are known to differ.
#[test]
fn a_host_whose_data_store_is_not_known_or_the_same_is_chosen() {
    let mut w = World::of(2);
    w.set_load("h1", 800, 4_000);
    w.run_for(ms(300));
    let plan = DeskPlan::named("d1", w.lan()).server("h1").card("card.p1");
    let desk = w.add_desk(plan);
    w.expect(desk).attached().within(secs(5));
    assert_eq!(w.host_of(desk).as_deref(), Some("h2"));
}
