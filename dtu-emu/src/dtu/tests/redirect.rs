//! A DTU that is sent to another host follows, and comes back when that leads nowhere.

use core::time::Duration;

use proto::alp::{Cause, DiscCause, Event, FromDtu};

use super::host::Policy;
use super::world::{World, card, format_addr};
use crate::dtu::{Config, DtuInput, Phase};

fn at_a(config: &mut Config) {
    config.servers = vec![format_addr(1)];
}

fn booted(names: &[&'static str]) -> World {
    let mut world = World::new(names, at_a);
    world.host("a").policy = Policy::Redirect("b");
    world.input(DtuInput::CardInserted(card("1")));
    world.input(DtuInput::Boot);
    world
}

#[test]
fn a_redirect_is_followed_with_the_ticket_and_leaves_the_source_politely() {
    let mut world = booted(&["a", "b"]);
    world.run_ms(30);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "b"));
    assert!(world.host("a").said.contains(&FromDtu::DiscReq { cause: Some(DiscCause::Redirect) }));
    let info = world.host("b").asked[0].clone();
    assert_eq!((info.cause, info.redirect_props.as_deref()), (Some(Cause::Redirect), Some("ticket-for-b")));
    assert_eq!(info.presented.to_string(), "card.1");
    assert_eq!(world.count("redirected"), 1);
    assert_eq!(world.screen, "b$ ");
}

#[test]
fn a_target_that_cannot_be_reached_is_named_to_the_source_which_chooses_again() {
    let mut world = booted(&["a", "b"]);
    world.kill("b");
    world.host("b").beacons = false;
    world.run_ms(4);
    world.host("a").policy = Policy::Grant(1);
    world.run_ms(50);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "a"));
    let asked = &world.host("a").asked;
    let back = asked.last().unwrap();
    assert_eq!((back.cause, back.avoid.as_ref().map(|h| h.as_str())), (Some(Cause::Insert), Some("b")));
    assert_eq!(world.count("redirect_failed"), 1);
}

#[test]
fn a_target_that_hangs_is_left_within_half_a_second() {
    let mut world = booted(&["a", "b"]);
    world.freeze("b");
    world.run_ms(4);
    world.host("a").policy = Policy::Grant(1);
    let took = world.until(Phase::Attached, 1_000);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_target_that_refuses_is_named_to_the_source_too() {
    let mut world = booted(&["a", "b"]);
    world.host("b").policy = Policy::Deny("full");
    world.run_ms(6);
    world.host("a").policy = Policy::Grant(1);
    world.run_ms(50);
    assert_eq!((world.phase(), world.at_host().as_str()), (Phase::Attached, "a"));
    assert_eq!(world.host("a").asked.last().unwrap().avoid.as_ref().unwrap().as_str(), "b");
}

#[test]
fn a_source_that_is_gone_too_leads_to_the_other_hosts() {
    let mut world = booted(&["a", "b", "c"]);
    world.run_ms(3);
    world.kill("b");
    world.run_ms(3);
    world.kill("a");
    world.until(Phase::Attached, 1_000);
    assert_eq!(world.at_host(), "c");
    assert_eq!(world.host("c").asked[0].avoid.as_ref().unwrap().as_str(), "b");
}

#[test]
fn hosts_that_send_a_desk_around_in_circles_are_told_and_given_time() {
    let mut world = booted(&["a", "b"]);
    world.host("b").policy = Policy::Redirect("a");
    world.run_ms(3_000);
    assert_eq!(world.phase(), Phase::Denied);
    let asked = world.host("a").asked.len() + world.host("b").asked.len();
    assert!(asked <= 7, "{asked} questions in three seconds");
    world.host("a").policy = Policy::Grant(1);
    world.host("b").policy = Policy::Grant(1);
    world.until(Phase::Attached, 6_000);
    let at = world.at_host();
    let named = |name: &'static str, world: &mut World| world.host(name).asked.last().unwrap().avoid.clone();
    let other = if at == "a" { "b" } else { "a" };
    let avoid = named(if at == "a" { "a" } else { "b" }, &mut world);
    assert_eq!(
        avoid.map(|host| host.to_string()).as_deref(),
        Some(other),
        "a host that has sent us on hears no more"
    );
    assert_eq!(world.count("lost"), 0, "the connection was not waited out until its host closed it");
}

#[test]
fn a_card_moved_during_a_redirect_does_not_use_the_other_persons_ticket() {
    let mut world = booted(&["a", "b"]);
    world.until(Phase::Redirected, 50);
    world.input(DtuInput::CardInserted(card("2")));
    world.run_ms(50);
    let asked = &world.host("b").asked;
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].cause, &asked[0].redirect_props), (Some(Cause::Insert), &None));
    assert_eq!(asked[0].presented.to_string(), "card.2");
    assert!(world.host("a").asked.iter().all(|info| info.event == Event::Insert));
}

#[test]
fn a_redirect_that_was_meant_for_the_card_before_is_not_followed_with_this_one() {
    let mut world = World::attached(&["a", "b"]);
    let b = world.host("b").addr;
    world.input(DtuInput::CardInserted(card("2")));
    // The answer to what was presented before is on its way.
    let (host, props) = (Some("b".parse().unwrap()), Some("ticket-for-b".to_owned()));
    let inf = proto::alp::RedirectInf { addr: b, props, host, token_seq: Some(1.into()) };
    world.send_control("a", &proto::alp::FromHost::RedirectInf(inf));
    world.run_ms(50);
    assert_eq!(world.host("b").asked.len(), 0);
    assert_eq!((world.phase(), world.dtu.status().token.to_string()), (Phase::Attached, "card.2".to_owned()));
}

#[test]
fn an_attached_session_may_be_redirected_and_its_picture_stays_until_the_next_one() {
    let mut world = World::attached(&["a", "b"]);
    let b = world.host("b").addr;
    let host = Some("b".parse().unwrap());
    let inf = proto::alp::RedirectInf { addr: b, props: None, host, token_seq: None };
    world.send_control("a", &proto::alp::FromHost::RedirectInf(inf));
    world.run_ms(2);
    assert_eq!((world.phase(), world.screen.as_str()), (Phase::Redirected, "a$ "));
    world.run_ms(30);
    assert_eq!((world.phase(), world.screen.as_str()), (Phase::Attached, "b$ "));
}
