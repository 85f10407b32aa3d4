//! Whatever happens to hosts, cards and connections, in any order: nothing panics, effects stay within the
//! rules of the driver, and once all is well again the DTU is attached.

use proptest::prelude::*;

use proto::alp::FromHost;
use proto::beacon::Beacon;
use proto::frame::{Frame, Size};
use proto::{Line, Nonce};

use super::host::{Policy, Proc};
use super::world::{World, card, format_addr};
use crate::dtu::{ConnId, DtuInput, Fault, Phase};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Act {
    Kill(usize),
    KillDaemon(usize),
    KillSession(usize),
    Freeze(usize),
    StopDaemon(usize),
    Heal(usize),
    Beacons(usize, bool),
    Deny(usize),
    Redirect(usize, usize),
    Grant(usize, u8),
    Mute(usize),
    Insert(u8),
    Remove,
    Type(String),
    Detach(usize),
    Stall(u16),
    Raw(usize, String),
}

fn act() -> impl Strategy<Value = Act> {
    let host = 0..NAMES.len();
    prop_oneof![
        host.clone().prop_map(Act::Kill),
        host.clone().prop_map(Act::KillDaemon),
        host.clone().prop_map(Act::KillSession),
        host.clone().prop_map(Act::Freeze),
        host.clone().prop_map(Act::StopDaemon),
        host.clone().prop_map(Act::Heal),
        (host.clone(), any::<bool>()).prop_map(|(h, b)| Act::Beacons(h, b)),
        host.clone().prop_map(Act::Deny),
        (host.clone(), host.clone()).prop_map(|(a, b)| Act::Redirect(a, b)),
        (host.clone(), 1_u8..5).prop_map(|(h, s)| Act::Grant(h, s)),
        host.clone().prop_map(Act::Mute),
        (0_u8..4).prop_map(Act::Insert),
        Just(Act::Remove),
        "[a-z\r]{1,8}".prop_map(Act::Type),
        host.clone().prop_map(Act::Detach),
        (0_u16..2_000).prop_map(Act::Stall),
        (host, "[a-zA-Z]{1,12}( [a-z]{1,6}=[a-z0-9]{0,4}){0,3}").prop_map(|(h, s)| Act::Raw(h, s)),
    ]
}

fn heal(world: &mut World, name: &'static str) {
    match world.host(name).daemon {
        Proc::Dead => world.start_daemon(name),
        _ => world.resume_daemon(name),
    }
    match world.host(name).session {
        Proc::Dead => world.start_session(name),
        _ => world.host(name).session = Proc::Runs,
    }
}

fn perform(world: &mut World, act: Act) {
    match act {
        Act::Kill(h) => world.kill(NAMES[h]),
        Act::KillDaemon(h) => world.kill_daemon(NAMES[h]),
        Act::KillSession(h) => world.kill_session(NAMES[h]),
        Act::Freeze(h) => world.freeze(NAMES[h]),
        Act::StopDaemon(h) => world.stop_daemon(NAMES[h]),
        Act::Heal(h) => heal(world, NAMES[h]),
        Act::Beacons(h, reach) => world.host(NAMES[h]).beacons = reach,
        Act::Deny(h) => world.host(NAMES[h]).policy = Policy::Deny("no"),
        Act::Redirect(a, b) => world.host(NAMES[a]).policy = Policy::Redirect(NAMES[b]),
        Act::Grant(h, s) => world.host(NAMES[h]).policy = Policy::Grant(s.into()),
        Act::Mute(h) => world.host(NAMES[h]).policy = Policy::Mute,
        Act::Insert(n) => world.input(DtuInput::CardInserted(card(&n.to_string()))),
        Act::Remove => world.input(DtuInput::CardRemoved),
        Act::Type(text) => world.type_text(&text),
        Act::Detach(h) => {
            world.send_control(
                NAMES[h],
                &FromHost::DiscInf { token_seq: None, cause: Some("detached".into()) },
            );
        }
        Act::Stall(ms) => world.stall(core::time::Duration::from_millis(ms.into())),
        Act::Raw(h, line) => world.send_raw(NAMES[h], &line),
    }
}

fn beacon(name: &str) -> Beacon {
    let mut world = World::new(&NAMES, |_| {});
    world.host(name).beacon()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn after_any_run_of_faults_a_healed_group_serves_the_desk(
        acts in proptest::collection::vec((act(), 0_u64..1_500), 1..30),
    ) {
        let mut world = World::new(&NAMES, |c| c.servers = vec![format_addr(1)]);
        world.input(DtuInput::Boot);
        for (act, pause) in acts {
            perform(&mut world, act);
            world.run_ms(pause);
        }
        for name in NAMES {
            heal(&mut world, name);
            world.host(name).policy = Policy::Grant(1);
            world.host(name).beacons = true;
        }
        world.run_ms(5_000);
        match world.phase() {
            // It waits for the person at the desk.
            Phase::Detached => world.type_text("\r"),
            // A mute host lives and was asked; the answer will never come.
            Phase::Asking => world.input(DtuInput::CardInserted(card("9"))),
            _ => {}
        }
        // A token that was refused is presented again within a minute.
        for _ in 0..70 {
            if world.phase() == Phase::Attached {
                break;
            }
            world.run_ms(1_000);
        }
        world.run_ms(2_000);
        prop_assert_eq!(world.phase(), Phase::Attached, "{:?}", world.events);
        let name = world.at_host();
        prop_assert!(world.screen.ends_with(&format!("{name}$ ")), "{} at {name}", world.screen);
        prop_assert_eq!(world.conns.len(), 2, "connections left open: {:?}", world.conns);
    }

    #[test]
    fn odd_input_at_any_moment_never_panics_and_always_comes_to_rest(
        odd in proptest::collection::vec((0_u64..6, 0_u8..10, "\\PC{0,20}"), 0..60),
    ) {
        let mut world = World::new(&NAMES, |_| {});
        let forged = beacon("b");
        for (conn, kind, text) in odd {
            let conn = ConnId(conn);
            let line = Line::parse(text.as_bytes()).unwrap_or_default();
            let bytes = text.clone().into_bytes();
            world.input(match kind {
                0 => DtuInput::Boot,
                1 => DtuInput::ControlLine { conn, line: &line },
                2 => DtuInput::ControlOpened { conn, local: [127, 0, 0, 1].into() },
                9 => DtuInput::ControlReached { conn },
                3 => DtuInput::ControlClosed { conn, fault: Fault::Closed },
                4 => DtuInput::DisplayOpened { conn },
                5 => DtuInput::DisplayClosed { conn, fault: Fault::Tls(text) },
                6 => DtuInput::DisplayFrame { conn, frame: Frame::Output { offset: conn.0, bytes } },
                7 => DtuInput::DisplayFrame {
                    conn,
                    frame: Frame::Welcome { input_applied: u64::MAX - conn.0, stream: Nonce(1) },
                },
                8 => DtuInput::Resized(Size::clamped(u16::try_from(conn.0).unwrap(), 0)),
                _ => DtuInput::Beacon { beacon: &forged, from: [9, 9, 9, 9].into(), at: world.now },
            });
            // A deadline that never moves would spin the driver.
            for _ in 0..20 {
                if world.dtu.poll_at().is_none_or(|at| at > world.now) {
                    break;
                }
                world.input(DtuInput::Timeout);
            }
            prop_assert!(world.dtu.poll_at().is_none_or(|at| at > world.now));
        }
    }
}
