//! In a large group a token is asked for only where it may have a session, and is still found wherever it has one.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::digest::ASK_ALL_MAX;
use groupmgr::topology::Row;
use proto::HostName;
use proto::beacon::Beacon;
use proto::digest::{DigestPart, DigestVersion};
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::line::Line;
use proto::peer::{PeerBody, PeerMessage};
use tests::scene::{desk_with_session, end, know_the_card, status};
use tests::world::{DeskId, DeskPlan, HostPlan, StrangerId, Way, World, ms, secs};

/// More hosts than are simply all asked.
const LARGE: usize = ASK_ALL_MAX + 4;

/// Questions that were put to hosts so far.
fn asked(w: &World) -> u64 {
    w.host_names().map(|host| w.done(host, "token_asked")).sum()
}

fn large_group() -> World {
    // A seed of which h1 is not drawn as a place for new sessions while it is deaf: it would be waited for.
    let mut w = World::new(2);
    let lan = w.add_lan("lan", "10.0.0.0", 16);
    // Nobody gets a session without a card, so that what is counted is what a test does.
    w.store_put(authmgr::admission::policy_key().as_str(), "login pseudo=deny cards=any");
    for n in 1..=LARGE {
        w.add_host(HostPlan::named(&format!("h{n}")).on(lan));
        w.run_for(ms(7));
    }
    w.settle();
    // Until everybody knows how busy everybody is, or sessions would not be made where a desk is.
    w.run_for(secs(2));
    w
}

fn idle_desk_at(w: &mut World, host: &str) -> DeskId {
    let lan = w.lan();
    let desk = w.add_desk(DeskPlan::named(&format!("at-{host}"), lan).server(host));
    w.run_for(secs(1));
    desk
}

/// Lets a host make a session for a card while h1 hears nothing, in the time between two of its beacons.
fn session_that_h1_has_not_heard_of(w: &mut World, home: &str, card: &str) {
    let (lan, desk) = (w.lan(), idle_desk_at(w, home));
    let row: HostName = home.parse().unwrap();
    let heard = move |w: &World| w.host("h1").unwrap().topology().row(&row).and_then(Row::beacon_at);
    let before = heard(w);
    w.expect_that("h1 hears a beacon of it", move |w| heard(w) != before).within(ms(150));
    w.cut_way("h1", lan, Way::In);
    w.insert(desk, card);
    w.expect(desk).attached_to(home).within(ms(70));
    w.heal("h1", lan);
}

#[test]
fn in_a_large_group_a_token_query_goes_only_where_it_may_succeed() {
    let mut w = World::new(1);
    w.without_story();
    let lan = w.add_lan("lan", "10.0.0.0", 16);
    for n in 1..=100 {
        w.add_host(HostPlan::named(&format!("h{n}")).on(lan).chain_len(600));
        w.run_for(ms(1));
    }
    w.run_for(ms(400));
    assert_eq!(w.host("h100").unwrap().topology().up().count(), 99);
    let first = w.add_desk(DeskPlan::named("first", lan).server("h70").card("card.ann"));
    w.expect(first).attached().within(secs(1));
    let home = w.host_of(first).unwrap();
    w.remove(first);
    w.run_for(ms(50));
    let before = asked(&w);
    for n in 0..10 {
        let at = format!("h{}", 11 + n);
        let desk = w.add_desk(DeskPlan::named(&format!("d{n}"), lan).server(&at).card("card.ann"));
        w.expect(desk).attached_to(&home).within(ms(50));
    }
    // One that has it and three at which a new session could be placed; not a hundred.
    let questions = asked(&w) - before;
    assert!((10..=40).contains(&questions), "{questions} questions for ten cards");
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn a_small_group_asks_everybody_and_needs_no_digests() {
    let mut w = World::of(5);
    let lan = w.lan();
    let ear = w.stranger(lan);
    let desk = desk_with_session(&mut w, "h5", "card.ann");
    w.remove(desk);
    let desk = idle_desk_at(&mut w, "h1");
    let before = asked(&w);
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to("h5").within(ms(100));
    assert_eq!(asked(&w) - before, 4);
    assert!(w.recording(ear).iter().all(|heard| !heard.bytes.starts_with(b"digest")));
}

#[test]
fn a_new_session_is_known_to_everybody_at_once() {
    let mut w = large_group();
    let desk = idle_desk_at(&mut w, "h2");
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to("h2").within(ms(100));
    w.run_for(ms(25));
    let others = LARGE - 1;
    for host in w.host_names().map(str::to_owned).collect::<Vec<_>>() {
        let told = status(&mut w, &host).digest;
        let own = usize::from(host == "h2");
        assert_eq!((told.known, told.tokens, told.held), (others, own, 1 - own), "{host}");
    }
}

#[test]
fn a_stale_digest_makes_no_second_session() {
    let mut w = large_group();
    for home in ["h2", "h3", "h4", "h5"] {
        let (here, card) = (idle_desk_at(&mut w, "h1"), format!("card.{home}"));
        session_that_h1_has_not_heard_of(&mut w, home, &card);
        w.insert(here, &card);
        w.expect(here).attached_to(home).within(ms(20));
        assert_eq!(w.sessions_of(&card).len(), 1, "\n{}", w.story());
    }
    assert!(w.done("h1", "asked_besides") > 0, "the claim named a host that its digest had ruled out");
}

/// Desks at h1, h2 and h3, which all know the card, whose session has ended; and the data store dies.
fn known_card_without_store(w: &mut World) -> Vec<DeskId> {
    let desks: Vec<DeskId> = ["h1", "h2", "h3"].map(|host| idle_desk_at(w, host)).into();
    know_the_card(w, &desks, "card.ann");
    assert_eq!(w.session_count(), 0);
    // Those have been sent to where the session was; these are still where they were put.
    let desks = ["h1", "h2", "h3"].map(|host| idle_desk_at(w, host)).into();
    w.kill_store();
    w.run_for(ms(100));
    desks
}

#[test]
fn with_the_store_away_everybody_is_asked_before_a_session_is_made_and_then_only_who_has_it() {
    let mut w = large_group();
    let desks = known_card_without_store(&mut w);
    let before = asked(&w);
    w.insert(desks[2], "card.ann");
    w.expect(desks[2]).attached().within(secs(2));
    let to_make = asked(&w) - before;
    assert!(to_make >= LARGE as u64 - 1, "{to_make} questions");
    w.remove(desks[2]);
    w.run_for(ms(300));
    let before = asked(&w);
    w.insert(desks[1], "card.ann");
    w.expect(desks[1]).attached().within(secs(2));
    let to_find = asked(&w) - before;
    // Its host, the one where another session of it has ended, and three for a place that is not needed.
    assert!(to_find <= 5, "{to_find} questions");
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn with_the_store_away_the_lowest_of_those_who_are_asked_at_once_makes_the_session() {
    let mut w = large_group();
    let desks = known_card_without_store(&mut w);
    for desk in &desks {
        w.insert(*desk, "card.ann");
    }
    w.run_for(secs(3));
    let made: Vec<String> = w.sessions_of("card.ann").into_iter().map(|seen| seen.host).collect();
    assert_eq!(made, ["h1"], "\n{}", w.story());
}

#[test]
fn a_digest_that_is_lost_on_the_way_is_asked_for_when_a_beacon_shows_that_there_is_one() {
    let mut w = large_group();
    session_that_h1_has_not_heard_of(&mut w, "h2", "card.ann");
    w.run_for(ms(60));
    assert_eq!(status(&mut w, "h1").digest.known, LARGE - 2, "h1 knows that it does not know");
    w.run_for(ms(300));
    assert_eq!(status(&mut w, "h1").digest.known, LARGE - 1);
}

/// A beacon of h2 as a version without digests sends it.
fn beacon_without_digest(w: &mut World, ear: StrangerId) {
    let lan = w.lan();
    let h2 = w.address("h2", lan);
    let heard = w.recording(ear);
    let mut beacons = heard.iter().filter(|h| h.from == h2 && h.bytes.starts_with(b"beacon "));
    let bytes = &beacons.next_back().unwrap().bytes;
    let mut beacon = Beacon::from_line(&Line::parse(bytes).unwrap()).unwrap();
    assert!(beacon.digest.is_some());
    beacon.seq += 1;
    beacon.digest = None;
    let bytes = w.signed(Purpose::Beacon, &beacon.to_line());
    w.stranger_shouts(ear, &bytes);
    w.run_for(ms(1));
}

#[test]
fn a_host_without_a_digest_is_always_asked() {
    let mut w = large_group();
    let lan = w.lan();
    let ear = w.stranger(lan);
    for n in 0..4 {
        let desk = idle_desk_at(&mut w, "h1");
        w.run_for(ms(300));
        beacon_without_digest(&mut w, ear);
        let before = w.done("h2", "token_asked");
        w.insert(desk, &format!("card.n{n}"));
        w.expect(desk).attached().within(ms(50));
        assert_eq!(w.done("h2", "token_asked"), before + 1);
    }
}

/// Says to h1, signed with `ring`, that h2's digest is a later one, and empty of what h2 has.
fn lie_about_h2(w: &mut World, liar: StrangerId, ring: &KeyRing, boot: proto::BootId) {
    let version = DigestVersion { generation: 9, count: 1 };
    let tags = vec![proto::digest::ShortTag(1)];
    let part = DigestPart { tagged: w.stolen_ring().signing(), version, number: 0, tags };
    let message = PeerMessage { host: "h2".parse().unwrap(), boot, body: PeerBody::Digest(part) };
    let bytes = ring.seal(Purpose::Peer, &message.to_line());
    w.stranger_shouts(liar, &bytes);
    w.run_for(ms(1));
}

#[test]
fn a_digest_of_a_stranger_counts_for_nothing() {
    let mut w = large_group();
    let lan = w.lan();
    let (desk, liar) = (idle_desk_at(&mut w, "h2"), w.stranger(lan));
    w.insert(desk, "card.ann");
    w.expect(desk).attached_to("h2").within(ms(100));
    w.remove(desk);
    w.run_for(ms(300));
    let strange = KeyRing::new(GroupKey::new(&[9; 32]).unwrap(), Vec::new());
    let boot = w.boot_of("h2").unwrap();
    lie_about_h2(&mut w, liar, &strange, boot);
    // Nor does a recording of an earlier run, which has the right signature.
    let ring = w.stolen_ring().clone();
    lie_about_h2(&mut w, liar, &ring, proto::BootId(boot.0 ^ 1));
    assert!(w.refused("h1", "unknown_key") > 0 && w.refused("h1", "unproven") > 0);
    let known = status(&mut w, "h1").digest;
    assert_eq!((known.known, known.held), (LARGE - 1, 1));
    let here = idle_desk_at(&mut w, "h1");
    w.insert(here, "card.ann");
    w.expect(here).attached_to("h2").within(ms(100));
    assert_eq!(w.done("h1", "asked_besides"), 0, "found by the digest, not by the claim");
}

#[test]
fn a_host_that_joins_a_large_group_learns_what_the_others_have() {
    let mut w = large_group();
    let lan = w.lan();
    for n in 2..=6 {
        let desk = idle_desk_at(&mut w, &format!("h{n}"));
        w.insert(desk, &format!("card.c{n}"));
        w.expect(desk).attached().within(ms(100));
    }
    w.add_host(HostPlan::named("new").on(lan));
    w.run_for(secs(1));
    let known = status(&mut w, "new").digest;
    assert_eq!((known.known, known.held), (LARGE, 5));
    let desk = idle_desk_at(&mut w, "new");
    let before = asked(&w);
    w.insert(desk, "card.c4");
    w.expect(desk).attached_to("h4").within(ms(100));
    assert!(asked(&w) - before <= 4);
}

#[test]
fn a_session_that_has_gone_is_no_longer_asked_for_in_vain_for_ever() {
    let mut w = large_group();
    let lan = w.lan();
    let desks: Vec<DeskId> = (0..40)
        .map(|n| w.add_desk(DeskPlan::named(&format!("d{n}"), lan).server("h2").without_display()))
        .collect();
    w.run_for(secs(1));
    for (n, desk) in desks.iter().enumerate() {
        w.insert(*desk, &format!("card.c{n}"));
        w.expect(*desk).attached().within(secs(1));
    }
    let sessions: Vec<_> = (0..40).flat_map(|n| w.sessions_of(&format!("card.c{n}"))).collect();
    let on_h2 = sessions.iter().filter(|seen| seen.host == "h2").count();
    for seen in &sessions {
        w.ask(&seen.host, end(seen.session));
    }
    w.run_for(secs(30));
    assert_eq!(w.session_count(), 0);
    let (tokens, version) =
        (status(&mut w, "h2").digest.tokens, status(&mut w, "h2").digest.version.unwrap());
    assert_eq!((tokens, version.starts_with("2.")), (0, on_h2 > 32), "{version} after {on_h2}");
    let held = status(&mut w, "h1").digest.held;
    assert!(held <= 40, "{held}");
}
