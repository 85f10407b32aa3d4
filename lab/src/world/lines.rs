//! From what processes print to events.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::timeline::{Event, Timeline, tenths};

/// Listens to one process and puts what it says into the timeline.
pub(super) struct Listener {
    machine: String,
    is_desk: bool,
    timeline: Timeline,
}

impl Listener {
    pub(super) fn new(machine: &str, is_desk: bool, timeline: Timeline) -> Self {
        Self { machine: machine.to_owned(), is_desk, timeline }
    }

    /// One half for its lines, one for its end.
    pub(super) fn split(
        self: Arc<Self>,
    ) -> (impl FnMut(Instant, &str) + Send + 'static, impl FnOnce(i32) + Send + 'static) {
        let other = Arc::clone(&self);
        let on_line = move |at, line: &str| {
            if let Some(event) = self.event(line) {
                self.timeline.push_at(at, event);
            }
        };
        let on_end = move |code| other.timeline.push(other.about("ended").with("code", code));
        (on_line, on_end)
    }

    fn about(&self, event: &str) -> Event {
        if self.is_desk {
            Event::new(event).dtu(&self.machine)
        } else {
            Event::new(event).host(&self.machine)
        }
    }

    /// The event that a line stands for: a JSON object with a field `event`, or the word `ready`.
    fn event(&self, line: &str) -> Option<Event> {
        if line.split_whitespace().next() == Some("ready") {
            return Some(self.about(self.ready()));
        }
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return None };
        self.told(fields)
    }

    fn ready(&self) -> &'static str {
        match self.machine.as_str() {
            super::STORE => "store_up",
            _ if self.is_desk => "booted",
            _ => "host_up",
        }
    }

    fn told(&self, mut fields: Map<String, Value>) -> Option<Event> {
        let name = text(fields.remove("event")?)?;
        let mut event = self.about(if name == "ready" { self.ready() } else { &name });
        // The lab's clock counts, and it knows whom it listens to.
        fields.remove("t_ms");
        if self.is_desk {
            fields.remove("dtu");
            event.host = fields.remove("host").and_then(text);
        } else {
            event.dtu = fields.remove("dtu").and_then(text);
            fields.remove("host");
        }
        event.session = fields.remove("session").and_then(text);
        event.token = fields.remove("token").and_then(text);
        event.gap_ms = fields.remove("gap_ms").and_then(|v| v.as_f64()).map(tenths);
        event.more = fields;
        Some(event)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(machine: &str, is_desk: bool) -> Listener {
        Listener::new(machine, is_desk, Timeline::new())
    }

    #[test]
    fn a_dtu_says_which_host_it_is_attached_to_and_the_lab_says_which_dtu_it_is() {
        let line =
            r#"{"t_ms":3,"event":"attached","dtu":"x","host":"a","session":"5","gap_ms":1.5,"service":"t"}"#;
        let event = listener("desk-1", true).event(line).unwrap();
        assert!(event.is("attached") && event.at("desk-1") && event.on("a"));
        assert_eq!((event.session.as_deref(), event.gap_ms), (Some("5"), Some(1.5)));
        assert_eq!(event.more.get("service").and_then(Value::as_str), Some("t"));
    }

    #[test]
    fn readiness_has_the_name_of_who_is_ready_and_other_lines_are_no_events() {
        assert!(listener("store", false).event("ready 10.0.0.2:7010").unwrap().is("store_up"));
        assert!(listener("host-a", false).event(r#"{"event":"ready"}"#).unwrap().is("host_up"));
        for line in ["", "already", "{}", "[1]", "{\"event\":7}", "{"] {
            assert_eq!(listener("host-a", false).event(line), None, "{line:?}");
        }
    }
}
