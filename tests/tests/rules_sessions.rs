//! Sessions as a person at a desk has them, and who gets one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use dtu_emu::dtu::Phase;
use groupmgr::host::admin::{Command, Reply, ServiceStart, ServiceView, SessionAct};
use proto::card::Card;
use proto::{Last, SessionId};
use tests::scene::{desk_with_session, detach, drain, end, pid_on, registry};
use tests::world::{DeskPlan, HostPlan, World, ms, secs};

#[test]
fn a_desk_without_a_card_has_a_session_of_its_own() {
    let mut w = World::of(2);
    let lan = w.lan();
    let (a, b) = (w.desk("a", lan), w.desk("b", lan));
    w.expect(a).attached().within(secs(1));
    w.expect(b).attached().within(secs(1));
    assert_ne!(w.shows(a), w.shows(b));
    let own = w.shows(a).unwrap();
    w.insert(a, "card.ann");
    w.expect_that("ann's", move |w| w.shows(a).is_some_and(|s| s != own)).within(secs(1));
    w.remove(a);
    w.expect(a).showing(own).within(secs(1));
}

#[test]
fn a_card_that_was_disabled_gets_no_session() {
    let mut w = World::of(2);
    let lan = w.lan();
    registry(&mut w, "card.ann", "disabled=true");
    w.run_for(secs(2));
    let d = w.add_desk(DeskPlan::named("d", lan).card("card.ann"));
    w.expect(d).noticing("disabled").within(secs(1));
    assert_eq!(w.sessions_of("card.ann"), []);
}

#[test]
fn a_keyed_card_must_prove_its_secret_and_a_copy_of_its_number_is_not_enough() {
    let mut w = World::of(2);
    let lan = w.lan();
    let secret = "00112233445566778899aabbccddeeff";
    registry(&mut w, "card.ann", &format!("secret={secret}"));
    let genuine: Card = format!("card type=card id=ann secret={secret}").parse().unwrap();
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1"));
    w.run_for(ms(500));
    w.insert_card(d, genuine);
    w.expect(d).attached().within(secs(1));
    let thief = w.add_desk(DeskPlan::named("thief", lan).server("h2"));
    w.run_for(ms(500));
    w.insert(thief, "card.ann");
    w.expect(thief).noticing("not the one that was registered").within(secs(1));
    w.expect(d).attached().now();
    let other: Card = "card type=card id=ann secret=ffffffffffffffffffffffffffffffff".parse().unwrap();
    w.insert_card(thief, other);
    w.expect(thief).noticing("not the one that was registered").within(secs(1));
}

#[test]
fn a_replacement_card_finds_the_session_of_the_lost_one() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.old");
    let pid = pid_on(&mut w, desk);
    w.remove(desk);
    registry(&mut w, "card.new", "alias=card.old");
    let lan = w.lan();
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.new"));
    w.expect(d).attached_to("h2").within(secs(1));
    assert_eq!(pid_on(&mut w, d), pid);
}

#[test]
fn logging_out_gives_a_fresh_session_as_a_login_screen_would() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let pid = pid_on(&mut w, desk);
    w.run_for(secs(3));
    w.type_line(desk, "exit 0");
    w.expect_that("another shell", move |w| {
        let sessions = w.sessions_of("card.ann");
        sessions.len() == 1 && sessions[0].pid.is_some_and(|now| now != pid)
    })
    .within(secs(2));
    w.expect(desk).attached().within(secs(2));
    assert_ne!(pid_on(&mut w, desk), pid);
}

#[test]
fn when_the_session_of_a_keyed_card_ends_the_card_is_asked_again_and_gets_a_fresh_one() {
    let mut w = World::of(1);
    let lan = w.lan();
    let secret = "00112233445566778899aabbccddeeff";
    registry(&mut w, "card.ann", &format!("secret={secret}"));
    // One with a display would see that end, and ask by itself.
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1").without_display());
    w.run_for(ms(500));
    w.insert_card(d, format!("card type=card id=ann secret={secret}").parse().unwrap());
    w.run_for(secs(3));
    let session = w.sessions_of("card.ann")[0].session;
    w.kill_session("h1", session);
    w.expect_that("another session", move |w| w.status(d).session.is_some_and(|now| now != session))
        .within(secs(2));
}

#[test]
fn a_shell_that_cannot_live_is_not_started_over_and_over() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.type_line(desk, "exit 1");
    w.run_for(secs(1));
    let at = w.now();
    w.run_for(secs(10));
    assert!(w.count_since(desk, "attached", at) <= 2, "\n{}", w.story());
    w.expect(desk).noticing("Press Enter").now();
    w.type_line(desk, "");
    w.expect(desk).attached().within(secs(1));
}

#[test]
fn the_users_data_is_the_same_from_every_host() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.type_line(desk, "put note from-h2");
    w.expect(desk).reading("stored").within(ms(100));
    w.power_off("h2");
    w.expect(desk).attached_to("h1").within(secs(1));
    w.type_line(desk, "get note");
    w.expect(desk).reading("value=from-h2").within(ms(100));
}

#[test]
fn a_user_does_not_see_the_data_of_another() {
    let mut w = World::of(1);
    let lan = w.lan();
    let ann = desk_with_session(&mut w, "h1", "card.ann");
    w.type_line(ann, "put note mine");
    w.expect(ann).reading("stored").within(ms(100));
    let bob = w.add_desk(DeskPlan::named("bob", lan).card("card.bob"));
    w.expect(bob).attached().within(secs(1));
    w.type_line(bob, "get note");
    w.expect(bob).reading("no value").within(ms(100));
    w.type_line(bob, "get data/card.ann/note");
    w.run_for(ms(100));
    assert!(!w.can_read(bob, "mine"));
}

#[test]
fn an_operator_detaches_a_session_and_its_desk_says_so() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    assert!(matches!(w.ask("h1", detach(session)), Reply::Done));
    w.expect(desk).noticing("was detached").within(ms(50));
    w.expect(desk).blank().now();
    w.type_line(desk, "");
    w.expect(desk).showing(session).within(secs(1));
}

#[test]
fn an_operator_ends_a_session_and_its_programs_end() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    assert!(matches!(w.ask("h1", end(session)), Reply::Done));
    w.expect(desk).noticing("was ended").within(ms(50));
    w.expect_that("the process is gone", |w| w.session_count() == 0).within(secs(1));
    w.run_for(ms(1));
    assert!(matches!(w.ask("h1", end(session)), Reply::Refused(_)));
}

#[test]
fn without_keep_all_sessions_end_with_the_daemon_however_it_died() {
    for how in ["kill", "stop"] {
        let mut w = World::of(1);
        desk_with_session(&mut w, "h1", "card.ann");
        if how == "kill" {
            w.kill("h1");
        } else {
            w.stop("h1");
        }
        w.expect_that("no process is left", |w| w.session_count() == 0).within(ms(10));
    }
}

#[test]
fn with_keep_the_next_daemon_takes_sessions_up_with_nothing_lost() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep()]);
    let desks: Vec<_> = (0..5).map(|n| desk_with_session(&mut w, "h1", &format!("card.k{n}"))).collect();
    for desk in &desks {
        w.type_line(*desk, "count");
    }
    w.run_for(ms(50));
    let before: Vec<_> = desks.iter().map(|d| w.shows(*d)).collect();
    w.restart("h1");
    w.run_for(secs(1));
    for (desk, session) in desks.iter().zip(before) {
        w.expect(*desk).attached_to("h1").now();
        assert_eq!(w.shows(*desk), session);
        w.type_line(*desk, "count");
        w.expect(*desk).reading("count=2").within(ms(50));
    }
    match w.ask("h1", Command::Sessions) {
        Reply::Sessions(list) => assert!(list.iter().all(|s| s.claimed && s.state == "running"), "{list:?}"),
        other => w.fail(&format!("{other:?}")),
    }
}

#[test]
fn a_stop_with_keep_is_invisible_when_the_next_daemon_comes_soon() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep(), HostPlan::named("h2")]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    w.stop("h1");
    w.run_for(ms(300));
    w.start("h1");
    w.run_for(secs(2));
    w.expect(desk).showing(session).now();
    w.expect(desk).attached_to("h1").now();
}

#[test]
fn a_dtu_that_comes_back_is_shown_what_it_missed() {
    let mut w = World::of_hosts([HostPlan::named("h1").keep()]);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.type_line(desk, "before");
    w.expect(desk).reading("before?").within(ms(50));
    w.freeze("h1");
    w.expect(desk).not_attached().within(secs(1));
    w.run_for(secs(2));
    w.thaw("h1");
    w.expect(desk).attached_to("h1").within(secs(5));
    w.expect(desk).reading("before?").now();
    w.type_line(desk, "after");
    w.expect(desk).reading("after?").within(ms(50));
}

#[test]
fn a_session_moves_between_screens_of_different_sizes() {
    let mut w = World::of(2);
    let lan = w.lan();
    let large = desk_with_session(&mut w, "h1", "card.ann");
    w.type_line(large, "a line that stays where it was");
    w.run_for(ms(50));
    let small = w.add_desk(DeskPlan::named("small", lan).size(40, 10).card("card.ann"));
    w.expect(small).reading("a line that stays where it was").within(secs(1));
    assert!(w.screen(small).len() <= 10);
    w.insert(large, "card.ann");
    w.expect(large).reading("a line that stays where it was").within(secs(1));
}

#[test]
fn a_display_ticket_of_another_desk_opens_nothing() {
    let mut w = World::of(1);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    let thief = w.hand("0e0000000009", lan);
    let addr = w.address("h1", lan);
    // The session's display can be found by its number; without a ticket nothing is shown.
    w.open_display_by_hand(thief, 7, addr, session);
    w.run_for(secs(2));
    w.expect(desk).attached_to("h1").now();
    let nobody = proto::SessionId(42);
    w.open_display_by_hand(thief, 8, addr, nobody);
    w.run_for(ms(100));
    assert_eq!(w.refused("h1", "display_of_no_session"), 1);
}

#[test]
fn many_cards_at_one_desk_in_quick_succession_leave_the_last_one_shown() {
    let mut w = World::of(3);
    let lan = w.lan();
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1"));
    w.run_for(secs(1));
    for n in 0..12_u64 {
        w.insert(d, &format!("card.q{n}"));
        w.run_for(core::time::Duration::from_micros(700 * n));
        w.remove(d);
    }
    w.insert(d, "card.last");
    w.expect(d).attached().within(secs(2));
    assert_eq!(Some(w.sessions_of("card.last")[0].session), w.shows(d));
    w.run_for(secs(2));
    assert_eq!(Some(w.sessions_of("card.last")[0].session), w.shows(d));
}

#[test]
fn a_host_that_can_make_no_process_is_not_the_end_for_a_card_that_others_can_serve() {
    let mut w = World::of_hosts([HostPlan::named("h1").cannot_spawn("out of memory"), HostPlan::named("h2")]);
    let lan = w.lan();
    drain(&mut w, &["h2".into()], true);
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
    w.expect(d).in_phase(Phase::Denied).within(secs(2));
    drain(&mut w, &["h2".into()], false);
    drain(&mut w, &["h1".into()], true);
    w.expect(d).attached_to("h2").within(secs(10));
}

/// The services of a session, as its operator sees them.
fn services(w: &mut World, host: &str, session: SessionId) -> Vec<ServiceView> {
    match w.ask(host, Command::Session { session, act: SessionAct::Services }) {
        Reply::Services(services) => services,
        other => w.fail(&format!("not services: {other:?}")),
    }
}

/// `session switch`, as the command line does it.
fn switch(w: &mut World, host: &str, session: SessionId, after: Last) {
    let prefer = Command::Session { session, act: SessionAct::Prefer { after } };
    assert!(matches!(w.ask(host, prefer), Reply::Done));
    let hosts: Vec<String> = w.host_names().map(str::to_owned).collect();
    for host in hosts {
        let reply = w.ask(&host, Command::PresentAgain("card.ann".parse().unwrap()));
        assert!(matches!(reply, Reply::At(_)), "{reply:?}");
    }
}

fn last_of(w: &mut World, host: &str, session: SessionId) -> Last {
    match w.ask(host, Command::Sessions) {
        Reply::Sessions(views) => views.into_iter().find(|v| v.session == session).unwrap().last,
        other => w.fail(&format!("not sessions: {other:?}")),
    }
}

#[test]
fn a_second_session_of_a_token_is_switched_to_and_back_on_whichever_host_it_is() {
    for second_on in ["h1", "h2"] {
        let mut w = World::of(2);
        let desk = desk_with_session(&mut w, "h1", "card.ann");
        let first = w.shows(desk).unwrap();
        let first_pid = pid_on(&mut w, desk);
        let new = Command::NewSession { token: "card.ann".parse().unwrap(), template: None };
        let Reply::Made(second) = w.ask(second_on, new) else { w.fail("no second session") };
        w.run_for(ms(200));
        w.expect(desk).showing(first).now();

        let last = last_of(&mut w, "h1", first);
        switch(&mut w, second_on, second, last);
        w.expect(desk).showing(second).within(secs(1));
        w.expect(desk).attached_to(second_on).now();
        assert_ne!(pid_on(&mut w, desk), first_pid);
        // It stays the one that the card brings up.
        w.remove(desk);
        w.run_for(ms(200));
        w.insert(desk, "card.ann");
        w.expect(desk).showing(second).within(secs(1));

        let last = last_of(&mut w, second_on, second);
        switch(&mut w, "h1", first, last);
        w.expect(desk).showing(first).within(secs(1));
        assert_eq!(pid_on(&mut w, desk), first_pid, "its shell has run on meanwhile");
    }
}

#[test]
fn the_first_session_of_a_token_can_be_made_before_its_card_is_seen() {
    let mut w = World::of(2);
    let new = Command::NewSession { token: "card.ann".parse().unwrap(), template: None };
    let Reply::Made(session) = w.ask("h2", new) else { w.fail("no session") };
    w.run_for(ms(200));
    assert_eq!(w.claim_of("h2", session), Some(sessiond::manager::Claim::Held));
    let lan = w.lan();
    let desk = w.add_desk(DeskPlan::named("d", lan).server("h1").card("card.ann"));
    w.expect(desk).showing(session).within(secs(1));
}

#[test]
fn a_session_is_not_ordered_for_a_disabled_card_nor_from_a_template_that_is_not_there() {
    let mut w = World::of(1);
    registry(&mut w, "card.bob", "disabled=true");
    w.run_for(secs(2));
    let order = |token: &str, template: Option<&str>| Command::NewSession {
        token: token.parse().unwrap(),
        template: template.map(str::to_owned),
    };
    for (order, why) in
        [(order("card.bob", None), "disabled"), (order("card.ann", Some("none")), "template put")]
    {
        match w.ask("h1", order) {
            Reply::Refused(text) => assert!(text.contains(why), "{text}"),
            other => w.fail(&format!("not refused: {other:?}")),
        }
    }
    assert_eq!(w.session_count(), 0);
}

#[test]
fn services_of_a_session_are_started_and_stopped_one_by_one() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let (session, pid) = (w.shows(desk).unwrap(), pid_on(&mut w, desk));
    let act = |act: SessionAct| Command::Session { session, act };
    let start = |name: &str, command: &[&str]| {
        act(SessionAct::Start(ServiceStart {
            service: name.parse().unwrap(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            display: false,
        }))
    };
    assert!(matches!(w.ask("h1", start("clock", &[])), Reply::Refused(_)), "it needs a command");
    assert!(matches!(w.ask("h1", start("clock", &["/bin/clock"])), Reply::Done));
    w.run_for(ms(50));
    let states = |w: &mut World| -> Vec<(String, String)> {
        services(w, "h1", session).into_iter().map(|s| (s.service.to_string(), s.state)).collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    assert_eq!(states(&mut w), pairs(&[("clock", "running"), ("terminal", "running")]));
    assert!(matches!(w.ask("h1", act(SessionAct::Stop("clock".parse().unwrap()))), Reply::Done));
    w.run_for(secs(1));
    assert_eq!(states(&mut w)[0].1, "ended by signal 1");
    assert_eq!(pid_on(&mut w, desk), pid, "nothing else of the session noticed");
    assert!(matches!(w.ask("h1", start("clock", &[])), Reply::Done));
    w.run_for(ms(50));
    assert_eq!(states(&mut w)[0].1, "running");
    assert!(matches!(w.ask("h1", act(SessionAct::Stop("none".parse().unwrap()))), Reply::Refused(_)));
}

#[test]
fn what_came_of_a_service_is_answered_when_it_is_known() {
    let mut w = World::of(1);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    let session = w.shows(desk).unwrap();
    let act = |act: SessionAct| Command::Session { session, act };
    let mail: proto::ServiceName = "mail".parse().unwrap();
    let start = |command: &str| {
        let command = if command.is_empty() { vec![] } else { vec![command.to_owned()] };
        act(SessionAct::Start(ServiceStart { service: mail.clone(), command, display: false }))
    };
    let outcome = |w: &mut World| match w.ask("h1", act(SessionAct::Outcome(mail.clone()))) {
        Reply::Services(views) => views[0].state.clone(),
        other => w.fail(&format!("no outcome: {other:?}")),
    };
    w.ask("h1", start("/bin/mail"));
    assert_eq!(outcome(&mut w), "running");
    w.ask("h1", act(SessionAct::Stop(mail.clone())));
    assert_eq!(outcome(&mut w), "ended by signal 1");
    let missing: proto::ServiceName = "missing".parse().unwrap();
    let command = vec!["/no/such/program".to_owned()];
    w.ask("h1", act(SessionAct::Start(ServiceStart { service: missing.clone(), command, display: false })));
    let Reply::Services(views) = w.ask("h1", act(SessionAct::Outcome(missing))) else { w.fail("no outcome") };
    assert!(views[0].state.contains("/no/such/program cannot be run"), "{views:?}");
    assert!(w.shows(desk).is_some(), "it was not required");
}

#[test]
fn a_session_whose_program_cannot_be_run_fails_once_and_says_why_to_the_desk_and_the_operator() {
    let mut w = World::of(1);
    let lan = w.lan();
    w.store_put("template/default", "[[service]]\nname = \"terminal\"\ncommand = [\"/no/such/program\"]\n");
    let d = w.desk("d", lan);
    w.expect(d).noticing("/no/such/program cannot be run").within(secs(1));
    assert_eq!(w.session_count(), 0);
    w.run_for(secs(4));
    assert_eq!(w.done("h1", "session_made"), 1, "the desk waits before it asks again");
    assert!(w.notice(d).is_some_and(|notice| notice.contains("/no/such/program")), "and shows why");
    let Reply::Sessions(sessions) = w.ask("h1", Command::Sessions) else { w.fail("no sessions") };
    assert!(sessions[0].state.starts_with("failed: /no/such/program"), "{sessions:?}");
    let Reply::Explain(told) = w.ask("h1", Command::Explain(sessions[0].token.clone())) else {
        w.fail("no answer")
    };
    assert!(told.reasons.iter().any(|why| why.contains("/no/such/program")), "{told:?}");

    w.store_put("template/default", "[[service]]\nname = \"terminal\"\n");
    w.expect(d).attached().within(secs(30));
    let Reply::Sessions(sessions) = w.ask("h1", Command::Sessions) else { w.fail("no sessions") };
    assert_eq!(sessions.len(), 1, "what is mended is forgotten: {sessions:?}");
}

#[test]
fn a_template_that_is_not_there_is_named_at_the_desk_and_for_the_operator() {
    let mut w = World::of(1);
    let lan = w.lan();
    registry(&mut w, "card.ann", "owner=ann template=kiosk");
    w.run_for(secs(2));
    let d = w.add_desk(DeskPlan::named("d", lan).card("card.ann"));
    w.expect(d).noticing("there is no template kiosk").within(secs(1));
    let Reply::Explain(told) = w.ask("h1", Command::Explain("card.ann".parse().unwrap())) else {
        w.fail("no answer")
    };
    assert!(told.reasons.iter().any(|why| why.contains("no template kiosk")), "{told:?}");
}

#[test]
fn an_operators_line_is_read_at_the_desk_it_is_for() {
    let mut w = World::of(1);
    let lan = w.lan();
    let (a, b) = (w.desk("a", lan), w.desk("b", lan));
    w.expect(a).attached().within(secs(1));
    w.expect(b).attached().within(secs(1));
    let Reply::Dtus(dtus) = w.ask("h1", Command::Dtus) else { w.fail("no DTUs") };
    let serial = dtus.into_iter().find(|dtu| dtu.session == w.shows(a)).unwrap().serial.unwrap();
    let told = w.ask("h1", Command::Message { serial: Some(serial), text: "Please save your work.".into() });
    assert!(matches!(told, Reply::At(1)), "{told:?}");
    w.expect(a).noticing("Please save your work.").within(ms(100));
    assert!(!w.notice(b).is_some_and(|notice| notice.contains("Please")));
}
