//! The demonstrations: fixed sequences of what the system is for, each on a lab of three hosts.
//!
//! Every step says what must be observed and waits for just that, with a limit; it holds, fails, or is not tried
//! because an earlier one that it builds on has failed. Nothing is taken for done because it was asked for.

mod continuity;
mod person;
mod print;
mod steps;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::backend::Ground;
use super::ending::Ending;
use super::plan::Plan;
use super::timeline::{Event, Timeline, round};
use super::world::{LabError, World};

pub use print::Form;
use print::{Printer, RESULT};

/// A sequence of steps that can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Cards, desks, and hosts that die and come back
    Group,
    /// Sessions that outlive their host with their state
    Continuity,
}

/// One step of a demonstration: what is done, and what must be seen of it.
struct Step<R> {
    /// What must be observed.
    what: &'static str,
    run: fn(&mut R) -> Seen,
}

/// What a step has observed.
type Seen = Result<String, Trouble>;

/// Why a step did not hold.
#[derive(Debug)]
enum Trouble {
    /// It was tried.
    Seen(String),
    /// It was not: what it builds on is not there.
    Needs(&'static str),
}

impl From<LabError> for Trouble {
    fn from(error: LabError) -> Self {
        Self::Seen(error.to_string())
    }
}

/// A demonstration under way.
trait Play {
    /// The lab, as long as there is one.
    fn lab(&self) -> Option<&World>;
}

/// Runs a demonstration and prints it; says whether every step held.
///
/// # Errors
/// When there is no lab to run it on.
pub(super) fn run(
    subject: Subject,
    ground: Ground,
    binary: PathBuf,
    form: Form,
    ending: Ending,
) -> Result<bool, LabError> {
    let world = World::new(Plan::simple(3, 4), ground, binary)?;
    let timeline = world.timeline().clone();
    let printer = Printer::start(timeline.clone(), form, ground);
    ending.on_signal(world.files().to_owned(), || ());
    let ok = match subject {
        Subject::Group => play(steps::DemoRun::new(world), steps::ALL, &timeline),
        Subject::Continuity => play(continuity::Run::new(world), continuity::ALL, &timeline),
    };
    printer.finish();
    Ok(ok)
}

fn play<R: Play>(mut run: R, steps: &[Step<R>], timeline: &Timeline) -> bool {
    let mut failed = Vec::new();
    for (number, step) in (1..).zip(steps) {
        let start = Instant::now();
        let outcome = (step.run)(&mut run);
        let event = Event::new("step").with("step", number).with("what", step.what);
        let event = event.with("took_ms", round(start.elapsed())).with("ok", outcome.is_ok());
        if outcome.is_err() {
            failed.push(step.what);
        }
        timeline.push(match outcome {
            Ok(saw) => event.with("saw", saw),
            Err(Trouble::Seen(why)) => event.with("why", why),
            Err(Trouble::Needs(what)) => event.with("why", format!("not tried: needs {what}")),
        });
    }
    let ok = failed.is_empty();
    if let Some(world) = run.lab().filter(|_| !ok) {
        keep_logs(world, timeline);
    }
    let result = Event::new(RESULT).with("ok", ok).with("steps", steps.len()).with("failed", json!(failed));
    timeline.push(result);
    ok
}

/// Puts the logs of all machines where they outlive the lab, and says where.
fn keep_logs(world: &World, timeline: &Timeline) {
    let mut kept = world.files().as_os_str().to_owned();
    kept.push("-logs");
    if world.copy_logs(kept.as_ref()).is_ok() {
        timeline.push(Event::new("logs_kept").with("dir", kept.to_string_lossy().into_owned()));
    }
}
