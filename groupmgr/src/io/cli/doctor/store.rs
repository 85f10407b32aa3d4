//! The data store: does every host reach it, and is it the same one?

use std::collections::BTreeMap;

use proto::StoreId;

use super::checks::Checks;
use super::seen::Seen;
use super::templates;
use crate::host::admin::Status;

pub(super) fn check_reached(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    for status in &group.hosts {
        match (status.store_up, &status.store_refuses) {
            (true, None) => checks.ok("data store", format!("{} reaches {}", status.host, status.store)),
            (true, Some(why)) => checks.fail(
                "data store",
                format!("{} takes no writes, says {}: {why}", status.store, status.host),
                "make room on the data store's disk (df), or mend it; a full one goes on by itself when there is room",
            ),
            (false, _) => {
                let (found, remedy) = trouble(status, group.hosts.iter().any(|other| other.store_up));
                checks.fail("data store", found, remedy);
            }
        }
    }
}

/// What keeps a host from its data store, and what helps.
fn trouble(status: &Status, others_reach_it: bool) -> (String, &'static str) {
    let Status { host, store, .. } = status;
    let why = status.store_trouble.as_deref().unwrap_or("no answer");
    if status.store_distrusts {
        let remedy =
            "give both the same key directory, and restart the one that had another: groupmgr key status";
        return (format!("{host} and {store} do not believe each other: {why}"), remedy);
    }
    let remedy = match others_reach_it {
        true => "other hosts reach it: mend the network between the two (route, firewall)",
        false => "start it (datastore serve), or mend the network between",
    };
    (format!("{host} does not reach {store}: {why}"), remedy)
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

pub(super) fn check_templates(seen: &Seen, checks: &mut Checks) {
    if let Some(group) = seen.group() {
        templates::judge(&group.templates, checks);
    }
}
