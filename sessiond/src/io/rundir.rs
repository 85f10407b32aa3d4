//! The directory of a spawner: its socket and one directory per session.
//!
//! ```text
//!   RUN/            whoever may pass through, the spawner's own
//!   RUN/lock        held by the spawner that lives here
//!   RUN/spawner/    the daemon's account only
//!   RUN/spawner/socket
//!   RUN/s/<id>/     the session's account only: `state` and `events` are its sockets, `bin/` the first of its PATH,
//!                   `login/` what its login shell reads
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, geteuid};
use proto::SessionId;

use super::packets;

/// Longest path of a Unix socket, its final zero byte excluded.
const SOCKET_PATH_MAX: usize = 107;

/// The paths in it.
#[derive(Clone, Debug)]
pub(super) struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// Programs of sessions are told paths in it, wherever they run: it is made absolute here.
    pub(super) fn new(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref();
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.into()) }
    }

    /// Where the daemon connects.
    pub(super) fn socket(&self) -> PathBuf {
        self.root.join("spawner/socket")
    }

    /// A session's own directory.
    pub(super) fn of_session(&self, session: SessionId) -> PathBuf {
        self.root.join("s").join(session.to_string())
    }

    /// Where a spawner that outlives its daemon writes what it has to say.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("spawner.log")
    }

    /// Makes the directory this spawner's: waits until no other one lives here, then prepares it for a daemon of
    /// the account `daemon`. It is this spawner's as long as the lock is held.
    ///
    /// The error says what to do about it.
    pub(super) fn take(&self, daemon: Uid) -> Result<Flock<File>, String> {
        let longest = self.of_session(SessionId(0)).join("events").as_os_str().len();
        if longest > SOCKET_PATH_MAX {
            return Err(format!(
                "the run directory {} is too long: choose one at least {} bytes shorter",
                self.root.display(),
                longest - SOCKET_PATH_MAX
            ));
        }
        // A session's account must be able to pass through to its own directory.
        let pass = if geteuid().is_root() { 0o711 } else { 0o700 };
        make_dir(&self.root, pass).map_err(|error| wrong(&self.root, &error))?;
        let lock_path = self.root.join("lock");
        let lock = open_lock(&lock_path).map_err(|error| wrong(&lock_path, &error))?;
        // A spawner whose daemon has died is still ending its sessions; that is a moment.
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| wrong(&lock_path, &Error::from(error)))?;
        for (dir, mode, owner) in [("spawner", 0o700, Some(daemon)), ("s", pass, None)] {
            let path = self.root.join(dir);
            remove_dead(&path)
                .and_then(|()| make_dir(&path, mode))
                .and_then(|()| owner.map_or(Ok(()), |uid| chown(&path, Some(uid.as_raw()), None)))
                .map_err(|error| wrong(&path, &error))?;
        }
        Ok(lock)
    }

    /// The socket that a daemon of this account may connect to; one that is there is replaced.
    pub(super) fn listen(&self, daemon: Uid) -> Result<OwnedFd, Error> {
        match fs::remove_file(self.socket()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = packets::listener(&self.socket())?;
        fs::set_permissions(self.socket(), Permissions::from_mode(0o600))?;
        chown(self.socket(), Some(daemon.as_raw()), None)?;
        Ok(listener)
    }

    /// Makes again what somebody has removed of it, with a new socket, which is returned. The directories of sessions
    /// are made again one by one ([`RunDir::make_session`]).
    pub(super) fn restore(&self, daemon: Uid, lock: &mut Flock<File>) -> Result<OwnedFd, String> {
        let pass = if geteuid().is_root() { 0o711 } else { 0o700 };
        let owner = |path: &Path| chown(path, Some(daemon.as_raw()), None);
        let spawner = self.root.join("spawner");
        make_dir(&self.root, pass)
            .and_then(|()| make_dir(&spawner, 0o700))
            .and_then(|()| owner(&spawner))
            .and_then(|()| make_dir(&self.root.join("s"), pass))
            .map_err(|error| wrong(&self.root, &error))?;
        let lock_path = self.root.join("lock");
        let is_ours = fs::metadata(&lock_path).and_then(|there| {
            let held = lock.metadata()?;
            Ok((there.dev(), there.ino()) == (held.dev(), held.ino()))
        });
        if !is_ours.unwrap_or(false) {
            let file = open_lock(&lock_path).map_err(|error| wrong(&lock_path, &error))?;
            *lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
                .map_err(|(_, error)| wrong(&lock_path, &Error::from(error)))?;
        }
        self.listen(daemon).map_err(|error| wrong(&self.socket(), &error))
    }

    /// A session's directory, of its account and nobody else's. One that is there already must be empty: the spawner
    /// makes the directories of its sessions again when somebody has removed them, and a session may just be starting.
    pub(super) fn make_session(&self, session: SessionId, uid: Uid, gid: Gid) -> Result<PathBuf, Error> {
        let path = self.of_session(session);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(error) if fs::read_dir(&path)?.next().is_some() => return Err(error),
            _ => {}
        }
        if uid != geteuid() {
            chown(&path, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        Ok(path)
    }

    /// Removes what is left of a session whose process has removed its own. What its user has put there stays
    /// until the spawner's end: the spawner has no time to clear up after users.
    pub(super) fn forget_session(&self, session: SessionId) {
        let _ = fs::remove_dir(self.of_session(session));
    }

    /// Removes everything but the lock, which a successor may be waiting for.
    pub(super) fn clear(&self) {
        for dir in ["spawner", "s"] {
            if let Err(error) = remove(&self.root.join(dir)) {
                tracing::warn!("{dir} is left in {}: {error}", self.root.display());
            }
        }
    }
}

/// Makes `path` a directory with `mode`, parents included; one that is somebody else's is refused.
fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    if fs::symlink_metadata(path)?.uid() != geteuid().as_raw() {
        return Err(Error::new(ErrorKind::PermissionDenied, "it belongs to another account"));
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn wrong(path: &Path, error: &Error) -> String {
    format!("the run directory cannot be used: {}: {error}: choose another, or remove it", path.display())
}

fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Says that whoever holds what is returned lives in this directory.
pub(super) fn live_in(dir: &Path) -> Result<Flock<File>, Error> {
    Flock::lock(File::open(dir)?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error.into())
}

/// Removes everything from a directory but what somebody lives in: the sessions of a spawner that was killed.
fn remove_dead(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        } else if live_in(&entry.path()).is_ok() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::Account;
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_daemon_gets_to_the_spawner_and_only_its_user_into_a_session() {
        let temp = tempfile::tempdir().unwrap();
        let run = RunDir::new(temp.path().join("run"));
        let lock = run.take(geteuid()).unwrap();
        assert_eq!(mode(&temp.path().join("run/spawner")), 0o700);
        let account = Account::own(geteuid()).unwrap();
        let session = run.make_session(SessionId(5), account.uid, account.gid).unwrap();
        assert_eq!(mode(&session), 0o700);
        fs::write(session.join("file"), "").unwrap();
        let again = run.make_session(SessionId(5), account.uid, account.gid);
        assert!(again.is_err(), "a session's directory is its own");
        fs::remove_file(session.join("file")).unwrap();
        run.forget_session(SessionId(5));
        assert!(!session.exists());
        run.clear();
        drop(lock);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_at_the_start() {
        let run = RunDir::new(format!("/tmp/{}", "x".repeat(100)));
        let error = run.take(geteuid()).unwrap_err();
        assert!(error.contains("shorter"), "{error}");
    }
}
