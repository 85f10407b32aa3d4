//! Whether a DTU is the one that its serial belongs to: its key is pinned when it is admitted for the first time.

#![allow(clippy::unwrap_used, reason = "what is not there ends the test")]

use groupmgr::host::Note;
use tests::scene::policy;
use tests::world::{DeskId, DeskPlan, HostPlan, LanId, World, ms, secs};

const SERIAL: &str = "080020a1b2c3";
const PIN: &str = "dtu/080020a1b2c3";

/// A DTU with this serial and the key of a number, which begins at a host.
fn dtu(w: &mut World, key: u8, host: &str, card: &str) -> DeskId {
    let lan = w.lan();
    w.add_desk(plan(key, lan).server(host).card(card))
}

fn plan(key: u8, lan: LanId) -> DeskPlan {
    DeskPlan::named(&format!("k{key}"), lan).serial(SERIAL).key(key)
}

/// One DTU whose key is pinned, and at work.
fn scene() -> (World, DeskId) {
    let mut w = World::of(2);
    w.run_for(secs(1));
    let first = dtu(&mut w, 1, "h1", "card.ann");
    w.expect(first).attached().within(secs(2));
    assert!(w.stored(PIN).unwrap().contains(&"01".repeat(32)), "{:?}", w.stored(PIN));
    (w, first)
}

#[test]
fn another_dtu_with_the_same_serial_is_refused_at_every_host_and_the_remedy_is_told() {
    let (mut w, first) = scene();
    let (shown, from) = (w.shows(first), w.now());
    for (key, host) in [(2, "h1"), (3, "h2")] {
        let other = dtu(&mut w, key, host, "card.bob");
        w.expect(other).noticing("authmgr dtu forget 080020a1b2c3").within(secs(1));
        w.expect(other).not_attached().throughout(secs(20));
        let denied = |note: &&Note| {
            matches!(note, Note::Denied { why, serial, .. }
                if why.starts_with("wrong_key") && why.contains("another key") && serial.as_str() == SERIAL)
        };
        assert!(w.notes_since(host, from).any(|note| denied(&note)));
        w.expect_host(host).refusing("wrong_key").now();
    }
    assert_eq!(w.sessions_of("card.bob").len(), 0);
    assert_eq!(w.shows(first), shown, "who is at work does not notice");
}

#[test]
fn a_dtu_without_a_key_is_refused_where_one_is_pinned_whatever_the_policy_and_so_is_a_plain_one() {
    let mut w = World::of_hosts([HostPlan::named("h1").plain()]);
    let lan = w.lan();
    w.run_for(secs(1));
    let first = dtu(&mut w, 1, "h1", "card.ann");
    w.expect(first).attached().within(secs(2));
    let keyless = w.add_desk(plan(1, lan).keyless().card("card.bob"));
    w.expect(keyless).noticing("proves no key").within(secs(1));
    let plain = w.add_desk(plan(1, lan).card("card.eve").off());
    w.speak_plain(plain);
    w.switch_on(plain);
    w.expect(plain).noticing("proves no key").within(secs(1));
}

#[test]
fn a_replaced_dtu_gets_in_by_itself_once_the_old_ones_key_is_forgotten_and_then_the_old_one_does_not() {
    let (mut w, first) = scene();
    let second = dtu(&mut w, 2, "h2", "card.bob");
    w.expect(second).noticing("known by its serial").within(secs(1));
    let from = w.now();
    w.store_put(PIN, "dtu serial=080020a1b2c3 removed=true by=root@s");
    w.store_delete(PIN);
    w.expect(second).attached().within(secs(15));
    assert!(w.stored(PIN).unwrap().contains(&"02".repeat(32)));
    for host in ["h1", "h2"] {
        let told: Vec<_> = w
            .notes_since(host, from)
            .filter_map(|note| match note {
                Note::DtuForgotten { serial, by, late: false } => Some((serial.to_string(), by.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(told, [(SERIAL.to_owned(), Some("root@s".to_owned()))], "{host}");
    }
    w.remove(first);
    w.run_for(secs(2));
    w.insert(first, "card.ann");
    w.expect(first).noticing("another key").within(secs(1));
}

#[test]
fn a_pin_whose_deletion_was_broken_off_keeps_nobody_out() {
    let mut w = World::of(1);
    w.store_put(PIN, "dtu serial=080020a1b2c3 removed=true by=root@s");
    w.run_for(secs(1));
    let d = dtu(&mut w, 1, "h1", "card.ann");
    w.expect(d).attached().within(secs(2));
    assert!(w.stored(PIN).unwrap().contains(&"01".repeat(32)));
}

#[test]
fn a_damaged_pin_lets_nobody_in_until_it_is_forgotten() {
    let mut w = World::of(1);
    w.store_put(PIN, "dtu serial=other key=12");
    w.run_for(secs(1));
    let d = dtu(&mut w, 1, "h1", "card.ann");
    w.expect(d).noticing("authmgr dtu forget").within(secs(2));
    w.store_delete(PIN);
    w.expect(d).attached().within(secs(15));
}

#[test]
fn while_the_store_is_away_what_is_pinned_holds_and_a_new_dtu_is_pinned_when_it_is_back() {
    let (mut w, first) = scene();
    let lan = w.lan();
    w.run_for(secs(1));
    w.kill_store();
    w.run_for(secs(2));
    let second = dtu(&mut w, 2, "h2", "card.ann");
    w.expect(second).noticing("another key").within(secs(2));
    w.remove(first);
    w.run_for(secs(1));
    w.insert(first, "card.ann");
    w.expect(first).attached().within(secs(3));
    let new = w.add_desk(DeskPlan::named("new", lan).serial("080020000009").key(9).card("card.new"));
    w.expect(new).attached().within(secs(3));
    w.start_store();
    w.run_for(secs(3));
    assert_eq!(w.stored("dtu/080020000009"), None, "its key is pinned when it presents something");
    w.remove(new);
    w.run_for(secs(1));
    w.insert(new, "card.new");
    w.expect(new).attached().within(secs(3));
    assert!(w.stored("dtu/080020000009").is_some());
}

#[test]
fn of_two_that_come_at_once_with_one_serial_one_is_admitted() {
    let mut w = World::of(2);
    w.run_for(secs(1));
    w.slow_down_store(ms(30));
    let a = dtu(&mut w, 1, "h1", "card.ann");
    let b = dtu(&mut w, 2, "h2", "card.bob");
    w.expect_that("one of them is refused", move |w| {
        let is = |desk, text: &str| w.notice(desk).is_some_and(|notice| notice.contains(text));
        let (a, b) = ((w.shows(a).is_some(), is(a, "serial")), (w.shows(b).is_some(), is(b, "serial")));
        [a, b] == [(true, false), (false, true)] || [a, b] == [(false, true), (true, false)]
    })
    .within(secs(2));
    w.run_for(secs(20));
    assert_eq!(usize::from(w.shows(a).is_some()) + usize::from(w.shows(b).is_some()), 1);
}

#[test]
fn a_group_can_ask_for_dtus_with_keys() {
    let mut w = World::of(2);
    let lan = w.lan();
    policy(&mut w, "login pseudo=allow cards=any dtus=keyed");
    let keyless = w.add_desk(DeskPlan::named("old", lan).keyless().card("card.ann"));
    w.expect(keyless).noticing("authmgr policy set dtus=any").within(secs(2));
    let keyed = w.add_desk(DeskPlan::named("new", lan).card("card.bob"));
    w.expect(keyed).attached().within(secs(2));
    policy(&mut w, "login");
    w.expect(keyless).attached().within(secs(15));
    let serial = w.serial(keyless);
    assert_eq!(w.stored(&format!("dtu/{serial}")), None, "there is nothing to pin");
}

#[test]
fn a_card_that_is_refused_pins_no_key() {
    let mut w = World::of(1);
    policy(&mut w, "login pseudo=deny cards=registered");
    w.run_for(secs(1));
    let d = dtu(&mut w, 1, "h1", "card.ann");
    w.expect(d).noticing("not registered").within(secs(1));
    assert_eq!(w.stored(PIN), None);
}

#[test]
fn a_pinned_key_is_read_with_the_other_early_reads_and_pinning_costs_one_round_trip_the_first_time() {
    let mut w = World::of(1);
    let lan = w.lan();
    w.run_for(secs(3));
    w.slow_down_store(ms(50));
    let mut login = |plan: DeskPlan| {
        let begun = w.now();
        let desk = w.add_desk(plan);
        w.expect(desk).attached().within(secs(1));
        let took = w.now().since(begun);
        w.run_for(secs(3));
        took
    };
    let keyless = login(DeskPlan::named("a", lan).keyless().card("card.a"));
    let new = login(DeskPlan::named("b", lan).serial(SERIAL).key(1).card("card.b"));
    let known = login(DeskPlan::named("c", lan).serial(SERIAL).key(1).card("card.c"));
    assert!(known.abs_diff(keyless) < ms(10), "{keyless:?} without a key, {known:?} with one");
    assert!(new.abs_diff(keyless + ms(50)) < ms(10), "{keyless:?} without a key, {new:?} with a new one");
}
