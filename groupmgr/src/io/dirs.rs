//! Where a daemon keeps its sockets and its data, and how the command line finds the daemons of a machine.
//!
//! | Directory | As root | Otherwise |
//! |---|---|---|
//! | run | `/run/hotdesk` | `$XDG_RUNTIME_DIR/hotdesk`, else `/tmp/hotdesk-<uid>` |
//! | state | `/var/lib/hotdesk` | `$XDG_STATE_HOME/hotdesk`, else `~/.local/state/hotdesk`, else beside the run directory |
//!
//! Each daemon has `<run>/<host>`, with its sockets and a lock that says that it runs. Its mode is 0700; as root 0711,
//! so that the accounts of sessions can pass through to what is theirs.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;
use proto::HostName;

pub use proto::io::local::run_base;
use proto::io::local::{ADMIN_SOCKET, is_writable_dir};

const LOCK: &str = "daemon.lock";

/// What a socket's path may be long, its end included (`sockaddr_un`).
const SOCKET_PATH_MAX: usize = 108;
/// Longest name of a socket in a run directory.
const SOCKET_NAME_MAX: usize = 24;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It cannot be made, read or written.
    #[error("{}: {source}; choose another directory with {option}", path.display())]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// By which option another one is chosen.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to somebody else, who could read and replace what is in it.
    #[error("{}: belongs to user {owner}; choose another directory with {option}", path.display())]
    Foreign {
        /// The file or directory concerned.
        path: PathBuf,
        /// By which option another one is chosen.
        option: &'static str,
        /// The user id of its owner.
        owner: u32,
    },
    /// A socket in it would have a name the system cannot take.
    #[error("{}: too long for a socket's path; choose a shorter directory with --run-dir", .0.display())]
    TooLong(PathBuf),
    /// A daemon of this name runs.
    #[error(
        "a host named {host} runs already on this machine (process {pid}); stop it with: groupmgr stop --host {host}, or choose another name with --name"
    )]
    Running {
        /// The name of the host that runs.
        host: HostName,
        /// The id of its process, for a person to end.
        pid: String,
    },
}

/// The default of `--state-dir`.
#[must_use]
pub fn state_base() -> PathBuf {
    if Uid::effective().is_root() && is_writable_dir(Path::new("/var/lib")) {
        return "/var/lib/hotdesk".into();
    }
    let set = |name| std::env::var_os(name).filter(|dir| Path::new(dir).is_absolute());
    let home = || set("HOME").filter(|home| is_writable_dir(Path::new(home)));
    let in_home = || home().map(|home| Path::new(&home).join(".local/state"));
    match set("XDG_STATE_HOME").map(PathBuf::from).or_else(in_home) {
        Some(dir) => dir.join("hotdesk"),
        None => run_base().join("state"),
    }
}

/// The run directory of one daemon, locked as long as this or a clone of it lives.
#[derive(Clone, Debug)]
pub struct RunDir {
    base: PathBuf,
    host: HostName,
    path: PathBuf,
    lock: Arc<Mutex<Flock<fs::File>>>,
}

impl RunDir {
    /// Makes and locks the directory of `host` under `base`.
    ///
    /// # Errors
    /// See [`DirError`].
    pub fn take(base: &Path, host: &HostName) -> Result<Self, DirError> {
        let path = base.join(host.as_str());
        if path.as_os_str().len() + 1 + SOCKET_NAME_MAX >= SOCKET_PATH_MAX {
            return Err(DirError::TooLong(path));
        }
        private_dir(base, "--run-dir")?;
        private_dir(&path, "--run-dir")?;
        let lock = Self::lock(&path, host)?;
        Ok(Self { base: base.into(), host: host.clone(), path, lock: Arc::new(Mutex::new(lock)) })
    }

    fn lock(path: &Path, host: &HostName) -> Result<Flock<fs::File>, DirError> {
        let fail = |source| DirError::Io { path: path.join(LOCK), option: "--run-dir", source };
        // Whoever may open the file may lock it, for reading too: as root the directory is open to others.
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o600)).map(|()| file))
            .map_err(fail)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(fail)?;
                Ok(lock)
            }
            Err((mut file, _)) => {
                let mut pid = String::new();
                drop(file.read_to_string(&mut pid));
                Err(DirError::Running { host: host.clone(), pid: pid.trim().to_owned() })
            }
        }
    }

    /// Whether it is still there and this daemon's: somebody may have removed it, or put another one in its place.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let same =
            |there: fs::Metadata, held: fs::Metadata| (there.dev(), there.ino()) == (held.dev(), held.ino());
        let there = fs::metadata(self.path.join(LOCK));
        there.is_ok_and(|there| self.held().metadata().is_ok_and(|held| same(there, held)))
    }

    /// Makes it again after it was removed.
    ///
    /// # Errors
    /// See [`DirError`]; another daemon may have taken it meanwhile.
    pub fn restore(&self) -> Result<(), DirError> {
        private_dir(&self.base, "--run-dir")?;
        private_dir(&self.path, "--run-dir")?;
        if !self.is_locked() {
            *self.held() = Self::lock(&self.path, &self.host)?;
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Flock<fs::File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The administration socket's path.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.path.join(ADMIN_SOCKET)
    }
}

/// Makes `path` if need be, with mode 0700, or 0711 as root, and refuses one that is somebody else's.
///
/// # Errors
/// See [`DirError`].
pub fn private_dir(path: &Path, option: &'static str) -> Result<(), DirError> {
    let fail = |source| DirError::Io { path: path.into(), option, source };
    let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(fail)?;
    let meta = fs::symlink_metadata(path).map_err(fail)?;
    let owner = meta.uid();
    let own = Uid::effective();
    if owner != own.as_raw() {
        return Err(DirError::Foreign { path: path.into(), option, owner });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_daemons_of_one_name_cannot_run_and_the_second_is_told_of_the_first() {
        let base = tempfile::tempdir().unwrap();
        let host: HostName = "a".parse().unwrap();
        let first = RunDir::take(base.path(), &host).unwrap();
        let error = RunDir::take(base.path(), &host).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(first);
        RunDir::take(base.path(), &host).unwrap();
    }

    #[test]
    fn nobody_else_can_open_the_lock_and_so_keep_a_daemon_from_starting() {
        let base = tempfile::tempdir().unwrap();
        let host: HostName = "a".parse().unwrap();
        drop(RunDir::take(base.path(), &host).unwrap());
        let lock = base.path().join("a").join(LOCK);
        let mode = || fs::metadata(&lock).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        // One that an earlier version left behind.
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
        drop(RunDir::take(base.path(), &host).unwrap());
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_before_anything_is_made() {
        let base = tempfile::tempdir().unwrap();
        let long = base.path().join("x".repeat(90));
        let error = RunDir::take(&long, &"a".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("--run-dir") && !long.exists(), "{error}");
    }
}
