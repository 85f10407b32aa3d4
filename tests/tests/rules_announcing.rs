//! What hosts say of themselves, and what others make of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is not there ends the test")]

use groupmgr::host::Note;
use groupmgr::host::admin::{Command, Reply};
use groupmgr::topology::{Change, RowView, Standing};
use proto::beacon::{Beacon, INTERVAL};
use proto::keys::Purpose;
use proto::line::Line;
use tests::scene::{desk_with_session, drain, status};
use tests::world::{HostPlan, Rule, Way, World, ms, secs};

fn topology(w: &mut World, host: &str) -> Vec<RowView> {
    match w.ask(host, Command::Topology) {
        Reply::Topology(rows) => rows,
        other => w.fail(&format!("{other:?}")),
    }
}

fn row(w: &mut World, host: &str, of: &str) -> RowView {
    let rows = topology(w, host);
    rows.into_iter().find(|row| row.trusted && row.host.as_str() == of).expect("a row")
}

fn changes(w: &World, host: &str, since: proto::Instant) -> Vec<Change> {
    let notes = w.notes_since(host, since);
    notes.filter_map(|note| if let Note::Host(change) = note { Some(change.clone()) } else { None }).collect()
}

#[test]
fn host_messages_come_every_twenty_seconds_and_beacons_every_fifty_milliseconds() {
    let mut w = World::of(2);
    let lan = w.lan();
    let ear = w.stranger(lan);
    w.run_for(secs(60));
    let heard = w.recording(ear);
    let from_h1 = heard.iter().filter(|h| h.from == w.address("h1", lan));
    let (messages, rest): (Vec<_>, Vec<_>) = from_h1.partition(|h| h.bytes.starts_with(b"host="));
    let beacons = rest.iter().filter(|h| h.bytes.starts_with(b"beacon ")).count();
    assert_eq!((messages.len(), beacons), (3, 1_200));
}

#[test]
fn what_changes_is_announced_at_once() {
    let mut w = World::of(2);
    let at = w.now();
    w.ask("h1", Command::Drain(true));
    let known = |w: &World| {
        let row = w.host("h2").unwrap().topology().row(&"h1".parse().unwrap()).unwrap();
        row.facts().drain
    };
    w.expect_that("h2 knows that h1 is drained", known).within(ms(101));
    assert!(changes(&w, "h2", at).contains(&Change::Changed("h1".parse().unwrap())));
}

#[test]
fn a_lost_carrier_is_noticed_at_once_and_the_interface_comes_back_when_the_plug_does() {
    let mut w = World::new(7);
    let (a, b) = (w.add_lan("a", "10.1.0.0", 16), w.add_lan("b", "10.2.0.0", 16));
    w.add_host(HostPlan::named("h1").on(a).on(b));
    w.add_host(HostPlan::named("h2").on(a).on(b));
    w.settle();
    let interfaces = |w: &World| {
        let host = w.host("h2").unwrap();
        host.topology().row(&"h1".parse().unwrap()).unwrap().interfaces().len()
    };
    assert_eq!(interfaces(&w), 2);
    w.run_for(secs(1));
    w.unplug("h1", b);
    w.expect_that("h2 knows that h1 has one interface", move |w| interfaces(w) == 1).within(ms(10));
    w.run_for(secs(1));
    assert_eq!(w.standing("h2", "h1"), Some(Standing::Up));
    w.plug("h1", b);
    w.expect_that("h2 knows that h1 has two again", move |w| interfaces(w) == 2).within(ms(210));
}

#[test]
fn more_interfaces_than_fit_a_datagram_are_all_known() {
    let mut w = World::new(3);
    let lans: Vec<_> = (0..11).map(|n| w.add_lan(&format!("l{n}"), &format!("10.{n}.0.0"), 16)).collect();
    w.add_host(lans.iter().fold(HostPlan::named("h1"), |plan, lan| plan.on(*lan)));
    w.add_host(HostPlan::named("h2").on(lans[3]));
    w.settle();
    let of_h1 = row(&mut w, "h2", "h1");
    assert_eq!((of_h1.interfaces.len(), of_h1.numifs), (11, 11));
    let heard: Vec<_> = of_h1.interfaces.iter().filter(|i| i.lastpkt >= 0).map(|i| i.interface.ip).collect();
    assert_eq!(heard, ["10.3.0.1".parse::<std::net::Ipv4Addr>().unwrap()]);
}

#[test]
fn a_stranger_is_shown_as_untrusted_and_nothing_else_of_it_counts() {
    let mut w = World::of(2);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let asked_before = w.recording(stranger).len();
    let text = "host=evil addr=0a0000c8 time=950739941 numifs=1 flags=0 cpus=64 clock=9000 \
                interface=eth0 ip=0a0000c8 mask=ffff0000 bcast=0a00ffff";
    w.stranger_shouts(stranger, text.as_bytes());
    w.run_for(ms(500));
    let rows = topology(&mut w, "h1");
    let evil = rows.iter().find(|row| row.host.as_str() == "evil").expect("shown");
    assert!(!evil.trusted);
    assert_eq!(
        (w.standing("h1", "h2"), w.host("h1").unwrap().topology().group_size()),
        (Some(Standing::Up), 2)
    );
    let asked =
        w.recording(stranger)[asked_before..].iter().filter(|h| h.bytes.starts_with(b"hostQ")).count();
    assert_eq!(asked, 0, "a stranger is not asked");
    assert_eq!(status(&mut w, "h1").strangers, 1);
    assert_eq!(w.refused("h1", "unsigned"), 1);
}

#[test]
fn a_stranger_that_calls_itself_like_a_host_does_not_touch_that_hosts_row() {
    let mut w = World::of(2);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let before = row(&mut w, "h1", "h2");
    let text = "host=h2 addr=09090909 time=1 numifs=1 flags=0 cpus=1 clock=1 \
                interface=eth0 ip=09090909 mask=ffffff00 bcast=090909ff";
    w.stranger_shouts(stranger, text.as_bytes());
    w.run_for(ms(50));
    let after = row(&mut w, "h1", "h2");
    assert_eq!((before.addr, before.boot, after.standing), (after.addr, after.boot, Some(Standing::Up)));
}

#[test]
fn strangers_are_bounded_and_the_oldest_goes() {
    let mut w = World::of(1);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    for n in 0..100 {
        let text = format!("host=x{n} addr=0a0000c8 time=1 numifs=0 flags=0 cpus=1 clock=1");
        w.stranger_shouts(stranger, text.as_bytes());
        w.run_for(ms(1));
    }
    let rows = topology(&mut w, "h1");
    let names: Vec<String> = rows.iter().filter(|r| !r.trusted).map(|r| r.host.to_string()).collect();
    assert_eq!(names.len(), 64);
    assert!(!names.contains(&"x35".to_owned()) && names.contains(&"x36".to_owned()));
}

#[test]
fn two_groups_on_one_lan_do_not_mix() {
    let mut w = World::of_hosts([
        HostPlan::named("h1"),
        HostPlan::named("h2"),
        HostPlan::named("other1").of_another_group(),
        HostPlan::named("other2").of_another_group(),
    ]);
    w.run_for(secs(25));
    assert_eq!((w.standing("h1", "h2"), w.standing("h1", "other1")), (Some(Standing::Up), None));
    assert_eq!((w.standing("other1", "other2"), w.standing("other1", "h1")), (Some(Standing::Up), None));
    assert!(w.refused("h1", "unknown_key") > 0);
    let rows = topology(&mut w, "h1");
    assert!(rows.iter().any(|row| row.host.as_str() == "other1" && !row.trusted));
}

#[test]
fn a_wrong_signature_with_our_key_is_a_forgery_and_not_even_shown() {
    let mut w = World::of(1);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.run_for(secs(21));
    let heard = w.recording(stranger);
    let mut bytes = heard.iter().find(|h| h.bytes.starts_with(b"host=")).unwrap().bytes.clone();
    bytes[5] = b'x';
    w.stranger_shouts(stranger, &bytes);
    w.expect_host("h1").refusing("forged").within(ms(10));
    assert_eq!(topology(&mut w, "h1").len(), 1);
}

#[test]
fn a_signature_for_one_purpose_is_void_for_another() {
    let mut w = World::of(2);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    let goodbye = Line::new("goodbye").with("host", "h2").with("boot", w.boot_of("h2").unwrap());
    let bytes = w.signed(Purpose::Beacon, &goodbye);
    w.stranger_shouts(stranger, &bytes);
    w.expect_host("h1").refusing("forged").within(ms(10));
    assert_eq!(w.standing("h1", "h2"), Some(Standing::Up));
}

#[test]
fn a_recording_does_not_revive_the_dead() {
    let mut w = World::of(3);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.run_for(secs(45));
    let tape = w.recording(stranger);
    w.kill("h2");
    w.expect_host("h1").thinking("h2", Some(Standing::Silent)).within(ms(400));
    let at = w.now();
    for heard in tape {
        w.stranger_shouts(stranger, &heard.bytes);
        w.run_for(ms(1));
    }
    w.run_for(secs(2));
    assert_eq!(w.standing("h1", "h2"), Some(Standing::Silent));
    assert!(w.refused("h1", "stale") > 0);
    assert!(!changes(&w, "h1", at).contains(&Change::Up("h2".parse().unwrap())));
}

#[test]
fn a_recording_of_a_host_does_not_make_it_known_to_one_that_never_met_it() {
    let mut w = World::of(2);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.run_for(secs(21));
    let tape = w.recording(stranger);
    let h2 = w.address("h2", lan);
    w.kill("h2");
    w.run_for(secs(1));
    w.add_host(HostPlan::named("h3").on(lan));
    w.run_for(ms(500));
    for heard in tape.iter().filter(|heard| heard.from == h2) {
        w.stranger_shouts(stranger, &heard.bytes);
        w.run_for(ms(10));
    }
    w.run_for(secs(10));
    assert_eq!(w.standing("h3", "h2"), None);
    let asked = w.recording(stranger).iter().filter(|h| h.bytes.starts_with(b"hostQ host=h3")).count();
    assert!(asked <= 40, "a recording makes a host ask only so often: {asked}");
}

#[test]
fn a_recording_of_a_living_host_changes_nothing() {
    let mut w = World::of(2);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.ask("h2", Command::Drain(true));
    w.run_for(secs(1));
    w.ask("h2", Command::Drain(false));
    w.run_for(secs(1));
    let tape = w.recording(stranger);
    for heard in tape {
        w.stranger_shouts(stranger, &heard.bytes);
    }
    w.run_for(ms(5));
    assert!(!row(&mut w, "h1", "h2").drain, "what h2 said before is over");
    assert!(w.refused("h1", "stale") > 0);
}

#[test]
fn a_host_restarted_with_a_clock_gone_back_is_known_by_its_new_run() {
    let mut w = World::of(2);
    w.set_clock("h2", 0);
    w.run_for(secs(5));
    w.kill("h2");
    w.set_clock("h2", -3_600_000);
    let at = w.now();
    w.start("h2");
    w.expect_host("h1").knowing("h2").within(ms(310));
    assert!(changes(&w, "h1", at).contains(&Change::Restarted("h2".parse().unwrap())));
    assert!(row(&mut w, "h1", "h2").timeoff < -3_500);
}

#[test]
fn a_distant_version_is_not_listened_to_and_a_neighbouring_one_is() {
    let mut w = World::of(1);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.run_for(ms(200));
    let heard = w.recording(stranger);
    let bytes = &heard.iter().find(|h| h.bytes.starts_with(b"beacon ")).unwrap().bytes;
    let mut beacon = Beacon::from_line(&Line::parse(bytes).unwrap()).unwrap();
    beacon.host = "h9".parse().unwrap();
    beacon.ver = proto::version::Version(proto::version::Version::CURRENT.0 + 2);
    let distant = w.signed(Purpose::Beacon, &beacon.to_line());
    w.stranger_shouts(stranger, &distant);
    w.expect_host("h1").refusing("version").within(ms(10));
    beacon.ver = proto::version::Version(proto::version::Version::CURRENT.0 + 1);
    let next = w.signed(Purpose::Beacon, &beacon.to_line());
    w.stranger_shouts(stranger, &next);
    w.expect_host("h1").refusing("unproven").within(ms(10));
}

#[test]
fn rows_are_keyed_by_host_and_never_by_address() {
    let mut w = World::new(5);
    let (a, b) = (w.add_lan("a", "192.168.0.0", 24), w.add_lan("b", "192.168.0.0", 24));
    let c = w.add_lan("c", "10.3.0.0", 16);
    // Both are 192.168.0.1 on their own wires.
    w.add_host(HostPlan::named("h1").on(a).on(c));
    w.add_host(HostPlan::named("h2").on(b).on(c));
    w.add_host(HostPlan::named("h3").on(c));
    w.settle();
    let (one, two) = (row(&mut w, "h3", "h1"), row(&mut w, "h3", "h2"));
    assert_eq!(one.addr, two.addr);
    assert_ne!(one.boot, two.boot);
    w.kill("h1");
    w.expect_host("h3").thinking("h1", Some(Standing::Silent)).within(ms(400));
    w.expect_host("h3").thinking("h2", Some(Standing::Up)).throughout(secs(3));
}

#[test]
fn the_table_prints_in_the_form_of_the_seed() {
    let mut w = World::of(2);
    w.set_clock("h1", 0);
    w.set_clock("h2", 39_000);
    w.run_for(secs(21));
    let text = row(&mut w, "h1", "h2").seed_form();
    let lastseen = text.split_whitespace().nth(3).unwrap().parse::<i64>().unwrap();
    assert!((0..=20).contains(&lastseen), "{text}");
    let expected = format!(
        "Host h2 lastseen {lastseen} timeoff 39 addr 0a000002 numifs 1 TRUSTED\n\
         interface eth0 ip 0a000002 mask ffff0000 bcast 0a00ffff lastpkt {lastseen}\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn three_missed_beacons_make_a_host_silent_and_sixty_seconds_take_it_down() {
    let mut w = World::of(3);
    w.power_off("h3");
    let took = w.expect_host("h1").thinking("h3", Some(Standing::Silent)).within(INTERVAL * 3 + ms(1));
    assert!(took >= INTERVAL * 2, "{took:?}");
    w.expect_host("h1").thinking("h3", Some(Standing::Silent)).throughout(secs(59));
    w.expect_host("h1").thinking("h3", Some(Standing::Down)).within(secs(2));
}

#[test]
fn all_hosts_notice_a_death_within_a_beacons_time_of_each_other() {
    let mut w = World::of(8);
    w.run_for(ms(37));
    w.power_off("h5");
    let start = w.now();
    let silent = |w: &World| {
        let others = (1..=8).filter(|n| *n != 5).map(|n| format!("h{n}"));
        others.filter(|h| w.standing(h, "h5") == Some(Standing::Silent)).count()
    };
    w.expect_that("the first notices", move |w| silent(w) > 0).within(ms(301));
    w.expect_that("all have noticed", move |w| silent(w) == 7).within(ms(50));
    assert!(w.now().since(start) <= ms(350));
}

#[test]
fn a_goodbye_takes_a_host_out_at_once_and_its_recording_does_nothing_later() {
    let mut w = World::of(3);
    let lan = w.lan();
    let stranger = w.stranger(lan);
    w.stop("h2");
    w.expect_host("h1").thinking("h2", Some(Standing::Left)).within(ms(5));
    w.expect_host("h3").thinking("h2", Some(Standing::Left)).within(ms(5));
    w.start("h2");
    w.expect_host("h1").knowing("h2").within(ms(115));
    for heard in w.recording(stranger).iter().filter(|h| h.bytes.starts_with(b"goodbye")) {
        w.stranger_shouts(stranger, &heard.bytes);
    }
    w.expect_host("h1").knowing("h2").throughout(ms(500));
}

#[test]
fn a_host_that_was_frozen_accuses_nobody() {
    let mut w = World::of(4);
    w.freeze("h1");
    w.run_for(secs(5));
    let at = w.now();
    w.thaw("h1");
    w.run_for(secs(3));
    assert_eq!(changes(&w, "h1", at), []);
    assert!(w.notes_since("h1", at).any(|note| matches!(note, Note::WasAway { ms } if *ms >= 4_900)));
}

#[test]
fn a_host_that_was_frozen_still_finds_out_who_died_meanwhile() {
    let mut w = World::of(4);
    w.freeze("h1");
    w.run_for(secs(5));
    w.power_off("h4");
    w.run_for(secs(5));
    w.thaw("h1");
    w.expect_host("h1").thinking("h4", Some(Standing::Silent)).within(ms(500));
    assert_eq!((w.standing("h1", "h2"), w.standing("h1", "h3")), (Some(Standing::Up), Some(Standing::Up)));
}

#[test]
fn a_host_that_is_run_late_again_and_again_accuses_nobody() {
    let mut w = World::of(3);
    let at = w.now();
    for _ in 0..40 {
        w.stop_daemon("h1");
        w.run_for(ms(260));
        w.continue_daemon("h1");
        w.run_for(ms(15));
    }
    assert_eq!(changes(&w, "h1", at), []);
}

#[test]
fn a_link_that_is_cut_one_way_is_judged_one_way() {
    let mut w = World::of(2);
    let lan = w.lan();
    w.cut_way("h1", lan, Way::In);
    w.expect_host("h1").thinking("h2", Some(Standing::Silent)).within(ms(400));
    w.expect_host("h2").thinking("h1", Some(Standing::Up)).throughout(secs(2));
    w.heal("h1", lan);
    w.expect_host("h1").thinking("h2", Some(Standing::Up)).within(ms(150));
}

#[test]
fn a_host_on_two_lans_is_alive_while_it_is_heard_on_one() {
    let mut w = World::new(2);
    let (a, b) = (w.add_lan("a", "10.1.0.0", 16), w.add_lan("b", "10.2.0.0", 16));
    w.add_host(HostPlan::named("h1").on(a).on(b));
    w.add_host(HostPlan::named("h2").on(a).on(b));
    w.settle();
    w.cut("h2", a);
    w.expect_host("h1").thinking("h2", Some(Standing::Up)).throughout(secs(3));
    w.cut("h2", b);
    w.expect_host("h1").thinking("h2", Some(Standing::Silent)).within(ms(400));
}

#[test]
fn a_host_without_any_interface_waits_for_one() {
    let mut w = World::of(2);
    let lan = w.lan();
    w.unplug("h1", lan);
    w.run_for(secs(2));
    assert_eq!(w.standing("h2", "h1"), Some(Standing::Silent));
    w.plug("h1", lan);
    w.expect_host("h2").thinking("h1", Some(Standing::Up)).within(ms(250));
}

#[test]
fn an_operator_can_take_out_a_host_that_is_gone_and_not_one_that_is_up() {
    let mut w = World::of(2);
    let forget = Command::Forget("h2".parse().unwrap());
    assert!(matches!(w.ask("h1", forget.clone()), Reply::Refused(_)));
    w.kill("h2");
    w.run_for(secs(1));
    assert!(matches!(w.ask("h1", forget.clone()), Reply::Done));
    assert_eq!(w.standing("h1", "h2"), None);
    assert!(matches!(w.ask("h1", forget), Reply::Refused(_)));
}

#[test]
fn a_lan_that_loses_a_fifth_of_all_datagrams_slows_and_doubles_nothing() {
    let mut w = World::of(3);
    let lan = w.lan();
    let desk = desk_with_session(&mut w, "h2", "card.ann");
    // A tenth on each of the two links that a datagram crosses.
    for host in ["h1", "h2", "h3"] {
        w.lose(host, lan, 0.1);
    }
    w.set_desk_rule(desk, Way::Both, Rule { loss: 0.1, ..Rule::default() });
    for n in 1..=20 {
        w.type_line(desk, "count");
        w.expect(desk).reading(&format!("count={n}")).within(secs(20));
    }
    assert_eq!(w.sessions_of("card.ann").len(), 1, "\n{}", w.story());
}

#[test]
fn draining_is_heard_and_undraining_too() {
    let mut w = World::of(2);
    for wanted in [true, false] {
        drain(&mut w, &["h2".to_owned()], wanted);
        assert_eq!(row(&mut w, "h1", "h2").drain, wanted);
    }
}
