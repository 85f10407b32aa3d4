//! What a state session says: answers and events, each a line, or a line with a value.

use proto::{Line, Serial};

use crate::edit::Refusal;
use crate::head::{Head, Operation};
use crate::names::{Place, Stamp};
use crate::object::Object;
use crate::restore::{Missing, Restored};
use crate::stream;
use crate::times::Times;
use crate::value::Value;
use crate::words;

/// The bytes of lines without payloads.
pub(crate) fn lines(lines: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        stream::emit(line.clone(), None, &mut bytes);
    }
    bytes
}

fn event(name: &str) -> Line {
    Line::new("event").with("is", name)
}

/// The answer to `get`.
pub(crate) fn value(value: Option<&Value>) -> Vec<u8> {
    let Some(value) = value else { return lines(&[Line::new("none")]) };
    let (line, content) = words::with_value(Line::new("value"), value);
    let mut bytes = Vec::new();
    stream::emit(line, Some(content), &mut bytes);
    bytes
}

/// The answer to `list`.
pub(crate) fn list(object: &Object, place: &Place) -> Vec<u8> {
    let entries = object.pool(place).map(crate::Pool::sorted).unwrap_or_default();
    let mut said = vec![Line::new("list").with("count", entries.len())];
    said.extend(entries.into_iter().map(|(key, value)| {
        let size = value.as_raw().map(<[u8]>::len);
        Line::new("entry").with("key", key).with("kind", words::kind(value)).with_some("length", size)
    }));
    lines(&said)
}

/// `line` with the operation in hand, or the last one.
fn with_operation(line: Line, operation: Option<&Operation>) -> Line {
    match operation {
        Some(Operation { number, name, status }) => {
            line.with("operation", number).with("name", name).with("status", status.as_str())
        }
        None => line,
    }
}

/// The answer to `status`.
pub(crate) fn status(object: &Object, safe: Stamp, times: &Times) -> Line {
    let head = &object.head;
    let top = object.stack().last();
    let states =
        |series: &str, number: usize, count: usize| (format!("{series}State"), format!("{number}/{count}"));
    let mut line = Line::new("status").with("stamp", head.stamp).with("safe", safe);
    line = line.with("values", object.values()).with("depth", object.stack().len());
    line = line.with_some("top", top.map(|composite| &composite.name));
    let composite = top.map(|top| states("composite", top.states().number(), top.states().count()));
    let (one, other) = (object.interactive(), object.application());
    let others = [
        states("interactive", one.number(), one.count()),
        states("application", other.number(), other.count()),
    ];
    for (key, value) in composite.into_iter().chain(others) {
        line.push(&key, value);
    }
    if times.count() > 0 {
        line.push("acknowledged", times.count());
        for (key, took) in [("p50_us", times.at(50)), ("p99_us", times.at(99)), ("max_us", times.longest())] {
            line.push(key, took);
        }
    }
    with_operation(line, head.operation.as_ref())
}

/// What those who watch are told of an object that came from another host.
pub(crate) fn restored(head: &Head, restored: &Restored) -> Vec<Line> {
    let line = event("restore").with("stamp", head.stamp);
    let served = || head.endpoint.as_ref().map(|endpoint| &endpoint.host);
    let line = line.with_some("from", restored.from.as_ref().or_else(served));
    let line = line.with("missing", restored.missing.len());
    let mut told = vec![with_operation(line, head.operation.as_ref())];
    told.extend(restored.missing.iter().map(|looked| {
        let why = match looked.what {
            Missing::Gone => "gone",
            Missing::Denied => "denied",
            Missing::Unavailable => "unavailable",
        };
        let line = event("missing").with("depth", looked.depth).with("pool", &looked.place);
        line.with("key", &looked.key).with("why", why)
    }));
    told
}

/// That the session is shown somewhere else.
pub(crate) fn shown(at: Option<&Serial>, before: Option<&Serial>) -> Line {
    match at {
        Some(at) => event("connect").with("dtu", at),
        None => event("disconnect").with_some("dtu", before),
    }
}

/// That the service takes no more changes.
pub(crate) fn disabled(at_once: bool) -> Line {
    event("disable").with("how", if at_once { "now" } else { "gracefully" })
}

/// The code of an answer that refuses a change.
pub(crate) const fn code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoComposite => "noComposite",
        Refusal::TooDeep | Refusal::TooManySteps | Refusal::TooManyValues => "tooMany",
        Refusal::NoSuchKey => "noSuchKey",
        Refusal::NoSuchState => "noSuchState",
    }
}
