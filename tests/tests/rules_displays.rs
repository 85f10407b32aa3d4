//! A session with several displays: a desk opens them all, shows one, and flips to the next.

use dtu_emu::dtu::DtuEvent;
use groupmgr::host::Note;
use groupmgr::host::admin::{Command, Reply, ServiceStart, SessionAct};
use tests::scene::{desk_with_session, pid_on};
use tests::world::{DeskId, World, ms, secs};

const TWO: &str = "[[service]]\nname = \"terminal\"\n[[service]]\nname = \"mail\"\n";

/// A desk that shows the first of two displays on `h1`.
fn with_two(hosts: usize) -> (World, DeskId) {
    let mut w = World::of(hosts);
    w.store_put("template/default", TWO);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    (w, desk)
}

fn service(w: &World, desk: DeskId) -> Option<String> {
    w.status(desk).service.map(|service| service.to_string())
}

/// Shows the next display, and waits until its prompt is there.
fn flip(w: &mut World, desk: DeskId, to: &str) {
    let to = to.to_owned();
    w.flip(desk);
    w.expect_that(&format!("the desk shows {to}"), move |w| {
        service(w, desk).as_ref() == Some(&to) && w.screen(desk).iter().any(|line| line.contains('$'))
    })
    .within(ms(100));
}

#[test]
fn a_flip_shows_the_next_display_at_once_and_the_first_again_as_it_went_on_meanwhile() {
    let (mut w, desk) = with_two(1);
    w.expect(desk).noticing("Display 1 of 2: terminal. Ctrl-] n shows the next one.").within(ms(1));
    let terminal = pid_on(&mut w, desk);
    // What is typed last is answered while the other display is shown.
    w.type_line(desk, "count");
    flip(&mut w, desk, "mail");
    w.expect(desk).noticing("Display 2 of 2: mail").now();
    assert!(!w.can_read(desk, "count="), "nothing of the other display is left: {:?}", w.screen(desk));
    let mail = pid_on(&mut w, desk);
    assert_ne!(terminal, mail);
    flip(&mut w, desk, "terminal");
    w.expect(desk).reading("count=1").within(ms(100));
    assert_eq!(pid_on(&mut w, desk), terminal);
    w.run_for(ms(50));
    assert_eq!(w.status(desk).unacknowledged, 0);
}

#[test]
fn a_second_display_costs_the_first_no_time_and_is_there_before_anybody_asks() {
    let took = |template: &str| {
        let mut w = World::of(1);
        w.store_put("template/default", template);
        let desk = desk_with_session(&mut w, "h1", "card.ann");
        let begin = w.now() - secs(2);
        let shown = w.events_since(desk, begin).find_map(|event| match event {
            DtuEvent::Shown { took, .. } => Some(*took),
            _ => None,
        });
        // Long after the tickets of its connInf are void.
        w.run_for(secs(60));
        w.flip(desk);
        w.run_for(ms(20));
        (shown, w.status(desk).displays, w.screen(desk).join(" ").matches('$').count())
    };
    let (one, two) = (took("[[service]]\nname = \"terminal\"\n"), took(TWO));
    assert_eq!((one.1, two.1), (1, 2));
    assert_eq!((one.2, two.2), (1, 1), "a flip to nowhere leaves the screen as it is");
    assert!(two.0 <= one.0.map(|took| took + ms(1)), "{one:?} {two:?}");
}

#[test]
fn a_desk_whose_host_dies_shows_the_display_of_the_same_name_elsewhere() {
    let (mut w, desk) = with_two(2);
    flip(&mut w, desk, "mail");
    let before = pid_on(&mut w, desk);
    w.kill("h1");
    w.expect(desk).attached_to("h2").within(secs(2));
    w.run_for(ms(100));
    assert_eq!(service(&w, desk).as_deref(), Some("mail"));
    assert_ne!(pid_on(&mut w, desk), before);
    flip(&mut w, desk, "terminal");
}

#[test]
fn where_a_shown_service_ends_the_next_is_shown_and_a_flip_starts_it_again() {
    let (mut w, desk) = with_two(1);
    let terminal = pid_on(&mut w, desk);
    flip(&mut w, desk, "mail");
    let mail = pid_on(&mut w, desk);
    w.type_line(desk, "exit 0");
    w.expect(desk).noticing("mail has ended. Display 1 of 2: terminal").within(ms(200));
    assert_eq!(pid_on(&mut w, desk), terminal);
    let at = w.now();
    w.run_for(secs(20));
    assert_eq!(w.count_since(desk, "attached", at), 0, "nobody asks for what ended");
    w.flip(desk);
    w.run_for(secs(1));
    assert_eq!(service(&w, desk).as_deref(), Some("mail"));
    assert_ne!(pid_on(&mut w, desk), mail, "a required service is started again");
}

/// Starts a service of the session that the desk shows, by an operator's order.
fn start(w: &mut World, desk: DeskId, service: &str) {
    let (Some(session), Ok(service)) = (w.shows(desk), service.parse()) else { w.fail("no session") };
    let act = SessionAct::Start(ServiceStart { service, command: Vec::new(), display: true });
    let reply = w.ask("h1", Command::Session { session, act });
    assert!(matches!(reply, Reply::Done), "{reply:?}");
    w.run_for(ms(50));
}

/// A desk that shows the first of these displays on `h1`.
fn with_services(services: &[&str]) -> (World, DeskId) {
    let mut w = World::of(1);
    w.store_put(
        "template/default",
        &services.iter().map(|s| format!("[[service]]\n{s}\n")).collect::<String>(),
    );
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    (w, desk)
}

#[test]
fn a_session_with_more_displays_than_a_desk_shows_says_how_many_and_shows_the_first_six() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| format!("name = \"{name}\""));
    let (mut w, desk) = with_services(&names.each_ref().map(String::as_str));
    let more = "Ctrl-] n shows the next one. The session has 2 more: a desk shows at most 6.";
    w.expect(desk).noticing(&format!("Display 1 of 6: a. {more}")).within(ms(1));
    for (number, name) in [(2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f"), (1, "a")] {
        flip(&mut w, desk, name);
        w.expect(desk).noticing(&format!("Display {number} of 6: {name}. {more}")).now();
    }
    assert_eq!(w.status(desk).displays, 6);
}

#[test]
fn the_display_of_a_service_that_does_not_run_says_which_and_why_and_a_flip_goes_over_it() {
    let optional = "required = false";
    let (mut w, desk) = with_services(&[
        "name = \"terminal\"",
        &format!("name = \"mail\"\n{optional}"),
        &format!("name = \"broken\"\n{optional}\ncommand = [\"/no/such/program\"]"),
        "name = \"last\"",
    ]);
    let reads = |w: &mut World, text: &str| {
        w.run_for(ms(50));
        w.expect(desk).reading(text).now();
    };
    w.flip(desk);
    reads(&mut w, "mail is not started. Start it with: groupmgr service start ");
    // What is typed at it is nobody's, and holds nothing up.
    w.type_line(desk, "count");
    w.run_for(secs(1));
    assert_eq!(w.status(desk).unacknowledged, 0);
    start(&mut w, desk, "mail");
    assert!(!w.can_read(desk, "not started") && !w.can_read(desk, "count="), "{:?}", w.screen(desk));
    pid_on(&mut w, desk);
    w.flip(desk);
    reads(&mut w, "broken is not started");
    start(&mut w, desk, "broken");
    reads(&mut w, "broken could not be started: /no/such/program cannot be run");
    assert!(!w.can_read(desk, "not started"), "one line, and the newest");
    flip(&mut w, desk, "last");
    flip(&mut w, desk, "terminal");
    flip(&mut w, desk, "mail");
}

#[test]
fn a_flip_to_a_display_whose_service_has_ended_goes_on_to_the_one_behind_it() {
    let (mut w, desk) =
        with_services(&["name = \"terminal\"", "name = \"mail\"\nrequired = false", "name = \"last\""]);
    start(&mut w, desk, "mail");
    flip(&mut w, desk, "mail");
    w.type_line(desk, "exit 0");
    w.expect(desk).noticing("mail has ended. Display 3 of 3: last").within(ms(200));
    flip(&mut w, desk, "terminal");
    w.flip(desk);
    w.expect(desk).noticing("mail has ended. Display 3 of 3: last").within(secs(1));
}

#[test]
fn displays_that_break_are_back_with_what_was_typed_into_each() {
    let (mut w, desk) = with_two(1);
    w.type_line(desk, "count");
    flip(&mut w, desk, "mail");
    w.type_line(desk, "count");
    w.run_for(ms(50));
    w.break_displays(desk, "h1");
    w.type_line(desk, "count");
    w.expect(desk).reading("count=2").within(ms(500));
    // The other one is asked when the first is found broken, and opened again.
    w.run_for(ms(500));
    flip(&mut w, desk, "terminal");
    w.type_line(desk, "count");
    w.expect(desk).reading("count=2").within(ms(100));
}

#[test]
fn another_person_begins_with_the_first_display_and_sees_nothing_of_the_second() {
    let (mut w, desk) = with_two(1);
    flip(&mut w, desk, "mail");
    w.type_line(desk, "secret");
    w.run_for(ms(50));
    w.insert(desk, "card.bob");
    w.expect(desk).blank().now();
    w.expect(desk).attached_to("h1").within(secs(2));
    w.run_for(ms(50));
    assert_eq!(service(&w, desk).as_deref(), Some("terminal"));
    assert!(!w.can_read(desk, "secret"));
    flip(&mut w, desk, "mail");
    assert!(!w.can_read(desk, "secret"));
}

#[test]
fn a_stored_template_with_what_nothing_implements_makes_sessions_that_restart_and_warns_once() {
    let mut w = World::of(1);
    let from = w.now();
    w.store_put(
        "template/default",
        "continuity = \"carried\"\n[[service]]\nname = \"terminal\"\n[[service]]\nname = \"mail\"\nhost = \"h2\"\n",
    );
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    assert_eq!(w.status(desk).displays, 1, "what is to run elsewhere runs nowhere");
    w.insert(desk, "card.bob");
    w.expect(desk).attached_to("h1").within(secs(2));
    let warned: Vec<&str> = w
        .notes_since("h1", from)
        .filter_map(|note| match note {
            Note::TemplateIgnored { what, .. } => Some(what.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].contains("line 1") && warned[0].contains("carried"), "{warned:?}");
    assert!(warned[1].contains("line 6") && warned[1].contains("h2"), "{warned:?}");
}

#[test]
fn what_a_program_of_a_replicated_session_keeps_is_answered_and_found_again() {
    let mut w = World::of(1);
    w.store_put("template/default", "continuity = \"replicated\"\n[[service]]\nname = \"terminal\"\n");
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.type_line(desk, "keep the third page");
    w.expect(desk).reading("kept=the third page").within(secs(1));
    w.type_line(desk, "kept");
    w.expect(desk).reading("has=the third page").within(secs(1));
}
