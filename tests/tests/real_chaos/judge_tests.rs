//! The judge judged: histories that hold and histories that do not.

use lab::net::{Rule, Way};
use lab::timeline::Event;

use crate::faults::{Fault, Lan};
use crate::judge::{Happened, judge};
use crate::scene::Played;

fn at(t_ms: f64, desk: &str, event: &str, host: &str) -> Event {
    Event { t_ms, ..Event::new(event).dtu(desk).host(host) }
}

fn attached(t_ms: f64, desk: &str, host: &str, session: &str) -> Event {
    let (token, session) = (Some("card.1".to_owned()), Some(session.to_owned()));
    Event { token, session, ..at(t_ms, desk, "attached", host) }
}

fn fault(host: &str, fault: Fault, from_ms: f64, until_ms: f64) -> Happened {
    Happened { host: host.to_owned(), fault, from_ms, until_ms }
}

fn complaints(events: &[Event], faults: &[Happened]) -> usize {
    judge(events, faults).len()
}

pub(crate) fn all() -> Played {
    leaving();
    two_desks();
    lost_session();
    Ok(())
}

fn leaving() {
    let left = [at(5_000.0, "d", "lost", "a")];
    assert_eq!(complaints(&left, &[]), 1);
    assert_eq!(complaints(&left, &[fault("a", Fault::Freeze, 4_000.0, 6_000.0)]), 0);
    assert_eq!(complaints(&left, &[fault("b", Fault::Freeze, 4_000.0, 6_000.0)]), 1, "another host's");
    assert_eq!(complaints(&left, &[fault("a", Fault::Freeze, 100.0, 900.0)]), 1, "long over");
    assert_eq!(complaints(&left, &[fault("a", Fault::Freeze, 5_500.0, 6_000.0)]), 1, "not begun");
    for light in [
        Fault::Busy,
        Fault::FreezeSessions,
        Fault::Cut(Lan::Store, Way::Both),
        Fault::Line(Lan::Desks, Way::Out, Rule::loss(0.02)),
    ] {
        assert_eq!(complaints(&left, &[fault("a", light, 4_000.0, 6_000.0)]), 1, "{light:?} is no reason");
    }
    let blank = [at(5_000.0, "d", "display_lost", "a")];
    assert_eq!(complaints(&blank, &[fault("a", Fault::FreezeSessions, 4_000.0, 6_000.0)]), 0);
    assert_eq!(complaints(&blank, &[]), 1);
}

fn two_desks() {
    let both = |until| {
        [
            attached(1_000.0, "d1", "a", "s"),
            attached(2_000.0, "d2", "a", "s"),
            at(until, "d1", "detached", "a"),
            at(20_000.0, "d2", "removed", "a"),
        ]
    };
    assert_eq!(complaints(&both(2_100.0), &[]), 0, "told in time");
    assert_eq!(complaints(&both(9_000.0), &[]), 1);
    assert_eq!(complaints(&both(9_000.0), &[fault("a", Fault::FreezeDaemon, 1_500.0, 8_000.0)]), 0);
    assert_eq!(complaints(&both(9_000.0), &[fault("a", Fault::FreezeDaemon, 1_500.0, 2_000.0)]), 1);
}

fn lost_session() {
    let changed = [attached(1_000.0, "d", "a", "s1"), attached(9_000.0, "d", "b", "s2")];
    assert_eq!(complaints(&changed, &[]), 1);
    assert_eq!(complaints(&changed, &[fault("a", Fault::Kill, 5_000.0, 6_000.0)]), 0);
    assert_eq!(complaints(&changed, &[fault("b", Fault::Kill, 5_000.0, 6_000.0)]), 1);
    assert_eq!(complaints(&changed, &[fault("a", Fault::FreezeSessions, 5_000.0, 6_000.0)]), 1);
}
