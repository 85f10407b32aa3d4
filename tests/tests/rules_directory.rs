//! Who has sessions for a token: asking, mute hosts, daemons that are gone, kept sessions, and the time of last
//! connection.

use dtu_emu::dtu::Phase;
use groupmgr::host::admin::{Command, Reply};
use proto::Last;
use tests::scene::{desk_with_session, pid_on, status};
use tests::world::{DeskPlan, HostPlan, World, ms, secs};

fn put_card_in_at(w: &mut World, host: &str, card: &str) -> tests::world::DeskId {
    let lan = w.lan();
    w.add_desk(DeskPlan::named(&format!("at-{host}"), lan).server(host).card(card))
}

#[test]
fn a_card_moved_to_another_desk_takes_its_session_along() {
    let mut w = World::of(3);
    let lan = w.lan();
    let first = desk_with_session(&mut w, "h3", "card.ann");
    let pid = pid_on(&mut w, first);
    w.remove(first);
    w.expect(first).blank().within(ms(1));
    let second = w.add_desk(DeskPlan::named("d2", lan).server("h1").card("card.ann"));
    let took = w.expect(second).attached_to("h3").within(ms(100));
    assert!(took < ms(10), "a redirect costs a handful of round trips, not {took:?}");
    w.expect(second).reading(&format!("pid={pid}")).now();
    assert_eq!(pid_on(&mut w, second), pid, "the same process");
}

#[test]
fn a_card_that_is_put_in_elsewhere_is_no_longer_shown_at_its_old_desk() {
    let mut w = World::of(3);
    let first = desk_with_session(&mut w, "h3", "card.ann");
    let second = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(second).attached_to("h3").within(ms(100));
    w.expect(first).in_phase(Phase::Detached).within(ms(10));
    w.expect(first).blank().now();
    w.expect(first).noticing("shown at another desk").now();
    w.expect(first).in_phase(Phase::Detached).throughout(secs(70));
    w.type_line(first, "");
    w.expect(first).attached_to("h3").within(ms(100));
    w.expect(second).in_phase(Phase::Detached).within(ms(10));
}

#[test]
fn programs_run_on_while_nobody_watches() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.type_line(desk, "count");
    w.run_for(ms(10));
    w.remove(desk);
    w.run_for(secs(300));
    w.insert(desk, "card.ann");
    w.type_line(desk, "");
    w.expect(desk).attached().within(ms(200));
    w.type_line(desk, "count");
    w.expect(desk).reading("count=2").within(ms(100));
}

#[test]
fn selecting_among_five_hosts_takes_one_round_of_questions() {
    let mut w = World::of(5);
    let desk = desk_with_session(&mut w, "h5", "card.ann");
    w.remove(desk);
    // Without a key: to pin one is a round trip to the data store, once in a unit's life.
    let lan = w.lan();
    let asker = w.add_desk(DeskPlan::named("at-h1", lan).server("h1").card("card.ann").keyless());
    // TCP and TLS twice are eight ways of 100 µs, infoReq and redirect two, the question two, connInf two.
    let took = w.expect(asker).in_phase(Phase::Attached).within(ms(50));
    assert!(took <= ms(2), "{took:?}");
    assert_eq!(w.done("h1", "lookup"), 1);
}

#[test]
fn a_mute_host_is_waited_for_once_and_then_not_at_all() {
    let mut w = World::of(3);
    let lan = w.lan();
    // It is heard, but hears nothing.
    w.cut_way("h3", lan, tests::world::Way::In);
    let first = put_card_in_at(&mut w, "h1", "card.a");
    let late = w.expect(first).attached().within(secs(1));
    assert!(late >= ms(150) && late <= ms(180), "{late:?}");
    assert_eq!(status(&mut w, "h1").mute.len(), 1);
    for n in 0..5 {
        let next = put_card_in_at(&mut w, "h1", &format!("card.n{n}"));
        let took = w.expect(next).attached().within(secs(1));
        assert!(took <= ms(30), "{took:?}");
    }
}

#[test]
fn a_storm_of_tokens_waits_for_a_mute_host_only_once() {
    let mut w = World::of(3);
    let lan = w.lan();
    w.cut_way("h3", lan, tests::world::Way::In);
    let desks: Vec<_> = (0..20).map(|n| put_card_in_at(&mut w, "h1", &format!("card.n{n}"))).collect();
    let start = w.now();
    for desk in desks {
        w.expect(desk).attached().within(ms(250));
    }
    assert!(w.now().since(start) <= ms(250));
}

#[test]
fn a_host_is_mute_until_it_answers() {
    let mut w = World::of(2);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.cut_way("h2", lan, tests::world::Way::In);
    let first = put_card_in_at(&mut w, "h1", "card.bob");
    w.expect(first).attached_to("h1").within(secs(1));
    assert_eq!(status(&mut w, "h1").mute.len(), 1);
    w.heal("h2", lan);
    w.run_for(ms(1_100));
    assert!(status(&mut w, "h1").mute.is_empty(), "asked in the background, once a second");
    let ann = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(ann).attached_to("h2").within(ms(100));
}

#[test]
fn a_host_that_is_mute_on_one_lan_is_still_asked_on_another() {
    let mut w = World::new(12);
    let (a, b) = (w.add_lan("a", "10.1.0.0", 16), w.add_lan("b", "10.2.0.0", 16));
    for host in ["h1", "h2"] {
        w.add_host(HostPlan::named(host).on(a).on(b));
    }
    w.settle();
    let first = w.add_desk(DeskPlan::named("first", b).server("h2"));
    w.run_for(secs(1));
    tests::scene::drain(&mut w, &["h1".into()], true);
    w.insert(first, "card.ann");
    w.expect(first).attached_to("h2").within(secs(1));
    tests::scene::drain(&mut w, &["h1".into()], false);
    w.remove(first);
    // What is sent to h2 on a is lost; everything else arrives.
    w.cut_way("h2", a, tests::world::Way::In);
    let late = w.add_desk(DeskPlan::named("late", a).server("h1").card("card.bob"));
    w.expect(late).attached_to("h1").within(secs(1));
    for n in 0..3 {
        let d = w.add_desk(DeskPlan::named(&format!("d{n}"), b).server("h1").card("card.ann"));
        w.expect(d).attached_to("h2").within(ms(100));
        let e = w.add_desk(DeskPlan::named(&format!("e{n}"), a).server("h1").card(&format!("card.e{n}")));
        let took = w.expect(e).attached_to("h1").within(secs(1));
        assert!(n == 0 || took <= ms(40), "{took:?}");
    }
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn a_question_that_is_lost_is_asked_again_after_thirty_milliseconds() {
    let mut w = World::of(2);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.cut_way("h2", lan, tests::world::Way::In);
    let asker = put_card_in_at(&mut w, "h1", "card.ann");
    w.run_for(ms(20));
    w.heal("h2", lan);
    let took = w.expect(asker).attached_to("h2").within(ms(100));
    assert!(took <= ms(20), "asked again at 30 ms, of which 20 have passed: {took:?}");
}

#[test]
fn a_daemon_that_is_gone_says_so_at_once() {
    let mut w = World::of(3);
    w.kill("h3");
    // Before anybody has missed a beacon.
    let desk = put_card_in_at(&mut w, "h1", "card.ann");
    let took = w.expect(desk).attached().within(secs(1));
    assert!(took < ms(20), "a refused question is an answer: {took:?}");
    assert_eq!(w.done("h1", "daemon_gone"), 1);
    assert!(status(&mut w, "h1").mute.is_empty());
}

#[test]
fn a_session_is_gone_with_its_daemon() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.kill("h2");
    let again = put_card_in_at(&mut w, "h1", "card.ann");
    let took = w.expect(again).attached_to("h1").within(secs(1));
    assert!(took < ms(20), "{took:?}");
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn a_kept_session_is_held_for_its_hosts_next_daemon() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let pid = pid_on(&mut w, desk);
    w.remove(desk);
    w.kill("h2");
    w.run_for(ms(500));
    let again = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(again).noticing("Waiting for host h2").within(ms(300));
    w.run_for(secs(3));
    w.start("h2");
    w.expect(again).attached_to("h2").within(ms(400));
    assert_eq!(pid_on(&mut w, again), pid);
}

#[test]
fn a_kept_session_whose_daemon_does_not_come_back_is_made_anew_after_the_grace_time() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.kill("h2");
    let again = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(again).not_attached().throughout(secs(9));
    w.expect(again).attached_to("h1").within(secs(3));
}

#[test]
fn nobody_waits_for_a_kept_session_when_its_whole_host_is_gone() {
    for pause in [0, 150, 350, 2_000] {
        let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
        let desk = desk_with_session(&mut w, "h2", "card.ann");
        w.remove(desk);
        // One that has just started may be mute because it takes up what was kept.
        w.run_for(secs(7));
        w.power_off("h2");
        w.run_for(ms(pause));
        let again = put_card_in_at(&mut w, "h1", "card.ann");
        w.expect(again).attached_to("h1").within(ms(200));
    }
}

#[test]
fn a_host_that_dies_just_after_its_start_is_waited_for_until_it_is_silent() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.power_off("h2");
    let again = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(again).attached_to("h1").within(ms(600));
}

#[test]
fn a_host_that_has_just_started_finds_the_sessions_of_those_it_has_only_heard_a_beacon_of() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.restart("h1");
    w.run_for(ms(210));
    let again = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(again).attached_to("h2").within(ms(200));
}

#[test]
fn a_kept_session_whose_claim_was_taken_over_meanwhile_is_not_the_one_shown() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").keep()]);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let old = w.sessions_of("card.ann")[0].session;
    w.remove(desk);
    w.kill("h2");
    let again = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(again).attached_to("h1").within(secs(15));
    w.start("h2");
    w.run_for(secs(2));
    assert_eq!(w.claim_of("h2", old), Some(sessiond::manager::Claim::Superseded));
    w.expect(again).attached_to("h1").now();
    // The one last connected is found, from wherever it is looked for.
    let third = put_card_in_at(&mut w, "h2", "card.ann");
    w.expect(third).attached_to("h1").within(ms(200));
    assert_eq!(w.sessions_of("card.ann").len(), 2, "both are listed");
}

#[test]
fn a_token_never_crosses_the_lan_in_clear() {
    let mut w = World::of(3);
    let lan = w.lan();
    let ear = w.stranger(lan);
    let d = desk_with_session(&mut w, "h2", "card.secretnumber");
    w.remove(d);
    let e = put_card_in_at(&mut w, "h1", "card.secretnumber");
    w.expect(e).attached_to("h2").within(secs(1));
    w.run_for(secs(30));
    let heard = w.recording(ear);
    assert!(heard.iter().any(|h| h.bytes.starts_with(b"shown ")), "the token was announced");
    let clear = heard.iter().filter(|h| String::from_utf8_lossy(&h.bytes).contains("secretnumber")).count();
    assert_eq!(clear, 0);
}

/// Two sessions of one token, on h1 and on h2, made while the LAN was split.
fn two_sessions(w: &mut World) -> (tests::world::DeskId, tests::world::DeskId) {
    let lan = w.lan();
    let (a, b) = (w.add_desk(DeskPlan::named("a", lan)), w.add_desk(DeskPlan::named("b", lan)));
    w.run_for(secs(1));
    w.split(lan, &["h2"], &[b]);
    w.run_for(ms(500));
    w.insert(a, "card.ann");
    w.insert(b, "card.ann");
    w.expect(a).attached_to("h1").within(secs(2));
    w.expect(b).attached_to("h2").within(secs(2));
    (a, b)
}

#[test]
fn of_several_sessions_the_one_last_connected_wins() {
    let mut w = World::of(2);
    let lan = w.lan();
    w.set_clock("h1", 0);
    w.set_clock("h2", 0);
    let (a, b) = two_sessions(&mut w);
    w.remove(a);
    w.remove(b);
    w.run_for(ms(10));
    w.insert(b, "card.ann");
    w.run_for(ms(300));
    w.remove(b);
    w.join(lan);
    w.run_for(secs(1));
    let c = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(c).attached_to("h2").within(ms(200));
}

#[test]
fn a_later_connection_wins_whatever_the_clocks_say() {
    let mut w = World::of(2);
    let lan = w.lan();
    // By clocks alone the session on h1 would win for five hours.
    w.set_clock("h1", 5 * 3_600_000);
    w.set_clock("h2", 0);
    let (a, b) = two_sessions(&mut w);
    w.join(lan);
    w.expect(b).in_phase(Phase::Detached).within(secs(1));
    w.remove(a);
    w.remove(b);
    w.split(lan, &["h2"], &[b]);
    w.run_for(ms(500));
    w.insert(b, "card.ann");
    w.expect(b).attached_to("h2").within(secs(1));
    w.join(lan);
    w.run_for(secs(1));
    w.expect(b).attached_to("h2").now();
    let c = put_card_in_at(&mut w, "h1", "card.ann");
    w.expect(c).attached_to("h2").within(ms(200));
}

#[test]
fn each_connection_is_later_than_all_that_were_heard_for_its_token() {
    let mut w = World::of(2);
    w.set_clock("h1", 0);
    w.set_clock("h2", -3_600_000);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    let session = w.shows(desk).unwrap();
    let mut before = w.last_of("h2", session).unwrap();
    for n in 0..5 {
        // The clock of its host goes back between connections.
        w.set_clock("h2", -3_600_000 * (n + 2));
        let next = put_card_in_at(&mut w, "h1", "card.ann");
        w.expect(next).attached_to("h2").within(secs(1));
        let last = w.last_of("h2", session).unwrap();
        assert!(last > before, "{last} after {before}");
        before = last;
    }
}

#[test]
fn an_absurd_time_of_last_connection_wins_nothing() {
    let mut w = World::of(3);
    let lan = w.lan();
    // Three days ahead of the others: nobody believes it.
    w.set_clock("h1", 3 * 86_400_000);
    w.set_clock("h2", 0);
    w.set_clock("h3", 0);
    // Nobody's session goes there.
    w.set_load("h3", 9_999, 4_000);
    let (a, b) = two_sessions(&mut w);
    w.join(lan);
    w.run_for(secs(2));
    assert!(w.refused("h2", "absurd_last") > 0);
    w.expect(b).attached_to("h2").throughout(secs(1));
    w.remove(a);
    w.remove(b);
    w.run_for(ms(100));
    let c = put_card_in_at(&mut w, "h2", "card.ann");
    w.expect(c).attached_to("h2").within(ms(200));
    let on_h2 = w.shows(c).unwrap();
    let wall = 950_739_941_000 + 86_400_000;
    assert!(w.last_of("h2", on_h2).is_some_and(|last| Last(last) < Last(wall)), "it was not taken over");
}

#[test]
fn an_operator_can_ask_why_a_token_goes_where_it_goes() {
    let mut w = World::of(2);
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.expect(desk).attached_to("h2").now();
    match w.ask("h1", Command::Explain("card.ann".parse().unwrap())) {
        Reply::Explain(told) => {
            assert!(told.here.is_empty());
            assert!(told.claim.as_ref().is_some_and(|claim| claim.contains("host=h2")), "{told:?}");
            assert!(told.reasons.iter().any(|r| r.contains("which is up")), "{told:?}");
        }
        other => w.fail(&format!("{other:?}")),
    }
}
