//! What has happened in a lab, in order, with milliseconds: one list for the demo's lines, the terminal UI's log
//! and the waits of tests.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

/// Events kept; a lab may run for days, and nobody waits for what is that old.
const EVENTS_MAX: usize = 20_000;

/// One event, as `--json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Event {
    /// Milliseconds since the lab began.
    pub t_ms: f64,
    /// What happened, in one word: `host_up`, `attached`, `failed_over`, ...
    pub event: String,
    /// At which DTU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtu: Option<String>,
    /// On which host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The session that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The token that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How long a screen was not good, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms: Option<f64>,
    /// Whatever else was said about it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Event {
    /// An event of this name about nothing in particular yet; its time is set when it is put into a timeline.
    #[must_use]
    pub fn new(event: &str) -> Self {
        Self { event: event.to_owned(), ..Self::default() }
    }

    /// About this host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// At this DTU.
    #[must_use]
    pub fn dtu(mut self, dtu: &str) -> Self {
        self.dtu = Some(dtu.to_owned());
        self
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// Whether it has this name.
    #[must_use]
    pub fn is(&self, event: &str) -> bool {
        self.event == event
    }

    /// Whether it is about this DTU.
    #[must_use]
    pub fn at(&self, dtu: &str) -> bool {
        self.dtu.as_deref() == Some(dtu)
    }

    /// Whether it is about this host.
    #[must_use]
    pub fn on(&self, host: &str) -> bool {
        self.host.as_deref() == Some(host)
    }
}

/// A place in a timeline: everything before it has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

/// The events of a lab. Clones share one list.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origin: Instant,
    list: Mutex<List>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct List {
    events: VecDeque<Event>,
    dropped: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        let shared = Shared { origin: Instant::now(), list: Mutex::default(), grown: Condvar::new() };
        Self(Arc::new(shared))
    }
}

impl Timeline {
    /// An empty one that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Milliseconds since it began.
    #[must_use]
    pub fn now_ms(&self) -> f64 {
        self.ms(Instant::now())
    }

    /// A moment in milliseconds since it began; earlier ones count as its beginning.
    #[must_use]
    pub fn ms(&self, at: Instant) -> f64 {
        round(at.saturating_duration_since(self.0.origin))
    }

    /// Adds an event that happens now.
    pub fn push(&self, event: Event) {
        self.push_at(Instant::now(), event);
    }

    /// Adds an event that happened at a known moment. The list is in order of arrival.
    pub fn push_at(&self, at: Instant, mut event: Event) {
        event.t_ms = self.ms(at);
        let mut list = self.lock();
        list.events.push_back(event);
        if list.events.len() > EVENTS_MAX {
            list.events.pop_front();
            list.dropped += 1;
        }
        self.0.grown.notify_all();
    }

    /// The place behind everything so far.
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.lock().end()
    }

    /// What came since `from`; moves `from` behind it.
    #[must_use]
    pub fn since(&self, from: &mut Cursor) -> Vec<Event> {
        let list = self.lock();
        let news = list.from(*from).map(|(_, event)| event.clone()).collect();
        *from = list.end();
        news
    }

    /// Waits for the first event behind `from` that `wanted` accepts, at most for `patience`. `None` when it did
    /// not come.
    pub fn wait(&self, from: Cursor, patience: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let give_up_at = Instant::now() + patience;
        let mut list = self.lock();
        let mut from = from;
        loop {
            if let Some((_, event)) = list.from(from).find(|(_, event)| wanted(event)) {
                return Some(event.clone());
            }
            from = list.end();
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            list = match self.0.grown.wait_timeout(list, left) {
                Ok((list, _)) => list,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn end(&self) -> Cursor {
        Cursor(self.dropped + self.events.len() as u64)
    }

    fn from(&self, cursor: Cursor) -> impl Iterator<Item = (usize, &Event)> {
        let skip = usize::try_from(cursor.0.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        self.events.iter().enumerate().skip(skip)
    }
}

/// Milliseconds to a tenth of one: finer than that the readers of pipes are not.
#[must_use]
pub(super) fn round(time: Duration) -> f64 {
    tenths(time.as_secs_f64() * 1_000.0)
}

/// The same for a number of milliseconds.
#[must_use]
pub(super) fn tenths(millis: f64) -> f64 {
    (millis * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_sees_what_came_before_it_and_what_comes_during_it_but_nothing_before_its_cursor() {
        let timeline = Timeline::new();
        timeline.push(Event::new("old"));
        let cursor = timeline.end();
        timeline.push(Event::new("before"));
        let soon = Duration::from_secs(5);
        assert!(timeline.wait(cursor, soon, |e| e.is("before")).is_some());
        let theirs = timeline.clone();
        let thread = std::thread::spawn(move || theirs.push(Event::new("during").host("a")));
        assert!(timeline.wait(cursor, soon, |e| e.is("during") && e.on("a")).is_some());
        thread.join().unwrap();
        assert_eq!(timeline.wait(cursor, Duration::from_millis(1), |e| e.is("old")), None);
    }

    #[test]
    fn a_long_timeline_forgets_its_beginning_and_keeps_its_cursors() {
        let timeline = Timeline::new();
        let mut cursor = timeline.end();
        for _ in 0..EVENTS_MAX + 10 {
            timeline.push(Event::new("tick"));
        }
        assert_eq!(timeline.since(&mut cursor).len(), EVENTS_MAX);
        timeline.push(Event::new("tock"));
        let news = timeline.since(&mut cursor);
        assert_eq!((news.len(), news[0].event.as_str()), (1, "tock"));
    }

    #[test]
    fn an_event_prints_only_the_fields_that_apply() {
        let event = Event { gap_ms: Some(4.2), ..Event::new("failed_over").dtu("d1").with("from", "a") };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(json, r#"{"t_ms":0.0,"event":"failed_over","dtu":"d1","gap_ms":4.2,"from":"a"}"#);
    }
}
