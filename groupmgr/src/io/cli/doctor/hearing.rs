//! Who hears whom: a host that is not heard is left by its DTUs, however well it hears the others.

use proto::net::IfName;

use super::super::show::age;
use super::checks::Checks;
use super::seen::{Group, Seen};
use crate::topology::{Audible, InterfaceView, RowView, Standing};

const BLOCKED: &str = "let UDP port 7009 through in both directions (firewall, switch, VLAN)";

/// What this host sends comes back to it. That proves only that socket and firewall let it out: the kernel loops a
/// broadcast back before the wire.
pub(super) fn check_own(seen: &Seen, checks: &mut Checks) {
    let Some(own) = seen.group().and_then(own_row) else { return };
    for view in own.interfaces.iter().filter(|view| view.audible.is_some_and(|it| it != Audible::Up)) {
        let last = age(view.beacon_age_ms, "ms ago");
        let found =
            format!("this host has not heard its own beacons on {}: last {last}", view.interface.name);
        checks.fail("hearing", found, BLOCKED);
    }
}

/// Every other host is asked when it last heard this one, and on which interface.
pub(super) fn check_others(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let Some(own) = own_row(group) else { return };
    let (mut asked, mut deaf) = (0, 0);
    for row in group.trusted().filter(|row| !row.own && row.standing == Some(Standing::Up)) {
        let Some(table) = group.tables.get(&row.host) else { continue };
        asked += 1;
        let us = table.iter().find(|theirs| theirs.trusted && !theirs.own && theirs.host == own.host);
        for found in not_heard(row, us) {
            deaf += 1;
            checks.fail("hearing", found, BLOCKED);
        }
    }
    if asked > 0 && deaf == 0 {
        checks.ok("hearing", format!("this host hears the others, and all {asked} hear it"));
    }
}

/// What the host of `row`, which has `us` in its own table, does not hear of this one on a wire where this one hears it.
fn not_heard(row: &RowView, us: Option<&RowView>) -> Vec<String> {
    let Some(us) = us else {
        return vec![format!("{} has never heard this host, which hears it", row.host)];
    };
    let mut ours: Vec<&IfName> = row.interfaces.iter().flat_map(|view| &view.heard_on).collect();
    ours.sort_unstable();
    ours.dedup();
    let at_theirs = |ours: &IfName| us.interfaces.iter().find(|view| view.interface.name == *ours);
    // A host of the version before does not say.
    let is_deaf = |view: &&InterfaceView| view.audible.is_some_and(|audible| audible != Audible::Up);
    let deaf = ours.into_iter().filter_map(at_theirs).filter(is_deaf);
    deaf.map(|view| {
        let (name, last) = (&view.interface.name, age(view.beacon_age_ms, "ms ago"));
        format!("{} does not hear this host's {name} (last: {last}), on which this host hears it", row.host)
    })
    .collect()
}

fn own_row(group: &Group) -> Option<&RowView> {
    group.rows.iter().find(|row| row.own)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A row of `host` with the interface eth0 of this standing, heard on our eth0.
    fn row(host: &str, audible: &str, age: i64) -> RowView {
        serde_json::from_value(json!({
            "host": host, "trusted": true, "own": false, "standing": "up", "boot": "00000000000000aa",
            "addr": "10.0.0.1", "lastseen": 3, "beacon_age_ms": age, "timeoff": 0, "numifs": 1, "load": 0,
            "mem_mib": 1, "sessions": 0, "cpus": 1, "clock": 1, "machine": null, "rack": "-", "site": "-",
            "drain": false, "keep": false, "store": "-",
            "interfaces": [{
                "name": "eth0", "ip": "10.0.0.1", "mask": "255.255.255.0", "bcast": "10.0.0.255", "lastpkt": 3,
                "beacon_age_ms": age, "audible": audible, "heard_on": ["eth0"],
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_host_that_does_not_hear_this_one_while_this_one_hears_it_is_named_with_the_interface() {
        let b = row("b", "up", 40);
        assert_eq!(not_heard(&b, Some(&row("a", "up", 20))), [""; 0]);
        let deaf = not_heard(&b, Some(&row("a", "silent", 12_000)));
        assert_eq!(
            deaf,
            ["b does not hear this host's eth0 (last: 12000ms ago), on which this host hears it"]
        );
        assert_eq!(not_heard(&b, None), ["b has never heard this host, which hears it"]);
    }
}
