//! The storm: a host dies, and all its DTUs come to the others at once. `cargo bench -p hotdesk --bench storm`.
//!
//! Three real hosts and a data store, and fleets of DTUs with a card each. First a third of the DTUs is on the host
//! that dies, then all are; first their sessions are of nothing, so that what counts is the broker, then each has a
//! shell. Killed is the daemon with all its sessions. Measured from that moment: when each DTU had its connInf, when
//! the last was at work, what it cost hosts and fleets in processor time, and what a connected DTU costs a host in
//! memory. Every DTU must be admitted, none may be refused or moved twice, and none that was elsewhere may notice.
//!
//! `-- --count N` asks for N DTUs with sessions of nothing, `-- --shells N` for N with a shell (the kernel gives 4,096
//! terminals to all), `-- --only nothing-third` for one of the four, `-- --one-address` for DTUs behind one router. Without `--bench`, as in `cargo test`, a small
//! storm of both kinds is a test.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and waits"
)]

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use groupmgr::host::admin::{Command, Reply};
use lab::backend::Ground;
use lab::plan::Plan;
use lab::world::World;
use support::figures::{Figures, head};
use support::fleet::Fleet;
use support::lab::Lab;
use support::usage::{Usage, of_host};
use support::{Ending, Outcome, cannot};

/// DTUs whose sessions are of nothing, and DTUs with a shell, unless the command line says otherwise.
const COUNT: usize = 10_000;
const SHELLS: usize = 3_000;
/// The same for the test.
const FEW: usize = 300;
const FEW_SHELLS: usize = 60;
/// DTUs switched on in a second, all processes together.
const RATE: usize = 2_000;
const HOSTS: usize = 3;
const VICTIM: &str = "host-a";
/// Longest wait for all DTUs to be attached: far more than is allowed, so that the figure is seen.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long after the last DTU is back the others are watched for what they should not do.
const SETTLE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match arguments().and_then(|storms| measure(&storms)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("storm: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Which of the storms is run.
#[derive(Clone, Copy, Debug)]
struct Storm {
    count: usize,
    shells: bool,
    /// Whether all DTUs are on the host that dies, or each host has its share.
    all_on_one: bool,
    /// Whether all DTUs come from one address.
    behind_one: bool,
}

impl Storm {
    fn name(self) -> String {
        let what = if self.shells { "shells" } else { "nothing" };
        format!("{what}-{}", if self.all_on_one { "all" } else { "third" })
    }
}

fn arguments() -> Outcome<Vec<Storm>> {
    let usage =
        "cargo bench -p hotdesk --bench storm -- [--count N] [--shells N] [--only KIND] [--one-address]";
    let (mut count, mut shells, mut only, mut is_bench, mut behind_one) = (COUNT, SHELLS, None, false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).ok_or(usage);
        match arg.as_str() {
            "--bench" => is_bench = true,
            "--count" => count = number()?,
            "--shells" => shells = number()?,
            "--one-address" => behind_one = true,
            "--only" => only = Some(args.next().ok_or(usage)?),
            // What a test run over all targets may say.
            _ if !is_bench => {}
            other => return Err(format!("{other:?} means nothing here: {usage}")),
        }
    }
    if !is_bench {
        let few = Storm { count: FEW, shells: false, all_on_one: false, behind_one: false };
        return Ok(vec![few, Storm { count: FEW_SHELLS, shells: true, all_on_one: true, behind_one: true }]);
    }
    let kinds = [(count, false, false), (count, false, true), (shells, true, false), (shells, true, true)];
    let storms = kinds.map(|(count, shells, all_on_one)| Storm { count, shells, all_on_one, behind_one });
    let wanted = |storm: &Storm| only.as_ref().is_none_or(|only| *only == storm.name());
    let storms: Vec<Storm> = storms.into_iter().filter(wanted).collect();
    if storms.is_empty() {
        return Err(format!("there is no such kind: {usage}"));
    }
    Ok(storms)
}

fn measure(storms: &[Storm]) -> Outcome<()> {
    support::enter_loopback_of_our_own()?;
    let ending = Ending::hold()?;
    println!("{HOSTS} hosts on loopback, {}", support::machine());
    support::go_first();
    let mut odd = Vec::new();
    for storm in storms {
        println!("\n{}", head(&format!("{} ({} DTUs)", storm.name(), storm.count)));
        odd.extend(Scene::new(*storm, &ending)?.play()?);
    }
    if odd.is_empty() { Ok(()) } else { Err(odd.join("\n")) }
}

struct Scene {
    storm: Storm,
    world: Lab,
    fleet: Fleet,
    before: Usage,
}

impl Scene {
    fn new(storm: Storm, ending: &Ending) -> Outcome<Self> {
        let mut plan = Plan::simple(HOSTS, 0);
        for host in &mut plan.hosts {
            // The cards of a fleet are registered nowhere.
            host.args.extend(["--log-json", "--guests", "0"].map(str::to_owned));
        }
        let mut world = Lab::new(plan, Ground::Loopback, ending)?;
        world.start_store().map_err(cannot("start the data store"))?;
        if storm.all_on_one {
            world.start_host(VICTIM).map_err(cannot("start a host"))?;
        } else {
            world.start_hosts().map_err(cannot("start the hosts"))?;
            world.wait_for_group(PATIENCE).map_err(cannot("form a group"))?;
        }
        support::put_template_of(&world, &template(storm, &world))?;
        let before = Usage::of([of_host(&world, VICTIM)?.0]);
        let start = if storm.behind_one { Fleet::start_behind_one } else { Fleet::start };
        let fleet = start(&world, storm.count, RATE, storm.shells)?;
        Ok(Self { storm, world, fleet, before })
    }

    /// Everybody arrives, the host dies, everybody is back. What was not as it should be.
    fn play(mut self) -> Outcome<Vec<String>> {
        let began = Instant::now();
        let arrived = self.wait_for_all(began)?;
        self.say_rate("all had arrived", arrived.duration_since(began), self.storm.count);
        if self.storm.all_on_one {
            for host in ["host-b", "host-c"] {
                self.world.start_host(host).map_err(cannot("start a host"))?;
            }
            self.world.wait_for_group(PATIENCE).map_err(cannot("form a group"))?;
        }
        self.fleet.let_pass(SETTLE);
        let on_victim = self.say_memory()?;
        let (survivors, fleets) = (self.survivors()?, self.fleet.pids());
        let [hosts_before, fleets_before] = [&survivors, &fleets].map(|pids| Usage::of(pids.clone()));

        let struck = Instant::now();
        self.world.kill(VICTIM).map_err(cannot("kill a host"))?;
        let seen = self.watch(struck, on_victim)?;
        let cost =
            |pids: &[u32], before: Usage| Usage::of(pids.iter().copied()).cpu.saturating_sub(before.cpu);
        let (hosts, fleets) = (cost(&survivors, hosts_before), cost(&fleets, fleets_before));
        println!("{}", seen.noticed.row("the death noticed"));
        println!("{}", seen.conn_inf.row("connInf from another host"));
        println!("{}", seen.screen.row("at work"));
        self.say_rate("all were back", seen.last, on_victim);
        println!("processor time meanwhile: hosts {hosts:.2?}, DTUs {fleets:.2?}");
        self.fleet.let_pass(SETTLE);
        self.end(seen, on_victim)
    }

    fn say_rate(&self, what: &str, time: Duration, count: usize) {
        let rate = count as f64 / time.as_secs_f64();
        println!("{what} after {time:.2?}: {rate:.0} a second; at {:?}", self.fleet.at_hosts());
    }

    /// What a connected DTU costs its host; how many are on the host that is to die.
    fn say_memory(&self) -> Outcome<usize> {
        let (daemon, others) = of_host(&self.world, VICTIM)?;
        let now = Usage::of([daemon]);
        let on_victim = self.fleet.at_hosts().get(VICTIM).copied().unwrap_or_default();
        let each = now.anonymous.saturating_sub(self.before.anonymous) / on_victim.max(1);
        let sessions = Usage::of(others).anonymous / on_victim.max(1);
        println!(
            "{VICTIM} has {on_victim} DTUs: {:.1} KiB each in the daemon, {:.0} KiB in its sessions' processes; at most \
             {} MiB in the daemon",
            each as f64 / 1024.0,
            sessions as f64 / 1024.0,
            now.peak >> 20
        );
        usize::try_from(on_victim).map_err(cannot("a count"))
    }

    /// The daemons, spawners and sessions that live on.
    fn survivors(&self) -> Outcome<Vec<u32>> {
        let mut pids = Vec::new();
        for host in self.world.hosts().filter(|host| *host != VICTIM) {
            let (daemon, others) = of_host(&self.world, host)?;
            pids.push(daemon);
            // Sessions to come are children of the spawner, which is the first.
            pids.extend(others.first());
        }
        Ok(pids)
    }

    fn wait_for_all(&mut self, began: Instant) -> Outcome<Instant> {
        let until = began + PATIENCE;
        while let Some(said) = self.fleet.hear(until) {
            if self.fleet.attached() == self.storm.count {
                return Ok(said.at);
            }
        }
        Err(format!("after {PATIENCE:?} {} of {} DTUs are attached", self.fleet.attached(), self.storm.count))
    }

    /// Hears the DTUs until all that were on the dead host are at work elsewhere.
    fn watch(&mut self, struck: Instant, on_victim: usize) -> Outcome<Seen> {
        let mut seen = Seen::default();
        let until = struck + PATIENCE;
        while seen.screen.len() < on_victim {
            let Some(said) = self.fleet.hear(until) else {
                return Err(format!("after {PATIENCE:?} {} of {on_victim} are back", seen.screen.len()));
            };
            if said.is("failed_over") {
                let gap_ended = said.at.saturating_duration_since(struck);
                // Parts of a gap are counted from the last sign of life; its end is now.
                let before_end = |part: &str| said.time("screen_ms").saturating_sub(said.time(part));
                seen.noticed.add(gap_ended.saturating_sub(before_end("noticed_ms")));
                seen.conn_inf.add(gap_ended.saturating_sub(before_end("conn_inf_ms")));
                seen.screen.add(gap_ended);
                seen.last = gap_ended;
            } else if said.is("lost") && said.word("host") != VICTIM {
                seen.odd.push(format!(
                    "{} left {}, which lives: {}",
                    said.word("dtu"),
                    said.word("host"),
                    said.word("why")
                ));
            }
        }
        Ok(seen)
    }

    /// Counts what hosts refused, and what each fleet says of itself.
    fn end(self, seen: Seen, on_victim: usize) -> Outcome<Vec<String>> {
        let mut odd = seen.odd;
        for host in self.world.hosts().filter(|host| *host != VICTIM) {
            if let Ok(Reply::Status(status)) = self.world.asker().host(host, Command::Status) {
                println!("{host} refused: {:?}", status.refused);
            }
        }
        let name = self.storm.name();
        let (mut lost, mut attached, mut told) = (0, 0, 0);
        for result in self.fleet.end(PATIENCE)? {
            lost += result["lost"].as_u64().unwrap_or_default();
            attached += result["attached"].as_u64().unwrap_or_default();
            told += result["notices"].as_u64().unwrap_or_default();
            if result["denied"].as_object().is_some_and(|denied| !denied.is_empty()) {
                odd.push(format!("{name}: refused: {}", result["denied"]));
            }
        }
        if (lost, attached) != (on_victim as u64, self.storm.count as u64) {
            let all = self.storm.count;
            odd.push(format!(
                "{name}: {lost} times a host was lost by {on_victim}; {attached} of {all} attached"
            ));
        }
        println!("told that they have to wait: {told}");
        if !odd.is_empty() {
            let kept = std::env::temp_dir().join(format!("hotdesk-storm-{name}-{}", std::process::id()));
            self.world.copy_logs(&kept).map_err(cannot("keep the logs"))?;
            odd.push(format!("the logs are in {}", kept.display()));
        }
        Ok(odd)
    }
}

/// What became of the DTUs of the host that died.
#[derive(Default)]
struct Seen {
    noticed: Figures,
    conn_inf: Figures,
    screen: Figures,
    last: Duration,
    odd: Vec<String>,
}

fn template(storm: Storm, world: &World) -> String {
    if storm.shells { support::shell_template(world) } else { "service = []\n".to_owned() }
}
