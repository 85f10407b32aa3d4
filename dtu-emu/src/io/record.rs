//! Events as they are printed: a line for a person, or a JSON object.

use std::fmt::Write as _;
use std::time::Duration;

use proto::Instant;
use serde_json::{Map, Value, json};

use super::shell::Told;
use crate::dtu::{DtuEvent, Gap, HostRef};

/// One event, ready to be printed.
#[derive(Clone, Debug)]
pub struct Record {
    event: &'static str,
    t_ms: f64,
    fields: Map<String, Value>,
}

/// Milliseconds with microseconds behind the point.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn host_word(host: &HostRef) -> String {
    host.name.as_ref().map_or_else(|| host.addr.to_string(), ToString::to_string)
}

impl Record {
    /// The record of an event: `t_ms` counts from the shell's start.
    #[must_use]
    pub fn new(told: &Told) -> Self {
        let mut record =
            Self { event: told.event.name(), t_ms: millis(told.at.since(Instant::ZERO)), fields: Map::new() };
        record.put("dtu", told.serial.as_str());
        if let Some(host) = told.event.host() {
            record.put("host", host_word(host));
        }
        record.describe(&told.event);
        record
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.fields.insert(key.to_owned(), value.into());
    }

    fn gap(&mut self, gap: &Gap) {
        self.put("gap_ms", millis(gap.screen));
        self.put("noticed_ms", millis(gap.noticed));
        self.put("control_ms", millis(gap.control));
        self.put("conn_inf_ms", millis(gap.conn_inf));
        self.put("screen_ms", millis(gap.screen));
    }

    fn describe(&mut self, event: &DtuEvent) {
        match event {
            DtuEvent::Inserted { token } | DtuEvent::Removed { token } => self.put("token", token.as_str()),
            DtuEvent::HostFound { host } => self.put("addr", host.addr.to_string()),
            DtuEvent::HostFailed { host, fault } => {
                self.put("addr", host.addr.to_string());
                self.put("why", fault.to_string());
            }
            DtuEvent::Attached { token, session, service, .. } => {
                self.put("token", token.as_str());
                self.fields.extend(session.map(|s| ("session".to_owned(), json!(s.to_string()))));
                self.fields.extend(service.as_ref().map(|s| ("service".to_owned(), json!(s.as_str()))));
            }
            DtuEvent::Shown { session, took } => {
                self.put("session", session.to_string());
                self.put("took_ms", millis(*took));
            }
            DtuEvent::Detached { cause, .. } => {
                self.fields.extend(cause.as_ref().map(|c| ("cause".to_owned(), json!(c))));
            }
            DtuEvent::Denied { notice, .. } => {
                self.fields.extend(notice.as_ref().map(|n| ("text".to_owned(), json!(n))));
            }
            DtuEvent::Redirected { from, .. } => self.put("from", host_word(from)),
            DtuEvent::DisplayLost { fault, .. } => self.put("why", fault.to_string()),
            DtuEvent::Restored { gap, .. } => self.gap(gap),
            DtuEvent::Lost { why, .. } => self.put("why", why.to_string()),
            DtuEvent::FailedOver { from, session, gap, .. } => {
                self.put("from", host_word(from));
                self.fields.extend(session.map(|s| ("session".to_owned(), json!(s.to_string()))));
                self.gap(gap);
            }
            DtuEvent::Notice { text } => self.put("text", text.as_str()),
            DtuEvent::Exited { status } => self.put("status", *status),
            DtuEvent::InputDropped { bytes } => self.put("bytes", *bytes),
            DtuEvent::Unusable { what, .. } => self.put("what", what.as_str()),
            DtuEvent::Booted
            | DtuEvent::RedirectFailed { .. }
            | DtuEvent::Held { .. }
            | DtuEvent::Rejoined { .. }
            | DtuEvent::NoHost => {}
        }
    }

    /// One JSON object: `t_ms`, `event`, `dtu`, and what applies of `host`, `session`, `token`, `gap_ms` and
    /// more.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        object.insert("t_ms".to_owned(), json!(round(self.t_ms)));
        object.insert("event".to_owned(), json!(self.event));
        for (key, value) in &self.fields {
            let value = value
                .as_f64()
                .filter(|_| key.ends_with("_ms"))
                .map_or_else(|| value.clone(), |ms| json!(round(ms)));
            object.insert(key.clone(), value);
        }
        Value::Object(object).to_string()
    }

    /// The same for a person.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{:>10.3}s  {:<15}", self.t_ms / 1000.0, self.event);
        for (key, value) in self.fields.iter().filter(|(key, _)| *key != "dtu") {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.as_f64().map_or_else(|| other.to_string(), |n| format!("{n:.1}")),
            };
            let _ = write!(text, " {key}={value}");
        }
        text.trim_end().to_owned()
    }
}

/// Microseconds are as fine as it is measured.
fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::DtuId;
    use proto::SessionId;

    fn told(event: DtuEvent) -> Told {
        let at = Instant::from_micros(1_234_567);
        Told { desk: DtuId(0), serial: "0200000000aa".parse().unwrap(), at, event }
    }

    fn host(name: &str) -> HostRef {
        HostRef { name: Some(name.parse().unwrap()), addr: "127.0.1.1:7009".parse().unwrap() }
    }

    #[test]
    fn a_failover_prints_its_gap_and_where_the_time_went() {
        let ms = Duration::from_millis;
        let gap =
            Gap { since: Instant::ZERO, noticed: ms(1), control: ms(2), conn_inf: ms(3), screen: ms(4) };
        let (from, to) = (host("a"), host("b"));
        let record = Record::new(&told(DtuEvent::FailedOver { from, to, session: Some(SessionId(5)), gap }));
        let json: Value = serde_json::from_str(&record.to_json()).unwrap();
        assert_eq!(
            json,
            json!({
                "t_ms": 1234.567, "event": "failed_over", "dtu": "0200000000aa", "host": "b", "from": "a",
                "session": "00000000000000000000000000000005", "gap_ms": 4.0, "noticed_ms": 1.0,
                "control_ms": 2.0, "conn_inf_ms": 3.0, "screen_ms": 4.0,
            })
        );
        assert!(record.to_text().contains("gap_ms=4.0"), "{}", record.to_text());
    }

    #[test]
    fn a_host_without_a_name_is_named_by_its_address() {
        let unnamed = HostRef { name: None, ..host("a") };
        let json = Record::new(&told(DtuEvent::HostFound { host: unnamed })).to_json();
        assert!(json.contains(r#""host":"127.0.1.1:7009""#), "{json}");
    }
}
