//! The stages of a presentation, and what the host's machines tell each other: edges of their diagrams that a swarm of the
//! simulator seldom or never takes. It names those that it did not (`sim --seeds A-B`).

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::ClaimRecord;
use groupmgr::host::admin::{Command, Reply, SessionAct};
use proto::{BootId, Epoch, Last, SessionId};
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

/// How often any host has taken an edge.
fn taken(w: &World, edge: &str) -> u64 {
    let hosts: Vec<&str> = w.host_names().collect();
    hosts.iter().filter_map(|host| w.host(host)?.edges().get(edge).copied()).sum()
}

/// Whether the edge was taken in one of the scenes, which differ in how much later something happens.
#[track_caller]
fn is_taken(edge: &str, later: impl Iterator<Item = u64>, scene: impl Fn(u64) -> World) {
    let is_one = later.into_iter().any(|n| taken(&scene(n), edge) > 0);
    assert!(is_one, "{edge}");
}

/// Desks at these hosts, with cards that have no session.
fn desks(w: &mut World, at: &[&str]) -> Vec<DeskId> {
    let lan = w.lan();
    let plan = |n: usize, host: &str| DeskPlan::named(&format!("d{n}"), lan).server(host);
    let all = at.iter().enumerate().map(|(n, host)| w.add_desk(plan(n, host))).collect();
    w.run_for(secs(1));
    all
}

/// A card is put in at the first desk, and so much later a copy of it at the second.
fn copied(w: &mut World, desks: &[DeskId], later_us: u64) {
    w.insert(desks[0], "card.ann");
    w.run_for(proto::time::Duration::from_micros(later_us));
    w.insert(desks[1], "card.ann");
    w.run_for(ms(500));
}

#[test]
fn a_session_that_is_still_starting_is_found_at_every_stage() {
    let both_at_one = |later| {
        let mut w = World::of(1);
        let both = desks(&mut w, &["h1", "h1"]);
        copied(&mut w, &both, later);
        w
    };
    for edge in ["LookingUp becomes Starting", "ReadingClaim becomes Starting"] {
        is_taken(edge, (0..12_000).step_by(100), both_at_one);
    }
    let at_two = |later| {
        let mut w = World::of(2);
        let both = desks(&mut w, &["h2", "h1"]);
        copied(&mut w, &both, later);
        w
    };
    is_taken("Redeeming becomes Starting", (0..12_000).step_by(200), at_two);
}

#[test]
fn a_session_that_cannot_be_made_ends_the_presentation_wherever_that_is_found() {
    let without_a_template = |_| {
        let mut w = World::of(1);
        w.store_put("template/default", "continuity = 7\n");
        let desk = desks(&mut w, &["h1"]);
        w.insert(desk[0], "card.ann");
        w.run_for(ms(500));
        w
    };
    is_taken("Preparing becomes Settled", 0..1, without_a_template);
    let full_and_without_a_store = |_| {
        let mut w = World::of_hosts([HostPlan::named("h1").sessions_max(1)]);
        let both = desks(&mut w, &["h1", "h1"]);
        w.kill_store();
        w.run_for(secs(3));
        copied(&mut w, &both, 300_000);
        w.insert(both[1], "card.bob");
        w.run_for(secs(3));
        w
    };
    is_taken("AskingRivals becomes Settled", 0..1, full_and_without_a_store);
}

#[test]
fn in_a_large_group_a_store_that_goes_away_before_the_claim_is_made_has_everybody_asked() {
    let store_dies = |later_us| {
        let mut w = World::of(20);
        let desk = desks(&mut w, &["h1"]);
        w.run_for(secs(12));
        w.insert(desk[0], "card.ann");
        w.run_for(proto::time::Duration::from_micros(later_us));
        w.kill_store();
        w.run_for(secs(2));
        w
    };
    is_taken("Claiming becomes LookingUp", (500..6_000).step_by(500), store_dies);
}

#[test]
fn a_presentation_that_loses_its_claim_again_and_again_ends() {
    let always_lost = |_| {
        let mut w = World::of(1);
        let desk = desks(&mut w, &["h1"]);
        w.insert(desk[0], "card.ann");
        let mut record = ClaimRecord {
            session: SessionId(7),
            host: "h1".parse().unwrap(),
            boot: BootId(1),
            epoch: Epoch::default(),
            is_replicated: false,
        };
        // Whenever the claim was read, another one is there before it is swapped.
        for other in 1..5_000 {
            record.session = SessionId(other);
            w.store_put("claim/card.ann", &String::from_utf8_lossy(record.value().unwrap().as_bytes()));
            w.run_for(proto::time::Duration::from_micros(200));
        }
        assert!(w.sessions_of("card.ann").is_empty());
        w
    };
    is_taken("Claiming becomes Settled", 0..1, always_lost);
}

#[test]
fn what_operators_ask_and_order_is_told_to_every_machine_that_has_a_part_in_it() {
    let mut w = World::of(1);
    let desk = desks(&mut w, &["h1", "h1"]);
    w.insert(desk[0], "card.ann");
    w.run_for(ms(500));
    w.store_put("template/default", "continuity = 7\n");
    w.run_for(secs(5));
    w.insert(desk[1], "card.bob");
    w.run_for(ms(500));
    let (token, session) = ("card.ann".parse().unwrap(), w.sessions_of("card.ann")[0].session);
    let act = |act| Command::Session { session, act };
    for (command, edges) in [
        (
            Command::Explain(token),
            &[
                "Operations tells Admission",
                "Admission tells Operations",
                "Operations tells Claims",
                "Claims tells Operations",
            ][..],
        ),
        (Command::Message { serial: None, text: "noon".into() }, &["Operations tells Connections"]),
        (Command::PresentAgain("card.ann".parse().unwrap()), &["Operations tells Presentations"]),
        (act(SessionAct::Prefer { after: Last::default() }), &["Operations tells Sessions"]),
        (act(SessionAct::Detach), &["Operations tells Attachments"]),
        (Command::Drain(true), &["Operations tells Membership"]),
        (Command::Stop, &["Operations tells Operations", "Presentations tells Operations"]),
    ] {
        let reply = w.ask("h1", command.clone());
        assert!(!matches!(reply, Reply::Refused(_)), "{command:?}: {reply:?}");
        edges.iter().for_each(|edge| assert!(taken(&w, edge) > 0, "{edge}"));
    }
}

#[test]
fn a_store_that_stands_still_is_away_for_whoever_asks_it() {
    let stands_still = |asks: bool, later_ms| {
        let mut w = World::of(1);
        let desk = desks(&mut w, &["h1"]);
        w.insert(desk[0], "card.ann");
        w.run_for(ms(500));
        let session = w.sessions_of("card.ann")[0].session;
        // A host that was refused a write asks how the store is.
        w.fill_store(true);
        w.insert(desk[0], "card.bob");
        w.run_for(ms(500));
        w.remove(desk[0]);
        w.run_for(ms(later_ms));
        w.stop_store();
        if asks {
            w.session_asks("h1", session);
        }
        w.run_for(secs(2));
        w
    };
    for edge in ["Sessions tells Relay", "Relay tells Store"] {
        is_taken(edge, 0..1, |later| stands_still(true, later));
    }
    is_taken("Store tells Store", (0..1_000).step_by(100), |later| stands_still(false, later));
}
