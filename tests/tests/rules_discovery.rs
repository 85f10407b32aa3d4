//! How a DTU finds a host, and which hosts it can reach.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what is not there ends the test")]

use dtu_emu::dtu::Phase;
use groupmgr::host::admin::{Command, Reply};
use proto::discovery::{ServerQ, ServerR};
use proto::line::Line;
use tests::scene::{desk_with_session, drain};
use tests::world::{DeskId, DeskPlan, HostPlan, LanId, World, ms, secs};

/// Two LANs; h1 on the first only, h2 on both.
fn two_lans() -> (World, LanId, LanId) {
    let mut w = World::new(11);
    let (a, b) = (w.add_lan("a", "10.1.0.0", 16), w.add_lan("b", "10.2.0.0", 16));
    w.add_host(HostPlan::named("h1").on(a));
    w.add_host(HostPlan::named("h2").on(a).on(b));
    w.settle();
    (w, a, b)
}

fn hosts_of_new_sessions(w: &mut World, lan: LanId, desks: usize, server: &str) -> Vec<String> {
    let ids: Vec<DeskId> = (0..desks)
        .map(|n| {
            let plan = DeskPlan::named(&format!("d{n}"), lan).card(&format!("card.n{n}"));
            let desk = w.add_desk(if server.is_empty() { plan } else { plan.server(server) });
            w.run_for(ms(30));
            desk
        })
        .collect();
    for desk in &ids {
        w.expect(*desk).attached().within(secs(2));
    }
    let mut hosts: Vec<String> = ids.iter().filter_map(|desk| w.host_of(*desk)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn server_q(ip: std::net::Ipv4Addr) -> Vec<u8> {
    ServerQ { sn: "x".parse().unwrap(), ip }.to_line().to_string().into_bytes()
}

#[test]
fn a_dtu_that_is_told_nothing_finds_a_host_by_asking_everybody() {
    let mut w = World::of(3);
    let lan = w.lan();
    let d = w.add_desk(DeskPlan::named("d1", lan).card("card.ann"));
    let took = w.expect(d).attached().within(ms(100));
    assert!(took < ms(50), "{took:?}");
}

#[test]
fn a_configured_server_comes_first() {
    let mut w = World::of(3);
    let lan = w.lan();
    for host in ["h1", "h2", "h3"] {
        let d = w.add_desk(DeskPlan::named(&format!("d-{host}"), lan).server(host));
        w.expect_that("it asks the configured host", {
            let host = host.to_owned();
            move |w| {
                w.events_since(d, proto::Instant::ZERO).any(|e| {
                    e.name() == "host_found" && e.host().is_some_and(|h| h.addr == w.address(&host, w.lan()))
                })
            }
        })
        .within(ms(20));
    }
}

#[test]
fn when_the_configured_server_is_dead_another_one_is_found() {
    let mut w = World::of(3);
    let lan = w.lan();
    w.power_off("h1");
    let d = w.add_desk(DeskPlan::named("d1", lan).server("h1").card("card.ann"));
    w.expect(d).attached().within(ms(600));
}

#[test]
fn a_host_answers_with_its_address_on_the_dtus_subnet() {
    let (mut w, a, b) = two_lans();
    for lan in [a, b] {
        let stranger = w.stranger(lan);
        let ip = if lan == a { "10.1.0.200" } else { "10.2.0.200" }.parse().unwrap();
        let question = server_q(ip);
        w.stranger_shouts(stranger, &question);
        w.run_for(ms(10));
        let answers: Vec<ServerR> = w
            .recording(stranger)
            .iter()
            .filter_map(|h| ServerR::from_line(&Line::parse(&h.bytes).ok()?).ok())
            .collect();
        let h2 = answers.iter().find(|answer| answer.host.as_str() == "h2").expect("h2 answers");
        assert_eq!(h2.ip, *w.address("h2", lan).ip());
    }
}

#[test]
fn a_host_says_whether_it_takes_plain_terminals_when_it_is_asked_and_in_every_table() {
    let mut w = World::of_hosts([HostPlan::named("h1").plain(), HostPlan::named("h2")]);
    let lan = w.lan();
    w.run_for(secs(2));
    let stranger = w.stranger(lan);
    w.stranger_shouts(stranger, &server_q("10.0.0.200".parse().unwrap()));
    w.run_for(ms(10));
    let heard = w.recording(stranger);
    let answers = heard.iter().filter_map(|h| ServerR::from_line(&Line::parse(&h.bytes).ok()?).ok());
    let mut told: Vec<_> = answers.map(|answer| (answer.host.to_string(), answer.plain)).collect();
    told.sort();
    let truth = [("h1".to_owned(), true), ("h2".to_owned(), false)];
    assert_eq!(told, truth);
    for host in ["h1", "h2"] {
        let Reply::Topology(rows) = w.ask(host, Command::Topology) else { panic!("no table") };
        let mut shown: Vec<_> = rows.iter().map(|row| (row.host.to_string(), row.plain)).collect();
        shown.sort();
        assert_eq!(shown, truth, "at {host}");
    }
}

#[test]
fn a_flood_of_questions_is_answered_at_a_bounded_rate_and_counted() {
    let mut w = World::of(1);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let question = server_q("10.0.0.200".parse().unwrap());
    for _ in 0..1_000 {
        w.stranger_shouts(stranger, &question);
        w.run_for(ms(1));
    }
    let answers = w.recording(stranger).iter().filter(|h| h.bytes.starts_with(b"serverR")).count();
    assert!((10..=25).contains(&answers), "{answers} answers in a second");
    assert_eq!(w.refused("h1", "asked_too_often") as usize, 1_000 - answers);
}

#[test]
fn a_dtu_tries_who_answers_until_one_lets_it_in() {
    let mut w = World::of(1);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let d = w.add_desk(DeskPlan::named("d1", lan).card("card.ann").off());
    // Strangers answer first, with addresses where nobody is.
    w.switch_on(d);
    for n in 0..3 {
        let answer = ServerR {
            host: format!("x{n}").parse().unwrap(),
            ip: format!("10.0.7.{n}").parse().unwrap(),
            port: 7009,
            load: 0,
            drain: false,
            plain: false,
        };
        let to = std::net::SocketAddrV4::new(w.address_of_desk(d), proto::PORT);
        w.stranger_says(stranger, to, answer.to_line().to_string().as_bytes());
    }
    w.expect(d).attached_to("h1").within(secs(2));
}

#[test]
fn a_draining_host_answers_and_is_taken_when_there_is_no_other() {
    let mut w = World::of(1);
    let lan = w.lan();
    w.ask("h1", Command::Drain(true));
    let d = w.add_desk(DeskPlan::named("d1", lan).card("card.ann"));
    w.expect(d).attached_to("h1").within(ms(500));
}

#[test]
fn a_new_session_goes_only_where_its_dtu_can_connect() {
    let (mut w, a, b) = two_lans();
    assert_eq!(hosts_of_new_sessions(&mut w, b, 8, ""), ["h2"]);
    let mut w2 = two_lans().0;
    w2.set_load("h2", 2_000, 4_000);
    w2.run_for(ms(200));
    assert_eq!(hosts_of_new_sessions(&mut w2, a, 8, "h2"), ["h1"]);
}

#[test]
fn a_session_on_a_host_that_the_dtu_cannot_reach_is_not_where_it_is_sent() {
    let (mut w, a, b) = two_lans();
    drain(&mut w, &["h2".into()], true);
    let first = w.add_desk(DeskPlan::named("d1", a).server("h1").card("card.ann"));
    w.expect(first).attached_to("h1").within(secs(1));
    drain(&mut w, &["h2".into()], false);
    w.remove(first);
    // On LAN b only h2 can be reached: a session is made beside the one on h1, whose claim stays.
    let claim = w.stored("claim/card.ann");
    let second = w.add_desk(DeskPlan::named("d2", b).card("card.ann"));
    w.expect(second).attached_to("h2").within(secs(2));
    assert_eq!(w.sessions_of("card.ann").len(), 2);
    assert_eq!(w.stored("claim/card.ann"), claim);
}

#[test]
fn equal_private_subnets_on_separate_wires_are_told_apart() {
    let mut w = World::new(4);
    let (a, b) = (w.add_lan("a", "192.168.0.0", 24), w.add_lan("b", "192.168.0.0", 24));
    let c = w.add_lan("c", "10.3.0.0", 16);
    w.add_host(HostPlan::named("h1").on(a).on(c));
    w.add_host(HostPlan::named("h2").on(b).on(c));
    w.settle();
    // h2 is idle and claims an interface on the desk's subnet, but h1 never hears it there.
    w.set_load("h1", 900, 4_000);
    w.run_for(ms(300));
    assert_eq!(hosts_of_new_sessions(&mut w, a, 6, ""), ["h1"]);
    // The desks have each other's addresses too: those on b meet h2 alone.
    assert_eq!(hosts_of_new_sessions(&mut w, b, 6, ""), ["h2"]);
}

#[test]
fn a_subnet_on_which_the_asking_host_has_no_interface_is_second_choice() {
    let mut w = World::new(4);
    let (c, x) = (w.add_lan("c", "10.3.0.0", 16), w.add_lan("x", "10.4.0.0", 16));
    w.route(&[c, x]);
    w.add_host(HostPlan::named("h1").on(c));
    w.add_host(HostPlan::named("h2").on(c).on(x));
    w.settle();
    // h1 cannot know whether h2's 10.4 is the desk's: it makes new sessions itself, though h2 is idle.
    w.set_load("h1", 900, 4_000);
    w.run_for(ms(300));
    let d = w.add_desk(DeskPlan::named("d1", x).server("h1").card("card.ann"));
    w.expect(d).attached_to("h1").within(secs(1));
    // A session that is there is worth the attempt.
    let e = w.add_desk(DeskPlan::named("d2", x).server("h2").card("card.bob"));
    w.expect(e).attached_to("h2").within(secs(1));
    w.remove(e);
    let f = w.add_desk(DeskPlan::named("d3", x).server("h1").card("card.bob"));
    w.expect(f).attached_to("h2").within(secs(1));
    assert_eq!(w.sessions_of("card.bob").len(), 1);
}

#[test]
fn a_routed_dtu_reaches_hosts_at_their_primary_addresses() {
    let mut w = World::new(6);
    let (a, far) = (w.add_lan("a", "10.1.0.0", 16), w.add_lan("far", "10.9.0.0", 16));
    w.route(&[a, far]);
    for host in ["h1", "h2", "h3"] {
        w.add_host(HostPlan::named(host).on(a));
    }
    w.settle();
    let d = w.add_desk(DeskPlan::named("d1", far).server("h1").card("card.ann"));
    w.expect(d).attached().within(secs(1));
    let host = w.host_of(d).unwrap();
    w.remove(d);
    for server in ["h1", "h2", "h3"] {
        let other = w.add_desk(DeskPlan::named(&format!("d-{server}"), far).server(server).card("card.ann"));
        w.expect(other).attached_to(&host).within(secs(1));
    }
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}

#[test]
fn a_desk_keeps_its_session_when_its_hosts_other_lan_fails() {
    let (mut w, a, b) = two_lans();
    let d = w.add_desk(DeskPlan::named("d1", b).card("card.ann"));
    w.expect(d).attached_to("h2").within(secs(1));
    w.cut("h2", a);
    w.expect(d).attached_to("h2").throughout(secs(5));
    w.type_line(d, "count");
    w.expect(d).reading("count=1").within(ms(50));
}

#[test]
fn connecting_from_another_lan_finds_the_session_by_a_host_on_both() {
    let (mut w, a, b) = two_lans();
    let d = w.add_desk(DeskPlan::named("d1", b).card("card.ann"));
    w.expect(d).attached_to("h2").within(secs(1));
    w.type_line(d, "count");
    w.expect(d).reading("count=1").within(ms(100));
    w.remove(d);
    let e = w.add_desk(DeskPlan::named("d2", a).server("h1").card("card.ann"));
    w.expect(e).attached_to("h2").within(secs(1));
    w.type_line(e, "count");
    w.expect(e).reading("count=2").within(ms(100));
}

#[test]
fn no_host_at_all_is_said_on_the_screen_and_the_first_to_come_is_used() {
    let mut w = World::of(1);
    let lan = w.lan();
    w.kill("h1");
    let d = w.add_desk(DeskPlan::named("d1", lan).card("card.ann"));
    w.expect(d).noticing("No host can be reached").within(secs(2));
    w.run_for(secs(20));
    w.expect(d).in_phase(Phase::Searching).now();
    w.start("h1");
    let took = w.expect(d).attached_to("h1").within(ms(250));
    assert!(took <= ms(250), "within a beacon and what it takes to start a session: {took:?}");
}

#[test]
fn a_host_with_a_session_of_its_own_is_found_wherever_the_card_is_put_in() {
    let mut w = World::of(5);
    let lan = w.lan();
    let first = desk_with_session(&mut w, "h4", "card.ann");
    w.remove(first);
    for n in 1..=5 {
        let d = w.add_desk(DeskPlan::named(&format!("d{n}"), lan).server(&format!("h{n}")).card("card.ann"));
        w.expect(d).attached_to("h4").within(ms(200));
    }
    assert_eq!(w.sessions_of("card.ann").len(), 1);
}
