//! A DTU's own key, which it keeps: made at its first boot, in a file that only its user may read.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use proto::Serial;
use proto::io::tls::dtu::DtuSecret;
use proto::line::Line;
use zeroize::Zeroizing;

/// Largest file that is read, in bytes.
const FILE_MAX: u64 = 1024;
/// What the file of a fleet is called: the keys of all its DTUs are derived from the one in it.
const FLEET: &str = "fleet";

/// Why a DTU has no key. The text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// Nothing says where keys are kept.
    #[error("there is no home directory to keep the key in: say where with --state DIR")]
    Nowhere,
    /// The file, or its directory, cannot be read or made.
    #[error("{}: {source}; say with --state DIR where the key is to be kept", path.display())]
    File {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may read or change the file.
    #[error("{}: mode {mode:04o} lets others at the key; chmod 0600 it", path.display())]
    Mode {
        /// The file concerned.
        path: PathBuf,
        /// The permissions it has, as `chmod` takes them.
        mode: u32,
    },
    /// The file holds no key.
    #[error(
        "{}: holds no key; remove it, and let the DTU in with its new one: authmgr dtu forget SERIAL",
        .0.display()
    )]
    Content(PathBuf),
}

/// Where keys are kept unless told otherwise: with what programs keep of this user.
fn default_dir() -> Option<PathBuf> {
    let dir = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let state = dir("XDG_STATE_HOME").or_else(|| Some(dir("HOME")?.join(".local/state")))?;
    Some(state.join("hotdesk/dtu"))
}

/// The key of the DTU with this serial, kept in `dir` or where keys are kept; made if there is none yet.
///
/// # Errors
/// See [`OwnKeyError`].
pub(super) fn of_dtu(dir: Option<&Path>, serial: &Serial) -> Result<DtuSecret, OwnKeyError> {
    of_file(dir, serial.as_str())
}

/// The key that those of a fleet are derived from.
///
/// # Errors
/// See [`OwnKeyError`].
pub(super) fn of_fleet(dir: Option<&Path>) -> Result<DtuSecret, OwnKeyError> {
    of_file(dir, FLEET)
}

fn of_file(dir: Option<&Path>, name: &str) -> Result<DtuSecret, OwnKeyError> {
    let dir = dir.map(Path::to_path_buf).or_else(default_dir).ok_or(OwnKeyError::Nowhere)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|source| OwnKeyError::File { path: dir.clone(), source })?;
    let path = dir.join(format!("{name}.key"));
    match read(&path) {
        Err(OwnKeyError::File { source, .. }) if source.kind() == ErrorKind::NotFound => make(&path),
        read => read,
    }
}

fn read(path: &Path) -> Result<DtuSecret, OwnKeyError> {
    let fail = |source| OwnKeyError::File { path: path.into(), source };
    let file = fs::File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.mode();
    if mode & 0o077 != 0 {
        return Err(OwnKeyError::Mode { path: path.into(), mode: mode & 0o7777 });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(fail)?;
    key_in(&bytes).ok_or_else(|| OwnKeyError::Content(path.into()))
}

/// The key in a file: one line among comments.
fn key_in(bytes: &[u8]) -> Option<DtuSecret> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let line: Line = line.parse().ok()?;
    line.expect("dtu-key").ok()?;
    let secret = Zeroizing::new(line.need::<String>("ed25519").ok()?);
    proto::hex::decode(secret.as_bytes()).map(DtuSecret::new)
}

/// Makes a key and its file. Where two do so at once, both get the key of the first.
fn make(path: &Path) -> Result<DtuSecret, OwnKeyError> {
    let fail = |source| OwnKeyError::File { path: path.into(), source };
    let secret = DtuSecret::new(proto::io::random());
    let line = Line::new("dtu-key").with("ed25519", proto::hex::encode(secret.bytes()));
    let text =
        Zeroizing::new(format!("# The key of a desk unit. Whoever has this file passes for it.\n{line}\n"));
    // Whole before it has its name: a DTU that is switched off meanwhile must not come back with half a key.
    let draft = path.with_extension(format!("new-{:016x}", u64::from_be_bytes(proto::io::random())));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&draft, path)
    };
    let written = write();
    drop(fs::remove_file(&draft));
    match written {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(fail(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn serial(text: &str) -> Serial {
        text.parse().unwrap()
    }

    #[test]
    fn a_dtu_makes_its_key_at_its_first_boot_and_has_it_ever_after_and_each_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state/dtu");
        let of = |name: &str| *of_dtu(Some(&dir), &serial(name)).unwrap().bytes();
        assert_eq!(of("080020000001"), of("080020000001"));
        assert_ne!(of("080020000001"), of("080020000002"));
        assert_eq!(of_fleet(Some(&dir)).unwrap().bytes(), of_fleet(Some(&dir)).unwrap().bytes());
        let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(files.iter().all(|file| file.metadata().unwrap().mode() & 0o7777 == 0o600));
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn two_that_boot_at_once_with_one_serial_have_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let boot = || *of_dtu(Some(dir.path()), &serial("a")).unwrap().bytes();
        let keys = std::thread::scope(|scope| {
            [0; 8].map(|_| scope.spawn(boot)).map(|thread| thread.join().unwrap())
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_not_used_and_the_remedy_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let refused = || of_dtu(Some(dir.path()), &serial("a")).map(|_| ()).unwrap_err().to_string();
        for damaged in ["", "dtu-key", "dtu-key ed25519=12", "junk", "dtu-key ed25519=\\\n"] {
            fs::write(&path, damaged).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(refused().contains("authmgr dtu forget"), "{damaged:?}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refused().contains("chmod 0600"));
        let nowhere = of_dtu(Some(&path), &serial("a")).map(|_| ()).unwrap_err().to_string();
        assert!(nowhere.contains("--state DIR"), "{nowhere}");
    }
}
