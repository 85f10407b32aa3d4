//! The diagrams of the machines: every edge is one that happens, and no other does.

use std::collections::BTreeSet;

use proto::alp::FromHost;

use super::host::{Policy, Proc};
use super::world::{Kind, World, card, format_addr};
use crate::dtu::edges::{Edges, SEEN};
use crate::dtu::{DtuInput, Phase, channel, connection, discovery, failover};

const DIAGRAMS: [Edges; 4] = [channel::EDGES, connection::EDGES, discovery::EDGES, failover::EDGES];

/// The session is taken away, and then its host dies.
fn taken_away() {
    let mut world = World::attached(&["a", "b"]);
    world.send_control("a", &FromHost::DiscInf { token_seq: None, cause: Some("detached".into()) });
    world.run_ms(10);
    world.kill("a");
    world.run_ms(2_000);
    assert_eq!(world.phase(), Phase::Detached);
    world.type_text("\r");
    world.until(Phase::Attached, 1_000);
}

/// A host that says nothing of use is left for another one.
fn garbled() {
    let mut world = World::new(&["a", "b"], |config| config.servers = vec![format_addr(1), format_addr(2)]);
    world.host("a").policy = Policy::Garble;
    world.input(DtuInput::Boot);
    world.until(Phase::Attached, 1_000);
}

/// A daemon stops while its session runs, and goes on, or ends for good.
fn stopped() {
    let mut world = World::attached(&["a", "b"]);
    world.stop_daemon("a");
    world.run_ms(4_000);
    world.resume_daemon("a");
    world.run_ms(1_000);
    assert_eq!(world.phase(), Phase::Attached);
    world.stop_daemon("a");
    world.run_ms(1_000);
    world.close_all("a", Kind::Control);
    world.host("a").daemon = Proc::Dead;
    world.until(Phase::Attached, 12_000);
    assert_eq!(world.at_host(), "b");
}

/// A daemon dies and comes back; or the machine falls silent, or the person leaves, while it is waited for.
fn restarted() {
    let mut world = World::attached(&["a", "b"]);
    world.kill_daemon("a");
    world.run_ms(1_000);
    world.start_daemon("a");
    world.until(Phase::Attached, 1_000);
    assert_eq!(world.at_host(), "a");
    world.stop_daemon("a");
    world.run_ms(1_000);
    world.freeze("a");
    world.until(Phase::Attached, 2_000);

    let mut world = World::attached(&["a", "b"]);
    world.kill_daemon("a");
    world.run_ms(500);
    world.host("a").daemon = Proc::Stopped;
    world.run_ms(500);
    world.input(DtuInput::CardRemoved);
    world.until(Phase::Attached, 1_000);
}

/// Redirects that lead somewhere, and nowhere, and not even back.
fn redirected() {
    let redirect = |and_then: fn(&mut World)| {
        let mut world = World::new(&["a", "b"], |config| config.servers = vec![format_addr(1)]);
        world.host("a").policy = Policy::Redirect("b");
        and_then(&mut world);
        world.input(DtuInput::CardInserted(card("1")));
        world.input(DtuInput::Boot);
        world.run_ms(4);
        world.host("a").policy = Policy::Grant(1);
        world
    };
    redirect(|_| {}).until(Phase::Attached, 100);
    redirect(|world| world.kill("b")).until(Phase::Attached, 100);
    let mut world = redirect(|world| world.kill("b"));
    world.kill("a");
    world.until(Phase::Searching, 2_000);
}

#[test]
fn the_diagrams_draw_what_happens_and_nothing_else() {
    SEEN.take();
    taken_away();
    garbled();
    stopped();
    restarted();
    redirected();
    let drawn =
        DIAGRAMS.iter().flat_map(|edges| edges.drawn.iter().map(|(from, to)| (edges.machine, *from, *to)));
    assert_eq!(SEEN.take(), drawn.collect::<BTreeSet<_>>());
}
