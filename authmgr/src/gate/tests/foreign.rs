//! What real terminals do that our own DTUs do not, and what they are not sent.

use super::*;
use proto::keys::{GroupKey, KeyRing};
use proto::ticket::{Ticket, TicketClaims};

const SEEN: &str = "infoReq _=1 event=insert type=card id=1 sn=080020abcdef";

#[test]
fn a_terminal_that_does_not_know_ours_is_sent_no_notice_and_no_key_twice() {
    let mut desk = Desk::connected();
    desk.say(SEEN);
    let token = token("card.1");
    let cookie = Some("1.7/42:a:b".parse().unwrap());
    let grant = Grant { displays: vec![display(); 3], displays_total: 3, cookie: cookie.clone(), ..grant() };
    desk.gate.obey(
        desk.now,
        Order::Grant { token_seq: 1, token: token.clone(), grant: Box::new(grant) },
        &mut desk.out,
    );
    desk.gate.obey(desk.now, Order::Notice("Please wait.".to_owned()), &mut desk.out);
    let (anchor, standbys) = (super::grant().anchor, super::grant().standbys);
    let refresh = Order::Refresh { anchor, standbys, cookie };
    desk.gate.obey(desk.now, refresh, &mut desk.out);
    assert_eq!(desk.sent_words(), ["connInf"]);
    let sent = desk.sent().remove(0);
    let mut keys: Vec<&str> = sent.split(' ').filter_map(|w| w.split('=').next()).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all, "{sent}");
    assert!(!["server=", "displays=", "cookie="].into_iter().any(|key| sent.contains(key)), "{sent}");
}

#[test]
fn a_number_that_is_none_is_echoed_as_it_came_and_a_missing_one_is_the_last() {
    for seq in ["7a", "4294967296", "007", "-1", "x"] {
        let mut desk = Desk::connected();
        desk.say(&format!("{SEEN} tokenSeq={seq}")).grant(1);
        assert!(desk.sent()[0].contains(&format!(" tokenSeq={seq} ")), "{:?}", desk.sent());
        desk.say(&format!("connRsp access=allowed tokenSeq={seq}"));
        assert_eq!(desk.gate.stage(), GateStage::Shown, "{seq}");
        desk.forget().say(SEEN).grant(2);
        assert!(desk.sent()[0].contains(&format!(" tokenSeq={seq} ")), "{:?}", desk.sent());
    }
}

#[test]
fn a_ticket_without_a_cause_is_a_redirect() {
    let ring = KeyRing::new(GroupKey::new(&[1; 16]).unwrap(), Vec::new());
    let claims = TicketClaims {
        grant: proto::GrantId(1),
        token: token("card.1"),
        session: None,
        serial: "080020abcdef".parse().unwrap(),
        target: "a".parse().unwrap(),
        boot: proto::BootId(1),
    };
    let ticket = Ticket::issue(&ring, &claims).unwrap();
    let mut desk = Desk::connected();
    desk.say(&format!("{SEEN} redirectProps={ticket}"));
    let presented = desk.presented();
    assert_eq!((presented.cause, presented.ticket.is_some()), (Cause::Redirect, true), "{presented:?}");
    desk.forget().say(&format!("{SEEN} redirectProps=nonsense"));
    assert_eq!(desk.presented().cause, Cause::Insert);
}

#[test]
fn a_dtu_that_cannot_follow_a_redirect_is_decided_about_once_more_without_that_host() {
    let says = ["protocolErrorReq cause=redirectError", SEEN];
    for says in says {
        let mut desk = Desk::connected();
        desk.say(SEEN);
        desk.gate.obey(
            desk.now,
            Order::Redirect { token_seq: 1, redirect: Box::new(redirect()) },
            &mut desk.out,
        );
        desk.forget().say(says);
        let presented = desk.presented();
        assert_eq!(presented.avoid, Some("b".parse().unwrap()), "{says}");
        assert_eq!((presented.token_seq, presented.token), (2, token("card.1")), "{says}");
        desk.grant(2);
        assert_eq!(desk.sent_words(), ["connInf"], "{says}");
        desk.say("connRsp access=allowed").wait(LEAVE_WITHIN * 2);
        assert_eq!(desk.gate.stage(), GateStage::Shown, "{says}");
    }
}

#[test]
fn a_redirect_error_of_a_dtu_that_was_sent_nowhere_changes_nothing() {
    let mut desk = Desk::at_work();
    desk.say("protocolErrorReq cause=redirectError");
    assert_eq!(desk.events(), [GateEvent::Odd(Odd::ProtocolError)]);
    assert_eq!(desk.gate.stage(), GateStage::Shown);
}

#[test]
fn every_presentation_after_a_redirect_is_answered() {
    let mut desk = Desk::connected();
    desk.say(SEEN);
    desk.gate.obey(desk.now, Order::Redirect { token_seq: 1, redirect: Box::new(redirect()) }, &mut desk.out);
    desk.forget().insert("card", "2", 2);
    assert_eq!((desk.presented().avoid, desk.presented().token), (None, token("card.2")));
    let mut desk = Desk::at_work();
    desk.gate.obey(desk.now, Order::Disconnect(DisconnectCause::HostStopping), &mut desk.out);
    desk.forget().insert("card", "2", 2);
    assert_eq!(desk.sent_words(), ["connInf"]);
    assert!(desk.sent()[0].contains("access=denied"), "{:?}", desk.sent());
}
