//! The demonstration as text for people, or as one JSON object a line for programs.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::backend::Ground;
use crate::timeline::{Cursor, Event, Timeline};

/// How the demonstration is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines of text for people.
    Text,
    /// One object a line.
    Json,
}

/// Columns that each of two screens has side by side.
const COLUMN: usize = 60;

/// Follows a timeline and prints it, until told to finish.
pub(super) struct Printer {
    timeline: Timeline,
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The event that wakes the printer for the last time; never printed, since it comes after the result.
const LAST: &str = "printed";

/// The event that says whether all steps held.
pub(super) const RESULT: &str = "result";

impl Printer {
    pub(super) fn start(timeline: Timeline, form: Form, ground: Ground) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (theirs, events) = (Arc::clone(&done), timeline.clone());
        let thread = std::thread::spawn(move || follow(&events, &theirs, form, ground));
        Self { timeline, done, thread }
    }

    /// Prints what is left.
    pub(super) fn finish(self) {
        self.done.store(true, Ordering::Release);
        self.timeline.push(Event::new(LAST));
        // Its panic has been printed; the demonstration itself is over.
        let _ = self.thread.join();
    }
}

fn follow(timeline: &Timeline, done: &AtomicBool, form: Form, ground: Ground) {
    let ink = Ink(form == Form::Text && io::stdout().is_terminal());
    let mut out = io::stdout().lock();
    let mut seen = Cursor::default();
    if form == Form::Text {
        let _ = writeln!(out, "{}\n", heading(ground));
    }
    let mut is_over = false;
    loop {
        let last = done.load(Ordering::Acquire);
        for event in timeline.since(&mut seen) {
            // The result is the last line, whatever is still heard of processes that have ended.
            if is_over {
                break;
            }
            is_over = event.is(RESULT);
            let line = match form {
                Form::Json => serde_json::to_string(&event).ok(),
                Form::Text => text(&event, ink),
            };
            // Whoever closed the pipe does not want to read on; the exit code still tells.
            let _ = line.map_or(Ok(()), |line| writeln!(out, "{line}"));
        }
        let _ = out.flush();
        if last {
            return;
        }
        let _ = timeline.wait(seen, Duration::from_secs(3600), |_| true);
    }
}

fn heading(ground: Ground) -> String {
    let ground = match ground {
        Ground::Namespaces => "each machine in a network namespace of its own",
        Ground::Loopback => "on loopback addresses (where a cut is a freeze)",
    };
    format!("A data store, three hosts and their desks, {ground}.\nTimes are milliseconds since the start.")
}

/// Colours, where there is a terminal.
#[derive(Clone, Copy)]
struct Ink(bool);

impl Ink {
    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// An event as a line, if people want to see it.
fn text(event: &Event, ink: Ink) -> Option<String> {
    let t = format!("{:>9.1}", event.t_ms);
    match event.event.as_str() {
        "step" => Some(step(event, &t, ink)),
        RESULT => Some(result(event, ink)),
        "screens" => Some(screens(event)),
        "logs_kept" => Some(format!("\n  The logs are in {}", field(event, "dir"))),
        other => {
            let what = words(other)?;
            let place = [event.dtu.as_deref(), event.host.as_deref()];
            let place = place.into_iter().flatten().collect::<Vec<_>>().join(" <- ");
            let place = if event.dtu.is_some() { place } else { event.host.clone()? };
            let line = format!("{t}    {what:<22} {place:<20} {}", details(event));
            Some(ink.paint("2", line.trim_end()))
        }
    }
}

fn step(event: &Event, t: &str, ink: Ink) -> String {
    let (ok, number) = (event.more.get("ok") == Some(&Value::Bool(true)), field(event, "step"));
    let mark = if ok { ink.paint("32", "ok  ") } else { ink.paint("31;1", "FAIL") };
    let saw = if ok { field(event, "saw") } else { field(event, "why") };
    let what = ink.paint("1", &format!("{number:>2}. {}", field(event, "what")));
    format!("{t} {mark} {what}\n{:>19}{saw}\n", "")
}

/// What a display showed before and shows now, side by side.
fn screens(event: &Event) -> String {
    let lines = |name: &str| -> Vec<String> {
        let lines = event.more.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        lines.iter().map(|line| line.as_str().unwrap_or_default().chars().take(COLUMN).collect()).collect()
    };
    let (before, after) = (lines("before"), lines("after"));
    let title = format!("{} ({}), before and after", field(event, "service"), field(event, "class"));
    let rows = (0..before.len().max(after.len())).map(|row| {
        let [before, after] = [&before, &after].map(|lines| lines.get(row).map_or("", String::as_str));
        format!("{:>13}| {before:<COLUMN$} | {after}", "").trim_end().to_owned()
    });
    std::iter::once(format!("{:>13}{title}", "")).chain(rows).collect::<Vec<_>>().join("\n")
}

fn result(event: &Event, ink: Ink) -> String {
    if event.more.get("ok") == Some(&Value::Bool(true)) {
        return ink.paint(
            "32;1",
            &format!("All {} steps held, in {:.1} s.", field(event, "steps"), event.t_ms / 1e3),
        );
    }
    let failed = event.more.get("failed").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = vec![
        ink.paint("31;1", &format!("{} of {} steps did not hold:", failed.len(), field(event, "steps"))),
    ];
    lines.extend(failed.iter().filter_map(Value::as_str).map(|what| format!("  - {what}")));
    lines.join("\n")
}

/// What an event is called in front of people; `None` for those that say nothing to them.
fn words(event: &str) -> Option<&'static str> {
    Some(match event {
        "store_up" => "data store up",
        "host_up" => "host up",
        "host_killed" => "host killed",
        "host_cut" => "host cut off",
        "host_frozen" => "host frozen",
        "host_thawed" => "host thawed",
        "host_healed" => "host healed",
        "booted" => "desk switched on",
        "inserted" => "card in",
        "removed" => "card out",
        "attached" => "attached",
        "shown" => "session on the screen",
        "detached" => "detached",
        "denied" => "denied",
        "redirected" => "redirected",
        "redirect_failed" => "redirect failed",
        "held" => "held",
        "rejoined" => "rejoined",
        "display_lost" => "display lost",
        "restored" => "display restored",
        "lost" => "host lost",
        "failed_over" => "failed over",
        "no_host" => "no host in reach",
        _ => return None,
    })
}

fn details(event: &Event) -> String {
    let mut details = Vec::new();
    if let Some(gap) = event.gap_ms {
        details.push(format!("gap {gap:.1} ms"));
    }
    if let Some(token) = &event.token {
        details.push(token.clone());
    }
    if let Some(session) = &event.session {
        details.push(format!("session {}", session.get(..8).unwrap_or(session)));
    }
    details.extend(event.more.get("by").and_then(Value::as_str).map(|by| format!("by {by}")));
    details.join("  ")
}

fn field(event: &Event, name: &str) -> String {
    match event.more.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_names_time_event_place_and_gap() {
        let event = Event {
            t_ms: 12.34,
            gap_ms: Some(7.0),
            ..Event::new("failed_over").dtu("desk-2").host("host-b")
        };
        let line = text(&event, Ink(false)).unwrap();
        assert_eq!(line, "     12.3    failed over            desk-2 <- host-b     gap 7.0 ms");
        assert_eq!(text(&Event::new("notice").dtu("d"), Ink(false)), None);
    }

    #[test]
    fn the_result_names_every_step_that_did_not_hold() {
        let result = Event::new("result").with("ok", false).with("steps", 3);
        let result = result.with("failed", serde_json::json!(["a is up", "b is up"]));
        assert_eq!(
            text(&result, Ink(false)).unwrap(),
            "2 of 3 steps did not hold:\n  - a is up\n  - b is up"
        );
    }
}
