//! The session protocol (`docs/protocol.md`, "The session protocol").

use proto::alp::{Access, Cause, ConnInf, DiscCause, Event, FromDtu, FromHost, ProtocolFault};
use proto::card::{Card, INTERNAL_AUTHENTICATE, STATUS_NO_KEY, STATUS_OK, STATUS_UNKNOWN_COMMAND};
use proto::hex;

use super::host::Policy;
use super::world::{World, card};
use crate::dtu::{DtuEvent, DtuInput, Paint, Phase};

fn keyed() -> Card {
    "card type=card id=9 secret=000102030405060708090a0b0c0d0e0f".parse().unwrap()
}

#[test]
fn the_first_words_present_the_token_with_its_number_and_the_screens_size() {
    let mut world = World::attached(&["a"]);
    let info = world.host("a").asked[0].clone();
    assert_eq!(
        (info.event, info.cause, info.token_seq),
        (Event::Insert, Some(Cause::Insert), Some(1.into()))
    );
    assert_eq!(info.presented.to_string(), "card.1");
    assert_eq!(info.start_res, Some(proto::frame::Pixels { width: 640, height: 384 }));
    assert_eq!(info.size, Some(proto::frame::Size { cols: 80, rows: 24 }));
    assert_eq!(info.real_ip, Some([10, 0, 0, 200].into()));
    assert!(world.host("a").said.contains(&FromDtu::ConnRsp { access: Access::Allowed }));
}

#[test]
fn a_dtu_without_a_card_presents_its_pseudo_token() {
    let mut world = World::new(&["a"], |_| {});
    world.input(DtuInput::Boot);
    world.until(Phase::Attached, 100);
    assert_eq!(world.host("a").asked[0].presented.to_string(), "pseudo.0200000000aa");
}

#[test]
fn a_moved_card_removes_the_old_token_and_presents_the_new_one_with_a_higher_number() {
    let mut world = World::attached(&["a"]);
    world.input(DtuInput::CardRemoved);
    assert_eq!(world.screen, "", "nothing of the session stays visible");
    world.run_ms(10);
    world.input(DtuInput::CardInserted(card("2")));
    world.run_ms(10);
    let asked: Vec<_> = world.host("a").asked.iter().map(|i| (i.event, i.presented.to_string())).collect();
    let pseudo = "pseudo.0200000000aa".to_owned();
    assert_eq!(
        asked[1..],
        [
            (Event::Remove, "card.1".to_owned()),
            (Event::Insert, pseudo.clone()),
            (Event::Remove, pseudo),
            (Event::Insert, "card.2".to_owned()),
        ]
    );
    assert_eq!(world.host("a").asked.last().unwrap().token_seq, Some(3.into()));
    assert_eq!((world.phase(), world.dtu.token().as_str()), (Phase::Attached, "card.2"));
}

#[test]
fn a_conn_inf_for_an_older_presentation_is_ignored() {
    let mut world = World::attached(&["a"]);
    world.host("a").policy = Policy::Mute;
    world.input(DtuInput::CardRemoved);
    world.run_ms(5);
    for (token_seq, wanted) in [(1, Phase::Asking), (3, Phase::Asking), (2, Phase::Attached)] {
        let inf = ConnInf {
            token_seq: token_seq.into(),
            access: Access::Allowed,
            token: None,
            grant: None,
            notice: None,
        };
        world.send_control("a", &FromHost::ConnInf(Box::new(inf)));
        world.run_ms(2);
        assert_eq!(world.phase(), wanted, "tokenSeq={token_seq}");
    }
}

#[test]
fn a_disc_inf_clears_the_screen_says_why_and_is_not_fought() {
    let mut world = World::attached(&["a", "b"]);
    let cause = Some("shownElsewhere".to_owned());
    world.send_control("a", &FromHost::DiscInf { token_seq: Some(1.into()), cause });
    world.run_ms(30_000);
    assert_eq!((world.phase(), world.screen.as_str()), (Phase::Detached, ""));
    assert!(world.notice.as_ref().unwrap().contains("another desk"));
    assert!(world.host("a").said.contains(&FromDtu::DiscRsp));
    assert_eq!(
        world.host("a").asked.len(),
        1,
        "or two desks would take the session from each other for ever"
    );
    // Nor when the host dies then.
    world.kill("a");
    world.run_ms(5_000);
    assert_eq!((world.phase(), world.host("b").asked.len()), (Phase::Detached, 0));
    world.type_text("x");
    assert_eq!(world.phase(), Phase::Detached);
    world.type_text("\r");
    world.until(Phase::Attached, 1_000);
}

#[test]
fn enter_takes_a_detached_session_back() {
    let mut world = World::attached(&["a"]);
    world.send_control("a", &FromHost::DiscInf { token_seq: None, cause: Some("detached".into()) });
    world.run_ms(10);
    world.type_text("\r");
    world.until(Phase::Attached, 100);
    world.run_ms(20);
    assert_eq!(world.screen, "a$ ");
}

#[test]
fn a_disc_inf_for_an_older_presentation_takes_nothing_away() {
    let mut world = World::attached(&["a"]);
    world.send_control("a", &FromHost::DiscInf { token_seq: Some(0.into()), cause: None });
    world.run_ms(10);
    assert_eq!((world.phase(), world.screen.as_str()), (Phase::Attached, "a$ "));
    assert!(world.host("a").said.contains(&FromDtu::DiscRsp));
}

#[test]
fn a_host_that_stops_sends_its_desks_away_at_once() {
    let mut world = World::attached(&["a", "b"]);
    world.send_control(
        "a",
        &FromHost::DiscInf { token_seq: Some(1.into()), cause: Some("hostStopping".into()) },
    );
    world.host("a").policy = Policy::Deny("stopping");
    world.run_ms(20);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "b"));
    assert_eq!(world.count("failed_over"), 1);
}

#[test]
fn a_session_whose_process_died_is_asked_for_again() {
    let mut world = World::attached(&["a"]);
    world.kill_session("a");
    world.start_session("a");
    world.send_control("a", &FromHost::DiscInf { token_seq: Some(1.into()), cause: Some("lost".into()) });
    world.run_ms(500);
    assert_eq!((world.phase(), world.screen.as_str()), (Phase::Attached, "a$ "));
    assert_eq!(world.count("restored"), 1);
}

#[test]
fn heartbeats_go_out_every_20_seconds_connected_and_every_40_disconnected() {
    let heartbeats = |world: &mut World| {
        let said = &world.host("a").said;
        said.iter().filter(|m| matches!(m, FromDtu::KeepAliveReq(_))).count()
    };
    let mut world = World::attached(&["a"]);
    world.host("a").said.clear();
    world.run_ms(60_000);
    assert_eq!(heartbeats(&mut world), 3);
    world.send_control("a", &FromHost::DiscInf { token_seq: None, cause: None });
    world.run_ms(1_000);
    world.host("a").said.clear();
    world.run_ms(120_000);
    assert_eq!(heartbeats(&mut world), 3);
}

#[test]
fn a_hosts_heartbeat_is_answered_and_may_bring_a_fresh_anchor() {
    let mut world = World::attached(&["a"]);
    world.host("a").said.clear();
    world.send_control("a", &FromHost::KeepAliveInf { anchor: None, standbys: Vec::new(), cookie: None });
    world.run_ms(10);
    assert_eq!(world.host("a").said, [FromDtu::KeepAliveRsp]);
}

#[test]
fn a_plain_host_that_says_nothing_for_a_minute_expires() {
    let mut world = World::new(&["a"], |_| {});
    world.host("a").policy = Policy::Mute;
    world.input(DtuInput::Boot);
    world.run_ms(50);
    // What a real server says: no names, no anchor.
    let inf =
        ConnInf { token_seq: 1.into(), access: Access::Allowed, token: None, grant: None, notice: None };
    world.send_control("a", &FromHost::ConnInf(Box::new(inf)));
    world.run_ms(50);
    assert_eq!(world.phase(), Phase::Attached);
    world.host("a").beacons = false;
    world.host("a").answers_serverq = false;
    world.stop_daemon("a");
    world.run_ms(59_000);
    assert_eq!(world.phase(), Phase::Attached);
    world.run_ms(2_000);
    assert_ne!(world.phase(), Phase::Attached);
    world.events.clear();
    let backlog = world.backlog("a");
    let expired = FromDtu::DiscReq { cause: Some(DiscCause::KeepAliveExpiry) };
    assert!(backlog.contains(&expired), "{backlog:?}");
}

#[test]
fn an_unusable_command_is_answered_with_a_protocol_error_and_a_new_start() {
    let mut world = World::attached(&["a", "b"]);
    world.send_raw("a", "controlSmartCard tag=1");
    world.run_ms(50);
    let said = world.host("a").said.clone();
    let wanted = FromDtu::ProtocolErrorReq { cause: Some(ProtocolFault::ControlSmartCard) };
    assert!(said.contains(&wanted), "{said:?}");
    assert_eq!((world.phase(), world.count("unusable")), (Phase::Attached, 1));
    assert_eq!(world.at_host(), "b");
}

#[test]
fn unknown_commands_are_ignored() {
    let mut world = World::attached(&["a"]);
    world.send_raw("a", "futureInf x=1");
    world.send_raw("a", "protocolErrorInf");
    world.run_ms(50);
    assert_eq!((world.phase(), world.events.len()), (Phase::Attached, 0));
}

#[test]
fn a_refused_token_says_why_and_is_tried_again_by_itself_ever_less_often() {
    let mut world = World::new(&["a"], |_| {});
    world.host("a").policy = Policy::Deny("This card is not registered.");
    world.input(DtuInput::CardInserted(card("1")));
    world.input(DtuInput::Boot);
    world.run_ms(60_000);
    assert_eq!(
        (world.phase(), world.notice.as_deref()),
        (Phase::Denied, Some("This card is not registered."))
    );
    assert!((3..=5).contains(&world.host("a").asked.len()), "{}", world.host("a").asked.len());
    assert!(world.host("a").said.contains(&FromDtu::ConnRsp { access: Access::Denied }));
    world.host("a").policy = Policy::Grant(1);
    world.until(Phase::Attached, 60_000);
    assert_eq!(world.notice, None);
}

#[test]
fn a_keyed_card_proves_itself_and_a_plain_one_says_that_it_cannot() {
    let ask = |world: &mut World, head: &str| {
        world.host("a").said.clear();
        let (tag, tdata) = ("t7".to_owned(), hex::encode(b"challenge"));
        world.send_control("a", &FromHost::ControlSmartCard { tag, head: head.into(), tdata, rlen: 32 });
        world.run_ms(5);
        match world.host("a").said.first() {
            Some(FromDtu::InfoSmartCard { tag, success, data, status }) => {
                assert_eq!(tag, "t7");
                (*success, data.clone(), status.clone())
            }
            other => panic!("{other:?}"),
        }
    };
    let mut world = World::attached(&["a"]);
    assert_eq!(ask(&mut world, INTERNAL_AUTHENTICATE), (true, String::new(), STATUS_NO_KEY.into()));
    world.input(DtuInput::CardInserted(keyed()));
    world.run_ms(10);
    let answer = hex::encode(&keyed().answer(b"challenge").unwrap());
    assert_eq!(ask(&mut world, INTERNAL_AUTHENTICATE), (true, answer, STATUS_OK.into()));
    assert_eq!(ask(&mut world, "00a40400"), (true, String::new(), STATUS_UNKNOWN_COMMAND.into()));
    world.input(DtuInput::CardRemoved);
    world.run_ms(10);
    assert_eq!(ask(&mut world, INTERNAL_AUTHENTICATE), (false, String::new(), String::new()));
}

#[test]
fn a_notice_while_waiting_stays_until_the_session_is_there() {
    let mut world = World::new(&["a"], |_| {});
    world.host("a").policy = Policy::Mute;
    world.input(DtuInput::Boot);
    world.run_ms(100);
    world.send_control("a", &FromHost::Notice("Waiting for the data store.".into()));
    world.run_ms(30_000);
    assert_eq!(world.notice.as_deref(), Some("Waiting for the data store."));
    assert_eq!(world.phase(), Phase::Asking);
}

#[test]
fn late_events_of_an_old_connection_are_harmless() {
    let mut world = World::attached(&["a"]);
    let first = *world.conns.keys().next().unwrap();
    world.kill("a");
    world.run_ms(20);
    world.start_daemon("a");
    world.start_session("a");
    world.until(Phase::Attached, 1_000);
    world.run_ms(100);
    let before = (world.dtu.status(), world.screen.clone());
    world.events.clear();
    let line = FromHost::DiscInf { token_seq: None, cause: None }.to_line();
    world.input(DtuInput::ControlLine { conn: first, line: &line });
    world.input(DtuInput::ControlClosed { conn: first, fault: crate::dtu::Fault::Closed });
    world.input(DtuInput::ControlOpened { conn: first, local: [10, 0, 0, 1].into() });
    world.input(DtuInput::DisplayClosed { conn: first, fault: crate::dtu::Fault::Closed });
    world.input(DtuInput::DisplayOpened { conn: first });
    let frame = proto::frame::Frame::Output { offset: 0, bytes: b"ghost".to_vec() };
    world.input(DtuInput::DisplayFrame { conn: first, frame });
    assert_eq!((world.dtu.status(), world.screen.clone()), before);
    assert_eq!(world.events, []);
}

#[test]
fn control_characters_of_a_stranger_never_reach_the_screen_by_a_notice() {
    let mut world = World::attached(&["a"]);
    world.send_control("a", &FromHost::Notice(format!("\u{1b}[2J{}", "x".repeat(900))));
    world.run_ms(10);
    let notice = world.notice.clone().unwrap();
    assert!(!notice.contains('\u{1b}') && notice.len() == 400, "{notice}");
    assert!(world.paints.iter().all(|paint| !matches!(paint, Paint::Bytes(b) if b.contains(&0x1b))));
    assert!(matches!(world.events.last(), Some((_, DtuEvent::Notice { .. }))));
    world.run_ms(16_000);
    assert_eq!(world.notice, None, "it passes");
}
