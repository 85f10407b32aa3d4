//! The other hosts of the group: do they answer, have they our key, are their clocks right?

use proto::{HostName, PORT};

use super::checks::Checks;
use super::seen::Seen;
use crate::topology::{RowView, Standing};

/// Clocks further apart than this make times of last connection misleading.
const CLOCK_SECS_MAX: i64 = 2;

pub(super) fn check_answers(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for (host, why) in &group.unreachable {
        let is_heard = group.trusted().any(|row| row.host == *host && row.standing == Some(Standing::Up));
        // Where the two sides do not believe each other the text names the remedy.
        let (found, remedy) = match (is_heard, why.contains("; ")) {
            (_, true) => (format!("{host} is reached and not believed: {why}"), String::new()),
            (true, false) => (
                format!("{host} is heard, and does not answer by TCP: {why}"),
                format!("let TCP port {PORT} pass to it (firewall), or see its log"),
            ),
            (false, false) => (
                format!("{host} is neither heard nor does it answer: {why}"),
                format!(
                    "start the daemon there, or mend the network between; if it is gone for good: groupmgr forget {host}"
                ),
            ),
        };
        checks.fail("hosts", found, remedy);
    }
}

/// Whether every host that answers hears the datagrams of every other.
pub(super) fn check_heard(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let answers = |host: &HostName| group.hosts.iter().any(|status| status.host == *host);
    for status in &group.hosts {
        for silent in status.silent.iter().filter(|silent| answers(silent)) {
            checks.fail(
                "datagrams",
                format!("{} does not hear {silent}, which answers by TCP", status.host),
                format!(
                    "let UDP port {PORT} pass from {silent} to {}, broadcasts included (firewall, VLAN, netmask)",
                    status.host
                ),
            );
        }
        for mute in status.mute.iter().filter(|mute| answers(mute) && !status.silent.contains(mute)) {
            checks.warn(
                "datagrams",
                format!("{mute} does not answer the questions of {}, though it is heard", status.host),
                format!("let UDP port {PORT} pass between the two both ways (firewall), or look how busy {mute} is"),
            );
        }
    }
}

/// Whether the hosts are there that others are paired with.
pub(super) fn check_pairs(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for status in &group.hosts {
        let Some(pair) = &status.pair else { continue };
        let row = group.trusted().find(|row| row.host == *pair);
        let lacks = match row {
            _ if *pair == status.host => "which is itself",
            None => "of which nobody has heard",
            Some(row) if row.standing.is_some_and(|standing| standing != Standing::Up) => {
                "which is not there"
            }
            Some(_) => {
                checks.ok("pairs", format!("{} is paired with {pair}", status.host));
                continue;
            }
        };
        checks.warn(
            "pairs",
            format!("{} is paired with {pair}, {lacks}: others keep its sessions", status.host),
            "start that host, or name another with --pair",
        );
    }
}

/// Whether each host has another one for the sessions that outlive it.
pub(super) fn check_classes(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for status in &group.hosts {
        for class in &status.cannot_keep {
            let found = format!("{} has no other host to keep sessions of the class {class}", status.host);
            checks.warn(
                "classes",
                found,
                "start another host, on another machine if there is one, or end its drain",
            );
        }
    }
}

pub(super) fn check_strangers(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for row in group.rows.iter().filter(|row| !row.trusted) {
        let remedy = "if it belongs to the group, give it the same key directory";
        checks.warn("hosts", format!("{} at {} has another key", row.host, row.addr), remedy);
    }
}

pub(super) fn check_clocks(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let is_off = |row: &&RowView| row.timeoff.abs() > CLOCK_SECS_MAX;
    for row in group.trusted().filter(is_off) {
        checks.warn(
            "clocks",
            format!("{} is {:+} s from this host", row.host, row.timeoff),
            "set the clocks by NTP",
        );
    }
    if !group.trusted().any(|row| is_off(&row)) {
        checks.ok("clocks", format!("all within {CLOCK_SECS_MAX} s"));
    }
}
