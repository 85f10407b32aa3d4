//! What desks must not see, as rules over what they reported and what was done to hosts meanwhile.

use std::collections::BTreeMap;

use lab::timeline::Event;

use crate::faults::Fault;

/// A fault may show for so long after its end: what was waiting goes on, and hosts hear of each other again.
const AFTER_MS: f64 = 3_000.0;
/// A desk hears that its session is shown elsewhere within this time, unless its host cannot hear it itself.
const TOLD_MS: f64 = 2_000.0;

/// A fault as it was done, on the lab's clock.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) host: String,
    pub(crate) fault: Fault,
    pub(crate) from_ms: f64,
    pub(crate) until_ms: f64,
}

impl Happened {
    /// Whether it may show at some time between two moments.
    fn shows(&self, from_ms: f64, until_ms: f64) -> bool {
        self.from_ms <= until_ms && from_ms <= self.until_ms + AFTER_MS
    }
}

/// A session on a desk, from its attach until the desk said that it is no longer there.
#[derive(Clone, Debug)]
struct Stay {
    desk: String,
    token: String,
    session: String,
    host: String,
    from_ms: f64,
    until_ms: f64,
}

/// Everything that should not have been, in words.
pub(crate) fn judge(events: &[Event], faults: &[Happened]) -> Vec<String> {
    let mut found = no_desk_leaves_without_a_reason(events, faults);
    let stays = stays(events);
    found.extend(a_token_is_shown_at_one_desk(&stays, faults));
    found.extend(a_session_outlives_all_but_its_host(&stays, faults));
    found
}

fn no_desk_leaves_without_a_reason(events: &[Event], faults: &[Happened]) -> Vec<String> {
    let mut found = Vec::new();
    for event in events {
        let excuse: fn(Fault) -> bool = match event.event.as_str() {
            "lost" | "held" => Fault::excuses_leaving,
            "display_lost" => Fault::excuses_display,
            _ => continue,
        };
        let (Some(desk), Some(host)) = (&event.dtu, &event.host) else { continue };
        let excused = |f: &Happened| f.host == *host && excuse(f.fault) && f.shows(event.t_ms, event.t_ms);
        if !faults.iter().any(excused) {
            let why = event.more.get("why").map(ToString::to_string).unwrap_or_default();
            found.push(format!(
                "{:.0} ms: {desk} says {} {why} of {host}, to which nothing was done that excuses it",
                event.t_ms, event.event
            ));
        }
    }
    found
}

fn stays(events: &[Event]) -> Vec<Stay> {
    let mut open: BTreeMap<&str, Stay> = BTreeMap::new();
    let mut closed = Vec::new();
    let mut last = 0.0_f64;
    for event in events {
        last = last.max(event.t_ms);
        let Some(desk) = event.dtu.as_deref() else { continue };
        let ends = ["attached", "detached", "removed", "inserted", "lost", "denied", "exited"];
        if ends.contains(&event.event.as_str())
            && let Some(mut stay) = open.remove(desk)
        {
            stay.until_ms = event.t_ms;
            closed.push(stay);
        }
        if event.is("attached")
            && let (Some(token), Some(session), Some(host)) = (&event.token, &event.session, &event.host)
        {
            let (desk_name, token, session) = (desk.to_owned(), token.clone(), session.clone());
            let (from_ms, until_ms) = (event.t_ms, f64::MAX);
            open.insert(
                desk,
                Stay { desk: desk_name, token, session, host: host.clone(), from_ms, until_ms },
            );
        }
    }
    closed.extend(open.into_values().map(|stay| Stay { until_ms: last, ..stay }));
    closed.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
    closed
}

/// While a host cannot hear the others, its desk may go on showing what is shown elsewhere by now.
fn a_token_is_shown_at_one_desk(stays: &[Stay], faults: &[Happened]) -> Vec<String> {
    let mut found = Vec::new();
    for (n, one) in stays.iter().enumerate() {
        for other in stays[n + 1..].iter().filter(|s| s.token == one.token && s.desk != one.desk) {
            let (from, until) = (one.from_ms.max(other.from_ms), one.until_ms.min(other.until_ms));
            // The longest time of both in which nothing was the matter with either host.
            let mut calm_since = from;
            let mut calm = 0.0_f64;
            let mut troubles: Vec<&Happened> = faults
                .iter()
                .filter(|f| f.host == one.host || f.host == other.host)
                .filter(|f| f.fault.excuses_another_session() && f.shows(from, until))
                .collect();
            troubles.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
            for trouble in troubles {
                calm = calm.max(trouble.from_ms - calm_since);
                calm_since = calm_since.max(trouble.until_ms + AFTER_MS);
            }
            calm = calm.max(until - calm_since);
            if calm > TOLD_MS {
                found.push(format!(
                    "{} is shown at {} (on {}) and at {} (on {}) from {from:.0} ms to {until:.0} ms, {calm:.0} ms of \
                     it without an excuse",
                    one.token, one.desk, one.host, other.desk, other.host
                ));
            }
        }
    }
    found
}

fn a_session_outlives_all_but_its_host(stays: &[Stay], faults: &[Happened]) -> Vec<String> {
    let mut newest: BTreeMap<&str, &Stay> = BTreeMap::new();
    let mut found = Vec::new();
    for stay in stays {
        if let Some(before) = newest.insert(&stay.token, stay)
            && before.session != stay.session
        {
            // Its host may have been killed or out of sight at any time since it was shown last.
            let excuse = |f: &&Happened| {
                f.host == before.host
                    && f.fault.excuses_another_session()
                    && f.shows(before.from_ms, stay.from_ms)
            };
            // The host that made the new one may have been unable to ask.
            let blind = |f: &&Happened| {
                f.host == stay.host
                    && matches!(f.fault, Fault::Cut(..) | Fault::Unplug(_) | Fault::Line(..))
                    && f.shows(stay.from_ms - AFTER_MS, stay.from_ms)
            };
            if faults.iter().find(excuse).or_else(|| faults.iter().find(blind)).is_none() {
                found.push(format!(
                    "{:.0} ms: {} has session {} on {} at {} though {} lived on {}",
                    stay.from_ms, stay.token, stay.session, stay.host, stay.desk, before.session, before.host
                ));
            }
        }
    }
    found
}
