//! Networks, faults and process control on the real kernel.
//!
//! Each test runs again in a child process that enters namespaces of its own before it execs. Where the kernel
//! forbids that, the test says so on standard error.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::*;

/// Set in the child: how it is isolated.
const INSIDE: &str = "HOTDESK_LAB_TEST";

/// Longer than anything here takes, on a loaded machine too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Long enough for a frame to arrive if it is going to.
const MOMENT: Duration = Duration::from_millis(150);

/// How a child is started.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Full,
    Networks,
    Guarded,
}

/// The command that runs the calling test again, isolated; `None` (and a word about it) where it cannot be.
fn again(inside: Inside) -> Option<Command> {
    let thread = std::thread::current();
    let test = thread.name().expect("the test harness names its threads").to_owned();
    let isolation = match (inside, available()) {
        (Inside::Guarded, _) => None,
        (Inside::Networks, Ok(_)) => Some(Isolation::Networks),
        (Inside::Full, Ok(isolation)) => Some(isolation),
        (_, Err(why)) => {
            // Not by eprintln: the harness would hide it.
            let _ = writeln!(io::stderr(), "IGNORED {test}: {why}");
            return None;
        }
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &test, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let enter = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        isolation.map_or_else(guard, enter).map_err(|why| io::Error::from(why.errno))
    };
    // SAFETY: enter() and guard() are made for the time between fork and exec.
    unsafe { command.pre_exec(enter) };
    Some(command)
}

/// Runs `body` in namespaces of its own.
fn isolated(body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Some(mut command) = again(Inside::Full) {
        let output = command.output().unwrap();
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}

/// Two hosts on one LAN: 10.0.0.1 and 10.0.0.2.
fn pair() -> (Net, LanId, HostId, HostId) {
    let mut net = Net::new(7).unwrap();
    let lan = net.add_lan();
    let [a, b] = ["a", "b"].map(|name| net.add_host(name).unwrap());
    net.attach(a, lan, "10.0.0.1/24".parse().unwrap()).unwrap();
    net.attach(b, lan, "10.0.0.2/24".parse().unwrap()).unwrap();
    (net, lan, a, b)
}

fn udp(net: &Net, host: HostId, address: &str) -> UdpSocket {
    let socket = net.inside(host, || UdpSocket::bind(address).unwrap()).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(MOMENT)).unwrap();
    socket
}

/// Sends one datagram and says whether it arrives; what was sent before and came late is passed over.
fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    static SENT: AtomicU64 = AtomicU64::new(0);
    let mark = SENT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    from.send_to(&mark, to.local_addr().unwrap()).unwrap();
    let mut bytes = [0; 16];
    while let Ok(len) = to.recv(&mut bytes) {
        if bytes[..len] == mark {
            return true;
        }
    }
    false
}

/// Sends until one arrives: a path's first datagrams may be lost or late, as on a real wire, while the kernel resolves
/// addresses and finds out that it has a carrier.
fn passes(from: &UdpSocket, to: &UdpSocket) -> bool {
    let start = Instant::now();
    while !arrives(from, to) {
        if start.elapsed() > PATIENCE {
            return false;
        }
    }
    true
}

/// A shell on a host, with a child that has left its session; both have started when this returns.
fn busy_shell(net: &Net, host: HostId) -> std::process::Child {
    let mut command = Command::new("sh");
    command.args(["-c", "setsid sleep 1000 & echo ready; while :; do :; done"]).stdout(Stdio::piped());
    let mut shell = net.spawn_in(host, command).unwrap();
    shell.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    shell
}

fn states(net: &Net, host: HostId) -> String {
    net.processes(host).iter().map(|p| p.state).collect()
}

#[test]
fn what_is_available_can_be_entered_and_says_in_one_line_if_not() {
    match available() {
        Ok(_) => isolated(|| assert!(Net::new(0).is_ok())),
        Err(why) => assert!(!why.to_string().contains('\n')),
    }
}

#[test]
fn hosts_on_one_lan_hear_each_others_broadcasts_and_hosts_elsewhere_do_not() {
    isolated(|| {
        let (mut net, _, a, b) = pair();
        let other = net.add_lan();
        let c = net.add_host("c").unwrap();
        net.attach(c, other, "10.0.0.3/24".parse().unwrap()).unwrap();
        let [a, b, c] = [a, b, c].map(|host| udp(&net, host, "0.0.0.0:7009"));
        a.send_to(b"x", "10.0.0.255:7009").unwrap();
        assert_eq!(b.recv_from(&mut [0; 4]).unwrap().1, "10.0.0.1:7009".parse::<SocketAddr>().unwrap());
        assert!(c.recv(&mut [0; 4]).is_err());
    });
}

#[test]
fn a_connection_carries_a_megabyte_whole_and_a_closed_port_is_refused_at_once() {
    isolated(|| {
        let (net, _, a, b) = pair();
        let listener = net.inside(b, || TcpListener::bind("10.0.0.2:7009").unwrap()).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            all
        });
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let connect =
            |port: u16| net.inside(a, || TcpStream::connect((Ipv4Addr::new(10, 0, 0, 2), port))).unwrap();
        connect(7009).unwrap().write_all(&sent).unwrap();
        assert!(reader.join().unwrap() == sent);
        assert_eq!(connect(7010).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_host_knows_its_own_name_and_is_reached_by_its_own_loopback() {
    isolated(|| {
        let (net, _, a, _) = pair();
        let name = net.inside(a, || nix::unistd::gethostname().unwrap()).unwrap();
        assert_eq!(name, "a");
        assert_eq!(net.name(a), "a");
        let own = udp(&net, a, "127.0.0.1:0");
        assert!(passes(&own, &own));
    });
}

#[test]
fn a_cut_host_is_cut_the_way_it_was_said_and_heals() {
    isolated(|| {
        let (net, lan, a, b) = pair();
        let [at_a, at_b] = [udp(&net, a, "10.0.0.1:0"), udp(&net, b, "10.0.0.2:0")];
        assert!(passes(&at_a, &at_b) && passes(&at_b, &at_a));
        net.cut(a, Way::Out);
        assert!(!arrives(&at_a, &at_b) && passes(&at_b, &at_a));
        net.cut(a, Way::Both);
        assert!(!arrives(&at_b, &at_a));
        net.heal(a);
        assert!(passes(&at_a, &at_b) && passes(&at_b, &at_a));
        net.set_rule(lan, End::Is(b), End::Is(a), Rule::cut());
        assert!(passes(&at_a, &at_b) && !arrives(&at_b, &at_a));
        net.clear_rules(lan);
        net.cut_on(b, lan, Way::In);
        assert!(!arrives(&at_a, &at_b) && passes(&at_b, &at_a));
    });
}

#[test]
fn a_lossy_lan_loses_its_share_and_counts_it() {
    isolated(|| {
        let (net, lan, a, b) = pair();
        let [at_a, at_b] = [udp(&net, a, "10.0.0.1:0"), udp(&net, b, "10.0.0.2:0")];
        assert!(passes(&at_a, &at_b), "addresses are resolved first");
        net.set_rule(lan, End::Is(a), End::Any, Rule::loss(0.2));
        let before = net.counts(lan);
        let got = (0..500).filter(|_| {
            at_a.send_to(b"x", at_b.local_addr().unwrap()).unwrap();
            at_b.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            at_b.recv(&mut [0; 4]).is_ok()
        });
        let got = got.count();
        assert!((340..460).contains(&got), "{got} of 500 arrived");
        let counts = net.counts(lan);
        assert!(counts.lost - before.lost >= 40, "{counts:?}");
        assert_eq!(counts.overflow, 0);
    });
}

#[test]
fn a_delay_delays_and_a_duplicate_arrives_twice() {
    isolated(|| {
        let (net, lan, a, b) = pair();
        let [at_a, at_b] = [udp(&net, a, "10.0.0.1:0"), udp(&net, b, "10.0.0.2:0")];
        assert!(passes(&at_a, &at_b));
        let delay = Duration::from_millis(40);
        net.set_rule(lan, End::Any, End::Is(b), Rule { duplicate: 1.0, ..Rule::delay(delay) });
        let start = Instant::now();
        assert!(passes(&at_a, &at_b));
        assert!(start.elapsed() >= delay, "{:?}", start.elapsed());
        assert!(at_b.recv(&mut [0; 16]).is_ok());
    });
}

#[test]
fn a_pulled_cable_takes_the_carrier_away_and_a_plugged_one_brings_it_back() {
    isolated(|| {
        let (mut net, lan, a, b) = pair();
        let [at_a, at_b] = [udp(&net, a, "10.0.0.1:0"), udp(&net, b, "10.0.0.2:0")];
        assert!(net.has_carrier(a, lan).unwrap());
        net.unplug(a, lan).unwrap();
        assert!(!net.has_carrier(a, lan).unwrap() && net.has_carrier(b, lan).unwrap());
        assert!(!arrives(&at_b, &at_a));
        net.plug(a, lan).unwrap();
        assert!(net.has_carrier(a, lan).unwrap());
        // The kernel takes up to a second to send again after it has a carrier, as it does on a real wire.
        assert!(passes(&at_b, &at_a) && passes(&at_a, &at_b));
    });
}

#[test]
fn a_router_joins_two_lans_but_passes_no_broadcast() {
    isolated(|| {
        let mut net = Net::new(7).unwrap();
        let (near, far) = (net.add_lan(), net.add_lan());
        let [a, b, router] = ["a", "b", "router"].map(|name| net.add_host(name).unwrap());
        for (host, lan, address) in [
            (a, near, "10.0.1.1/24"),
            (router, near, "10.0.1.254/24"),
            (router, far, "10.0.2.254/24"),
            (b, far, "10.0.2.1/24"),
        ] {
            net.attach(host, lan, address.parse().unwrap()).unwrap();
        }
        net.forward(router).unwrap();
        net.route(a, "10.0.2.0/24".parse().unwrap(), Ipv4Addr::new(10, 0, 1, 254)).unwrap();
        net.route(b, "0.0.0.0/0".parse().unwrap(), Ipv4Addr::new(10, 0, 2, 254)).unwrap();
        let [at_a, at_b] = [udp(&net, a, "0.0.0.0:7009"), udp(&net, b, "10.0.2.1:7009")];
        assert!(passes(&at_a, &at_b));
        at_b.send_to(b"x", "10.0.1.1:7009").unwrap();
        at_a.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(at_a.recv(&mut [0; 4]).is_ok());
        at_a.set_read_timeout(Some(MOMENT)).unwrap();
        at_b.send_to(b"x", "10.0.1.255:7009").unwrap();
        assert!(at_a.recv(&mut [0; 4]).is_err());
    });
}

#[test]
fn a_frozen_host_stands_still_with_everything_on_it_and_a_thawed_one_goes_on() {
    isolated(|| {
        let (net, _, a, b) = pair();
        let _shells = [busy_shell(&net, a), busy_shell(&net, b)];
        net.freeze(a).unwrap();
        assert_eq!(states(&net, a), "TT", "the shell and the child that left its session");
        assert!(!states(&net, b).contains('T'), "the other host goes on");
        net.thaw(a).unwrap();
        assert!(!states(&net, a).contains('T'));
    });
}

#[test]
fn a_killed_host_has_no_process_left_and_the_other_host_has_all() {
    isolated(|| {
        let (net, _, a, b) = pair();
        let mut shells = [busy_shell(&net, a), busy_shell(&net, b)];
        net.freeze(a).unwrap();
        net.kill(a).unwrap();
        assert_eq!(states(&net, a), "");
        assert_eq!(states(&net, b).len(), 2);
        assert!(!shells[0].wait().unwrap().success());
        drop(net);
        assert!(!shells[1].wait().unwrap().success(), "the end of the network is the end of its hosts");
    });
}

#[test]
fn a_killed_host_can_be_used_again() {
    isolated(|| {
        let (net, _, a, b) = pair();
        let mut shell = busy_shell(&net, a);
        net.kill(a).unwrap();
        shell.wait().unwrap();
        let mut shell = busy_shell(&net, a);
        assert_eq!(states(&net, a).len(), 2);
        assert!(passes(&udp(&net, a, "10.0.0.1:0"), &udp(&net, b, "10.0.0.2:0")));
        drop(net);
        shell.wait().unwrap();
    });
}

/// Starts a lab that has started processes, ends it by `end`, and waits until the last process that it has
/// started is gone: until nobody holds the other end of the pipe any more.
fn nothing_outlives(inside: Inside, end: fn(&mut std::process::Child)) {
    if std::env::var_os(INSIDE).is_some() {
        // The children inherit our standard output. One of them leaves session, group and parent behind.
        let mut command = Command::new("sh");
        command.args(["-c", "(setsid sleep 1000 &) ; echo ready; sleep 1000"]);
        let launcher = Launcher::start().unwrap();
        let mut child = launcher.spawn(command).unwrap();
        let _ = child.wait();
        return;
    }
    let Some(mut command) = again(inside) else { return };
    let mut lab = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = lab.stdout.take().unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"ready\n") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    end(&mut lab);
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = output.read_to_end(&mut text);
        let _ = done.send(());
    });
    finished.recv_timeout(PATIENCE).expect("a process of the lab is still there");
    lab.wait().unwrap();
}

/// Kills the innermost process, the lab itself; the processes around it are left to do their duty.
fn kill_lab(outer: &mut std::process::Child) {
    let pid = |p: nix::unistd::Pid| p.as_raw();
    let outer = i32::try_from(outer.id()).unwrap();
    let lab = std::iter::successors(Some(outer), |parent| {
        let children: Vec<i32> =
            procs::all().filter(|p| pid(p.parent) == *parent).map(|p| pid(p.pid)).collect();
        // The lab is the first that runs the test program with threads.
        let threads = std::fs::read_dir(format!("/proc/{parent}/task")).map_or(0, Iterator::count);
        (threads == 1).then(|| children.first().copied()).flatten()
    });
    let lab = lab.last().unwrap();
    assert_ne!(lab, outer);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(lab), Signal::SIGKILL).unwrap();
}

fn kill_outer(outer: &mut std::process::Child) {
    outer.kill().unwrap();
}

fn ask_outer(outer: &mut std::process::Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(outer.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
}

#[test]
fn nothing_outlives_a_lab_that_is_killed() {
    nothing_outlives(Inside::Full, kill_lab);
}

#[test]
fn nothing_outlives_a_lab_whose_outer_process_is_killed() {
    nothing_outlives(Inside::Full, kill_outer);
}

#[test]
fn nothing_outlives_a_lab_that_is_asked_to_end() {
    nothing_outlives(Inside::Full, ask_outer);
}

#[test]
fn nothing_outlives_a_killed_lab_without_process_ids_of_its_own() {
    nothing_outlives(Inside::Networks, kill_lab);
}

#[test]
fn nothing_outlives_a_killed_lab_on_the_machine_itself() {
    nothing_outlives(Inside::Guarded, kill_lab);
}

#[test]
fn nothing_outlives_a_lab_on_the_machine_itself_that_is_asked_to_end() {
    nothing_outlives(Inside::Guarded, ask_outer);
}
