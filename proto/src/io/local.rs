//! This machine: who types, where the daemons of the machine have their sockets, and how they are asked.
//!
//! | Run directory | When |
//! |---|---|
//! | `/run/hotdesk` | as root |
//! | `$XDG_RUNTIME_DIR/hotdesk`, else `/tmp/hotdesk-<uid>` | otherwise |
//!
//! Each daemon has `<run>/<host>/admin.sock`, which takes one line of JSON and answers with one.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, Uid, User, access};

use crate::HostName;

/// The administration socket's name.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// Where daemons that root started have their directories.
const SYSTEM_RUN: &str = "/run/hotdesk";

/// The name of the user `uid`, or `uid:NUMBER` when it has none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid:{uid}"),
    }
}

/// Who runs this program, as `user@machine`.
#[must_use]
pub fn author() -> String {
    let machine = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    format!("{}@{}", user_name(Uid::current().as_raw()), machine.unwrap_or_else(|_| "?".into()))
}

/// Where daemons have their directories unless said otherwise.
#[must_use]
pub fn run_base() -> PathBuf {
    let uid = Uid::effective();
    if uid.is_root() && is_writable_dir(Path::new("/run")) {
        return SYSTEM_RUN.into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| is_writable_dir(Path::new(dir))) {
        Some(dir) => Path::new(&dir).join("hotdesk"),
        None => format!("/tmp/hotdesk-{uid}").into(),
    }
}

/// Whether this user may write into a directory.
#[must_use]
pub fn is_writable_dir(path: &Path) -> bool {
    path.is_dir() && access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Why no daemon of this machine can be asked.
#[derive(Debug, thiserror::Error)]
pub enum NoDaemon {
    /// There is no socket of a daemon, or nobody answers on it.
    #[error(
        "no daemon runs here (looked in {}); start one with: groupmgr run, or name its directory with --run-dir", .0.display()
    )]
    None(PathBuf),
    /// None of this name runs.
    #[error("no daemon of host {host} runs here (looked in {}); start one with: groupmgr run --name {host}", base.display())]
    NoneNamed {
        /// The name that was asked for.
        host: HostName,
        /// Where it was looked for.
        base: PathBuf,
    },
    /// This user may not ask it.
    #[error("{}: you may not ask the daemons there; run this as the user they run as, or as root", .0.display())]
    NotAllowed(PathBuf),
    /// It cannot be asked.
    #[error("{}: {source}; see its log", path.display())]
    Broken {
        /// The socket of the daemon.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A connection to the administration socket of a daemon of this machine.
#[derive(Debug)]
pub struct Daemon {
    /// The daemon's host name.
    pub host: HostName,
    stream: BufReader<UnixStream>,
}

impl Daemon {
    /// The daemons under `base` that run, or the one named `wanted`.
    ///
    /// # Errors
    /// When there is none that this user may ask.
    pub fn connect_all(base: &Path, wanted: Option<&HostName>) -> Result<Vec<Self>, NoDaemon> {
        let entries = match fs::read_dir(base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(NoDaemon::NotAllowed(base.into()));
            }
            Err(_) => return Err(none(base, wanted)),
        };
        let mut names: Vec<HostName> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        names.sort();
        names.retain(|name| wanted.is_none_or(|wanted| wanted == name));
        let (mut running, mut trouble) = (Vec::new(), None);
        for host in names {
            let path = base.join(host.as_str()).join(ADMIN_SOCKET);
            match UnixStream::connect(&path) {
                Ok(stream) => running.push(Self { host, stream: BufReader::new(stream) }),
                Err(error) => match error.kind() {
                    // Never there, or left behind by a daemon that was killed.
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {}
                    io::ErrorKind::PermissionDenied => trouble = Some(NoDaemon::NotAllowed(path)),
                    _ => trouble = Some(NoDaemon::Broken { path, source: error }),
                },
            }
        }
        match trouble {
            _ if !running.is_empty() => Ok(running),
            Some(trouble) => Err(trouble),
            None => Err(none(base, wanted)),
        }
    }

    /// How long to wait for an answer, and for room to ask.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        self.stream.get_ref().set_write_timeout(Some(patience))
    }

    /// Sends one line and reads one, of at most `max` bytes. Neither line holds its end.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` when the daemon ended.
    pub fn exchange(&mut self, line: &[u8], max: u64) -> io::Result<Vec<u8>> {
        self.stream.get_mut().write_all(&[line, b"\n"].concat())?;
        let mut answer = Vec::new();
        if self.stream.by_ref().take(max).read_until(b'\n', &mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.pop_if(|byte| *byte == b'\n');
        Ok(answer)
    }

    /// Waits until the daemon has ended.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait_for_end(mut self) -> io::Result<()> {
        match io::copy(&mut self.stream, &mut io::sink()) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(()),
        }
    }
}

/// None was found under `base`; there may be others which this user cannot see.
fn none(base: &Path, wanted: Option<&HostName>) -> NoDaemon {
    let is_default = base == run_base();
    let hidden = fs::read_dir(SYSTEM_RUN).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    if is_default && hidden {
        return NoDaemon::NotAllowed(SYSTEM_RUN.into());
    }
    match wanted {
        Some(host) => NoDaemon::NoneNamed { host: host.clone(), base: base.into() },
        None => NoDaemon::None(base.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_daemon_is_found_by_its_socket_and_one_that_was_killed_is_not() {
        let base = tempfile::tempdir().unwrap();
        for host in ["a", "b"] {
            fs::create_dir(base.path().join(host)).unwrap();
        }
        drop(UnixListener::bind(base.path().join("b").join(ADMIN_SOCKET)).unwrap());
        let find = |wanted: Option<&str>| {
            let wanted = wanted.map(|name| name.parse().unwrap());
            Daemon::connect_all(base.path(), wanted.as_ref())
        };
        assert!(matches!(find(None), Err(NoDaemon::None(_))));
        let _a = UnixListener::bind(base.path().join("a").join(ADMIN_SOCKET)).unwrap();
        let found: Vec<String> = find(None).unwrap().into_iter().map(|d| d.host.to_string()).collect();
        assert_eq!(found, ["a"]);
        assert!(matches!(find(Some("b")), Err(NoDaemon::NoneNamed { .. })));
    }

    #[test]
    fn a_user_without_a_name_is_told_by_number() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "uid:3999999999");
    }
}
