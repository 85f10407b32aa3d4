//! The data store: does every host reach it, and is it the same one?

use std::collections::BTreeMap;

use proto::StoreId;

use super::checks::Checks;
use super::seen::Seen;

pub(super) fn check_reached(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for status in &group.hosts {
        match status.store_up {
            true => checks.ok("data store", format!("{} reaches {}", status.host, status.store)),
            false => checks.fail(
                "data store",
                format!("{} does not reach {}", status.host, status.store),
                "start it (datastore serve), or mend the network between",
            ),
        }
    }
}

/// Stores are told apart by their ids: one store may have several addresses, and two may follow each other at one.
pub(super) fn check_same(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let mut hosts_of: BTreeMap<StoreId, Vec<String>> = BTreeMap::new();
    for row in group.trusted() {
        if let Some(id) = row.store_id {
            hosts_of.entry(id).or_default().push(format!("{} ({})", row.host, row.store));
        }
    }
    match hosts_of.len() {
        0 => {}
        1 => checks.ok("same data store", "all hosts that have reached one use the same"),
        _ => checks.fail(
            "same data store",
            format!(
                "the hosts use several, and no session goes from the hosts of one to those of another: {}",
                hosts_of.values().map(|hosts| hosts.join(", ")).collect::<Vec<_>>().join("; "),
            ),
            "run one (datastore serve) and start every host with the same --store IP:PORT",
        ),
    }
}
