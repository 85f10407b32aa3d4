//! Two emulators that say the same serial.

use std::path::PathBuf;

use crate::readme::Hand;
use crate::scene::Played;

/// The second has another key and is refused, until an operator forgets the first one's; then it gets in by itself, and
/// the first one does not when it comes again.
pub(crate) fn a_second_dtu_with_the_same_serial_is_refused(binary: PathBuf) -> Played {
    let dir = tempfile::tempdir()?;
    let mut hand = Hand::new(dir.path(), &binary)?;
    hand.foreground("groupmgr keygen keys")?;
    hand.start("datastore serve --keys keys --dir store --listen 127.0.0.1:7010", "data store ready")?;
    let run = "groupmgr run --keys keys --store 127.0.0.1:7010 --name a --bind 127.0.1.1 --run-dir run --state-dir state";
    hand.start(run, "ready host=")?;
    hand.plain_shell()?;
    let boot = "dtu-emu boot --headless --serial 080020000001 --ca keys/ca.pem";
    hand.start(&format!("{boot} --bind 127.0.200.1 --state one --control first"), "attached")?;
    hand.start(
        &format!("{boot} --bind 127.0.200.2 --state two --control second"),
        "authmgr dtu forget 080020000001",
    )?;

    let registry = "--keys keys --store 127.0.0.1:7010";
    let pinned = hand.foreground(&format!("authmgr dtu list {registry} --json"))?;
    let pinned: serde_json::Value = serde_json::from_str(&pinned)?;
    let connected = hand.foreground("groupmgr dtu list --run-dir run --json")?;
    let connected: serde_json::Value = serde_json::from_str(&connected)?;
    let key_at = |address: &str| {
        let dtus = connected["dtus"].as_array()?;
        let is_there =
            |dtu: &&serde_json::Value| dtu["addr"].as_str().is_some_and(|addr| addr.starts_with(address));
        dtus.iter().find(is_there)?["key"].as_str().map(str::to_owned)
    };
    let (first, second) = (key_at("127.0.200.1:").ok_or("no key")?, key_at("127.0.200.2:").ok_or("no key")?);
    if pinned["dtu"] != "080020000001" || pinned["key"] != first.as_str() || first == second {
        return Err(format!("{pinned} is pinned; connected are {connected}").into());
    }
    hand.foreground("dtu-emu wait --state attached --control first")?;

    let forgotten =
        hand.foreground(&format!("authmgr dtu forget 080020000001 {registry} --run-dir run --json"))?;
    if !forgotten.contains("\"hosts\":[\"a\"]") {
        return Err(format!("not every host follows: {forgotten}").into());
    }
    hand.foreground("dtu-emu wait --state attached --timeout 30 --control second")?;
    let pinned = hand.foreground(&format!("authmgr dtu list {registry}"))?;
    if !pinned.contains(&second) {
        return Err(format!("{pinned}: it is not the second one's key {second}").into());
    }
    hand.foreground("authmgr card new ann.card")?;
    hand.foreground("dtu-emu insert ann.card --control first")?;
    hand.foreground("dtu-emu wait --state denied --timeout 15 --control first").map(drop)
}
