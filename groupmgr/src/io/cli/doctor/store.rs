//! The data store: does every host reach it, and is it the same one?

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

pub(super) fn check_same(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let mut stores: Vec<&str> = group.trusted().map(|row| row.store.as_str()).collect();
    stores.sort_unstable();
    stores.dedup();
    match stores[..] {
        [] | [_] => {}
        _ => checks.fail(
            "same data store",
            format!("the hosts use several: {}", stores.join(", ")),
            "run one (datastore serve) and start every host with the same --store IP:PORT",
        ),
    }
}
