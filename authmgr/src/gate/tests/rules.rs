use super::*;
use proto::alp::DiscCause;
use proto::keys::{GroupKey, KeyRing};
use proto::line::LINE_MAX;
use proto::ticket::{Ticket, TicketClaims};

#[test]
fn a_real_terminals_first_message_is_read_as_the_sheet_prints_it() {
    let mut desk = Desk::connected();
    desk.say(
        "infoReq _=1 event=insert type=pseudo id=080020abcdef namespace=IEEE802 fw=GUI4.2 hw=SunRayP8 \
         sn=080020abcdef pn=32770 state=disconnected cause=insert initState=1 startRes=1280x1024:1280x1024 \
         tokenSeq=1 realIP=C000020A MTU=1500",
    );
    let wanted = Presentation {
        token_seq: 1,
        token: token("pseudo.080020abcdef"),
        serial: "080020abcdef".parse().unwrap(),
        key: None,
        addr: [192, 0, 2, 77].into(),
        real_ip: Some([192, 0, 2, 10].into()),
        cause: Cause::Insert,
        ticket: None,
        size: Size { cols: 160, rows: 64 },
        avoid: None,
    };
    assert_eq!(desk.events(), [GateEvent::Presented(Box::new(wanted))]);
    desk.grant(1);
    let sent = desk.sent().remove(0);
    for part in
        ["connInf tokenSeq=1 access=allowed module=StartSession.m3", "encUpType=none encDownType=none"]
    {
        assert!(sent.contains(part), "{sent}");
    }
    desk.forget().say(
        "connRsp _=1 access=allowed fw=GUI4.2 hw=SunRayP8 pn=32771 sn=080020abcdef namespace=IEEE802 \
         state=connected",
    );
    assert_eq!(desk.events(), [GateEvent::Took { token_seq: 1 }]);
    assert_eq!(desk.gate.terminal().pn, Some(32771));
}

#[test]
fn a_dtu_that_presents_nothing_is_dropped_however_much_it_says() {
    let mut desk = Desk::connected();
    desk.wait(SECS * 9).say("keepAliveReq").say("sessionReq tokenSeq=2 sw=Sun");
    assert_eq!(desk.closed(), None);
    desk.wait(SECS);
    assert_eq!(desk.closed(), Some(CloseReason::NothingPresented));
    assert_eq!(desk.events().last(), Some(&GateEvent::Left { cause: CloseReason::NothingPresented }));
}

#[test]
fn suns_software_client_is_recognised_and_denied_with_its_own_number() {
    let mut desk = Desk::connected();
    desk.say("sessionReq namespace=MD5 sn=0cc175b9 id=0cc175b9 cause=insert tokenSeq=2");
    assert!(desk.sent()[0].starts_with("connInf tokenSeq=2 access=denied"));
    assert_eq!(desk.events(), [GateEvent::Odd(Odd::SoftwareClient)]);
}

#[test]
fn a_card_taken_out_is_detached_at_once_and_the_insert_after_it_decides() {
    let mut desk = Desk::at_work();
    desk.remove("card", "1");
    assert_eq!(desk.events(), [GateEvent::Removed { token_seq: 1, token: token("card.1") }]);
    assert_eq!((desk.gate.stage(), desk.gate.token()), (GateStage::Vacant, None));
    assert_eq!(desk.sent(), [""; 0], "a removal is not answered");
    desk.forget().insert("pseudo", "080020abcdef", 2);
    let presented = desk.presented();
    assert_eq!((presented.token_seq, presented.token), (2, token("pseudo.080020abcdef")));
}

#[test]
fn a_removal_of_another_or_of_no_token_is_counted_and_the_screen_is_cleared_all_the_same() {
    let mut desk = Desk::at_work();
    desk.remove("card", "2").remove("card", "2");
    let removed = GateEvent::Removed { token_seq: 1, token: token("card.1") };
    let odd = GateEvent::Odd;
    assert_eq!(desk.events(), [odd(Odd::OtherRemoved), removed, odd(Odd::NothingToRemove)]);
}

#[test]
fn a_token_that_takes_anothers_place_without_a_word_ends_the_others_presentation_first() {
    let mut desk = Desk::at_work();
    desk.insert("card", "2", 2);
    let removed = GateEvent::Removed { token_seq: 1, token: token("card.1") };
    assert_eq!(desk.events()[0], removed);
    assert_eq!(desk.presented().token, token("card.2"));
    desk.forget().insert("card", "2", 3);
    assert_eq!(desk.events().len(), 1, "the same token again: it was never away");
    assert_eq!(desk.presented().token_seq, 3);
}

#[test]
fn an_order_for_an_older_presentation_changes_nothing_even_if_the_dtu_counts_wrong() {
    let mut desk = Desk::connected();
    desk.insert("card", "1", 1).insert("card", "2", 1).forget();
    desk.grant(1);
    desk.gate.obey(
        desk.now,
        Order::Deny { token_seq: 1, why: Denial::Full, reason: String::new() },
        &mut desk.out,
    );
    desk.gate.obey(desk.now, Order::Redirect { token_seq: 1, redirect: Box::new(redirect()) }, &mut desk.out);
    desk.gate.obey(
        desk.now,
        Order::Challenge { token_seq: 1, challenge: Box::new(challenge()) },
        &mut desk.out,
    );
    assert_eq!(desk.out, []);
    desk.grant(2);
    assert!(desk.sent()[0].starts_with("connInf tokenSeq=1 access=allowed"), "its own number comes back");
}

#[test]
fn an_order_about_a_token_that_is_gone_changes_nothing() {
    let mut desk = Desk::connected();
    desk.insert("card", "1", 1).remove("card", "1").forget();
    desk.grant(1);
    assert_eq!((desk.out.len(), desk.gate.stage()), (0, GateStage::Vacant));
}

#[test]
fn fields_left_out_keep_their_last_value() {
    let mut desk = Desk::connected();
    desk.say("infoReq event=insert type=card id=1 sn=s1 fw=F hw=H size=100x30 tokenSeq=7 startRes=640x480");
    desk.forget().say("infoReq event=insert type=card id=2");
    let presented = desk.presented();
    assert_eq!((presented.serial.as_str(), presented.size), ("s1", Size { cols: 100, rows: 30 }));
    assert_eq!(desk.gate.terminal().fw.as_deref(), Some("F"));
    desk.grant(2);
    assert!(desk.sent()[0].starts_with("connInf tokenSeq=7 "));
}

#[test]
fn a_screen_too_small_for_one_character_or_too_large_for_memory_is_put_right() {
    let mut desk = Desk::connected();
    desk.say("infoReq event=insert type=card id=1 sn=s1 startRes=7x7");
    assert_eq!(desk.presented().size, Size::default());
    desk.say("infoReq event=insert type=card id=1 startRes=65535x65535:1x1");
    assert_eq!(desk.presented().size, Size { cols: Size::MAX, rows: Size::MAX });
    desk.say("infoReq event=insert type=card id=1 size=0x9999");
    assert_eq!(desk.presented().size, Size { cols: 1, rows: Size::MAX });
}

#[test]
fn one_connection_is_one_dtu() {
    let mut desk = Desk::connected();
    desk.insert("pseudo", "080020abcdef", 1).forget();
    desk.say("infoReq event=insert type=pseudo id=080020ffffff sn=080020ffffff tokenSeq=2");
    assert_eq!(desk.events()[0], GateEvent::Odd(Odd::SerialChanged));
    assert_eq!(desk.presented().token, token("pseudo.080020abcdef"));
}

#[test]
fn a_card_that_cannot_be_read_is_denied_with_a_sentence_for_the_person_there() {
    for (kind, id) in [("invalid", "1"), ("card", "0"), ("T1unknown", "0000000000")] {
        let mut desk = Desk::at_work();
        desk.insert(kind, id, 5);
        let sent = desk.sent().remove(0);
        assert!(sent.starts_with("connInf tokenSeq=5 access=denied") && sent.contains("cannot\\ be\\ read"));
        let removed = GateEvent::Removed { token_seq: 1, token: token("card.1") };
        assert_eq!(desk.events(), [removed, GateEvent::Odd(Odd::BadToken)]);
        assert_eq!(desk.gate.stage(), GateStage::Vacant);
    }
}

#[test]
fn a_denied_token_that_stays_in_its_desk_can_be_granted_later() {
    let mut desk = Desk::connected();
    desk.insert("card", "1", 3).forget();
    desk.gate.obey(
        desk.now,
        Order::Deny { token_seq: 1, why: Denial::StoreAway, reason: String::new() },
        &mut desk.out,
    );
    assert!(desk.sent()[0].starts_with("connInf tokenSeq=3 access=denied"));
    desk.say("connRsp access=denied state=disconnected");
    assert_eq!(desk.events(), []);
    desk.grant(1).say("connRsp access=allowed");
    assert_eq!(desk.events(), [GateEvent::Took { token_seq: 1 }]);
}

#[test]
fn cause_redirect_counts_only_with_a_ticket() {
    let ring = KeyRing::new(GroupKey::new(&[1; 16]).unwrap(), Vec::new());
    let claims = TicketClaims {
        grant: proto::GrantId(1),
        token: token("card.1"),
        session: None,
        serial: "s1".parse().unwrap(),
        target: "a".parse().unwrap(),
        boot: proto::BootId(1),
    };
    let ticket = Ticket::issue(&ring, &claims).unwrap();
    let text = "infoReq event=insert type=card id=1 sn=s1 cause=redirect redirectProps=";
    let mut desk = Desk::connected();
    desk.say(&format!("{text}{ticket}"));
    assert_eq!((desk.presented().cause, desk.presented().ticket), (Cause::Redirect, Some(ticket)));
    for props in ["", "nonsense"] {
        desk.forget().say(&format!("{text}{props}"));
        assert_eq!((desk.presented().cause, desk.presented().ticket), (Cause::Insert, None));
        assert_eq!(desk.events()[0], GateEvent::Odd(Odd::NoTicket));
    }
    desk.forget().say(&format!("infoReq event=insert type=card id=1 cause=insert redirectProps={ticket}"));
    assert_eq!((desk.presented().cause, desk.presented().ticket), (Cause::Insert, None));
}

#[test]
fn a_redirected_dtu_says_goodbye_and_is_closed_and_so_is_one_that_ignores_the_redirect() {
    for says_goodbye in [true, false] {
        let mut desk = Desk::at_work();
        desk.gate.obey(
            desk.now,
            Order::Redirect { token_seq: 1, redirect: Box::new(redirect()) },
            &mut desk.out,
        );
        assert_eq!(
            desk.sent(),
            ["redirectInf authipa=c0000202 authport=7009 redirectProps=t host=b tokenSeq=1"]
        );
        assert_eq!(desk.closed(), None);
        if says_goodbye {
            desk.say("discReq cause=redirect state=disconnected type=unknown");
        } else {
            desk.wait(LEAVE_WITHIN);
        }
        assert_eq!(desk.closed(), Some(CloseReason::Redirected));
        assert_eq!(desk.gate.poll_at(), None);
    }
}

#[test]
fn a_dtu_that_cannot_reach_the_target_comes_back_naming_it() {
    let mut desk = Desk::at_work();
    desk.gate.obey(desk.now, Order::Redirect { token_seq: 1, redirect: Box::new(redirect()) }, &mut desk.out);
    desk.say("protocolErrorReq cause=redirectError");
    desk.say("infoReq event=insert type=card id=1 cause=insert tokenSeq=2 avoid=b");
    assert_eq!(desk.presented().avoid, Some("b".parse().unwrap()));
    desk.wait(LEAVE_WITHIN * 2);
    assert_eq!((desk.closed(), desk.gate.stage()), (None, GateStage::Judging));
}

#[test]
fn a_heartbeat_of_the_dtu_is_answered_at_once_in_every_stage_of_an_open_connection() {
    let alive = "keepAliveReq _=1 state=connected byteCount=x connTime=1";
    let mut desk = Desk::connected();
    let mut seen = vec![desk.gate.stage()];
    let mut check = |desk: &mut Desk| {
        seen.push(desk.gate.stage());
        desk.forget().say(alive);
        assert_eq!(desk.sent(), ["keepAliveCnf"], "{}", desk.gate.stage());
    };
    check(&mut desk);
    desk.say("infoReq event=remove type=card id=1 sn=s1");
    check(&mut desk);
    desk.insert("card", "1", 1);
    check(&mut desk);
    desk.gate.obey(
        desk.now,
        Order::Challenge { token_seq: 1, challenge: Box::new(challenge()) },
        &mut desk.out,
    );
    check(&mut desk);
    desk.wait(ANSWER_WITHIN).grant(1);
    check(&mut desk);
    desk.say("connRsp access=allowed");
    check(&mut desk);
    desk.gate.obey(desk.now, Order::Disconnect(DisconnectCause::Detached), &mut desk.out);
    check(&mut desk);
    desk.gate.obey(desk.now, Order::Redirect { token_seq: 1, redirect: Box::new(redirect()) }, &mut desk.out);
    check(&mut desk);
    seen.sort();
    seen.dedup();
    assert_eq!(seen, GateStage::ALL[..8]);
    desk.wait(LEAVE_WITHIN).forget().say(alive);
    assert_eq!(desk.out, [], "and never after it is closed");
}

#[test]
fn a_host_sends_its_heartbeat_every_twenty_seconds_and_drops_a_dtu_that_says_nothing_for_sixty() {
    let mut desk = Desk::at_work();
    desk.wait(SECS * 59);
    assert_eq!(desk.sent(), ["keepAliveInf", "keepAliveInf"]);
    desk.wait(SECS);
    assert_eq!(desk.closed(), Some(CloseReason::Expired));
}

#[test]
fn any_word_of_a_dtu_counts_as_life() {
    let mut desk = Desk::at_work();
    for word in ["keepAliveRsp", "infoReq", "nonsense a=b", "controlRsp", "keepAliveReq"] {
        desk.wait(SECS * 50).say(word);
    }
    assert_eq!(desk.closed(), None);
    assert_eq!(desk.gate.stage(), GateStage::Shown);
}

#[test]
fn a_host_that_was_stopped_itself_does_not_hold_the_time_against_its_dtus() {
    let mut desk = Desk::at_work();
    desk.now += SECS * 300;
    desk.gate.on_timeout(desk.now, &mut desk.out);
    assert_eq!((desk.closed(), desk.sent_words()), (None, vec!["keepAliveInf".to_owned()]));
    desk.say("keepAliveRsp").wait(SECS * 59);
    assert_eq!(desk.closed(), None);
    desk.wait(SECS);
    assert_eq!(desk.closed(), Some(CloseReason::Expired), "but a dead one is still noticed");
    let mut fresh = Desk::connected();
    fresh.now += SECS * 300;
    fresh.gate.on_timeout(fresh.now, &mut fresh.out);
    assert_eq!(fresh.closed(), None);
    fresh.wait(SECS * 5);
    assert_eq!(fresh.closed(), Some(CloseReason::NothingPresented));
}

#[test]
fn a_report_of_an_error_or_an_unknown_command_is_counted_and_nothing_else() {
    let mut desk = Desk::at_work();
    desk.say("protocolErrorReq cause=keepAliveError")
        .say("protocolErrorReq")
        .say("whatever x=1")
        .say("infoReq x=1");
    let odd = |o| GateEvent::Odd(o);
    assert_eq!(
        desk.events(),
        [odd(Odd::ProtocolError), odd(Odd::ProtocolError), odd(Odd::UnknownCommand), odd(Odd::BadField)]
    );
    assert_eq!((desk.gate.stage(), desk.sent().len()), (GateStage::Shown, 0));
}

#[test]
fn a_dtu_that_does_not_take_its_session_says_so_or_is_given_up_in_time() {
    for how in ["connRsp access=denied", "connRsp", "protocolErrorReq cause=connError", ""] {
        let mut desk = Desk::connected();
        desk.insert("card", "1", 1).grant(1).forget();
        if how.is_empty() {
            desk.wait(TAKE_WITHIN);
            assert!(desk.sent().contains(&"discInf access=denied tokenSeq=1".to_owned()));
        } else {
            desk.say(how);
        }
        assert_eq!(desk.events().last(), Some(&GateEvent::Refused { token_seq: 1 }), "{how}");
        assert_eq!(desk.gate.stage(), GateStage::Idle);
    }
}

#[test]
fn an_answer_that_answers_something_older_does_not_count() {
    let mut desk = Desk::connected();
    desk.insert("card", "1", 1).grant(1).insert("card", "2", 2).forget();
    desk.say("connRsp access=allowed state=connected");
    assert_eq!(desk.events(), [GateEvent::Odd(Odd::ConnRspOutOfTurn)]);
    desk.grant(2).forget().say("connRsp access=allowed tokenSeq=1");
    assert_eq!(desk.events(), [GateEvent::Odd(Odd::ConnRspOutOfTurn)]);
    desk.forget().say("connRsp state=connected");
    assert_eq!(desk.events(), [GateEvent::Took { token_seq: 2 }], "the state says it, too");
}

#[test]
fn a_session_taken_off_a_dtu_leaves_the_token_there_to_be_granted_again() {
    let mut desk = Desk::at_work();
    desk.gate.obey(desk.now, Order::Disconnect(DisconnectCause::ShownElsewhere), &mut desk.out);
    assert_eq!(desk.sent(), ["discInf access=denied tokenSeq=1 cause=shownElsewhere"]);
    desk.forget().say("discRsp state=disconnected");
    desk.gate.obey(desk.now, Order::Disconnect(DisconnectCause::Ended), &mut desk.out);
    assert_eq!(desk.out, [], "nothing is shown any more");
    desk.grant(1).say("connRsp access=allowed");
    assert_eq!(desk.gate.stage(), GateStage::Shown);
}

#[test]
fn a_host_that_goes_tells_every_dtu_whatever_it_shows_and_hangs_up() {
    for shows in [true, false] {
        let mut desk = if shows { Desk::at_work() } else { Desk::connected() };
        desk.gate.obey(desk.now, Order::Disconnect(DisconnectCause::HostStopping), &mut desk.out);
        assert_eq!(desk.sent_words(), ["discInf"]);
        assert!(desk.sent()[0].ends_with("cause=hostStopping"));
        desk.say("discRsp");
        let reason = CloseReason::SentAway(DisconnectCause::HostStopping);
        assert_eq!(desk.closed(), Some(reason));
        assert_eq!(desk.events(), [GateEvent::Left { cause: reason }]);
    }
}

#[test]
fn a_dtu_that_leaves_or_is_cut_off_is_reported_once() {
    let mut desk = Desk::at_work();
    desk.say("discReq cause=keepAliveExpiry state=disconnected type=unknown");
    let bye = CloseReason::Bye(Some(DiscCause::KeepAliveExpiry));
    assert_eq!(desk.out, [GateEffect::Event(GateEvent::Left { cause: bye }), GateEffect::Close(bye)]);
    desk.forget();
    desk.gate.on_closed(&mut desk.out);
    assert_eq!(desk.out, []);
    let mut desk = Desk::at_work();
    desk.gate.on_closed(&mut desk.out);
    desk.gate.on_closed(&mut desk.out);
    assert_eq!(desk.events(), [GateEvent::Left { cause: CloseReason::ConnectionLost }]);
}

#[test]
fn a_keyed_card_is_asked_and_its_answer_comes_back_judged() {
    let mut desk = Desk::connected();
    desk.insert("card", "1", 1).forget();
    desk.gate.obey(
        desk.now,
        Order::Challenge { token_seq: 1, challenge: Box::new(challenge()) },
        &mut desk.out,
    );
    let sent = desk.sent().remove(0);
    assert!(sent.starts_with("controlSmartCard tag=hotdesk-1 command=apduInf head=00880000 tdata=0707"));
    let data = proto::hex::encode(&CardSecret::new([1; 16]).answer(&[7; 16]));
    let answer =
        |tag: &str| format!("infoSmartCard tag={tag} apdu_result=1 rec_data={data} rec_len=32 status=9000");
    desk.forget().say(&answer("hotdesk-0"));
    assert_eq!(desk.events(), [GateEvent::Odd(Odd::CardAnswerOutOfTurn)]);
    desk.forget().say(&answer("hotdesk-1"));
    let result = Ok(Admitted::unregistered(&token("card.1")));
    assert_eq!(desk.events(), [GateEvent::CardAnswered { token_seq: 1, result }]);
    desk.forget().say(&answer("hotdesk-1"));
    assert_eq!(desk.events(), [GateEvent::Odd(Odd::CardAnswerOutOfTurn)], "once");
}

#[test]
fn a_card_that_does_not_answer_holds_no_secret() {
    let silent = GateEvent::CardAnswered { token_seq: 1, result: Err(Denial::NoAnswer) };
    for how in
        ["infoSmartCard tag=hotdesk-1 apdu_result=0", "protocolErrorReq cause=controlSmartCardError", ""]
    {
        let mut desk = Desk::connected();
        desk.insert("card", "1", 1);
        desk.gate.obey(
            desk.now,
            Order::Challenge { token_seq: 1, challenge: Box::new(challenge()) },
            &mut desk.out,
        );
        match how {
            "" => desk.wait(ANSWER_WITHIN),
            line => desk.say(line),
        };
        assert_eq!(desk.events().last(), Some(&silent), "{how}");
    }
}

#[test]
fn a_card_whose_session_has_ended_is_asked_again_while_the_desk_still_shows_it() {
    let mut offered = Desk::connected();
    offered.insert("card", "1", 1).grant(1);
    for mut desk in [Desk::at_work(), offered] {
        desk.gate.obey(
            desk.now,
            Order::Challenge { token_seq: 1, challenge: Box::new(challenge()) },
            &mut desk.out,
        );
        assert_eq!(desk.gate.stage(), GateStage::Challenged);
        desk.forget().wait(ANSWER_WITHIN);
        assert!(matches!(desk.events().last(), Some(GateEvent::CardAnswered { token_seq: 1, .. })));
    }
}

#[test]
fn a_card_pulled_while_it_is_asked_takes_the_question_along() {
    let mut desk = Desk::connected();
    desk.insert("card", "1", 1);
    desk.gate.obey(
        desk.now,
        Order::Challenge { token_seq: 1, challenge: Box::new(challenge()) },
        &mut desk.out,
    );
    desk.forget().remove("card", "1").wait(ANSWER_WITHIN * 2);
    assert_eq!(desk.events(), [GateEvent::Removed { token_seq: 1, token: token("card.1") }]);
}

#[test]
fn nothing_is_granted_while_a_card_owes_its_proof() {
    let mut desk = Desk::connected();
    desk.insert("card", "1", 1);
    desk.gate.obey(
        desk.now,
        Order::Challenge { token_seq: 1, challenge: Box::new(challenge()) },
        &mut desk.out,
    );
    desk.forget().grant(1);
    assert_eq!((desk.out.len(), desk.gate.stage()), (0, GateStage::Challenged));
}

#[test]
fn a_fresh_anchor_and_the_hosts_to_fail_over_to_ride_in_a_heartbeat() {
    let mut desk = Desk::at_work();
    let cookie = Some("1.7/42:a:b".parse().unwrap());
    let refresh = Order::Refresh { anchor: grant().anchor, standbys: grant().standbys, cookie };
    desk.gate.obey(desk.now, refresh, &mut desk.out);
    let anchor = grant().anchor;
    assert_eq!(
        desk.sent(),
        [format!("keepAliveInf anchor={anchor} cookie=1.7/42:a:b server=b@192.0.2.2:7009")]
    );
}

#[test]
fn what_does_not_fit_into_a_line_is_left_out_from_the_end_and_the_first_service_never() {
    let long = "h".repeat(63);
    let mut big = grant();
    big.cookie = Some(format!("4294967295.4294967295/{}:{long}:{long}", u64::MAX).parse().unwrap());
    big.standbys = vec![format!("{long}@192.0.2.200:65535").parse().unwrap(); 40];
    (big.displays, big.displays_total) = (vec![display(); 9], 9);
    let mut desk = Desk::connected();
    desk.insert("card", "1", 1).forget();
    let token = token(&format!("card.{}", "x".repeat(150)));
    let order = Order::Grant { token_seq: 1, token, grant: Box::new(big.clone()) };
    desk.gate.obey(desk.now, order, &mut desk.out);
    let sent = desk.sent().remove(0);
    assert!(sent.len() <= LINE_MAX);
    let read = FromHost::from_line(&sent.parse().unwrap()).unwrap();
    let FromHost::ConnInf(conn) = read else { panic!() };
    let read = conn.grant.unwrap();
    assert!(
        read.standbys.len() >= 4 && !read.displays.is_empty(),
        "{} {}",
        read.standbys.len(),
        read.displays.len()
    );
    assert_eq!(read.displays_total, 9, "the person is told of those that are left out");
    desk.forget();
    let refresh = Order::Refresh { anchor: big.anchor, standbys: big.standbys, cookie: big.cookie.clone() };
    desk.gate.obey(desk.now, refresh, &mut desk.out);
    assert!(desk.sent()[0].len() <= LINE_MAX);
}

#[test]
fn a_notice_of_any_length_fits_into_a_line() {
    let mut desk = Desk::at_work();
    desk.gate.obey(desk.now, Order::Notice("ä \u{1f600}".repeat(500)), &mut desk.out);
    let sent = desk.sent().remove(0);
    assert!(sent.len() <= LINE_MAX && sent.starts_with("notice text="), "{}", sent.len());
}

#[test]
fn every_edge_of_the_diagram_starts_and_ends_where_it_may() {
    use GateStage::{Closed, Fresh, Leaving, Offered, Shown};
    for from in GateStage::ALL {
        assert!(!from.may_become(Fresh), "{from}");
        assert_eq!(from.may_become(Shown), from == Offered, "{from}");
        assert_eq!(from.may_become(Closed), from != Closed, "{from}");
        assert_eq!(from.may_become(Leaving), from != Closed, "{from}");
        assert!(!Closed.may_become(from), "{from}");
    }
    for to in [GateStage::Challenged, GateStage::Idle, Offered, Shown] {
        assert!(!Fresh.may_become(to) && !GateStage::Vacant.may_become(to), "without a token: {to}");
    }
}
