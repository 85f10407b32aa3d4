//! Sending a DTU elsewhere: tickets, binding, and the way back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use std::net::SocketAddrV4;

use dtu_emu::dtu::Phase;
use proto::line::Line;
use tests::scene::{desk_with_session, drain, end};
use tests::world::{DeskId, DeskPlan, HostPlan, World, ms, secs};

/// A world in which card.ann has its session on h2, and a hand at h1 that was sent there: its redirectInf.
fn sent_to_h2() -> (World, DeskId, Line) {
    let mut w = World::of(3);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(desk);
    w.run_for(ms(10));
    let hand = w.hand("0a0000000001", lan);
    let line = ask_to_be_sent(&mut w, hand, 1, "h1", "card.ann");
    (w, hand, line)
}

fn ask_to_be_sent(w: &mut World, hand: DeskId, conn: u64, host: &str, token: &str) -> Line {
    let addr = w.address(host, w.lan());
    w.hand_opens(hand, conn, addr);
    w.run_for(ms(2));
    w.hand_presents(hand, conn, token, 1, "cause=insert");
    w.run_for(ms(300));
    w.last_heard(hand, "redirectInf").expect("a redirectInf").clone()
}

fn present(w: &mut World, hand: DeskId, conn: u64, addr: SocketAddrV4, token: &str, more: &str) {
    w.hand_opens(hand, conn, addr);
    w.run_for(ms(2));
    w.hand_presents(hand, conn, token, 1, more);
    w.run_for(ms(300));
}

fn with_ticket(redirect: &Line) -> String {
    format!("cause=redirect redirectProps={}", redirect.get("redirectProps").expect("a ticket"))
}

fn granted(w: &World, hand: DeskId) -> bool {
    w.last_heard(hand, "connInf").is_some_and(|line| line.get("access") == Some("allowed"))
}

#[test]
fn a_redirect_names_its_target_and_brings_a_ticket() {
    let (_, _, redirect) = sent_to_h2();
    assert_eq!(redirect.get("authipa"), Some("0a000002"));
    assert_eq!(redirect.get("authport"), Some("7009"));
    assert!(redirect.get("redirectProps").is_some_and(|ticket| !ticket.contains("ann")));
}

#[test]
fn a_good_ticket_skips_admission_and_selection() {
    let (mut w, hand, redirect) = sent_to_h2();
    let h2 = w.address("h2", w.lan());
    let before = (w.done("h2", "lookup"), w.refused("h2", "bad_ticket"));
    // Even when the data store could not be asked.
    w.kill_store();
    w.run_for(ms(10));
    present(&mut w, hand, 2, h2, "card.ann", &with_ticket(&redirect));
    assert!(granted(&w, hand));
    assert_eq!((w.done("h2", "lookup"), w.refused("h2", "bad_ticket")), before);
}

/// For everybody else it is up until three of its beacons are missed.
#[test]
fn a_host_that_is_sent_a_desk_of_one_just_killed_finds_that_out_itself_and_serves_it() {
    let mut w = World::of(3);
    let desk = desk_with_session(&mut w, "h1", "card.ann");
    w.remove(desk);
    drain(&mut w, &["h2".to_owned()], true);
    w.run_for(secs(1));
    let hand = w.hand("0a0000000001", w.lan());
    let [h2, h3] = ["h2", "h3"].map(|host| w.address(host, w.lan()));
    w.kill("h1");
    w.hand_opens(hand, 1, h2);
    w.run_for(ms(2));
    w.hand_presents(hand, 1, "card.ann", 1, "cause=insert");
    w.run_for(ms(30));
    let redirect = w.last_heard(hand, "redirectInf").expect("h2 takes no sessions").clone();
    w.hand_opens(hand, 2, h3);
    w.run_for(ms(2));
    w.hand_presents(hand, 2, "card.ann", 1, &with_ticket(&redirect));
    w.run_for(ms(100));
    assert!(granted(&w, hand), "{:?}", w.last_heard(hand, "connInf"));
    assert_eq!(w.refused("h3", "session_failed"), 0);
}

#[test]
fn a_ticket_is_good_once() {
    let (mut w, hand, redirect) = sent_to_h2();
    let h2 = w.address("h2", w.lan());
    present(&mut w, hand, 2, h2, "card.ann", &with_ticket(&redirect));
    assert_eq!(w.refused("h2", "bad_ticket"), 0);
    let again = w.hand("0a0000000001", w.lan());
    let lookups = w.done("h2", "lookup");
    present(&mut w, again, 1, h2, "card.ann", &with_ticket(&redirect));
    assert_eq!(w.refused("h2", "bad_ticket"), 1);
    assert_eq!(w.done("h2", "lookup"), lookups + 1, "it is treated as an insert");
    assert!(granted(&w, again));
}

#[test]
fn a_ticket_expires_on_its_targets_own_clock() {
    let (mut w, hand, redirect) = sent_to_h2();
    let h2 = w.address("h2", w.lan());
    w.set_clock("h2", -1_000_000);
    w.run_for(secs(46));
    present(&mut w, hand, 2, h2, "card.ann", &with_ticket(&redirect));
    assert_eq!(w.refused("h2", "bad_ticket"), 1);
}

#[test]
fn a_ticket_is_void_for_another_dtu_another_token_another_host_and_another_run() {
    let (mut w, _, redirect) = sent_to_h2();
    let (h2, h3) = (w.address("h2", w.lan()), w.address("h3", w.lan()));
    let thief = w.hand("0b0000000002", w.lan());
    present(&mut w, thief, 1, h2, "card.ann", &with_ticket(&redirect));
    assert_eq!(w.refused("h2", "bad_ticket"), 1, "another serial");
    present(&mut w, thief, 2, h2, "card.bob", &with_ticket(&redirect));
    assert_eq!(w.refused("h2", "bad_ticket"), 2, "another token");
    let hand = w.hand("0a0000000001", w.lan());
    present(&mut w, hand, 1, h3, "card.ann", &with_ticket(&redirect));
    assert_eq!(w.refused("h3", "bad_ticket"), 1, "another host");
    w.restart("h2");
    w.run_for(ms(500));
    present(&mut w, hand, 2, h2, "card.ann", &with_ticket(&redirect));
    assert_eq!(w.refused("h2", "bad_ticket"), 1, "another run, which counts from nought");
}

#[test]
fn a_forged_ticket_is_void() {
    let (mut w, hand, redirect) = sent_to_h2();
    let h2 = w.address("h2", w.lan());
    let ticket = redirect.get("redirectProps").unwrap();
    let mut forged: Vec<char> = ticket.chars().collect();
    let last = forged.len() - 1;
    forged[last] = if forged[last] == '0' { '1' } else { '0' };
    let forged: String = forged.into_iter().collect();
    present(&mut w, hand, 2, h2, "card.ann", &format!("cause=redirect redirectProps={forged}"));
    assert_eq!(w.refused("h2", "bad_ticket"), 1);
    present(&mut w, hand, 3, h2, "card.ann", "cause=redirect redirectProps=junk");
    assert!(granted(&w, hand), "admitted and selected as if it had come by itself");
}

#[test]
fn cause_redirect_without_a_ticket_is_cause_insert() {
    let (mut w, _, _) = sent_to_h2();
    let h1 = w.address("h1", w.lan());
    let hand = w.hand("0c0000000003", w.lan());
    present(&mut w, hand, 1, h1, "card.ann", "cause=redirect");
    assert!(w.last_heard(hand, "redirectInf").is_some(), "selected: its session is on h2");
    assert!(w.last_heard(hand, "connInf").is_none());
}

#[test]
fn a_redirect_binds_its_target_whatever_happens_to_its_load() {
    let mut w = World::of(3);
    let lan = w.lan();
    w.set_load("h1", 2_000, 4_000);
    w.run_for(ms(300));
    let hand = w.hand("0a0000000001", lan);
    let redirect = ask_to_be_sent(&mut w, hand, 1, "h1", "card.new");
    let target = redirect.get("host").map(str::to_owned).expect("a name");
    // On the way the target becomes the busiest of all, and is drained.
    for host in ["h1", "h2", "h3"] {
        let load = if host == target { 9_999 } else { 0 };
        w.set_load(host, load, 4_000);
    }
    drain(&mut w, std::slice::from_ref(&target), true);
    let addr = w.address(&target, lan);
    present(&mut w, hand, 2, addr, "card.new", &with_ticket(&redirect));
    assert!(granted(&w, hand), "it is made where it was sent");
    assert_eq!(w.sessions_of("card.new")[0].host, target);
}

#[test]
fn a_session_that_has_gone_while_its_dtu_was_on_the_way_is_made_anew_there() {
    let (mut w, hand, redirect) = sent_to_h2();
    let old = w.sessions_of("card.ann")[0].session;
    w.ask("h2", end(old));
    w.run_for(ms(100));
    let h2 = w.address("h2", w.lan());
    present(&mut w, hand, 2, h2, "card.ann", &with_ticket(&redirect));
    assert!(granted(&w, hand));
    let now = w.sessions_of("card.ann");
    assert_eq!((now.len(), now[0].host.as_str()), (1, "h2"));
    assert_ne!(now[0].session, old);
}

#[test]
fn a_target_that_cannot_be_reached_is_told_to_the_source_which_chooses_without_it() {
    let mut w = World::of(2);
    let lan = w.lan();
    drain(&mut w, &["h2".into()], true);
    let d = w.add_desk(DeskPlan::named("d1", lan).server("h1"));
    w.expect(d).attached_to("h1").within(secs(1));
    drain(&mut w, &["h2".into()], false);
    drain(&mut w, &["h1".into()], true);
    // The hosts hear each other; the desk's way to h2 is blocked.
    w.keep_apart(d, "h2");
    let at = w.now();
    w.insert(d, "card.ann");
    w.expect(d).attached_to("h1").within(secs(4));
    assert_eq!(w.count_since(d, "redirect_failed", at), 1, "\n{}", w.story());
}

#[test]
fn a_dtu_that_cannot_reach_the_host_of_its_session_is_given_one_beside_it_and_the_claim_stays() {
    let mut w = World::of(2);
    let lan = w.lan();
    let there = desk_with_session(&mut w, "h2", "card.ann");
    let anns = w.shows(there).unwrap();
    w.remove(there);
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1"));
    w.run_for(secs(1));
    w.keep_apart(d, "h2");
    w.insert(d, "card.ann");
    w.expect(d).attached_to("h1").within(secs(4));
    w.run_for(secs(1));
    let beside = w.shows(d).unwrap();
    assert_eq!(w.claim_on("card.ann").map(|claim| claim.session), Some(anns), "\n{}", w.story());
    // When that has died with its host, the one beside it is the token's.
    w.kill("h2");
    w.expect_that("the claim is that of the session at h1", move |w| {
        w.claim_on("card.ann").is_some_and(|claim| claim.session == beside)
    })
    .within(secs(3));
}

#[test]
fn a_target_that_is_full_sends_the_dtu_back() {
    let mut w = World::of_hosts([HostPlan::named("h1"), HostPlan::named("h2").sessions_max(1)]);
    let lan = w.lan();
    w.set_load("h1", 3_000, 4_000);
    w.run_for(ms(300));
    // Two are sent to h2 before either has arrived.
    let desks: Vec<DeskId> = (0..2)
        .map(|n| w.add_desk(DeskPlan::named(&format!("d{n}"), lan).server("h1").card(&format!("card.n{n}"))))
        .collect();
    for desk in desks {
        w.expect(desk).attached().within(secs(2));
    }
    assert_eq!(w.session_count_on("h2"), 1);
}

#[test]
fn redirects_end_however_much_the_hosts_disagree() {
    // Loads that change with every beacon, and many desks at once: a binding redirect cannot go in circles.
    let mut w = World::of(6);
    let lan = w.lan();
    let desks: Vec<DeskId> = (0..60)
        .map(|n| {
            for host in 1..=6 {
                w.set_load(&format!("h{host}"), ((n * 37 + host * 91) % 700) as u32, 4_000);
            }
            w.run_for(ms(13));
            let server = format!("h{}", n % 6 + 1);
            w.add_desk(DeskPlan::named(&format!("d{n}"), lan).server(&server).card(&format!("card.n{n}")))
        })
        .collect();
    w.run_for(secs(1));
    for desk in &desks {
        w.expect(*desk).attached().now();
        assert!(w.count_since(*desk, "redirected", proto::Instant::ZERO) <= 1);
    }
}

#[test]
fn what_was_granted_says_where_to_fail_over_to_and_by_what_to_check_beacons() {
    let mut w = World::of(4);
    let lan = w.lan();
    let hand = w.hand("0a0000000001", lan);
    let h1 = w.address("h1", lan);
    drain(&mut w, &["h2".into(), "h3".into(), "h4".into()], true);
    present(&mut w, hand, 1, h1, "card.ann", "cause=insert");
    let line = w.last_heard(hand, "connInf").expect("a connInf").clone();
    assert_eq!(line.get("access"), Some("allowed"));
    assert_eq!(line.get("tokenSeq"), Some("1"));
    let standbys: Vec<&str> = line.all("server").collect();
    assert_eq!(standbys, ["h2@10.0.0.2:7009", "h3@10.0.0.3:7009", "h4@10.0.0.4:7009"]);
    assert!(line.get("anchor").is_some_and(|a| a.starts_with(&w.boot_of("h1").unwrap().to_string())));
    assert_eq!(line.get("display"), Some("10.0.0.1:7009"));
    for key in ["session", "service", "ticket", "fp"] {
        assert!(line.get(key).is_some(), "{key} in {line}");
    }
}

#[test]
fn a_card_moved_while_its_dtu_is_on_the_way_does_not_use_the_old_ticket() {
    let mut w = World::of(3);
    let lan = w.lan();
    let ann = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(ann);
    let d = w.add_desk(DeskPlan::named("d", lan).server("h1"));
    w.run_for(secs(1));
    w.insert(d, "card.ann");
    w.expect(d).in_phase(Phase::Redirected).within(ms(50));
    w.remove(d);
    w.insert(d, "card.bob");
    w.expect(d).attached().within(secs(1));
    assert_eq!(w.status(d).token.as_str(), "card.bob");
    let bobs = w.sessions_of("card.bob");
    assert_eq!(w.shows(d), Some(bobs[0].session));
    assert_eq!(w.refused("h2", "bad_ticket"), 0);
}

/// A desk that speaks without TLS and is switched on with a card at a host.
fn plain_desk(w: &mut World, host: &str, token: &str) -> DeskId {
    let lan = w.lan();
    let desk = w.add_desk(DeskPlan::named(&format!("plain-{token}"), lan).server(host).card(token).off());
    w.speak_plain(desk);
    w.switch_on(desk);
    desk
}

#[test]
fn a_plain_terminal_is_never_sent_to_a_host_that_takes_none() {
    let plans = ["h1", "h2"].map(|name| HostPlan::named(name).plain());
    let mut w = World::of_hosts(plans.into_iter().chain([HostPlan::named("h3")]));
    // It takes no new sessions, so that it has to send every card on.
    drain(&mut w, &["h1".to_owned()], true);
    let start = w.now();
    for n in 0..24 {
        let desk = plain_desk(&mut w, "h1", &format!("card.c{n}"));
        w.expect(desk).attached().within(ms(100));
        assert_eq!(w.count_since(desk, "redirect_failed", start), 0, "{}", w.story());
        assert_eq!(w.host_of(desk).as_deref(), Some("h2"), "{}", w.story());
    }
}

#[test]
fn a_card_whose_session_is_where_its_plain_terminal_cannot_go_gets_another_one() {
    let mut w = World::of_hosts([HostPlan::named("h1").plain(), HostPlan::named("h2")]);
    let ann = desk_with_session(&mut w, "h2", "card.ann");
    w.remove(ann);
    w.run_for(secs(1));
    let desk = plain_desk(&mut w, "h1", "card.ann");
    w.expect(desk).attached_to("h1").within(secs(1));
    assert_eq!(w.count_since(desk, "redirected", proto::Instant::ZERO), 0);
}
