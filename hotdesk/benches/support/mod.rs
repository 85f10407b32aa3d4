//! What the measurements of whole groups share: the ground they stand on, hosts whose logs are read, a DTU whose
//! screen is watched, figures and tables.
//!
//! Everything measured is a process of the release binary, started by the lab; what is known of it is what it
//! writes. Where the kernel allows no network namespaces the lab's loopback addresses have to do.
#![allow(dead_code, reason = "each measurement uses a part of this")]

pub(crate) mod bare;
pub(crate) mod client;
pub(crate) mod desk;
pub(crate) mod figures;
pub(crate) mod fleet;
pub(crate) mod holding;
pub(crate) mod lab;
pub(crate) mod links;
pub(crate) mod logs;
pub(crate) mod redis;
pub(crate) mod spinning;
pub(crate) mod usage;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use self::lab::Lab;
use ::lab::backend::Ground;
use ::lab::net;
use ::lab::plan::Plan;
use ::lab::world::World;
use ipnet::Ipv4Net;
use nix::sys::signal::{SigSet, Signal};

/// Whatever keeps a measurement from being made, in words for whoever runs it.
pub(crate) type Outcome<T> = Result<T, String>;

/// Longest wait for anything that must happen: far more than a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a log that does not yet say what is waited for: nothing reports that a file has grown.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Says what could not be done.
pub(crate) fn cannot<E: Display>(what: &str) -> impl Fn(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// What the command line says.
pub(crate) struct Arguments {
    pub(crate) rounds: usize,
    loopback: bool,
}

impl Arguments {
    /// Reads the command line. `None` when this is no measurement but a test run over all targets.
    pub(crate) fn read(bench: &str, rounds: usize) -> Outcome<Option<Self>> {
        let usage = format!("cargo bench -p hotdesk --bench {bench} -- [--rounds N] [--loopback]");
        let mut read = Self { rounds, loopback: false };
        let (mut args, mut is_bench) = (std::env::args().skip(1), false);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                // From cargo itself.
                "--bench" => is_bench = true,
                "--loopback" => read.loopback = true,
                "--rounds" => {
                    let rounds = args.next().and_then(|n| usize::from_str(&n).ok()).filter(|n| *n > 0);
                    read.rounds = rounds.ok_or(format!("--rounds wants a number: {usage}"))?;
                }
                other => return Err(format!("{other:?} means nothing here: {usage}")),
            }
        }
        Ok(is_bench.then_some(read))
    }

    /// Moves the program to the best ground there is. To be called while it has one thread.
    pub(crate) fn settle(&self) -> Outcome<Ground> {
        if std::env::var_os("HOTDESK_LOG").is_some() {
            return Err(
                "HOTDESK_LOG is set, and the hosts' logs are what is measured by: unset it".to_owned()
            );
        }
        if !self.loopback {
            match net::available() {
                Ok(isolation) => {
                    net::enter(isolation).map_err(cannot("enter a network namespace"))?;
                    return Ok(Ground::Namespaces);
                }
                Err(why) => println!("no network namespaces here ({why}): on loopback addresses"),
            }
        }
        net::guard().map_err(cannot("tie the lab's processes to this one"))?;
        Ok(Ground::Loopback)
    }
}

/// Moves the program into a network of its own, where loopback is nobody else's; where that is forbidden, loopback is
/// shared with whatever else the machine does. To be called while it has one thread.
pub(crate) fn enter_loopback_of_our_own() -> Outcome<()> {
    match net::available() {
        Ok(isolation) => net::enter(isolation).map_err(cannot("enter a network namespace")),
        Err(why) => {
            println!("no network namespaces here ({why}): on the machine's own loopback");
            net::guard().map_err(cannot("tie the lab's processes to this one"))
        }
    }
}

/// The signals by which a measurement is ended early, held back so that its files can be removed.
pub(crate) struct Ending(SigSet);

impl Ending {
    /// To be called before any thread is started, since each inherits what is held back.
    pub(crate) fn hold() -> Outcome<Self> {
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        set.thread_block().map_err(cannot("hold signals back"))?;
        Ok(Self(set))
    }

    /// Removes these directories and ends the program when one of them comes.
    pub(crate) fn watch(&self, files: Vec<PathBuf>) {
        let set = self.0;
        std::thread::spawn(move || {
            if let Ok(signal) = set.wait() {
                files.into_iter().for_each(|files| drop(std::fs::remove_dir_all(files)));
                std::process::exit(128 + signal as i32);
            }
        });
    }
}

/// The program that is measured.
pub(crate) fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_hotdesk").into()
}

/// Makes the machines and keys of `hosts` hosts and one desk, and starts the data store and the hosts. Each host
/// writes its log as JSON.
pub(crate) fn start_group(ground: Ground, hosts: usize, ending: &Ending) -> Outcome<Lab> {
    let net = |text: &str| Ipv4Net::from_str(text).map_err(cannot("a subnet"));
    let (desks, store) = (Plan::DESKS, Plan::STORE);
    let mut plan =
        Plan::empty().lan(desks, net("10.77.1.0/24")?).lan(store, net("10.77.2.0/24")?).store(&[store]);
    for letter in ('a'..='z').take(hosts) {
        plan = plan.host(&format!("host-{letter}"), &[desks, store]).host_args(&["--log-json"]);
    }
    let plan = plan.desk(DESK, &[desks]);
    let mut world = Lab::new(plan, ground, ending)?;
    world.start_store().map_err(cannot("start the data store"))?;
    world.start_hosts().map_err(cannot("start the hosts"))?;
    Ok(world)
}

/// The name of the one desk.
pub(crate) const DESK: &str = "desk-1";

/// Has every session run bash, or the plain shell where there is none, with a prompt that names the host, the token
/// and the shell's process: `<host-a:card.7:4711> `.
pub(crate) fn put_template(world: &World) -> Outcome<()> {
    put_template_of(world, &shell_template(world))
}

/// The text of that template.
pub(crate) fn shell_template(world: &World) -> String {
    let home = world.files().join("home");
    let bash = Path::new("/bin/bash");
    let words = if bash.exists() { r#"["/bin/bash", "--norc", "-i"]"# } else { r#"["/bin/sh", "-i"]"# };
    let quote = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    format!(
        "[[service]]\nname = \"terminal\"\ncommand = {words}\ncwd = {home}\n\
         env = {{ HOME = {home}, HISTFILE = \"/dev/null\", PS1 = \"<$HOTDESK_HOST:$HOTDESK_TOKEN:$$> \" }}\n",
        home = quote(&home)
    )
}

/// Has sessions made from this text.
pub(crate) fn put_template_of(world: &World, text: &str) -> Outcome<()> {
    world.put_template("default", text).map_err(cannot("store a template"))
}

/// Looks again and again until there is something. The error names what was waited for and how things stand.
pub(crate) fn wait_for<T>(
    mut look: impl FnMut() -> Outcome<Option<T>>,
    what: impl FnOnce() -> String,
) -> Outcome<T> {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > give_up_at {
            return Err(format!("waited {PATIENCE:?} for {}", what()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Asks that the calling thread goes before all ordinary ones, so that what is measured is not how late this
/// program looks. Only root may have that; the threads' children do not inherit it.
pub(crate) fn go_first() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: concerns the calling thread only; the kernel reads the struct during the call. A refusal changes
    // nothing.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const lowest) };
}

/// Processors, and how long the run queue was before anything was started: whoever reads the figures must know.
pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{cpus} processors, load average {load} at the start")
}
