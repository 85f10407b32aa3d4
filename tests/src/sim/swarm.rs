//! Many runs from many seeds, on all processors.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::check::{EFFECTS, KEPT, STALE, UNKEPT};
use super::options::{Given, Options};
use super::run::{Broken, Summary, run};

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Swarm {
    /// Runs that kept all rules.
    pub good: u64,
    /// Those among them whose sessions outlive their hosts.
    pub replicated: u64,
    /// Those that did not, each told as it is to be read.
    pub broken: Vec<(u64, String)>,
    /// Simulated hours of hosts.
    pub host_hours: f64,
    /// Events of all runs together.
    pub events: u64,
    /// Faults that were made.
    pub faults: u64,
    /// How often each rule was put to the test, in all runs.
    pub evaluated: std::collections::BTreeMap<&'static str, u64>,
    /// How often each edge of the hosts' diagrams was taken, in all runs.
    pub edges: std::collections::BTreeMap<String, u64>,
    /// Of the digests of all runs, whatever their order.
    pub digest: u64,
}

/// How often each part of a rule must have been put to the test in a hundred runs whose options were drawn: about a
/// third of how often it is. One that is not named here must have been once in every run.
const FLOORS: [(&str, u64); 22] = [
    ("a claimed session has the store's word", 600),
    ("a desk leaves a host only if that host or its way was faulted", 280),
    ("a flip shows the other display", 150),
    ("a link that nobody needs is closed", 300),
    ("a question over a link ends once and in time", 200),
    ("a question over a link that is lost has a reason", 3),
    ("a redirect is followed at most once per presentation", 120),
    ("a session is lost only with its host, its daemon or its process", 750),
    ("a session is taken off a desk only if it is shown at another", 35),
    ("a token is shown on one desk at a time among hosts that hear each other", 3),
    ("every table is bounded", 10_000),
    ("new sessions are spread evenly", 40),
    ("no stranger's word changes a decision", 3_000),
    ("no two claimed sessions are made for one token", 25),
    ("nobody is attached to a disabled card", 130),
    ("nobody is attached to a keyed card without its secret", 170),
    ("nobody is attached without authentication or a ticket", 1_600),
    (STALE, 45),
    (KEPT, 15),
    (UNKEPT, 0),
    ("once all is repaired whoever should be shown is", 300),
    // Drawn only where sessions outlive their hosts, and of ten things that people do one.
    (EFFECTS, 5),
];

/// Of so many runs of sessions that outlive their hosts one at least should try what is tried most seldom.
const SELDOM: u64 = 300;

impl Swarm {
    /// The rules that were put to the test less often than they should be in so many runs: what nobody tries, nobody
    /// knows to hold.
    #[must_use]
    pub fn hardly_tried(&self) -> Vec<String> {
        let floor = |rule: &str| FLOORS.iter().find(|(of, _)| *of == rule).map_or(100, |(_, floor)| *floor);
        let wanted = |rule: &str| floor(rule) * self.good / 100;
        // Only sessions that outlive their hosts can break it, and they are drawn where it is asked for.
        let is_tried = |rule: &str| match rule {
            STALE | EFFECTS | KEPT => self.replicated > 0,
            // All that keep a session are gone once in a hundred runs.
            UNKEPT => self.replicated >= SELDOM,
            _ => true,
        };
        let few =
            self.evaluated.iter().filter(|(rule, times)| **times < wanted(rule).max(1) && is_tried(rule));
        let tell = |(rule, times): (&&str, &u64)| format!("{times} of {} times: {rule}", wanted(rule).max(1));
        let untried = FLOORS.iter().filter(|(rule, _)| !self.evaluated.contains_key(rule));
        few.map(tell).chain(untried.map(|(rule, _)| format!("never: {rule}"))).collect()
    }

    /// The edges of the hosts' diagrams that no run took.
    pub fn untaken(&self) -> impl Iterator<Item = &str> {
        self.edges.iter().filter(|(_, times)| **times == 0).map(|(edge, _)| edge.as_str())
    }

    fn add(&mut self, seed: u64, options: &Options, result: Result<Summary, Broken>) {
        match result {
            Ok(summary) => {
                self.good += 1;
                self.replicated += u64::from(options.replicated);
                self.host_hours += summary.host_hours();
                self.events += summary.events;
                self.faults += summary.faults;
                self.digest ^= summary.digest.rotate_left((seed % 64) as u32);
                for (rule, times) in summary.evaluated {
                    *self.evaluated.entry(rule).or_default() += times;
                }
                for (edge, times) in summary.edges {
                    *self.edges.entry(edge).or_default() += times;
                }
            }
            Err(broken) => self.broken.push((seed, broken.report(options))),
        }
    }
}

/// Does a run, and takes a world that cannot go on for a rule that was broken.
///
/// # Errors
/// A rule was broken.
fn run_caught(options: &Options) -> Result<Summary, Broken> {
    catch_unwind(AssertUnwindSafe(|| run(options, &mut |_, _| {}))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned());
        let (what, story) = text.split_once('\n').unwrap_or((&text, ""));
        Err(Broken { what: what.to_owned(), story: story.to_owned() })
    })
}

/// Does a run for every seed, until there is none left or `is_over` says so. `told` hears of every broken one.
pub fn swarm(
    seeds: Range<u64>,
    given: Given,
    threads: usize,
    is_over: &(dyn Fn() -> bool + Sync),
    told: &(dyn Fn(u64, &str) + Sync),
) -> Swarm {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let swarm = Mutex::new(Swarm::default());
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || is_over() {
                stop.store(true, Ordering::Relaxed);
                return;
            }
            let options = Options::draw(seed, given);
            let result = run_caught(&options);
            if let Err(broken) = &result {
                told(seed, &broken.what);
            }
            if let Ok(mut swarm) = swarm.lock() {
                swarm.add(seed, &options, result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut swarm = swarm.into_inner().unwrap_or_default();
    swarm.broken.sort();
    swarm
}
