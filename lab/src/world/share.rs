//! What the accounts of sessions must be able to reach when root runs the lab: their sessions run as `nobody`.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use sessiond::io::account::Account;
use sessiond::io::root;

use crate::commands::Files;
use groupmgr::io::accounts::TRIAL_ACCOUNT;

/// Opens the lab's directory to be passed through and gives the shared home away. Nothing for an ordinary user, whose
/// sessions are its own. Returns the program to run: a copy in the lab where that account cannot reach `binary`.
pub(super) fn with_sessions(files: &Files, binary: PathBuf) -> io::Result<PathBuf> {
    if !root::is_root() {
        return Ok(binary);
    }
    let account = Account::find(TRIAL_ACCOUNT).map_err(io::Error::other)?;
    for dir in [&files.root, &files.run()] {
        fs::set_permissions(dir, Permissions::from_mode(0o711))?;
    }
    chown(files.home(), Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
    if can_be_reached(&binary)? {
        return Ok(binary);
    }
    let copy = files.root.join("hotdesk");
    fs::copy(&binary, &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// Whether everybody may run it and pass through every directory above it.
fn can_be_reached(program: &Path) -> io::Result<bool> {
    let program = fs::canonicalize(program)?;
    let is_open = |path: &Path| fs::metadata(path).map(|meta| meta.mode() & 0o001 != 0);
    program.ancestors().try_fold(true, |open, path| Ok(open && is_open(path)?))
}
