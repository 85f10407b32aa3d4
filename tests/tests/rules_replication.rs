//! What a session has shown or answered is at its secondary, or the session says that it is not.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use continuity::Encoded;
use groupmgr::host::admin::{Command, ReplicaView, Reply, SessionAct};
use groupmgr::keep::Message;
use sessiond::control::{Kind, Part};
use sessiond::template::{Ack, Protect};
use tests::scene::{self, desk_with_session};
use tests::world::{DeskId, World, ms, secs};

/// A desk at `h1` of so many hosts, whose card has a session that another host keeps.
fn replicated(hosts: usize, policy: &str) -> (World, DeskId) {
    let mut w = World::of(hosts);
    scene::replicate(&mut w, policy);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.run_for(secs(1));
    assert_eq!(own(&mut w).state, "protected", "\n{}", w.story());
    (w, desk)
}

fn own(w: &mut World) -> ReplicaView {
    scene::copies(w, "h1").own.remove(0)
}

/// The newest version that `h2` keeps.
fn kept(w: &mut World) -> Option<String> {
    scene::copies(w, "h2").kept.first()?.version.clone()
}

fn named(w: &World) -> Option<String> {
    scene::record_of(w, "card.ann").and_then(|record| record.secondary).map(|host| host.to_string())
}

#[test]
fn what_is_answered_is_kept_elsewhere_first() {
    let (mut w, desk) = replicated(2, "");
    for n in 0..20 {
        w.type_line(desk, &format!("keep n{n}"));
        w.expect(desk).reading(&format!("kept=n{n}")).within(ms(100));
    }
    w.run_for(secs(1));
    assert_eq!((kept(&mut w), named(&w).as_deref()), (own(&mut w).version, Some("h2")));
    assert_eq!(own(&mut w).lag_ms, 0);
}

#[test]
fn a_session_goes_on_alone_after_200_ms_and_its_record_does_not_name_the_lost_secondary_then() {
    let (mut w, desk) = replicated(2, "");
    w.freeze("h2");
    w.type_line(desk, "keep alone");
    w.run_for(ms(150));
    assert!(!w.can_read(desk, "kept=alone"), "it waits for its secondary\n{}", w.story());
    w.expect(desk).reading("kept=alone").within(ms(250));
    assert_eq!(named(&w), None);
    w.expect(desk).noticing("unprotected").within(ms(100));
    // It comes back, and is filled before it counts.
    w.thaw("h2");
    let filled = |w: &World| named(w).is_some();
    w.expect_that("the secondary is named again", filled).within(secs(10));
    w.run_for(secs(1));
    assert_eq!(kept(&mut w), own(&mut w).version);
}

#[test]
fn another_host_takes_the_place_of_one_that_is_lost() {
    let (mut w, desk) = replicated(3, "");
    let first = own(&mut w).secondary.unwrap().to_string();
    w.power_off(&first);
    w.type_line(desk, "keep going");
    w.expect(desk).reading("kept=going").within(ms(400));
    w.run_for(secs(1));
    let own = own(&mut w);
    assert_eq!((own.state.as_str(), named(&w)), ("protected", own.secondary.map(|host| host.to_string())));
    assert_ne!(named(&w), Some(first));
}

#[test]
fn a_session_that_must_be_protected_shows_nothing_without_and_says_why() {
    let (mut w, desk) = replicated(2, "protect = \"must\"\n");
    w.freeze("h2");
    w.type_line(desk, "keep safe");
    w.run_for(secs(3));
    assert!(!w.can_read(desk, "kept=safe"), "\n{}", w.story());
    w.expect(desk).noticing("held").within(ms(100));
    w.thaw("h2");
    w.expect(desk).reading("kept=safe").within(secs(10));
    assert_eq!(named(&w).as_deref(), Some("h2"));
}

#[test]
fn with_the_store_away_too_nothing_is_shown_that_a_named_secondary_lacks() {
    let (mut w, desk) = replicated(2, "");
    w.kill_store();
    w.run_for(secs(1));
    w.type_line(desk, "keep on");
    w.expect(desk).reading("kept=on").within(ms(100));
    w.freeze("h2");
    w.type_line(desk, "keep still");
    w.run_for(secs(4));
    assert!(!w.can_read(desk, "kept=still"), "\n{}", w.story());
    w.start_store();
    w.expect(desk).reading("kept=still").within(secs(6));
    assert_eq!(named(&w), None);
}

#[test]
fn a_copy_that_has_drifted_is_found_and_mended_within_10_s() {
    let (mut w, desk) = replicated(2, "");
    w.run_for(secs(1));
    let (good, epoch) = (own(&mut w).version, scene::record_of(&w, "card.ann").unwrap().epoch);
    assert_eq!(kept(&mut w), good);
    let stamp: continuity::Stamp = good.clone().unwrap().parse().unwrap();
    let object = Encoded::open(&[b"HDO\x01", &stamp.to_bytes()[..], b"false"].concat()).unwrap();
    let part = Part { service: "terminal".parse().unwrap(), kind: Kind::Screen };
    let token = "card.ann".parse().unwrap();
    let session = own(&mut w).session;
    w.hear_of_copies("h2", "h1", Message::Whole { session, epoch, token, part, object });
    w.run_for(ms(10));
    let bytes = |w: &mut World| scene::copies(w, "h2").kept[0].bytes;
    assert_eq!(bytes(&mut w), 25, "planted");
    w.run_for(secs(10));
    assert_ne!(bytes(&mut w), 25, "mended\n{}", w.story());
    assert_eq!(
        (kept(&mut w), w.done("h1", "copy_wanted_whole")),
        (own(&mut w).version, 1),
        "\n{}",
        w.story()
    );
    w.type_line(desk, "keep well");
    w.expect(desk).reading("kept=well").within(ms(100));
}

#[test]
fn a_keeper_that_acknowledges_what_it_was_not_sent_is_given_up() {
    let (mut w, _) = replicated(2, "");
    let session = own(&mut w).session;
    let epoch = scene::record_of(&w, "card.ann").unwrap().epoch;
    let part = Part { service: "terminal".parse().unwrap(), kind: Kind::Screen };
    let stamp = continuity::Stamp { epoch, version: continuity::Version(1_000_000) };
    w.hear_of_copies("h1", "h2", Message::Kept { session, part, stamp });
    w.run_for(ms(30));
    assert_eq!((named(&w), w.refused("h1", "secondary_failed")), (None, 1));
}

#[test]
fn a_session_whose_daemon_is_frozen_says_why_it_shows_nothing() {
    let (mut w, desk) = replicated(2, "");
    w.stop_daemon("h1");
    w.type_line(desk, "keep it");
    w.expect(desk).noticing("the host's daemon does not answer").within(ms(300));
    assert!(!w.can_read(desk, "kept=it"), "\n{}", w.story());
    w.continue_daemon("h1");
    w.run_for(secs(3));
    w.expect(desk).reading("kept=it").within(secs(2));
}

#[test]
fn what_a_running_session_waits_for_can_be_changed() {
    let (mut w, desk) = replicated(2, "");
    let session = own(&mut w).session;
    let change = |w: &mut World, ack: Option<Ack>, protect: Option<Protect>| {
        w.ask("h1", Command::Session { session, act: SessionAct::Protect { ack, protect } })
    };
    let batch = |secs| Ack::Batch { every: secs, versions: 100 };
    assert!(matches!(change(&mut w, Some(batch(secs(5))), None), Reply::Done));
    w.run_for(secs(2));
    assert_eq!(own(&mut w).waits, "batch/5/100 best");
    // Nothing waits for the secondary any more.
    w.freeze("h2");
    w.type_line(desk, "keep on");
    w.expect(desk).reading("kept=on").within(ms(20));
    w.run_for(secs(5));
    // And now all waits for another one.
    assert!(matches!(change(&mut w, Some(Ack::Each), Some(Protect::Must)), Reply::Done));
    w.expect(desk).noticing("held").within(ms(50));
    w.type_line(desk, "keep safe");
    w.run_for(secs(3));
    assert!(!w.can_read(desk, "kept=safe"), "\n{}", w.story());
    w.thaw("h2");
    w.expect(desk).reading("kept=safe").within(secs(10));
    assert_eq!((own(&mut w).waits.as_str(), kept(&mut w)), ("each must", own(&mut w).version));
    // What could not be kept is refused.
    assert!(matches!(change(&mut w, Some(batch(ms(0))), None), Reply::Refused(_)));
    assert_eq!(own(&mut w).waits, "each must");
}

#[test]
fn no_copy_outlives_its_session() {
    let (mut w, desk) = replicated(3, "");
    w.type_line(desk, "keep this");
    w.expect(desk).reading("kept=this").within(secs(1));
    let session = own(&mut w).session;
    w.ask("h1", scene::end(session));
    w.run_for(secs(2));
    let held =
        |w: &mut World, host: &str| scene::copies(w, host).kept.iter().any(|kept| kept.session == session);
    assert!(!held(&mut w, "h2") && !held(&mut w, "h3"), "\n{}", w.story());
}

#[test]
fn on_a_bad_wire_every_answer_is_kept_or_is_said_not_to_be() {
    let (mut w, desk) = replicated(2, "");
    let lan = w.lan();
    w.lose("h2", lan, 0.1);
    for n in 0..50 {
        w.type_line(desk, &format!("keep n{n}"));
        w.expect(desk).reading(&format!("kept=n{n}")).within(secs(2));
        if own(&mut w).state == "protected" && own(&mut w).lag_ms == 0 {
            w.run_for(ms(20));
            let (at_primary, at_secondary) = (own(&mut w), kept(&mut w));
            let is_at_rest = at_primary.state == "protected" && at_primary.lag_ms == 0;
            assert!(!is_at_rest || at_primary.version == at_secondary, "n{n}\n{}", w.story());
        }
    }
}
