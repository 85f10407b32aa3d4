//! What strangers and broken terminals send: dropped or refused with a counted reason, and nothing else changes.

use dtu_emu::dtu::DtuEvent;
use groupmgr::host::guests::GuestLimits;
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::line::Line;
use proto::peer::{PeerBody, PeerMessage};
use proto::{BootId, Nonce, TokenTag};
use tests::scene::{desk_with_session, status};
use tests::world::{DeskId, HostPlan, World, ms, secs};

/// A desk at work on h1 of two hosts, and whether it has noticed anything since.
fn at_work() -> (World, DeskId, proto::Instant) {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let at = w.now();
    (w, desk, at)
}

fn is_untouched(w: &mut World, desk: DeskId, since: proto::Instant) {
    let told: Vec<&DtuEvent> = w.events_since(desk, since).collect();
    assert!(told.is_empty(), "{told:?}\n{}", w.story());
    w.expect(desk).attached_to("h1").now();
    w.type_line(desk, "count");
    w.expect(desk).reading("count=1").within(ms(50));
    assert!(w.is_up_at("h1", "h2") && w.is_up_at("h2", "h1"));
}

#[test]
fn datagrams_of_every_bad_kind_are_counted_by_their_reason() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let h1 = w.address("h1", lan);
    let tail = "kid=00000000 sig=0000000000000000000000000000000000000000";
    let ours = w.stolen_ring().signing();
    let forged = format!("tokenQ host=h2 kid={ours} sig=0000000000000000000000000000000000000000");
    let cases: [(&str, Vec<u8>); 9] = [
        ("unknown_command", b"hello there".to_vec()),
        ("unknown_command", vec![0xff; 100]),
        ("unknown_command", Vec::new()),
        ("unsigned", b"beacon host=h2".to_vec()),
        ("unsigned", b"tokenQ host=h2 seq=1".to_vec()),
        ("unknown_key", format!("beacon host=h2 {tail}").into_bytes()),
        ("forged", forged.into_bytes()),
        ("unreadable", b"serverQ sn=x".to_vec()),
        ("malformed", [b"serverQ ip=", &[b'0'; 3_000][..]].concat()),
    ];
    for (reason, bytes) in cases {
        let before = w.refused("h1", reason);
        w.stranger_says(stranger, h1, &bytes);
        w.run_for(ms(1));
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(
            w.refused("h1", reason),
            before + 1,
            "{reason}: {shown:?} {:?}",
            status(&mut w, "h1").refused
        );
    }
    is_untouched(&mut w, desk, at);
}

#[test]
fn signed_words_without_meaning_are_counted_too() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let h1 = w.address("h1", lan);
    let cases = [
        ("unreadable", w.signed(Purpose::Beacon, &Line::new("beacon").with("host", "h2"))),
        ("unreadable", w.signed(Purpose::Peer, &Line::new("tokenQ").with("host", "h2"))),
        ("unreadable", w.signed(Purpose::Beacon, &Line::new("beacon").with("every", "999999999999"))),
    ];
    for (reason, bytes) in cases {
        let before = w.refused("h1", reason);
        w.stranger_says(stranger, h1, &bytes);
        w.run_for(ms(1));
        assert_eq!(w.refused("h1", reason), before + 1);
    }
    is_untouched(&mut w, desk, at);
}

#[test]
fn a_flood_of_garbage_changes_nothing_and_grows_nothing() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let h1 = w.address("h1", lan);
    for n in 0..20_000_u32 {
        let bytes = match n % 5 {
            0 => format!(
                "tokenQ host=x{n} boot={n:016x} seq={n} nonce={n:032x} tagged=00000001 token={n:032x}"
            ),
            1 => format!("beacon host=x{n} ver=1 boot={n:016x} seq=1 if=eth0 every=100 load=0 sessions=0"),
            2 => format!("host=x{n} addr=0a0a0a0a time=1 numifs=0 flags=0 cpus=1 clock=1"),
            3 => format!("serverQ sn=x{n} ip=0a00{:04x}", n % 65_536),
            _ => format!("{n}{}", "x".repeat((n % 1_500) as usize)),
        };
        w.stranger_says(stranger, h1, bytes.as_bytes());
        if n % 50 == 0 {
            w.run_for(ms(1));
        }
    }
    w.run_for(ms(100));
    let now = status(&mut w, "h1");
    assert_eq!((now.strangers, now.hosts.values().sum::<usize>()), (64, 2));
    is_untouched(&mut w, desk, at);
}

#[test]
fn questions_of_a_stranger_are_not_answered() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let h1 = w.address("h1", lan);
    let foreign = KeyRing::new(GroupKey::new(&[5; 32]).unwrap(), Vec::new());
    let to = w.boot_of("h1").unwrap();
    let bodies = [
        PeerBody::HostQ { to, nonce: Nonce(1) },
        PeerBody::TokenQ { seq: 1, nonce: Nonce(2), tagged: foreign.signing(), token: TokenTag(3) },
    ];
    for body in bodies {
        let message = PeerMessage { host: "h9".parse().unwrap(), boot: BootId(9), body };
        w.stranger_says(stranger, h1, &foreign.seal(Purpose::Peer, &message.to_line()));
    }
    w.run_for(ms(50));
    let heard = w.recording(stranger);
    let answers = heard.iter().filter(|h| h.bytes.starts_with(b"hostR") || h.bytes.starts_with(b"tokenR"));
    assert_eq!(answers.count(), 0);
    assert_eq!(w.refused("h1", "unknown_key"), 2);
    is_untouched(&mut w, desk, at);
}

#[test]
fn a_thief_of_the_key_that_was_never_met_is_not_answered_before_it_has_proved_itself() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let h1 = w.address("h1", lan);
    let tagged = w.stolen_ring().signing();
    let body = PeerBody::TokenQ { seq: 1, nonce: Nonce(2), tagged, token: TokenTag(3) };
    let message = PeerMessage { host: "h9".parse().unwrap(), boot: BootId(9), body };
    let bytes = w.signed(Purpose::Peer, &message.to_line());
    let before = w.refused("h1", "unproven");
    w.stranger_says(stranger, h1, &bytes);
    w.run_for(ms(50));
    assert_eq!(w.refused("h1", "unproven"), before + 1);
    assert!(!w.recording(stranger).iter().any(|h| h.bytes.starts_with(b"tokenR")));
    is_untouched(&mut w, desk, at);
}

#[test]
fn answers_that_nobody_asked_for_are_counted_and_change_nothing() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let h1 = w.address("h1", lan);
    let body = PeerBody::TokenR {
        seq: 1,
        nonce: Nonce(7),
        grant: proto::GrantId(1),
        load: None,
        sessions: Vec::new(),
        keeps: false,
    };
    let message = PeerMessage { host: "h2".parse().unwrap(), boot: w.boot_of("h2").unwrap(), body };
    let bytes = w.signed(Purpose::Peer, &message.to_line());
    w.stranger_says(stranger, h1, &bytes);
    w.run_for(ms(10));
    assert_eq!(w.refused("h1", "unasked"), 1);
    is_untouched(&mut w, desk, at);
}

#[test]
fn a_recorded_shown_takes_nothing_off_a_desk() {
    let (mut w, desk, _) = at_work();
    let lan = w.lan();
    let stranger = w.stranger(lan);
    // ann moves to h2's desk and back: both moves are on the tape.
    let other = w.desk("other", lan);
    w.insert(other, "card.ann");
    w.run_for(secs(1));
    w.insert(desk, "card.ann");
    w.run_for(secs(1));
    let tape = w.recording(stranger);
    assert!(tape.iter().any(|h| h.bytes.starts_with(b"shown")));
    for heard in tape.iter().filter(|h| h.bytes.starts_with(b"shown")) {
        w.stranger_shouts(stranger, &heard.bytes);
    }
    w.run_for(secs(1));
    w.expect(desk).attached().now();
}

#[test]
fn bad_lines_on_a_connection_are_counted_and_the_connection_goes_on() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let h1 = w.address("h1", lan);
    let hand = w.hand("0a0000000001", lan);
    w.hand_opens(hand, 1, h1);
    w.run_for(ms(2));
    for text in ["\u{1}\u{2}\u{3}", "=x", "nonsense a=b", "infoReq", "infoReq event=what", "keepAliveReq x=="]
    {
        w.hand_says(hand, 1, text);
    }
    w.hand_says(hand, 1, &"x".repeat(5_000));
    w.run_for(ms(10));
    assert!(w.refused("h1", "bad_line") >= 2, "{:?}", status(&mut w, "h1").refused);
    assert_eq!(w.refused("h1", "line_too_long"), 1);
    assert!(w.hand_is_open(hand));
    w.hand_presents(hand, 1, "card.bob", 1, "cause=insert");
    w.run_for(ms(100));
    let answered = w.last_heard(hand, "connInf").or_else(|| w.last_heard(hand, "redirectInf"));
    assert!(answered.is_some(), "what is right is still answered");
    is_untouched(&mut w, desk, at);
}

#[test]
fn a_connection_that_presents_nothing_is_closed_after_a_while() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let h1 = w.address("h1", lan);
    let hands: Vec<DeskId> = (0..200).map(|n| w.hand(&format!("0a{n:010}"), lan)).collect();
    for hand in &hands {
        w.hand_opens(*hand, 1, h1);
    }
    w.run_for(secs(1));
    assert_eq!(status(&mut w, "h1").dtus, 201);
    w.run_for(secs(12));
    assert_eq!(status(&mut w, "h1").dtus, 1);
    is_untouched(&mut w, desk, at);
}

#[test]
fn odd_tokens_are_denied_in_words_that_help() {
    let mut w = World::of(1);
    let lan = w.lan();
    let h1 = w.address("h1", lan);
    let hand = w.hand("0a0000000001", lan);
    w.hand_opens(hand, 1, h1);
    w.run_for(ms(2));
    for (n, (kind, id)) in
        [("invalid", "0"), ("card", "a/b"), ("user", "root"), ("card", "00000000")].into_iter().enumerate()
    {
        w.hand_says(
            hand,
            1,
            &format!("infoReq event=insert type={kind} id={id} cause=insert tokenSeq={n} sn=0a0000000001"),
        );
        w.run_for(ms(50));
        let said = w.last_heard(hand, "connInf").expect("an answer");
        assert_eq!(
            (said.get("access"), said.get("tokenSeq")),
            (Some("denied"), Some(n.to_string().as_str()))
        );
        assert!(said.get("notice").is_some(), "{said}");
    }
    assert_eq!(w.session_count(), 0);
}

#[test]
fn a_hundred_presentations_a_second_from_one_desk_leave_one_session() {
    let (mut w, desk, at) = at_work();
    let lan = w.lan();
    let h1 = w.address("h1", lan);
    let hand = w.hand("0a0000000001", lan);
    w.hand_opens(hand, 1, h1);
    w.run_for(ms(2));
    for n in 0..500 {
        w.hand_presents(hand, 1, "card.bob", n, "cause=insert");
        w.run_for(ms(2));
    }
    w.run_for(secs(3));
    assert!(w.sessions_of("card.bob").len() <= 1, "\n{}", w.story());
    is_untouched(&mut w, desk, at);
}

#[test]
fn one_desk_cannot_have_more_sessions_than_it_shows_one_after_the_other() {
    // Each card has its own session; a hundred cards at one desk leave as many if they may, and the host still answers.
    let may = GuestLimits { left: 200, ..GuestLimits::default() };
    let mut w = World::of_hosts([HostPlan::named("h1").guests(may)]);
    let lan = w.lan();
    let h1 = w.address("h1", lan);
    let hand = w.hand("0a0000000001", lan);
    w.hand_opens(hand, 1, h1);
    w.run_for(ms(2));
    for n in 0..100 {
        w.hand_presents(hand, 1, &format!("card.x{n}"), n, "cause=insert");
        w.run_for(ms(20));
    }
    let shown = status(&mut w, "h1");
    assert_eq!((shown.attached, shown.dtus), (1, 1));
    assert_eq!(w.session_count(), 100);
}

#[test]
fn a_newer_version_of_the_protocol_in_unknown_keys_is_tolerated() {
    let mut w = World::of(1);
    let lan = w.lan();
    let h1 = w.address("h1", lan);
    let hand = w.hand("0a0000000001", lan);
    w.hand_opens(hand, 1, h1);
    w.run_for(ms(2));
    w.hand_says(hand, 1, "futureReq shiny=1");
    w.hand_presents(hand, 1, "card.bob", 1, "cause=insert hologram=yes hologram=no");
    w.run_for(ms(100));
    assert_eq!(w.last_heard(hand, "connInf").and_then(|line| line.get("access")), Some("allowed"));
}
