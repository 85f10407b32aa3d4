//! The demonstration: a fixed sequence of what the system is for, on a lab of three hosts and four desks.
//!
//! Every step says what must be observed and waits for just that, with a limit; it holds, fails, or is not tried
//! because an earlier one that it builds on has failed. Nothing is taken for done because it was asked for.

mod print;
mod steps;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::backend::Ground;
use super::ending::Ending;
use super::plan::Plan;
use super::timeline::{Event, round};
use super::world::{LabError, World};

pub use print::Form;
use print::Printer;
use steps::DemoRun;

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Observed; with what exactly.
    Held(String),
    /// Not observed; with what was seen instead.
    Failed(String),
    /// Builds on a step that failed.
    NotTried(&'static str),
}

/// Runs the demonstration and prints it; says whether every step held.
///
/// # Errors
/// When there is no lab to run it on.
pub(super) fn run(ground: Ground, binary: PathBuf, form: Form, ending: Ending) -> Result<bool, LabError> {
    let world = World::new(Plan::simple(3, 4), ground, binary)?;
    let timeline = world.timeline().clone();
    let printer = Printer::start(timeline.clone(), form, ground);
    ending.on_signal(world.files().to_owned(), || ());
    let mut run = DemoRun::new(world);
    let mut failed = Vec::new();
    for (number, step) in (1..).zip(steps::ALL) {
        let start = Instant::now();
        let outcome = run.take(step);
        let event = Event::new("step").with("step", number).with("what", step.what);
        let event = event.with("took_ms", round(start.elapsed()));
        timeline.push(match &outcome {
            Outcome::Held(saw) => event.with("ok", true).with("saw", saw.as_str()),
            Outcome::Failed(why) => event.with("ok", false).with("why", why.as_str()),
            Outcome::NotTried(needs) => {
                event.with("ok", false).with("why", format!("not tried: needs {needs}"))
            }
        });
        if !matches!(outcome, Outcome::Held(_)) {
            failed.push(step.what);
        }
    }
    if !failed.is_empty() {
        run.keep_logs(&timeline);
    }
    let ok = failed.is_empty();
    let result =
        Event::new("result").with("ok", ok).with("steps", steps::ALL.len()).with("failed", json!(failed));
    timeline.push(result);
    printer.finish();
    Ok(ok)
}
