//! Where control sockets are.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Where the sockets are unless told otherwise: in the user's runtime directory, or under `/tmp` where there
/// is none.
#[must_use]
pub fn default_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("hotdesk/dtu"),
        None => PathBuf::from(format!("/tmp/hotdesk-{}", nix::unistd::getuid())).join("dtu"),
    }
}

/// Makes the directory for its owner alone, or checks that it is one: whoever can enter can press keys.
pub(super) fn own_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let meta = std::fs::metadata(dir)?;
    let uid = nix::unistd::getuid().as_raw();
    if meta.uid() != uid || meta.mode() & 0o077 != 0 {
        let what = format!(
            "{}: must belong to you and be closed to others; chmod 0700 it, or choose another with --control DIR",
            dir.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}

pub(super) const SUFFIX: &str = ".sock";

pub(super) fn socket_path(dir: &Path, serial: &str) -> PathBuf {
    dir.join(format!("{serial}{SUFFIX}"))
}
