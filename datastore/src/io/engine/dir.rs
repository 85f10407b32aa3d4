//! The directory of a data store.
//!
//! | Name | What |
//! |---|---|
//! | `lock` | held by the one process that uses the directory; names its process id |
//! | `store` | text: the layout's version and the generation in use |
//! | `id` | text: which store this is, drawn when it was made; in a file of its own, so that older versions of this program can use the directory |
//! | `g<generation>/` | sled's files of that generation |
//!
//! A restore builds the directory of a new generation beside the old one and then replaces `store`, which is
//! one atomic step: at any moment either the old data is in use as it was or the new is, complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use proto::StoreId;
use proto::io::random;

use crate::message::Generation;

/// Why a directory cannot be used. The text names it and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refuses.
    #[error("{}: {source}; {remedy}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Another process uses it.
    #[error("{}: another data store uses this directory{}; stop it, or choose another with --dir", dir.display(), of_pid(pid))]
    InUse {
        /// The directory of the store.
        dir: PathBuf,
        /// The other's process id, if it said so.
        pid: String,
    },
    /// There is something else in it.
    #[error("{}: this directory holds something else and no data store; choose an empty one with --dir", .0.display())]
    NotAStore(PathBuf),
    /// A restore into it was interrupted.
    #[error("{}: a restore into this directory was not finished; run it again: datastore restore FILE --dir {}", .0.display(), .0.display())]
    Unfinished(PathBuf),
    /// There is a store in it, and none was expected.
    #[error("{}: this directory holds a data store already; --force replaces it", .0.display())]
    Occupied(PathBuf),
    /// Its `store` file cannot be understood.
    #[error("{}: {what}; use the version of this program that made it, or restore a backup with --force", path.display())]
    Layout {
        /// The file or directory concerned.
        path: PathBuf,
        /// What cannot be understood, for a person to read.
        what: String,
    },
    /// The engine cannot use its files.
    #[error("{}: the engine cannot use its files: {why}; restore a backup with --force, or repair the disk", dir.display())]
    Engine {
        /// The directory of the store.
        dir: PathBuf,
        /// What sled said.
        why: String,
    },
}

fn of_pid(pid: &str) -> String {
    if pid.is_empty() { String::new() } else { format!(" (process {pid})") }
}

const HEAD: &str = "hotdesk data store, layout 1\n";
const WRITABLE: &str = "choose a directory you may write to with --dir";

/// A directory of which this process is the only user.
#[derive(Debug)]
pub(super) struct StoreDir {
    path: PathBuf,
    /// Released when this is dropped or the process ends, however it ends.
    _lock: Flock<File>,
}

impl StoreDir {
    /// Takes the directory, making it if need be.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let fail = |source| OpenError::Io { path: path.into(), source, remedy: WRITABLE };
        let is_new = !path.exists();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
        if is_new && let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent).map_err(fail)?;
        }
        let lock = take_lock(path)?;
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// The generation in use; `None` when there is no store yet.
    pub(super) fn generation(&self) -> Result<Option<Generation>, OpenError> {
        let path = self.path.join("store");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.none_yet(),
            Err(source) => return Err(OpenError::Io { path, source, remedy: "make it readable" }),
        };
        let bad = || OpenError::Layout {
            what: format!("not what this program writes: {:?}", text.chars().take(60).collect::<String>()),
            path: path.clone(),
        };
        let rest = text.strip_prefix(HEAD).ok_or_else(bad)?;
        let number = rest.strip_prefix("generation ").and_then(|n| n.trim_end().parse().ok());
        number.map(|n| Some(Generation(n))).ok_or_else(bad)
    }

    /// Without a `store` file the directory must be empty, but for our own lock.
    fn none_yet(&self) -> Result<Option<Generation>, OpenError> {
        let others = self.entries()?;
        if others.iter().any(|name| generation_of(name).is_some()) {
            Err(OpenError::Unfinished(self.path.clone()))
        } else if others.is_empty() {
            Ok(None)
        } else {
            Err(OpenError::NotAStore(self.path.clone()))
        }
    }

    fn entries(&self) -> Result<Vec<String>, OpenError> {
        let fail = |source| OpenError::Io { path: self.path.clone(), source, remedy: WRITABLE };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
            // A file system's own directory, where the store's directory is a mount point of its own.
            if !["lock", "store.new", "id", "id.new", "lost+found"].contains(&name.as_str()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The highest generation of which there are files, in use or not.
    pub(super) fn highest(&self) -> Result<Option<Generation>, OpenError> {
        Ok(self.entries()?.iter().filter_map(|name| generation_of(name)).max())
    }

    /// Where the files of a generation are.
    pub(super) fn data(&self, generation: Generation) -> PathBuf {
        self.path.join(format!("g{generation}"))
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `generation` the one in use: safe on disk when this returns.
    pub(super) fn use_generation(&self, generation: Generation) -> Result<(), OpenError> {
        self.replace("store", &format!("{HEAD}generation {generation}\n"))
    }

    /// Which store this is. One that has no id yet, since it is new or older than ids, is given one, safe on disk when
    /// this returns.
    pub(super) fn id(&self) -> Result<StoreId, OpenError> {
        let path = self.path.join("id");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim_end().parse().map_err(|error: proto::ids::BadName| OpenError::Layout {
                what: format!("{error}; without this file the store is given another id"),
                path,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = StoreId(u128::from_be_bytes(random()));
                self.replace("id", &format!("{id}\n"))?;
                Ok(id)
            }
            Err(source) => Err(OpenError::Io { path, source, remedy: "make it readable" }),
        }
    }

    /// Replaces the file `name` in one step, safe on disk when this returns.
    fn replace(&self, name: &str, text: &str) -> Result<(), OpenError> {
        let new = self.path.join(format!("{name}.new"));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, self.path.join(name))?;
            sync_dir(&self.path)
        };
        write().map_err(|source| OpenError::Io { path: new.clone(), source, remedy: WRITABLE })
    }
}

fn generation_of(name: &str) -> Option<Generation> {
    name.strip_prefix('g')?.parse().ok().map(Generation)
}

fn take_lock(dir: &Path) -> Result<Flock<File>, OpenError> {
    let path = dir.join("lock");
    let fail = |source| OpenError::Io { path: path.clone(), source, remedy: WRITABLE };
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0).map_err(fail)?;
            write!(lock, "{}", std::process::id()).map_err(fail)?;
            Ok(lock)
        }
        Err((mut file, nix::errno::Errno::EAGAIN)) => {
            let mut pid = String::new();
            drop(file.read_to_string(&mut pid));
            Err(OpenError::InUse { dir: dir.into(), pid })
        }
        Err((_, errno)) => Err(fail(errno.into())),
    }
}

/// Makes the names in a directory safe.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes everything below a directory safe: every file, then the names.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(path)
}
