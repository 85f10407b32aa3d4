//! The scenarios, named as rules.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use groupmgr::topology::Standing;
use ipnet::Ipv4Net;
use lab::net::{End, Rule, Way};
use lab::plan::Plan;
use lab::timeline::Cursor;
use sessiond::io::root;

use crate::apart::{Need, Scenario};
use crate::scene::{PATIENCE, Played, Scene};
use crate::silent::Silent;

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("a_desk_fails_over_only_to_hosts_on_its_own_lan", own_lan),
    ("a_killed_hosts_desk_is_at_work_elsewhere_with_its_data", killed),
    ("a_frozen_hosts_desk_is_at_work_elsewhere_and_stays_there_after_the_thaw", frozen),
    ("a_stopped_daemon_leaves_its_sessions_at_work", daemon_stopped),
    ("a_daemon_that_keeps_its_sessions_takes_them_up_again", daemon_restarted),
    ("a_card_put_in_elsewhere_while_its_hosts_daemon_starts_again_gets_the_session_kept", kept_elsewhere),
    ("a_cut_hosts_desk_is_at_work_elsewhere_and_the_group_heals", cut),
    ("a_host_that_hears_but_is_not_heard_loses_its_desk", one_way),
    ("an_idle_desk_whose_host_gets_another_address_is_elsewhere_within_half_a_second", readdressed),
    ("a_desk_cut_off_from_a_host_that_it_hears_leaves_it_in_5_s_idle_and_half_a_second_typing", unheard),
    ("a_fifth_of_all_frames_lost_loses_nobody", lossy),
    ("a_stranger_without_the_key_is_shown_and_nothing_else", stranger),
    ("silent_connections_of_one_address_delay_no_login_and_no_failover", silent_connections),
    ("a_recording_does_not_revive_the_dead", recording),
    ("keys_typed_at_a_desk_interrupt_stop_and_quit_a_job_of_bash", crate::keys::bash),
    (PYTHON, crate::keys::python),
    (VIM, crate::keys::vim),
    ("the_readmes_first_command_shows_every_step", crate::readme::demo),
    (ACCOUNTS, crate::readme::accounts),
    ("the_manuals_commands_by_hand_do_what_it_says", crate::readme::by_hand),
    ("the_manuals_way_to_install_makes_programs", crate::examples::install),
    ("every_command_that_a_document_shows_is_one", crate::examples::every_command),
    ("the_example_of_a_minimal_group_runs", crate::examples::minimal_group),
    (
        "a_second_dtu_with_the_same_serial_is_refused",
        crate::dtu_keys::a_second_dtu_with_the_same_serial_is_refused,
    ),
    ("the_examples_of_services_and_of_events_do_what_they_say", crate::examples::services_and_events),
    ("an_editors_modes_move_to_a_real_terminal_with_the_card_and_leave_with_it", crate::screens::moved),
    ("a_key_flips_between_the_displays_of_a_session_in_a_real_terminal", crate::screens::flipped),
];

const PYTHON: &str = "keys_typed_at_a_desk_interrupt_stop_and_quit_python";
const ACCOUNTS: &str = "the_readmes_commands_for_three_accounts_give_sessions_one_of_their_own";
const VIM: &str = "keys_typed_at_a_desk_reach_vim";

/// What a scenario needs of the machine besides; where it is missing the scenario is ignored.
pub(crate) const NEEDS: &[Need] = &[
    (PYTHON, || Path::new("/usr/bin/python3").exists()),
    (VIM, || Path::new("/usr/bin/vim").exists()),
    // Accounts are made in copies of the machine's files, which only root can put in their place.
    (ACCOUNTS, || root::is_root() && Path::new("/usr/sbin/useradd").exists()),
];

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a subnet")
}

/// Far more than a login or a failover takes, and less than a silent connection holds a place for.
const AT_ONCE: Duration = Duration::from_secs(2);

fn silent_connections(binary: PathBuf) -> Played {
    let mut scene = Scene::start(Plan::simple(2, 2), binary)?;
    let strangers = Silent::hold(&scene, "desk-2", 400)?;
    let began = Instant::now();
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    let login = began.elapsed();
    let (from, began) = (scene.now(), Instant::now());
    scene.world.kill(&on)?;
    scene.failed_over("desk-1", from)?;
    let failover = began.elapsed();
    eprintln!("beside 400 silent connections: login {login:?}, failover {failover:?}");
    assert!(login < AT_ONCE && failover < AT_ONCE, "login {login:?}, failover {failover:?}");
    drop(strangers);
    Ok(())
}

/// Two LANs of desks, with host-c on the first only, and the data store on a third of its own.
fn own_lan(binary: PathBuf) -> Played {
    let plan = Plan::empty()
        .lan("one", net("10.77.1.0/24"))
        .lan("two", net("10.77.3.0/24"))
        .lan("store", net("10.77.2.0/24"))
        .store(&["store"])
        .host("host-a", &["one", "two", "store"])
        .host("host-b", &["one", "two", "store"])
        .host("host-c", &["one", "store"])
        .desk("desk-1", &["one"])
        .desk("desk-2", &["two"]);
    let mut scene = Scene::start(plan, binary)?;
    for _ in 0..2 {
        let from = scene.now();
        let on = scene.world.asker().look("desk-2")?.host.ok_or("desk-2 is on no host")?;
        scene.world.kill(&on)?;
        if scene.world.hosts().filter(|h| *h != "host-c").all(|h| !scene.world.is_alive(h)) {
            // Only host-c is left, which is not on the LAN of desk-2.
            scene.expect("desk-2", from, "without a host", |e| e.is("no_host"))?;
            return Ok(());
        }
        let now_on = scene.failed_over("desk-2", from)?;
        assert!(now_on != on && now_on != "host-c", "desk-2 cannot reach {now_on}");
        scene.shell_at("desk-2")?;
    }
    Err("two hosts of two were killed and desk-2 still had one".into())
}

fn killed(binary: PathBuf) -> Played {
    let mut scene = Scene::start(Plan::simple(3, 1), binary)?;
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    scene.shell_at("desk-1")?;
    scene.world.type_text("desk-1", "datastore put note kept && echo st''ored\n")?;
    scene.world.wait_for_screen("desk-1", "a stored note", PATIENCE, |s| s.has_line("stored"))?;
    let from = scene.now();
    scene.world.kill(&on)?;
    let now_on = scene.failed_over("desk-1", from)?;
    assert_ne!(now_on, on);
    scene.shell_at("desk-1")?;
    scene.world.type_text("desk-1", "datastore get note; echo\n")?;
    scene.world.wait_for_screen("desk-1", "the note", PATIENCE, |s| s.has_line("kept"))?;
    scene.until_standing(&now_on, &on, Standing::Silent)
}

fn frozen(binary: PathBuf) -> Played {
    let mut scene = Scene::start(Plan::simple(3, 1), binary)?;
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    let from = scene.now();
    scene.world.freeze(&on)?;
    let now_on = scene.failed_over("desk-1", from)?;
    assert_ne!(now_on, on);
    let shell = scene.shell_at("desk-1")?;
    scene.world.thaw(&on)?;
    scene.until_standing(&now_on, &on, Standing::Up)?;
    // It thinks no worse of the others for having slept, and takes nothing back.
    for other in scene.world.hosts().filter(|h| *h != on) {
        scene.until_standing(&on, other, Standing::Up)?;
    }
    assert_eq!(scene.shell_at("desk-1")?, shell);
    Ok(())
}

/// Only `groupmgr run` stands still; the session's process does not.
fn daemon_stopped(binary: PathBuf) -> Played {
    let mut scene = Scene::start(Plan::simple(2, 1), binary)?;
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    let shell = scene.shell_at("desk-1")?;
    let from = scene.now();
    scene.world.freeze_daemon(&on)?;
    scene.expect("desk-1", from, "holding", |e| e.is("held"))?;
    assert_eq!(scene.shell_at("desk-1")?, shell, "the session works while its daemon does not");
    scene.world.thaw(&on)?;
    scene.expect("desk-1", from, "at its daemon again", |e| e.is("rejoined"))?;
    assert_eq!(scene.shell_at("desk-1")?, shell);
    assert!(!scene.lost(from).iter().any(|e| e.is("failed_over")));
    Ok(())
}

fn daemon_restarted(binary: PathBuf) -> Played {
    let plan = Plan::empty()
        .lan("desks", net("10.77.1.0/24"))
        .lan("store", net("10.77.2.0/24"))
        .store(&["store"])
        .host("host-a", &["desks", "store"])
        .host_args(&["--keep-sessions"])
        .desk("desk-1", &["desks"]);
    let mut scene = Scene::start(plan, binary)?;
    let card = scene.world.new_card("ann")?;
    scene.insert("desk-1", &card)?;
    let shell = scene.shell_at("desk-1")?;
    let from = scene.now();
    scene.world.kill_daemon("host-a")?;
    scene.world.start_host("host-a")?;
    scene.expect("desk-1", from, "at its daemon again", |e| e.is("rejoined"))?;
    assert_eq!(scene.shell_at("desk-1")?, shell);
    Ok(())
}

/// The card was taken out where its session is, and is put in at a desk of the other host: before the daemon of its own
/// host is started again, and just after it listens.
fn kept_elsewhere(binary: PathBuf) -> Played {
    let plan = Plan::empty()
        .lan("desks", net("10.77.1.0/24"))
        .lan("store", net("10.77.2.0/24"))
        .store(&["store"])
        .host("host-a", &["desks", "store"])
        .host_args(&["--keep-sessions"])
        .host("host-b", &["desks", "store"])
        .host_args(&["--keep-sessions"])
        .desk("desk-1", &["desks"])
        .desk("desk-2", &["desks"]);
    let mut scene = Scene::start(plan, binary)?;
    let there = scene.world.asker().look("desk-2")?.host.ok_or("desk-2 is on no host")?;
    let own = scene.world.hosts().find(|host| **host != there).ok_or("one host")?.to_owned();
    // A drained host gets no new session, so that the card's is on the other one.
    scene.drain(&there, true, &own)?;
    let card = scene.world.new_card("ann")?;
    assert_eq!(scene.insert("desk-1", &card)?, own);
    scene.drain(&there, false, &own)?;
    let shell = scene.shell_at("desk-1")?;
    scene.world.remove("desk-1")?;
    for after in [None, Some(0), Some(15), Some(30), Some(60)] {
        let from = scene.now();
        scene.world.kill_daemon(&own)?;
        if after.is_none() {
            scene.world.insert("desk-2", &card)?;
        }
        scene.world.start_host(&own)?;
        if let Some(ms) = after {
            std::thread::sleep(Duration::from_millis(ms));
            scene.world.insert("desk-2", &card)?;
        }
        let at = format!("{after:?} ms after its daemon listens");
        scene.expect("desk-2", from, "shown the session of its card", |e| {
            e.is("shown") && e.session.is_some()
        })?;
        assert_eq!(scene.shell_at("desk-2")?, shell, "{at}");
        assert_eq!(scene.sessions_of(&card)?, 1, "{at}");
        let from = scene.now();
        scene.world.remove("desk-2")?;
        scene.expect("desk-2", from, "back at its own session", |e| e.is("shown"))?;
        let on = scene.world.asker().look("desk-2")?.host;
        assert_eq!(on.as_deref(), Some(there.as_str()), "{at}");
        scene.until_standing(&there, &own, Standing::Up)?;
    }
    Ok(())
}

fn cut(binary: PathBuf) -> Played {
    let mut scene = Scene::start(Plan::simple(3, 1), binary)?;
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    let from = scene.now();
    scene.world.cut(&on)?;
    let now_on = scene.failed_over("desk-1", from)?;
    assert_ne!(now_on, on);
    let shell = scene.shell_at("desk-1")?;
    scene.until_standing(&now_on, &on, Standing::Silent)?;
    scene.world.heal(&on)?;
    scene.until_standing(&now_on, &on, Standing::Up)?;
    scene.until_standing(&on, &now_on, Standing::Up)?;
    assert_eq!(scene.shell_at("desk-1")?, shell, "of two sessions the one last connected is shown");
    Ok(())
}

/// Nothing that the host sends arrives; everything that is sent to it does.
fn one_way(binary: PathBuf) -> Played {
    let scene = Scene::start(Plan::simple(3, 1), binary)?;
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    let from = scene.now();
    let host = scene.world.backend().id(&on).ok_or("no such host")?;
    let network = scene.world.backend().net().ok_or("no networks")?;
    network.cut(host, Way::Out);
    let now_on = scene.failed_over("desk-1", from)?;
    assert_ne!(now_on, on);
    scene.until_standing(&now_on, &on, Standing::Silent)?;
    network.heal(host);
    scene.until_standing(&now_on, &on, Standing::Up)
}

/// For how long after `from` it took until a desk had left its host.
fn left_after(scene: &Scene, broke: Instant, from: Cursor, limit: Duration) -> Played {
    let left = scene.expect("desk-1", from, "leaving its host", |e| e.is("lost"))?;
    let took = broke.elapsed();
    eprintln!("desk-1 left its host after {took:?}");
    if took > limit {
        return Err(format!("desk-1 took {took:?} to leave its host, not {limit:?}: {left:?}").into());
    }
    scene.failed_over("desk-1", from).map(drop)
}

/// Its beacons come from the new address from then on, and say nothing about the connection to the old one.
fn readdressed(binary: PathBuf) -> Played {
    let mut scene = Scene::start(Plan::simple(3, 1), binary)?;
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    let shell = scene.shell_at("desk-1")?;
    let host = scene.world.backend().id(&on).ok_or("no such host")?;
    let lan = scene.world.backend().lan(Plan::DESKS).ok_or("no LAN of desks")?;
    let network = scene.world.backend().net().ok_or("no networks")?;
    let old = network.address(host, lan).ok_or("no address")?;
    let new = Ipv4Addr::from_bits(old.to_bits() + 100);
    let (from, broke) = (scene.now(), Instant::now());
    let network = scene.world.backend_mut().net_mut().ok_or("no networks")?;
    network.readdress(host, lan, Ipv4Net::new(new, 24)?)?;
    left_after(&scene, broke, from, Duration::from_millis(500))?;
    // The session has not moved: it is found again at the new address.
    let screen = scene.shell_at("desk-1")?;
    assert_eq!(screen, shell, "the same shell");
    Ok(())
}

/// Broadcasts of the host arrive; nothing that is sent to it does.
fn unheard(binary: PathBuf) -> Played {
    let scene = Scene::start(Plan::simple(2, 1), binary)?;
    let network = scene.world.backend().net().ok_or("no networks")?;
    for (types, limit) in [(false, Duration::from_secs(5)), (true, Duration::from_millis(500))] {
        let on = scene.world.asker().look("desk-1")?.host.ok_or("desk-1 is on no host")?;
        let host = scene.world.backend().id(&on).ok_or("no such host")?;
        let (from, broke) = (scene.now(), Instant::now());
        network.cut(host, Way::In);
        if types {
            scene.world.type_text("desk-1", "x")?;
        }
        left_after(&scene, broke, from, limit)?;
        scene.shell_at("desk-1")?;
        network.heal(host);
        for asked in scene.world.hosts() {
            let other = scene.world.hosts().find(|other| *other != asked).ok_or("one host")?;
            scene.until_standing(asked, other, Standing::Up)?;
        }
    }
    Ok(())
}

fn lossy(binary: PathBuf) -> Played {
    let scene = Scene::start(Plan::simple(3, 2), binary)?;
    let card = scene.world.new_card("ann")?;
    let on = scene.insert("desk-1", &card)?;
    let shell = scene.shell_at("desk-1")?;
    let lan = scene.world.backend().lan(Plan::DESKS).ok_or("no LAN of desks")?;
    let network = scene.world.backend().net().ok_or("no networks")?;
    network.set_rule(lan, End::Any, End::Any, Rule::loss(0.2));
    // Enough commands for every message of the channel to be lost now and then; each must have its answer.
    for _ in 0..5 {
        let now = scene.shell_at("desk-1")?;
        let host = scene.world.asker().look("desk-1")?.host;
        // TCP may be held up for longer than the 100 ms of a probe by two losses in a row; then the desk may move,
        // but never without its card and never to a screen that does not answer.
        assert!(now == shell || host.as_deref() != Some(on.as_str()), "another shell on the same host");
    }
    network.clear_rules(lan);
    for host in scene.world.hosts() {
        for other in scene.world.hosts().filter(|other| *other != host) {
            scene.until_standing(host, other, Standing::Up)?;
        }
    }
    Ok(())
}

/// A plan with a machine that has no program of its own, for strangers.
fn with_a_stranger() -> Plan {
    Plan::simple(2, 1).router("stranger", &[Plan::DESKS])
}

fn stranger(binary: PathBuf) -> Played {
    let scene = Scene::start(with_a_stranger(), binary.clone())?;
    let keys = scene.world.files().join("other-keys");
    let run = scene.world.files().join("other-run");
    let made =
        Command::new(&binary).args(["groupmgr", "keygen"]).arg(&keys).stdout(Stdio::null()).status()?;
    assert!(made.success());
    // It calls itself like a trusted host, to be sure that the trusted row does not suffer.
    let mut command = Command::new(&binary);
    command.args(["groupmgr", "run", "--name", "host-b", "--keys"]).arg(&keys).arg("--run-dir").arg(&run);
    command.args(groupmgr::io::accounts::trial());
    command.arg("--state-dir").arg(&run).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut impostor = scene.world.backend().spawn("stranger", command)?;

    let until = Instant::now() + PATIENCE;
    let seen = loop {
        let rows = scene.world.asker().topology("host-a")?;
        if rows.iter().any(|row| !row.trusted && row.host.as_str() == "host-b") {
            break rows;
        }
        assert!(Instant::now() < until, "the stranger is never shown: {rows:?}");
        let _ = scene.world.timeline().wait(scene.now(), Duration::from_millis(50), |_| false);
    };
    let trusted =
        seen.iter().find(|row| row.trusted && row.host.as_str() == "host-b").expect("host-b itself");
    assert_eq!(trusted.standing, Some(Standing::Up));
    assert!(scene.refused("host-a", "unknown_key")? > 0, "what it says is counted");
    // A desk whose host dies goes to a host of its own group.
    let mut scene = scene;
    let on = scene.world.asker().look("desk-1")?.host.ok_or("desk-1 is on no host")?;
    let from = scene.now();
    scene.world.kill(&on)?;
    let now_on = scene.failed_over("desk-1", from)?;
    assert_ne!(now_on, on);
    scene.shell_at("desk-1")?;
    impostor.kill()?;
    impostor.wait()?;
    Ok(())
}

fn recording(binary: PathBuf) -> Played {
    let mut scene = Scene::start(with_a_stranger(), binary)?;
    let stranger = scene.world.backend().id("stranger").ok_or("no stranger")?;
    let victim = scene.world.backend().address("host-b")?;
    let network = scene.world.backend().net().ok_or("no networks")?;
    let recorded = network.inside(stranger, || record(victim, 30))??;
    assert!(recorded.len() >= 20, "{} datagrams of host-b were recorded", recorded.len());

    // Among them may be words of host-b about what it shows, said again for half a second. They are no sign of life
    // and are not counted as stale; they must not take the desk's session off host-a either.
    let signs = recorded.iter().filter(|datagram| is_sign_of_life(datagram)).count();
    assert!(signs >= 20, "{signs} of {} are signs of life", recorded.len());

    scene.world.kill("host-b")?;
    scene.until_standing("host-a", "host-b", Standing::Silent)?;
    let shell = scene.shell_at("desk-1")?;
    let before = scene.refused("host-a", "stale")?;
    let lan_broadcast = Ipv4Addr::from(victim.to_bits() | 0xff);
    let network = scene.world.backend().net().ok_or("no networks")?;
    network.inside(stranger, || replay(&recorded, lan_broadcast))??;
    // The replay is through when its last sign of life was refused.
    let until = Instant::now() + PATIENCE;
    loop {
        let counted = scene.refused("host-a", "stale")? - before;
        if counted >= signs as u64 {
            break;
        }
        assert!(Instant::now() < until, "{counted} of {signs} replayed signs of life were counted");
    }
    let row = scene.row("host-a", "host-b")?.expect("host-b is remembered");
    assert_ne!(row.standing, Some(Standing::Up), "a recording is no sign of life");
    assert_eq!(scene.shell_at("desk-1")?, shell, "a recording takes nothing off a desk");
    Ok(())
}

/// Whether a datagram is a beacon or a host message: what a host is judged by.
fn is_sign_of_life(datagram: &[u8]) -> bool {
    let first = datagram.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    first == b"beacon" || first.contains(&b'=')
}

/// The next `n` datagrams from `host` on port 7009.
fn record(host: Ipv4Addr, n: usize) -> std::io::Result<Vec<Vec<u8>>> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, proto::PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut datagrams = Vec::new();
    let mut buffer = [0; 2048];
    while datagrams.len() < n {
        let (len, from) = socket.recv_from(&mut buffer)?;
        if from.ip() == host {
            datagrams.push(buffer[..len].to_vec());
        }
    }
    Ok(datagrams)
}

fn replay(datagrams: &[Vec<u8>], to: Ipv4Addr) -> std::io::Result<()> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, proto::PORT))?;
    socket.set_broadcast(true)?;
    for datagram in datagrams {
        socket.send_to(datagram, SocketAddrV4::new(to, proto::PORT))?;
    }
    Ok(())
}
