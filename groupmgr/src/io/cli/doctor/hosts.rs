//! The other hosts of the group: do they answer, have they our key, are their clocks right?

use super::checks::Checks;
use super::seen::Seen;
use crate::topology::RowView;

/// Clocks further apart than this make times of last connection misleading.
const CLOCK_SECS_MAX: i64 = 2;

pub(super) fn check_answers(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for (host, why) in &group.unreachable {
        checks.fail(
            "hosts",
            format!("{host}: {why}"),
            "start the daemon there, or forget the host: groupmgr forget HOST",
        );
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
