//! How evenly new sessions spread: many DTUs are switched on at once at eight equal hosts, each with a card of its own.
//! `cargo bench -p hotdesk --bench spread`.
//!
//! Real hosts and a data store on the loopback of a network of their own, sessions of nothing. Each round begins with
//! a fresh group. First its DTUs begin at the hosts in turn, then all at one of them. Measured is the host with the most
//! sessions, as a multiple of the mean. `-- --rounds N` asks for N rounds of each kind.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and waits"
)]

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::backend::Ground;
use lab::plan::Plan;
use support::fleet::Fleet;
use support::lab::Lab;
use support::{Ending, Outcome, cannot};

const HOSTS: usize = 8;
const DTUS: usize = 200;
/// DTUs switched on in a second: in a working day's beginning, and all at once.
const RATES: [usize; 2] = [500, 50_000];
/// Rounds of each kind, unless the command line says otherwise.
const ROUNDS: usize = 5;
/// Longest wait for a group or for all DTUs.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match arguments().and_then(|rounds| rounds.map_or(Ok(()), measure)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("spread: {why}");
            ExitCode::FAILURE
        }
    }
}

/// How many rounds; `None` when this is no measurement but a test run over all targets.
fn arguments() -> Outcome<Option<usize>> {
    let usage = "cargo bench -p hotdesk --bench spread -- [--rounds N]";
    let (mut rounds, mut is_bench) = (ROUNDS, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => is_bench = true,
            "--rounds" => {
                let number = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                rounds = number.ok_or(usage)?;
            }
            // What a test run over all targets may say.
            _ if !is_bench => {}
            other => return Err(format!("{other:?} means nothing here: {usage}")),
        }
    }
    Ok(is_bench.then_some(rounds))
}

fn measure(rounds: usize) -> Outcome<()> {
    support::enter_loopback_of_our_own()?;
    let ending = Ending::hold()?;
    println!("{DTUS} DTUs at {HOSTS} hosts on loopback, {}", support::machine());
    for (rate, at_one) in RATES.iter().flat_map(|rate| [(*rate, false), (*rate, true)]) {
        let what =
            format!("{rate} a second, {}", if at_one { "all at one host" } else { "at hosts in turn" });
        let mut most: Vec<f64> = Vec::new();
        for _ in 0..rounds {
            let counts = round(&ending, rate, at_one)?;
            let total: u64 = counts.iter().sum();
            let of_mean =
                counts.iter().max().copied().unwrap_or_default() as f64 * HOSTS as f64 / total as f64;
            println!("{what}: {of_mean:.2} times the mean at most, {counts:?}");
            most.push(of_mean);
        }
        most.sort_by(f64::total_cmp);
        let median = most.get(most.len() / 2).copied().unwrap_or_default();
        println!("{what}: median {median:.2}, worst {:.2}", most.last().copied().unwrap_or_default());
    }
    Ok(())
}

/// The sessions on each host once all DTUs are attached.
fn round(ending: &Ending, rate: usize, at_one: bool) -> Outcome<Vec<u64>> {
    let mut world = Lab::new(Plan::simple(HOSTS, 0), Ground::Loopback, ending)?;
    world.start_store().map_err(cannot("start the data store"))?;
    world.start_hosts().map_err(cannot("start the hosts"))?;
    world.wait_for_group(PATIENCE).map_err(cannot("form a group"))?;
    support::put_template_of(&world, "service = []\n")?;
    // A host takes the time of its first second for load.
    std::thread::sleep(Duration::from_secs(2));
    let hosts: Vec<&str> = world.hosts().collect();
    let begin_at = if at_one { &hosts[..1] } else { &hosts };
    let mut fleet = Fleet::start_at(&world, begin_at, DTUS, rate, false)?;
    let until = Instant::now() + PATIENCE;
    while fleet.attached() < DTUS {
        fleet.hear(until).ok_or(format!("{} of {DTUS} DTUs are attached", fleet.attached()))?;
    }
    let at = fleet.at_hosts();
    let counts = hosts.iter().map(|host| at.get(*host).copied().unwrap_or_default()).collect();
    fleet.end(PATIENCE)?;
    Ok(counts)
}
