//! How long it takes to find a card's session on another host: `cargo bench -p hotdesk --bench selection`.
//!
//! Five hosts; a desk has an established TLS connection to one of them and presents a card whose session lives on
//! another. Measured from sending `infoReq` to receiving `redirectInf`, beside the bare round trips that this
//! needs, taken in turn with it between the same machines: a heartbeat (`keepAliveReq` / `keepAliveCnf`) on the
//! same connection, and a datagram to every host that is asked and back, all at once, by way of a program that
//! only echoes. A card that a host has not looked up in the last second also costs a question to the data store,
//! and then the bare round trip has one more leg, a small TCP echo on the data store's machine.
//!
//! With a mute host there are two ways: its daemon is stopped, so that it is soon silent as well; or one host
//! cannot reach it though it hears it, which no beacon tells. Either costs the first question 150 ms.
//!
//! `-- --rounds N` asks for N presentations of each kind, `-- --loopback` for loopback addresses.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and waits"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::net::rule::{End, Rule};
use lab::plan::Plan;
use lab::world::World;
use proto::Serial;
use proto::alp::FromHost;
use proto::io::KeyDir;
use rustls::ClientConfig;
use support::client::{self, Talk};
use support::figures::{Figures, head};
use support::lab::Lab;
use support::logs::{Logs, Moment};
use support::{Arguments, DESK, Ending, Outcome, cannot};

const ROUNDS: usize = 1000;
const HOSTS: usize = 5;
/// The card whose session is looked for.
const CARD: &str = "selection";
/// Where the echoing programs listen.
const ECHO_PORT: u16 = 7100;
/// About as long as a signed tokenQ.
const ECHO_LEN: usize = 220;
/// What a host has read of the registry it believes for a second; then it asks the data store.
const FORGET: Duration = Duration::from_millis(1050);
/// Times a host is made mute anew, for the first question to it.
const MUTE_TIMES: usize = 5;

fn main() -> ExitCode {
    match Arguments::read("selection", ROUNDS).and_then(|arguments| arguments.map_or(Ok(()), |a| measure(&a)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("selection: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let ground = arguments.settle()?;
    let ending = Ending::hold()?;
    println!("{HOSTS} hosts, {}, {ground:?}\n", support::machine());
    let mut scene = Scene::new(support::start_group(ground, HOSTS, &ending)?)?;
    println!("{}", head("all hosts answer"));
    let mut all = Round::default();
    for round in 0..arguments.rounds {
        let asker = scene.askers[round % scene.askers.len()].clone();
        scene.round(&asker, &[], Registry::Known, &mut all)?;
    }
    all.print();
    println!("\n{}", head("all hosts answer, the card is looked up"));
    let mut cold = Round::default();
    let pause = FORGET / u32::try_from(scene.askers.len()).unwrap_or(1);
    for round in 0..arguments.rounds.min(100) {
        // Each host has its turn when it has forgotten the last one.
        std::thread::sleep(pause);
        let asker = scene.askers[round % scene.askers.len()].clone();
        scene.round(&asker, &[], Registry::Forgotten, &mut cold)?;
    }
    cold.print();
    scene.with_a_stopped_daemon(arguments.rounds)?;
    scene.with_an_unreachable_host(arguments.rounds)
}

/// Whether the host that is asked has the card's record at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Registry {
    Known,
    Forgotten,
}

/// The figures of one kind.
#[derive(Default)]
struct Round {
    first: Figures,
    found: Figures,
    beat: Figures,
    echo: Figures,
    store: Figures,
}

impl Round {
    fn print(&self) {
        if self.first.len() > 0 {
            println!("{}", self.first.row("infoReq to redirectInf, the first"));
        }
        println!("{}", self.found.row("infoReq to redirectInf"));
        println!("{}", self.beat.row("  bare: heartbeat over TLS, desk and host"));
        println!("{}", self.echo.row("  bare: datagrams to all hosts and back"));
        let mut needed = self.beat.median() + self.echo.median();
        if self.store.len() > 0 {
            println!("{}", self.store.row("  bare: TCP, host and data store"));
            needed += self.store.median();
        }
        let median = self.found.median();
        let (over, late) = (median - needed, self.found.at(99) - needed);
        println!("over the round trips it needs ({needed:.3} ms): median {over:.3} ms, p99 {late:.3} ms");
    }
}

struct Scene {
    world: Lab,
    logs: Logs,
    tls: Arc<ClientConfig>,
    serial: Serial,
    /// The host that has the session.
    home: String,
    /// The hosts that are asked.
    askers: Vec<String>,
    to_store: Option<Echo>,
}

/// The bare way from a host to the data store.
struct Echo {
    at: SocketAddrV4,
    open: Vec<(String, TcpStream)>,
}

impl Scene {
    fn new(world: Lab) -> Outcome<Self> {
        let mut logs = Logs::of(&world);
        logs.wait_until_all_are_up()?;
        support::put_template(&world)?;
        let keys = KeyDir::open(&world.files().join("keys")).map_err(cannot("the keys"))?;
        let tls = keys.client_tls().map_err(cannot("TLS"))?;
        let serial: Serial = "02000000be9d".parse().map_err(cannot("a serial"))?;
        let hosts: Vec<String> = world.hosts().map(str::to_owned).collect();
        let home = client::make_session(&world, DESK, &tls, CARD, &hosts[0])?;
        for host in &hosts {
            let socket = client::datagrams(&world, host, ECHO_PORT)?;
            std::thread::spawn(move || echo_datagrams(&socket));
        }
        let to_store = Some(Echo::start(&world)?);
        let askers = hosts.into_iter().filter(|host| *host != home).collect();
        Ok(Self { world, logs, tls, serial, home, askers, to_store })
    }

    /// One presentation, and the bare round trips. Nobody waits for the hosts in `not_asked`.
    fn round(
        &mut self,
        asker: &str,
        not_asked: &[&str],
        registry: Registry,
        into: &mut Round,
    ) -> Outcome<()> {
        self.echoes(asker, not_asked, into)?;
        let took = self.present(asker, &mut into.beat)?;
        into.found.add(took);
        if registry == Registry::Forgotten
            && let Some(echo) = &mut self.to_store
        {
            into.store.add(echo.ask(&self.world, asker)?);
        }
        Ok(())
    }

    fn present(&mut self, asker: &str, beat: &mut Figures) -> Outcome<Duration> {
        let stream = client::connect(&self.world, DESK, client::host_address(&self.world, asker))?;
        let mut talk = Talk::open(stream, &self.tls, &self.serial)?;
        // The first one waits for the handshake.
        talk.beat()?;
        let asked = Instant::now();
        talk.beat()?;
        beat.add(asked.elapsed());
        let asked = Instant::now();
        let answer = talk.present(CARD, None)?;
        let took = asked.elapsed();
        match answer {
            FromHost::RedirectInf(to) if to.host.as_ref().is_some_and(|h| h.as_str() == self.home) => {}
            other => return Err(format!("{asker} said {other:?} of a session on {}", self.home)),
        }
        talk.leave()?;
        Ok(took)
    }

    /// Asks the echoing programs on all other hosts at once, as a lookup asks their daemons.
    fn echoes(&self, asker: &str, not_asked: &[&str], into: &mut Round) -> Outcome<()> {
        let socket = client::datagrams(&self.world, asker, 0)?;
        let others = self.world.hosts().filter(|host| *host != asker && !not_asked.contains(host));
        let others: Vec<_> =
            others.map(|host| SocketAddrV4::new(client::address(&self.world, host), ECHO_PORT)).collect();
        let mut bytes = [b'x'; ECHO_LEN];
        // The first exchange fills the tables of neighbours.
        for is_measured in [false, true] {
            let asked = Instant::now();
            for host in &others {
                socket.send_to(&bytes, host).map_err(cannot("send a datagram"))?;
            }
            for _ in &others {
                socket.recv(&mut bytes).map_err(cannot("a datagram back"))?;
            }
            if is_measured {
                into.echo.add(asked.elapsed());
            }
        }
        Ok(())
    }

    /// The daemon of one host is stopped: its first lookup waits for it, then it is mute, and soon silent.
    fn with_a_stopped_daemon(&mut self, rounds: usize) -> Outcome<()> {
        println!("\n{}", head("one host's daemon is stopped"));
        let mut round = Round::default();
        for time in 0..MUTE_TIMES {
            let (asker, mute) = self.asker_and_mute(time);
            let from = Moment::now();
            self.world.freeze_daemon(&mute).map_err(cannot("stop a daemon"))?;
            let first = self.present(&asker, &mut round.beat)?;
            round.first.add(first);
            for _ in 0..rounds / MUTE_TIMES {
                self.round(&asker, &[&mute], Registry::Known, &mut round)?;
            }
            self.logs.wait_until_silent(&mute, from)?;
            self.world.thaw(&mute).map_err(cannot("let a daemon go on"))?;
            self.logs.wait_until_all_are_up()?;
        }
        round.print();
        Ok(())
    }

    /// What one host sends to another is lost, while it hears its beacons.
    fn with_an_unreachable_host(&mut self, rounds: usize) -> Outcome<()> {
        let lans: Vec<_> =
            [Plan::DESKS, Plan::STORE].iter().filter_map(|lan| self.world.backend().lan(lan)).collect();
        if lans.is_empty() {
            println!(
                "\na host that is heard and does not answer: not on loopback, where no frame can be lost"
            );
            return Ok(());
        }
        println!("\n{}", head("one host is heard and does not answer"));
        let mut round = Round::default();
        for time in 0..MUTE_TIMES {
            let (asker, mute) = self.asker_and_mute(time);
            let rule = |world: &World, rule: Rule| {
                let backend = world.backend();
                if let (Some(net), Some(from), Some(to)) =
                    (backend.net(), backend.id(&asker), backend.id(&mute))
                {
                    lans.iter().for_each(|lan| net.set_rule(*lan, End::Is(from), End::Is(to), rule));
                }
            };
            rule(&self.world, Rule::cut());
            let first = self.present(&asker, &mut round.beat)?;
            round.first.add(first);
            for _ in 0..rounds / MUTE_TIMES {
                self.round(&asker, &[&mute], Registry::Known, &mut round)?;
            }
            rule(&self.world, Rule::default());
            // The mute host has not heard the asking one, perhaps for long enough to call it silent.
            self.logs.wait_until_all_are_up()?;
        }
        round.print();
        Ok(())
    }

    fn asker_and_mute(&self, time: usize) -> (String, String) {
        let at = |n: usize| self.askers[n % self.askers.len()].clone();
        (at(time), at(time + 1))
    }
}

impl Echo {
    fn start(world: &World) -> Outcome<Self> {
        let store = lab::world::STORE;
        let at = SocketAddrV4::new(client::address(world, store), ECHO_PORT);
        let listener = client::inside(world, store, || TcpListener::bind(at))?.map_err(cannot("listen"))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || echo_bytes(stream));
            }
        });
        Ok(Self { at, open: Vec::new() })
    }

    fn ask(&mut self, world: &World, from: &str) -> Outcome<Duration> {
        if !self.open.iter().any(|(host, _)| host == from) {
            let at = self.at;
            let connect = || TcpStream::connect(at).and_then(|s| s.set_nodelay(true).map(|()| s));
            let stream =
                client::inside(world, from, connect)?.map_err(cannot("reach the data store's machine"))?;
            self.open.push((from.to_owned(), stream));
        }
        let stream = self.open.iter_mut().find(|(host, _)| host == from).map(|(_, stream)| stream);
        let stream = stream.ok_or("no connection")?;
        let mut bytes = [b'x'; ECHO_LEN];
        let asked = Instant::now();
        stream.write_all(&bytes).map_err(cannot("write"))?;
        stream.read_exact(&mut bytes).map_err(cannot("read"))?;
        Ok(asked.elapsed())
    }
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut bytes = [0; 2048];
    loop {
        // A limit is set on reading; nobody may have asked within it.
        if let Ok((len, from)) = socket.recv_from(&mut bytes) {
            drop(socket.send_to(&bytes[..len], from));
        }
    }
}

fn echo_bytes(mut stream: TcpStream) {
    drop(stream.set_nodelay(true));
    let mut bytes = [0; ECHO_LEN];
    while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
}
