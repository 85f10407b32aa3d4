//! What it costs to be there: datagrams, bytes and processor time of real hosts at rest, against how many hosts and
//! how many DTUs there are. `cargo bench -p hotdesk --bench cost`.
//!
//! All on the loopback of a network of their own, so that the kernel's counters are of this group alone: what is
//! carried, divided by the hosts. Every DTU is attached to a session of nothing and hears its host's beacons.
//! Processor time is that of the daemons; beside it that of a bare receiver, which hears the same broadcasts one at a time
//! and does nothing with them. `-- --seconds S` asks for S seconds of each kind, `-- --hosts N` and `-- --dtus N` for one
//! size. `-- --links` measures the memory of links between hosts instead.
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
use lab::world::World;
use support::bare::BareReceiver;
use support::fleet::Fleet;
use support::lab::Lab;
use support::usage::{Carried, exact_cpu, of_host};
use support::{Ending, Outcome, cannot};

const HOSTS: [usize; 4] = [3, 10, 20, 30];
const DTUS: [usize; 3] = [0, 100, 10_000];
/// How long each state is measured, unless the command line says otherwise.
const SECONDS: f64 = 10.0;
/// DTUs switched on in a second: how they arrive is measured elsewhere, and thirty hosts on one machine have to keep up.
const RATE: usize = 75;
/// What arriving has left to do is done after this time.
const SETTLE: Duration = Duration::from_secs(3);
/// Longest wait for all DTUs to be attached, once they are switched on.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match arguments().and_then(|wanted| wanted.map_or(Ok(()), |wanted| measure(&wanted))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cost: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be measured.
struct Wanted {
    hosts: Vec<usize>,
    dtus: Vec<usize>,
    time: Duration,
    links: bool,
}

/// `None` when this is no measurement but a test run over all targets.
fn arguments() -> Outcome<Option<Wanted>> {
    let usage = "cargo bench -p hotdesk --bench cost -- [--hosts N] [--dtus N] [--seconds S] [--links]";
    let (mut hosts, mut dtus, mut seconds) = (HOSTS.to_vec(), DTUS.to_vec(), SECONDS);
    let (mut links, mut is_bench) = (false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => is_bench = true,
            "--links" => links = true,
            "--hosts" => hosts = vec![args.next().and_then(|n| n.parse().ok()).ok_or(usage)?],
            "--dtus" => dtus = vec![args.next().and_then(|n| n.parse().ok()).ok_or(usage)?],
            "--seconds" => seconds = args.next().and_then(|n| n.parse().ok()).ok_or(usage)?,
            other => return Err(format!("{other:?} means nothing here: {usage}")),
        }
    }
    let time = Duration::from_secs_f64(seconds.clamp(0.1, 600.0));
    Ok(is_bench.then_some(Wanted { hosts, dtus, time, links }))
}

fn measure(wanted: &Wanted) -> Outcome<()> {
    support::enter_loopback_of_our_own()?;
    let ending = Ending::hold()?;
    let bare = BareReceiver::start()?;
    println!("{}, {:?} each; everything per host and second", support::machine(), wanted.time);
    println!(
        "{:>6} {:>7} {:>10} {:>10} {:>10} {:>12} {:>10} {:>12} {:>6}",
        "hosts", "DTUs", "UDP sent", "UDP heard", "KiB", "of one core", "bare heard", "of one core", "ratio"
    );
    for &hosts in &wanted.hosts {
        let plan = Plan::simple(hosts, 0);
        let mut world = Lab::new(plan, Ground::Loopback, &ending)?;
        world.start_store().map_err(cannot("start the data store"))?;
        world.start_hosts().map_err(cannot("start the hosts"))?;
        world.wait_for_group(PATIENCE).map_err(cannot("form a group"))?;
        support::put_template_of(&world, "service = []\n")?;
        if wanted.links {
            for (end, memory) in ["opened", "accepted"].into_iter().zip(support::links::memory(&world)?) {
                let [rest, load] = [memory.at_rest, memory.under_load].map(|bytes| bytes as f64 / 1024.0);
                println!("a link that was {end}: {rest:.1} KiB at rest, {load:.1} after load");
            }
            continue;
        }
        for &dtus in &wanted.dtus {
            row(&world, &bare, (hosts, dtus), wanted.time)?;
        }
    }
    Ok(())
}

fn row(world: &World, bare: &BareReceiver, (hosts, dtus): (usize, usize), time: Duration) -> Outcome<()> {
    let mut fleet = if dtus == 0 { None } else { Some(Fleet::start(world, dtus, RATE, false)?) };
    let until = Instant::now() + Duration::from_secs((dtus / RATE) as u64) + PATIENCE;
    while let Some(fleet) = &mut fleet
        && fleet.attached() < dtus
    {
        fleet.hear(until).ok_or(format!("{} of {dtus} DTUs are attached", fleet.attached()))?;
    }
    let pass = |fleet: &mut Option<Fleet>, time: Duration| match fleet {
        Some(fleet) => fleet.let_pass(time),
        None => std::thread::sleep(time),
    };
    pass(&mut fleet, SETTLE);
    let daemons: Vec<u32> =
        world.hosts().map(|host| of_host(world, host).map(|(daemon, _)| daemon)).collect::<Outcome<_>>()?;
    let spent = || daemons.iter().filter_map(|pid| exact_cpu(*pid)).sum::<Duration>();
    let (began, before, used, bare_before) = (Instant::now(), Carried::now()?, spent(), bare.so_far()?);
    pass(&mut fleet, time);
    let (carried, used, bare) = (Carried::now()?.since(before), spent().saturating_sub(used), bare.so_far()?);
    let seconds = began.elapsed().as_secs_f64();
    let each = seconds * hosts as f64;
    let percent = |time: Duration, of: f64| time.as_secs_f64() * 100.0 / of;
    let heard_barely = bare.0 - bare_before.0;
    let (ours, least) = (percent(used, each), percent(bare.1.saturating_sub(bare_before.1), seconds));
    println!(
        "{hosts:>6} {dtus:>7} {:>10.1} {:>10.1} {:>10.1} {ours:>10.2} % {:>10.1} {least:>10.2} % {:>6.2}",
        carried.sent as f64 / each,
        (carried.heard - heard_barely) as f64 / each,
        carried.bytes as f64 / 1024.0 / each,
        heard_barely as f64 / seconds,
        ours / least
    );
    fleet.map_or(Ok(()), |fleet| fleet.end(PATIENCE).map(drop))
}
