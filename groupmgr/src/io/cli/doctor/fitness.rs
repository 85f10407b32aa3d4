//! Whether every host can make sessions, and whether every name is one host's.

use super::checks::Checks;
use super::seen::Seen;
use crate::topology::Double;

pub(super) fn check_fitness(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for status in &group.hosts {
        for (of, why) in &status.lacks {
            checks.fail("sessions", format!("{} takes no new sessions ({of}): {why}", status.host), "");
        }
        if status.lacks.is_empty() {
            checks.ok("sessions", format!("{} can make some", status.host));
        }
    }
    // A host that cannot be asked may still be heard to say it.
    let asked = |row: &&crate::topology::RowView| group.hosts.iter().any(|status| status.host == row.host);
    for row in group.trusted().filter(|row| !row.lacks.is_empty() && !asked(row)) {
        let lacks = row.lacks.join(", ");
        let remedy = "its log says why, and so does groupmgr doctor there";
        checks.fail("sessions", format!("{} takes no new sessions ({lacks})", row.host), remedy);
    }
}

pub(super) fn check_names(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let mut doubles: Vec<&Double> = group.hosts.iter().flat_map(|status| &status.doubles).collect();
    doubles.sort();
    doubles.dedup();
    for Double { host, first, second } in doubles {
        checks.fail(
            "names",
            format!("there are two hosts named {host}: one at {first} and one at {second}"),
            "stop the one that was started last, and give it another name (--name)",
        );
    }
}
