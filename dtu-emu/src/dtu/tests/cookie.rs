//! A desk whose host dies goes first to the host that keeps its session, as far as it was told and can believe it.

use proto::alp::FromHost;

use super::host::Policy;
use super::world::{World, card, format_addr};
use crate::dtu::{DtuEvent, DtuInput, Phase};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A desk at `a`, which says this of its session, with three others to go to.
fn told(cookie: &str) -> World {
    let mut world = World::new(&NAMES, |config| config.servers = vec![format_addr(1)]);
    world.host("a").cookie = (!cookie.is_empty()).then(|| cookie.parse().unwrap());
    world.input(DtuInput::CardInserted(card("1")));
    world.input(DtuInput::Boot);
    world.run_ms(950);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "a"));
    world.events.clear();
    world
}

fn says(world: &mut World, name: &'static str, cookie: &str) {
    let cookie = Some(cookie.parse().unwrap());
    world.send_control(name, &FromHost::KeepAliveInf { anchor: None, standbys: Vec::new(), cookie });
    world.run_ms(5);
}

/// Kills `a`; says to which host the desk goes first.
fn goes_to(world: &mut World) -> String {
    goes_from(world, "a")
}

fn goes_from(world: &mut World, dead: &'static str) -> String {
    world.events.clear();
    world.kill(dead);
    world.run_ms(50);
    let first = world.events.iter().find_map(|(_, event)| match event {
        DtuEvent::HostFound { host } | DtuEvent::HostFailed { host, .. } => Some(host.addr),
        _ => None,
    });
    let mut hosts = world.hosts.iter();
    hosts.find(|(_, host)| Some(host.addr) == first).map(|(name, _)| (*name).to_owned()).unwrap()
}

/// Where it goes that knows of no keeper.
fn usual() -> String {
    goes_to(&mut told(""))
}

/// The two others, to which it goes only when it is told.
fn unusual() -> Vec<&'static str> {
    let usual = usual();
    NAMES.into_iter().skip(1).filter(|name| *name != usual).collect()
}

#[test]
fn whoever_keeps_the_session_is_tried_before_any_other_host() {
    for keeper in &NAMES[1..] {
        let mut world = told(&format!("1.7/3:a:{keeper}"));
        assert_eq!(goes_to(&mut world), *keeper);
        world.run_ms(50);
        assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, *keeper));
    }
}

#[test]
fn a_keeper_whose_beacons_do_not_get_to_the_desk_is_tried_first_all_the_same() {
    let keeper = unusual()[0];
    let mut world = World::new(&NAMES, |config| config.servers = vec![format_addr(1)]);
    world.host("a").cookie = Some(format!("1.7/3:a:{keeper}").parse().unwrap());
    world.host(keeper).beacons = false;
    world.input(DtuInput::Boot);
    world.run_ms(950);
    assert_eq!(goes_to(&mut world), keeper);
}

#[test]
fn a_keeper_that_fell_silent_or_drains_or_is_dead_is_not_waited_for() {
    let keeper = unusual()[0];
    let cookie = format!("1.7/3:a:{keeper}");
    let mut silent = told(&cookie);
    silent.freeze(keeper);
    silent.run_ms(400);
    assert_ne!(goes_to(&mut silent), keeper);
    let mut draining = told(&cookie);
    draining.host(keeper).drain = true;
    draining.run_ms(200);
    assert_ne!(goes_to(&mut draining), keeper, "it would send the desk on");
    let mut both = told(&cookie);
    both.kill(keeper);
    goes_to(&mut both);
    both.run_ms(50);
    assert_eq!(both.phase(), Phase::Attached, "{:?}", both.events);
}

#[test]
fn who_keeps_the_session_is_told_anew_when_that_changes() {
    let [old, new] = unusual()[..] else { panic!() };
    let mut world = told(&format!("1.7/3:a:{old}"));
    says(&mut world, "a", "1.7/3:a");
    assert_eq!(goes_to(&mut world), usual(), "it was struck, and no other has it");
    let mut world = told(&format!("1.7/3:a:{old}"));
    says(&mut world, "a", &format!("1.7/5:a:{new}"));
    assert_eq!(goes_to(&mut world), new);
    // A heartbeat that says nothing of it changes nothing.
    let mut world = told(&format!("1.7/3:a:{old}"));
    world.send_control("a", &FromHost::KeepAliveInf { anchor: None, standbys: Vec::new(), cookie: None });
    world.run_ms(5);
    assert_eq!(goes_to(&mut world), old);
    // Where the session goes on it is told anew.
    let mut world = told(&format!("1.7/3:a:{old}"));
    world.host(old).cookie = Some(format!("1.8/0:{old}:{new}").parse().unwrap());
    assert_eq!(goes_to(&mut world), old);
    world.run_ms(50);
    assert_eq!(goes_from(&mut world, old), new);
}

#[test]
fn a_cookie_that_is_old_or_anothers_or_names_nobody_known_sends_the_desk_nowhere() {
    let [one, two] = unusual()[..] else { panic!() };
    let granted = |cookie: String| goes_to(&mut told(&cookie));
    assert_eq!(granted(format!("1.7/3:{two}:{one}")), usual(), "whose primary is not who grants");
    assert_eq!(granted("1.7/3:a:nobody".into()), usual());
    assert_eq!(granted("1.7/3:a:a".into()), usual(), "its own dead host");
    let refreshed = |cookie: String| {
        let mut world = told(&format!("1.7/3:a:{one}"));
        says(&mut world, "a", &cookie);
        goes_to(&mut world)
    };
    assert_eq!(refreshed(format!("1.6/9:a:{two}")), one, "of an earlier epoch");
    assert_eq!(refreshed(format!("1.7/2:a:{two}")), one, "of before");
    assert_eq!(refreshed(format!("1.9/9:{two}:{two}")), one, "of another host's session");
}

#[test]
fn a_cookie_that_cannot_be_read_is_none_and_spoils_nothing_else() {
    let one = unusual()[0];
    for odd in ["x".repeat(1_900), format!("1.7/3:a:{}", "h".repeat(64)), "1.7/3".into(), String::new()] {
        let mut world = told(&format!("1.7/3:a:{one}"));
        let line = proto::Line::new("keepAliveInf").with("cookie", &odd);
        for conn in world.conns_of("a", super::world::Kind::Control) {
            world.later(super::world::Delivery::Line(conn, line.clone()));
        }
        world.run_ms(5);
        assert_eq!((world.count("unusable"), goes_to(&mut world).as_str()), (0, one), "{odd}");
    }
}

#[test]
fn with_another_card_what_was_told_of_the_one_before_does_not_count() {
    let one = unusual()[0];
    let mut world = told(&format!("1.7/3:a:{one}"));
    world.host("a").policy = Policy::Mute;
    world.input(DtuInput::CardInserted(card("2")));
    world.run_ms(5);
    // Said of the session before, and on its way when the card was changed.
    says(&mut world, "a", &format!("1.7/4:a:{one}"));
    assert_eq!(goes_to(&mut world), usual());
}
