//! The simulator as a program: one run from a seed, a swarm of them, or a table of what a host costs.

#![expect(
    clippy::disallowed_types,
    reason = "how long a run takes is wall time; nothing of it goes into the run"
)]

use std::process::ExitCode;
use std::time::Instant;

use proto::time::Duration;
use tests::sim::{Cost, Given, Options, measure, run, swarm};

/// A large run holds gigabytes in small pieces, and spent a quarter of its time in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
Simulates whole groups of hosts and DTUs in virtual time, each run from its seed.

usage: sim [--seed N | --seeds A-B] [options]

  --seed N            one run, told in full; the default is 0
  --seeds A-B         a run for each seed from A to before B, on all processors
  --threads T         on so many
  --for MINUTES       no new run of a swarm is begun after this
  --cost              a table of what a host costs, by hosts and DTUs
  --replicated        let seeds draw sessions that outlive their hosts, too

What is not given is drawn from the seed:
  --hosts H           hosts
  --dtus D            DTUs
  --minutes M         how long things happen, before all is repaired
  --faults F          none, low or high
";

/// Of so many runs every rule must have been put to the test.
const SWARM_MIN: u64 = 200;

struct Args {
    seeds: std::ops::Range<u64>,
    is_swarm: bool,
    threads: usize,
    end_after: Option<Duration>,
    cost: bool,
    given: Given,
}

fn args() -> Result<Args, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let given = Given::default();
    let mut args = Args { seeds: 0..1, is_swarm: false, threads, end_after: None, cost: false, given };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--seed" => {
                let seed = number(&value()?)?;
                args.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once('-').ok_or("--seeds wants A-B")?;
                args.seeds = number(from)?..number(to)?;
                args.is_swarm = true;
            }
            "--threads" => args.threads = number(&value()?)?,
            "--for" => args.end_after = Some(minutes(&value()?)?),
            "--cost" => args.cost = true,
            "--hosts" => args.given.hosts = Some(number(&value()?)?),
            "--dtus" => args.given.dtus = Some(number(&value()?)?),
            "--minutes" => args.given.time = Some(minutes(&value()?)?),
            "--replicated" => args.given.replicated = true,
            "--faults" => args.given.faults = Some(value()?.parse()?),
            _ => return Err(HELP.to_owned()),
        }
    }
    if args.given.hosts == Some(0) {
        return Err("a group has a host at least".to_owned());
    }
    Ok(args)
}

fn number<T: core::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = number(text)?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| format!("{text} minutes cannot be"))
}

/// One run, told as it goes.
fn one(options: &Options) -> bool {
    println!("{options}\n");
    let start = Instant::now();
    let mut told = start;
    let mut progress = |now: proto::Instant, what: &str| {
        if told.elapsed() >= Duration::from_secs(5) {
            told = Instant::now();
            let what: String = what.chars().take(120).collect();
            println!("  {now} simulated after {:.0?}  {what}", start.elapsed());
        }
    };
    match run(options, &mut progress) {
        Ok(summary) => {
            let wall = start.elapsed().as_secs_f64();
            println!("{summary}");
            println!("{:.3} host-hours a second", summary.host_hours() / wall);
            println!("digest {:016x}", summary.digest);
            true
        }
        Err(broken) => {
            println!("{}", broken.report(options));
            false
        }
    }
}

fn many(args: &Args) -> bool {
    let start = Instant::now();
    let is_over = || args.end_after.is_some_and(|end| start.elapsed() >= end);
    let told = |seed: u64, what: &str| eprintln!("seed {seed} BROKEN: {what}");
    let swarm = swarm(args.seeds.clone(), args.given, args.threads, &is_over, &told);
    for (_, report) in swarm.broken.iter().take(3) {
        println!("{report}\n");
    }
    for (rule, evaluated) in &swarm.evaluated {
        println!("held {evaluated:>8} times: {rule}");
    }
    for edge in swarm.untaken() {
        println!("no run took: {edge}");
    }
    let wall = start.elapsed().as_secs_f64();
    println!("{} runs in {wall:.0} s, {} events, {} faults", swarm.good, swarm.events, swarm.faults);
    println!("{:.3} host-hours a second", swarm.host_hours / wall);
    let broken: Vec<u64> = swarm.broken.iter().map(|(seed, _)| *seed).collect();
    println!("{} broken {broken:?}", broken.len());
    println!("digest {:016x}", swarm.digest);
    // What was given may leave a rule untried; what is drawn may not.
    let drawn = Given { replicated: args.given.replicated, ..Given::default() };
    let is_drawn = args.given == drawn && swarm.good >= SWARM_MIN;
    let idle = if is_drawn { swarm.hardly_tried() } else { Vec::new() };
    for rule in &idle {
        println!("HARDLY TRIED, {rule}");
    }
    broken.is_empty() && idle.is_empty()
}

/// The table of costs: one row for each number of hosts and of DTUs, or for the one that is given.
fn costs(given: Given) {
    let one = |given: Option<usize>, usual: &[usize]| given.map_or(usual.to_vec(), |n| vec![n]);
    println!("{}", Cost::HEAD);
    for hosts in one(given.hosts, &[3, 10, 100, 1_000]) {
        for dtus in one(given.dtus, &[0, 100, 10_000]) {
            println!("{}", measure(hosts, dtus));
        }
    }
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if args.cost {
        costs(args.given);
        return ExitCode::SUCCESS;
    }
    let is_good = if args.is_swarm { many(&args) } else { one(&Options::draw(args.seeds.start, args.given)) };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
