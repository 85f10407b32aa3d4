//! The group's key directory.

use proto::KeyId;
use proto::io::KeyDir;
use proto::keys::GroupKey;

use super::checks::Checks;
use super::seen::Seen;

pub(super) fn check_keys(seen: &Seen, checks: &mut Checks) {
    let usable = KeyDir::open(&seen.keys).and_then(|keys| keys.server_tls("doctor").map(|_| keys));
    match usable {
        Err(error) => checks.error("keys", &error),
        Ok(keys) => {
            let ids: Vec<String> = keys.ring.keys().iter().map(|key| key.id().to_string()).collect();
            let (dir, all) = (seen.keys.display(), ids.join(", "));
            checks.ok("keys", format!("{dir}: signs with {}, verifies {all}", ids[0]));
            check_running(seen, &keys, checks);
        }
    }
}

/// Whether the daemon runs with the keys on the disk.
fn check_running(seen: &Seen, keys: &KeyDir, checks: &mut Checks) {
    let Some(own) = seen.group().and_then(super::seen::Group::own) else { return };
    let disk: Vec<KeyId> = keys.ring.keys().iter().map(GroupKey::id).collect();
    let running = if own.keys.is_empty() { vec![own.key] } else { own.keys.clone() };
    let list = |keys: &[KeyId]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let found =
        format!("the daemon runs with {}, and {} holds {}", list(&running), seen.keys.display(), list(&disk));
    if !running.iter().any(|key| disk.contains(key)) {
        let remedy = "these have no key in common: put the group's keys there and restart the daemon: groupmgr key status";
        checks.fail("keys", found, remedy);
    } else if running != disk {
        checks.warn("keys", found, "restart the daemon to take them: groupmgr key status");
    }
}
