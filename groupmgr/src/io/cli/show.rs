//! Answers as tables for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proto::io::cli::{Failure, print};
use proto::{HostName, Token};

use super::table::Table;
use crate::host::admin::{DtuView, Explanation, ServiceView, SessionView, Status};
use crate::topology::{Double, RowView};

/// A value that may not be there.
fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

pub(super) fn age(value: i64, unit: &str) -> String {
    if value < 0 { "never".to_owned() } else { format!("{value}{unit}") }
}

pub(super) fn topology(rows: &[RowView]) -> String {
    let mut table = Table::new(&[
        "HOST", "STANDING", "ADDRESS", "BEACON", "MESSAGE", "CLOCK", "LOAD", "CPUS", "MHZ", "MEM",
        "SESSIONS", "DRAIN", "KEEP", "PLAIN", "STORE", "RACK", "SITE",
    ]);
    for row in rows {
        let standing = match (row.trusted, row.standing) {
            (false, _) => "stranger".to_owned(),
            (true, Some(standing)) => format!("{standing:?}").to_lowercase(),
            (true, None) => "-".to_owned(),
        };
        let word = |set: bool, word: &str| if set { word.to_owned() } else { "-".to_owned() };
        table.row([
            format!("{}{}", row.host, if row.own { "*" } else { "" }),
            standing,
            row.addr.to_string(),
            age(row.beacon_age_ms, "ms"),
            age(row.lastseen, "s"),
            format!("{:+}s", row.timeoff),
            format!("{}.{:02}", row.load / 100, row.load % 100),
            row.cpus.to_string(),
            row.clock.to_string(),
            format!("{}M", row.mem_mib),
            row.sessions.to_string(),
            match (row.drain, row.lacks.is_empty()) {
                (_, false) => format!("unable:{}", row.lacks.join(",")),
                (drain, true) => word(drain, "drain"),
            },
            word(row.keep, "keep"),
            word(row.plain, "plain"),
            row.store.clone(),
            row.rack.clone(),
            row.site.clone(),
        ]);
    }
    let mut wires = Table::new(&[
        "HOST",
        "INTERFACE",
        "ADDRESS",
        "MASK",
        "BROADCAST",
        "STATE",
        "BEACON",
        "MESSAGE",
        "HEARD ON",
    ]);
    for (row, view) in rows.iter().flat_map(|row| row.interfaces.iter().map(move |view| (row, view))) {
        let i = &view.interface;
        wires.row([
            row.host.to_string(),
            i.name.to_string(),
            i.ip.to_string(),
            i.mask.to_string(),
            i.bcast.to_string(),
            view.audible.map_or("-".to_owned(), |audible| format!("{audible:?}").to_lowercase()),
            age(view.beacon_age_ms, "ms"),
            age(view.lastpkt, "s"),
            match view.heard_on[..] {
                [] => "-".to_owned(),
                _ => view.heard_on.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            },
        ]);
    }
    format!("{table}\n{wires}")
}

pub(super) fn status(hosts: &[&Status], stopped: &[HostName]) -> String {
    let mut table = Table::new(&[
        "HOST",
        "UP",
        "STORE",
        "REACHED",
        "HOSTS",
        "MUTE",
        "STRANGERS",
        "SESSIONS",
        "UNCLAIMED",
        "AHEAD",
        "DTUS",
        "ATTACHED",
        "DRAIN",
        "KEY",
    ]);
    for status in hosts {
        let counted: Vec<String> =
            status.hosts.iter().map(|(standing, n)| format!("{n} {standing}")).collect();
        table.row([
            status.host.to_string(),
            duration(status.up_secs),
            status.store.clone(),
            match (status.store_up, &status.store_refuses) {
                (false, _) => "NO".to_owned(),
                (true, Some(_)) => "NO WRITES".to_owned(),
                (true, None) => "yes".to_owned(),
            },
            counted.join(", "),
            status.mute.len().to_string(),
            status.strangers.to_string(),
            status.sessions.to_string(),
            status.unclaimed.to_string(),
            status.ahead.to_string(),
            status.dtus.to_string(),
            status.attached.to_string(),
            match (status.drain, status.lacks.is_empty()) {
                (_, false) => "unable",
                (true, true) => "drain",
                (false, true) => "-",
            }
            .to_owned(),
            status.key.to_string(),
        ]);
    }
    let mut text = table.to_string();
    hosts.iter().for_each(|status| lacks(status, &mut text));
    let doubles: BTreeSet<&Double> = hosts.iter().flat_map(|status| &status.doubles).collect();
    for Double { host, first, second } in doubles {
        let _ = writeln!(text, "there are two hosts named {host}: one at {first} and one at {second}");
    }
    for host in stopped {
        let _ = writeln!(text, "{host} has stopped");
    }
    for status in hosts {
        if let Some(why) = &status.store_refuses {
            let _ = writeln!(text, "{}: the data store takes no writes: {why}", status.host);
        }
    }
    for status in hosts.iter().filter(|status| !status.refused.is_empty()) {
        let counts: Vec<String> = status.refused.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        let _ = writeln!(text, "{} dropped or refused: {}", status.host, counts.join(", "));
    }
    text
}

/// What a host cannot do now.
fn lacks(status: &Status, text: &mut String) {
    let host = &status.host;
    for (of, why) in &status.lacks {
        let _ = writeln!(text, "{host} takes no new sessions ({of}): {why}");
    }
    for class in &status.cannot_keep {
        let _ = writeln!(text, "{host} has no other host to keep sessions of the class {class}");
    }
}

pub(super) fn sessions(sessions: &[SessionView]) -> String {
    let mut table =
        Table::new(&["SESSION", "TOKEN", "HOST", "STATE", "SHOWN AT", "LAST", "EPOCH", "CLAIMED"]);
    for session in sessions {
        table.row([
            session.session.short(),
            session.token.to_string(),
            session.host.to_string(),
            session.state.clone(),
            or_dash(session.shown.as_ref()),
            if session.last.0 == 0 { "never".to_owned() } else { moment(session.last.0 / 1000) },
            session.epoch.to_string(),
            if session.claimed { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.to_string()
}

pub(super) fn services(services: &[ServiceView]) -> String {
    let mut table = Table::new(&["SERVICE", "STATE", "PID", "DISPLAY"]);
    for service in services {
        table.row([
            service.service.to_string(),
            service.state.clone(),
            or_dash(service.pid),
            if service.display { "terminal" } else { "-" }.to_owned(),
        ]);
    }
    table.to_string()
}

pub(super) fn dtus(dtus: &[DtuView]) -> String {
    let mut table = Table::new(&["DTU", "HOST", "ADDRESS", "TOKEN", "SESSION", "KEY"]);
    for dtu in dtus {
        table.row([
            or_dash(dtu.serial.as_ref()),
            dtu.host.to_string(),
            dtu.addr.to_string(),
            or_dash(dtu.token.as_ref()),
            or_dash(dtu.session.map(proto::SessionId::short)),
            or_dash(dtu.key.map(|key| key.short())),
        ]);
    }
    table.to_string()
}

pub(super) fn explanation(token: &Token, explained: &[(&HostName, &Explanation)]) -> String {
    let mut text = String::new();
    let claim = explained.iter().find_map(|(_, e)| e.claim.as_ref());
    let _ = writeln!(text, "{token}");
    let first = explained.iter().map(|(_, e)| &e.admission).find(|admission| !admission.is_empty());
    if let Some(admission) = first {
        let _ = writeln!(text, "{admission}");
    }
    let _ = writeln!(text, "claim: {}", claim.map_or("none", String::as_str));
    let mut here: Vec<SessionView> = explained.iter().flat_map(|(_, e)| e.here.clone()).collect();
    here.sort_by_key(|session| std::cmp::Reverse(session.last));
    if !here.is_empty() {
        let _ = write!(text, "\n{}", sessions(&here));
    }
    for (host, explanation) in explained {
        let _ = writeln!(text, "\nPresented at {host}:");
        // Hosts differ in this only when one has not heard of a change.
        if Some(&explanation.admission) != first && !explanation.admission.is_empty() {
            let _ = writeln!(text, "  {}", explanation.admission);
        }
        for reason in &explanation.reasons {
            let _ = writeln!(text, "  {reason}");
        }
    }
    text
}

fn duration(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", secs % 60),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// Seconds since 1970 as a date and time (UTC), by the days of the civil calendar.
fn moment(secs: u64) -> String {
    // Days are counted from 0000-03-01, so that a leap day ends its year.
    let days = secs / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let time = secs % 86_400;
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

/// Prints JSON for a program, on several lines.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::no)?;
    print(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_follow_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_782_399), "2000-02-28 23:59:59Z");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(moment(1_704_067_199), "2023-12-31 23:59:59Z");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00:00Z");
    }

    #[test]
    fn durations_have_two_figures_that_matter() {
        let texts: Vec<String> = [5, 65, 3_700, 90_000].into_iter().map(duration).collect();
        assert_eq!(texts, ["5s", "1m05s", "1h01m", "1d01h"]);
    }
}
