//! What it costs a host to hear all others: the processor time of a real daemon that hears the beacons and host messages
//! of up to 99 others, each signed with the group's key and proven as a host is.
//!
//! The others are made by this process. Everything else on the machine that uses port 7009 on loopback is heard too, so
//! run it alone.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::expect_used, reason = "a benchmark")]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use groupmgr::announce::{Announcer, Identity};
use groupmgr::io::clock;
use proto::io::{KeyDir, random, wall_now};
use proto::keys::{KeyRing, Purpose};
use proto::net::Interface;
use proto::peer::{PeerBody, PeerMessage};
use proto::rng::SecretRng;
use proto::{BootId, MachineId};

const SIZES: [usize; 4] = [1, 10, 50, 100];
const MEASURE: Duration = Duration::from_secs(10);
const EVERYBODY: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
const DAEMON: &str = "127.14.0.1";

fn main() {
    let dir = tempfile::Builder::new().prefix("hd").tempdir_in("/tmp").expect("a directory");
    let keys = KeyDir::generate(&dir.path().join("keys")).expect("keys");
    println!("{:>6} {:>12} {:>14} {:>10}", "hosts", "heard a sec", "of one core", "wakes/s");
    for size in SIZES {
        measure(dir.path(), &keys.ring, size);
    }
}

fn measure(dir: &Path, ring: &KeyRing, size: usize) {
    let others = Others::start(ring, size - 1);
    let daemon = Daemon::start(dir);
    while daemon.hosts_up(dir) < size {
        std::thread::sleep(Duration::from_millis(200));
    }
    let (said, before) = (others.said.load(Ordering::Relaxed), daemon.spent());
    std::thread::sleep(MEASURE);
    let (heard, after) = (others.said.load(Ordering::Relaxed) - said, daemon.spent());
    let secs = MEASURE.as_secs_f64();
    let share = 100.0 * (after.0 - before.0) / secs;
    let wakes = (after.1 - before.1) / secs;
    println!("{size:>6} {:>12.0} {share:>12.2} % {wakes:>10.0}", heard as f64 / secs);
}

/// The daemon that is measured.
struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_groupmgr"))
            .args(["run", "--name", "measured", "--bind", DAEMON])
            .arg("--keys")
            .arg(dir.join("keys"))
            .arg("--run-dir")
            .arg(dir.join("run"))
            .arg("--state-dir")
            .arg(dir.join("state"))
            .args(groupmgr::io::accounts::trial())
            .env("HOTDESK_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon can be started");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a ready line");
        assert!(line.starts_with("ready "), "{line}");
        Self(child)
    }

    fn hosts_up(&self, dir: &Path) -> usize {
        let output = Command::new(env!("CARGO_BIN_EXE_groupmgr"))
            .args(["topology", "--json", "--run-dir"])
            .arg(dir.join("run"))
            .output()
            .expect("the command line");
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        rows.as_array().map_or(0, |rows| rows.iter().filter(|row| row["standing"] == "up").count())
    }

    /// Seconds of processor time of all its threads, and how often they were woken.
    fn spent(&self) -> (f64, f64) {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("it runs");
        tasks.flatten().fold((0.0, 0.0), |(secs, wakes), task| {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let number = |text: Option<&str>| text.and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
            let nanos = number(read("schedstat").split_whitespace().next());
            let status = read("status");
            let woken = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            (secs + nanos / 1e9, wakes + number(woken.map(str::trim)))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Hosts that only speak, and prove that they are alive.
struct Others {
    said: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Others {
    fn start(ring: &KeyRing, count: usize) -> Self {
        let (said, ending) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut threads = Vec::new();
        for number in 0..count {
            let (ring, said, ending) = (ring.clone(), Arc::clone(&said), Arc::clone(&ending));
            // One after the other, as hosts of a real group begin at different times.
            let offset = Duration::from_millis(100) * u32::try_from(number).unwrap_or(0) / 100;
            threads.push(std::thread::spawn(move || Other::new(number, offset).run(&ring, &said, &ending)));
        }
        Self { said, ending, threads }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

struct Other {
    announcer: Announcer,
    entropy: SecretRng,
    socket: UdpSocket,
    identity: Identity,
}

impl Other {
    fn new(number: usize, offset: Duration) -> Self {
        let ip =
            Ipv4Addr::from_bits(Ipv4Addr::new(127, 14, 1, 0).to_bits() + u32::try_from(number).unwrap_or(0));
        let socket = UdpSocket::bind((ip, proto::PORT)).expect("nobody else uses this address");
        socket.set_broadcast(true).expect("a socket");
        let (host, boot) = (format!("other-{number}"), BootId(u64::from_be_bytes(random())));
        let identity = Identity::new(host.parse().expect("a name"), boot, MachineId(7));
        let identity = Identity { chain_len: 10_000, ..identity };
        let mut entropy = SecretRng::new(random());
        let now = clock::now() + offset;
        let mut announcer = Announcer::new(now, identity.clone(), &mut entropy);
        announcer.begin(now);
        let (name, mask) = ("lo".parse().expect("a name"), Ipv4Addr::new(255, 0, 0, 0));
        announcer.set_interfaces(now, vec![Interface { name, ip, mask, bcast: EVERYBODY }]);
        Self { announcer, entropy, socket, identity }
    }

    fn run(mut self, ring: &KeyRing, said: &AtomicUsize, ending: &AtomicBool) {
        let mut out = Vec::new();
        while !ending.load(Ordering::Relaxed) {
            let now = clock::now();
            self.announcer.speak(now, wall_now(), ring, &mut self.entropy, &mut out);
            for announcement in out.drain(..) {
                let to = SocketAddrV4::new(EVERYBODY, proto::PORT);
                self.socket.send_to(&announcement.bytes, to).expect("it can be sent");
                said.fetch_add(1, Ordering::Relaxed);
            }
            let due =
                self.announcer.poll_at().map_or(Duration::from_millis(100), |at| at.since(clock::now()));
            self.listen(ring, due.max(Duration::from_millis(1)));
        }
    }

    /// Answers who asks whether this run is alive, until it is time to speak.
    fn listen(&self, ring: &KeyRing, time: Duration) {
        self.socket.set_read_timeout(Some(time)).expect("a socket");
        let mut space = [0; 2048];
        let Ok((len, from)) = self.socket.recv_from(&mut space) else { return };
        let Ok(line) = ring.open(Purpose::Peer, &space[..len]) else { return };
        let Ok(asked) = PeerMessage::from_line(line.get()) else { return };
        if let PeerBody::HostQ { nonce, .. } = asked.body {
            let body = PeerBody::HostR { to: asked.boot, nonce };
            let answer = PeerMessage { host: self.identity.host.clone(), boot: self.identity.boot, body };
            drop(self.socket.send_to(&ring.seal(Purpose::Peer, &answer.to_line()), from));
        }
    }
}
