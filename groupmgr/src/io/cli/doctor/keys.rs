//! The group's key directory.

use proto::io::KeyDir;

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
        }
    }
}
