//! What it costs to have each change acknowledged by a second host, beside Redis 7 with a replica and `WAIT 1`:
//! `cargo bench -p hotdesk --bench replication`.
//!
//! Two hosts and a session of class `replicated` on one machine; programs in it put values on its state sockets, each
//! waiting for its answer, which comes when the second host has the version. Redis is a primary and a replica in memory
//! alone, on the same loopback, whose clients wait for the replica in the same round trip. Both are measured in turn, with the
//! same number of clients, and rest while the other is measured. A client of Redis is four hops from its answer. So is our
//! session's process from that of a version, and the first two columns are its own clock, from the commit to the
//! acknowledgement; a program on the state socket is two further away, and the columns after them are what that has measured.
//! The ratios at the end are of the rate, and of the session's process's p50 and p99.
//!
//! Values of 512 bytes, and 200 bytes changed within 16 KiB. Beside the rates stand the bytes that loopback carried for
//! one change, headers and acknowledgements included. `-- --rounds N` asks for N rounds, of which each figure is the median.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and waits"
)]

mod support;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::backend::Ground;
use lab::plan::Plan;
use proto::Line;
use serde_json::Value;
use sessiond::io::state_client::{SOCKET, StateClient};
use support::figures::Figures;
use support::lab::Lab;
use support::redis::{Client, Redis};
use support::usage::Carried;
use support::{Arguments, DESK, Ending, Outcome, PATIENCE, cannot, wait_for};

/// Rounds, unless the command line says otherwise.
const ROUNDS: usize = 3;
/// How long each is measured.
const TIME: Duration = Duration::from_secs(3);
/// Clients of one service of a session.
const EACH: usize = 16;
/// Tells this program that it is one of the programs in the session, and which.
const INSIDE: &str = "--inside";
/// In the directory that sessions share: what is to be done, and by whom it was done.
const JOB: &str = "job";

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A value of 512 bytes.
    Small,
    /// 200 bytes within 16 KiB.
    Part,
    /// All of 16 KiB.
    Whole,
}

impl Kind {
    const ALL: [(&'static str, Self, &'static str); 3] = [
        ("small", Self::Small, "512 bytes"),
        ("part", Self::Part, "200 bytes changed in 16 KiB"),
        ("whole", Self::Whole, "16 KiB, all of it"),
    ];

    const fn len(self) -> usize {
        match self {
            Self::Small => 512,
            Self::Part | Self::Whole => 16 * 1024,
        }
    }

    /// How many clients there are at a time. An object has room for few large values.
    const fn clients(self) -> &'static [usize] {
        match self {
            Self::Small => &[1, 16, 64],
            Self::Part | Self::Whole => &[1],
        }
    }

    /// What of a value changes with each turn.
    const fn changes(self, turn: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small | Self::Whole => 0..self.len(),
            Self::Part => {
                let from = turn * 7919 % (self.len() - 200);
                from..from + 200
            }
        }
    }
}

/// One measurement of one of the two.
#[derive(Default)]
struct Run {
    /// How long each change took, in microseconds.
    micros: Vec<u32>,
    /// What half and 99 of 100 took at most in the session's process, in microseconds, of each service.
    inside: Vec<[f64; 2]>,
    bytes: u64,
}

fn main() -> ExitCode {
    let inside: Vec<String> = std::env::args().skip_while(|arg| arg != INSIDE).skip(1).collect();
    let done = match inside.as_slice() {
        [dir, name] => be_inside(Path::new(dir), name),
        _ => Arguments::read("replication", ROUNDS).and_then(|args| args.map_or(Ok(()), |a| measure(&a))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("replication: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    support::enter_loopback_of_our_own()?;
    let ending = Ending::hold()?;
    let redis = Redis::start()?;
    match Redis::version() {
        Some(version) => println!("{}, beside Redis {version}", support::machine()),
        None => println!("{}; redis-server is not installed: nothing to measure beside", support::machine()),
    }
    let scene = Scene::start(&ending)?;
    println!(
        "{:<30} {:>7} {:>8} {:>8} {:>10} {:>9} {:>9} {:>8} {:>10} {:>9} {:>9} {:>8} {:>6} {:>6} {:>6}",
        "",
        "clients",
        "p50 us",
        "p99 us",
        "ours /s",
        "p50 us",
        "p99 us",
        "bytes",
        "Redis /s",
        "p50 us",
        "p99 us",
        "bytes",
        "rate",
        "p50",
        "p99"
    );
    for (word, kind, title) in Kind::ALL {
        for &clients in kind.clients() {
            let mut rows = [Vec::new(), Vec::new()];
            for _ in 0..arguments.rounds {
                rows[0].push(Row::of(&scene.run(word, clients)?));
                if redis.is_some() {
                    rows[1].push(Row::of(&run_redis(kind, clients)?));
                }
            }
            let [ours, theirs] = rows.map(Row::median);
            print!(
                "{title:<30} {clients:>7} {:>8.0} {:>8.0} {}",
                ours.inside[0],
                ours.inside[1],
                ours.text()
            );
            match theirs.rate > 0.0 {
                true => println!(
                    " {} {:>6.2} {:>6.2} {:>6.2}",
                    theirs.text(),
                    ours.rate / theirs.rate,
                    ours.inside[0] / theirs.p50,
                    ours.inside[1] / theirs.p99
                ),
                false => println!(),
            }
        }
    }
    Ok(())
}

impl Run {
    fn inside(&self) -> [f64; 2] {
        let [mut half, mut most] = [0, 1].map(|n| self.inside.iter().map(|pair| pair[n]).collect::<Vec<_>>());
        half.sort_unstable_by(f64::total_cmp);
        most.sort_unstable_by(f64::total_cmp);
        [half.get(half.len() / 2), most.last()].map(|figure| figure.copied().unwrap_or_default())
    }
}

/// The figures of a run.
#[derive(Clone, Copy, Default)]
struct Row {
    rate: f64,
    p50: f64,
    p99: f64,
    bytes: f64,
    /// In the session's process: the median service's half, and the slowest one's 99 of 100.
    inside: [f64; 2],
}

impl Row {
    fn of(run: &Run) -> Self {
        let mut figures = Figures::default();
        run.micros.iter().for_each(|micros| figures.add(Duration::from_micros(u64::from(*micros))));
        let n = run.micros.len() as f64;
        Self {
            rate: n / TIME.as_secs_f64(),
            p50: figures.median() * 1e3,
            p99: figures.at(99) * 1e3,
            bytes: run.bytes as f64 / n.max(1.0),
            inside: run.inside(),
        }
    }

    /// Of each figure the median.
    fn median(rows: Vec<Self>) -> Self {
        let of = |pick: fn(&Self) -> f64| {
            let mut all: Vec<f64> = rows.iter().map(pick).collect();
            all.sort_unstable_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        Self {
            rate: of(|r| r.rate),
            p50: of(|r| r.p50),
            p99: of(|r| r.p99),
            bytes: of(|r| r.bytes),
            inside: [of(|r| r.inside[0]), of(|r| r.inside[1])],
        }
    }

    fn text(self) -> String {
        format!("{:>10.0} {:>9.0} {:>9.0} {:>8.0}", self.rate, self.p50, self.p99, self.bytes)
    }
}

/// Two hosts, and a session that the second one keeps.
struct Scene {
    world: Lab,
    host: String,
    session: String,
    home: PathBuf,
    /// How many programs the session knows.
    known: Cell<usize>,
}

impl Scene {
    fn start(ending: &Ending) -> Outcome<Self> {
        let mut world = Lab::new(Plan::simple(2, 1), Ground::Loopback, ending)?;
        let begun = |world: &mut Lab| {
            world.start_store()?;
            world.start_hosts()?;
            world.wait_for_group(PATIENCE)?;
            world.put_template("default", &format!("continuity = \"replicated\"\n{}", world.shell()))?;
            world.start_desk(DESK)?;
            let (card, from) = (world.new_card("ann")?, world.timeline().end());
            world.insert(DESK, &card)?;
            world.wait_for_desk(DESK, from, "attached", PATIENCE, |event| {
                event.is("attached") && event.token.as_deref() == Some(&card.token)
            })
        };
        let attached = begun(&mut world).map_err(cannot("start a group"))?;
        let host = attached.host.ok_or("the desk is on no host")?;
        let session = attached.session.ok_or("the desk is shown no session")?;
        let home = world.files().join("home");
        let program = world.files().join("load");
        let this = std::env::current_exe().map_err(cannot("find this program"))?;
        fs::copy(this, &program).map_err(cannot("copy this program"))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(cannot("let it be run"))?;
        let scene = Self { world, host, session, home, known: Cell::new(0) };
        let kept = scene.world.wait_until_kept(&scene.host, &scene.session, PATIENCE);
        kept.map_err(cannot("have the session kept"))?;
        Ok(scene)
    }

    fn has_ended(&self, name: &str) -> Outcome<Option<()>> {
        let services = self.world.asker().command(&self.host, &["service", "list", &self.session]);
        let services = services.map_err(cannot("ask for the services"))?;
        let of_it = |service: &&Value| service["service"] == name;
        let service = services["services"].as_array().and_then(|all| all.iter().find(of_it));
        Ok(service.is_none_or(|service| service["pid"].is_null()).then_some(()))
    }

    /// Has the programs in the session do so much, and gathers how long it took them.
    fn run(&self, kind: &str, clients: usize) -> Outcome<Run> {
        let names: Vec<String> = (0..clients.div_ceil(EACH)).map(|n| format!("load-{n}")).collect();
        let job = self.home.join(JOB);
        fs::write(&job, format!("{kind} {}", clients.min(EACH)))
            .map_err(cannot("write what is to be done"))?;
        let program = self.world.files().join("load");
        let before = Carried::now()?;
        for (n, name) in names.iter().enumerate() {
            let (program, home) = (program.to_string_lossy(), self.home.to_string_lossy());
            let start = ["service", "start", &self.session, name, "--no-wait"];
            let command = ["--background", "--", &program, INSIDE, &home, name];
            // A service that has run keeps its command.
            let words = if n < self.known.get() { start.to_vec() } else { [&start[..], &command].concat() };
            self.world.asker().command(&self.host, &words).map_err(cannot("start a program"))?;
        }
        self.known.set(self.known.get().max(names.len()));
        let mut run = Run::default();
        for name in &names {
            let file = self.home.join(name);
            let micros = wait_for(|| Ok(fs::read(&file).ok()), || format!("what {name} has measured"))?;
            fs::remove_file(&file).map_err(cannot("remove a file"))?;
            let mut all = micros.chunks_exact(4).map(|n| u32::from_le_bytes([n[0], n[1], n[2], n[3]]));
            let inside = [all.next(), all.next()].map(|figure| figure.map_or(0.0, f64::from));
            run.inside.push(inside);
            run.micros.extend(all);
        }
        for name in &names {
            wait_for(|| self.has_ended(name), || format!("the end of {name}"))?;
        }
        run.bytes = Carried::now()?.since(before).bytes;
        Ok(run)
    }
}

/// Is one of the programs in the session: does what is to be done, and leaves how long each change took.
fn be_inside(dir: &Path, name: &str) -> Outcome<()> {
    let job = fs::read_to_string(dir.join(JOB)).map_err(cannot("read what is to be done"))?;
    let (kind, clients) = job.split_once(' ').ok_or("nothing to do")?;
    let kind = Kind::ALL.iter().find(|(word, ..)| *word == kind).ok_or("an unknown kind")?.1;
    let socket = std::env::var_os(SOCKET).ok_or("not inside a session")?;
    // A connection of its own, which is closed before there are as many as a service may have.
    let inside = || -> Outcome<[u32; 2]> {
        let mut clock = StateClient::connect(&socket).map_err(cannot("connect to the session"))?;
        let status =
            clock.ask(Line::new("status").with("anew", true), None).map_err(cannot("ask for times"))?;
        Ok(["p50_us", "p99_us"].map(|key| status.line.lenient(key).unwrap_or_default()))
    };
    inside()?;
    let micros = in_parallel(clients.parse().map_err(cannot("a number"))?, kind, |client| {
        let mut state = StateClient::connect(&socket).map_err(cannot("connect to the session"))?;
        let line = Line::new("put").with("pool", "application").with("key", format!("v{client}"));
        Ok(move |value: &[u8], _| {
            let answer = state.ask(line.clone(), Some(value)).map_err(cannot("put a value"))?;
            if answer.line.command() == "ok" { Ok(()) } else { Err(answer.line.to_string()) }
        })
    })?;
    let bytes: Vec<u8> = inside()?.iter().chain(&micros).flat_map(|n| n.to_le_bytes()).collect();
    let part = dir.join(format!("{name}.part"));
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, dir.join(name)))
        .map_err(cannot("leave the figures"))
}

fn run_redis(kind: Kind, clients: usize) -> Outcome<Run> {
    let before = Carried::now()?;
    let micros = in_parallel(clients, kind, |client| {
        let (mut redis, key) = (Client::open()?, format!("v{client}"));
        redis.set(&key, &vec![0; kind.len()])?;
        Ok(move |value: &[u8], changed: std::ops::Range<usize>| match kind {
            Kind::Part => redis.set_range(&key, changed.start, &value[changed]),
            Kind::Small | Kind::Whole => redis.set(&key, value),
        })
    })?;
    Ok(Run { micros, inside: Vec::new(), bytes: Carried::now()?.since(before).bytes })
}

/// Has so many clients make changes for [`TIME`], one after the other each. The microseconds that each change took.
fn in_parallel<C, S>(clients: usize, kind: Kind, connect: C) -> Outcome<Vec<u32>>
where
    C: Fn(usize) -> Outcome<S> + Sync,
    S: FnMut(&[u8], std::ops::Range<usize>) -> Outcome<()>,
{
    let one = |client: usize| -> Outcome<Vec<u32>> {
        let (mut change, mut value, mut micros) = (connect(client)?, vec![b'.'; kind.len()], Vec::new());
        let end = Instant::now() + TIME;
        for turn in 0.. {
            let changed = kind.changes(turn);
            value[changed.clone()].fill(b'a' + u8::try_from((turn + client) % 26).unwrap_or_default());
            let begun = Instant::now();
            if begun >= end {
                break;
            }
            change(&value, changed)?;
            micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(micros)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn({
                    let one = &one;
                    move || one(client)
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_panic| "a client panicked")??);
        }
        Ok(all)
    })
}
