//! The engine on the disk: sled, made to keep what it says.
//!
//! sled's `flush` writes its log and waits for `sync_file_range`, which neither asks the disk to empty its
//! cache nor writes the file's size and extents; after a power cut the end of the log may be gone. So
//! [`SledEngine::make_safe`] also syncs, by itself, every file that sled may have written since:
//!
//! * `db`, the log: fdatasync after every flush (which includes the size when the log has grown);
//! * `blobs/*`, one file for each page too large for a log segment: written once and never changed, so each
//!   is synced once, and then the directory. With [`SEGMENT_SIZE`] no page of ours is that large; it is
//!   looked at all the same, since it is sled's to decide;
//! * `conf` and `snap.*`, written only while opening: everything is synced once after opening. That also makes
//!   safe what recovery found in the log: the process may have died between a write and its fsync, and then
//!   the next one must not show what only the page cache holds.

mod dir;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

pub use dir::OpenError;
use dir::{StoreDir, sync_dir, sync_tree};

use proto::StoreId;

use super::durable::{Durable, Engine};
use crate::backup::Backup;
use crate::batch::Batch;
use crate::key::{Key, Prefix};
use crate::message::{Generation, Revision};
use crate::quota::Quota;
use crate::value::Value;

/// A store in a directory of this machine.
pub type SledStore = Durable<SledEngine>;

/// sled's unit of writing and of reclaiming. A page holds up to 16 values, and one larger than a quarter of
/// a segment goes to a file of its own, which costs an fsync more; 8 MiB keep all of ours in the log.
const SEGMENT_SIZE: usize = 8 * 1024 * 1024;
const _: () = assert!(SEGMENT_SIZE / 4 > 20 * (Value::LEN_MAX + Key::LEN_MAX + 64));

/// With less room on the disk, in bytes, no write is begun: a batch and the segment it may need.
const ROOM: u64 = (Batch::BYTES_MAX + SEGMENT_SIZE) as u64;

/// Pages kept in memory, in bytes.
const CACHE: u64 = 64 * 1024 * 1024;

/// How often sled tidies its log up, in milliseconds.
const TIDY_EVERY_MS: u64 = 500;

/// Values are under `d` and their key; `r` holds the revision. One tree, so that a batch can hold both.
const DATA: u8 = b'd';
const REVISION: &[u8] = b"r";

/// sled and the files it writes.
#[derive(Debug)]
pub struct SledEngine {
    /// `None` while it is being opened anew, and after that has failed.
    opened: RwLock<Option<Opened>>,
    id: StoreId,
    generation: Generation,
    revision: Revision,
    dir: StoreDir,
}

#[derive(Debug)]
struct Opened {
    db: sled::Db,
    files: Files,
}

impl Durable<SledEngine> {
    /// Opens the store in `dir`, or makes one.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, Quota::default())
    }

    /// The same, with a quota.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(dir: &Path, quota: Quota) -> Result<Self, OpenError> {
        let engine = SledEngine::open(dir)?;
        Self::with_quota(engine, quota).map_err(|source| OpenError::Io {
            path: dir.into(),
            source,
            remedy: "raise the limit on threads",
        })
    }
}

impl SledEngine {
    /// Opens the store in `path`, or makes one of the first generation.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let dir = StoreDir::take(path)?;
        let generation = match dir.generation()? {
            Some(generation) => generation,
            None => {
                dir.use_generation(Generation::FIRST)?;
                Generation::FIRST
            }
        };
        Self::open_generation(dir, generation)
    }

    fn open_generation(dir: StoreDir, generation: Generation) -> Result<Self, OpenError> {
        let (opened, revision) = Opened::of(&dir, generation)?;
        Ok(Self { opened: RwLock::new(Some(opened)), id: dir.id()?, generation, revision, dir })
    }

    /// Whether a file of the needed size can be made. Only so are quotas and limits seen that concern this process alone.
    fn probe(&self) -> io::Result<()> {
        let path = self.dir.path().join("probe");
        let probe = File::create(&path)?;
        let made = nix::fcntl::posix_fallocate(&probe, 0, ROOM as nix::libc::off_t);
        fs::remove_file(&path)?;
        Ok(made?)
    }

    /// Does something with the database, if it is open.
    fn with<T>(&self, f: impl FnOnce(&Opened) -> io::Result<T>) -> io::Result<T> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.as_ref().map_or_else(|| Err(io::Error::other("it is not open")), f)
    }

    /// Fills `path` from a backup. The generation rises above the backup's and above every one that was ever
    /// in use there. Answers with it, and with where the data that was there before is kept.
    ///
    /// # Errors
    /// [`OpenError::Occupied`] when there is a store and it is not `forced`; else see [`OpenError`]. Whatever
    /// was in use before still is.
    pub(super) fn restore(
        path: &Path,
        backup: &Backup,
        forced: bool,
    ) -> Result<(Generation, Option<PathBuf>), OpenError> {
        let dir = StoreDir::take(path)?;
        let old = match dir.generation() {
            Ok(Some(_)) | Err(OpenError::Layout { .. }) if !forced => {
                return Err(OpenError::Occupied(path.into()));
            }
            Ok(old) => old,
            Err(OpenError::Layout { .. } | OpenError::Unfinished(_)) => None,
            Err(error) => return Err(error),
        };
        let highest = dir.highest()?.max(old).max(Some(backup.generation));
        let generation = highest.unwrap_or(Generation::FIRST).next();
        let kept = old.map(|old| dir.data(old)).filter(|data| data.exists());
        let engine = Self::open_generation(dir, generation)?;
        let fail = |e: io::Error| OpenError::Engine { dir: engine.dir.data(generation), why: e.to_string() };
        let entries: Vec<_> = backup.entries.iter().collect();
        let mut revision = Revision::default();
        for part in entries.chunks(256) {
            revision = Revision(revision.0 + part.len() as u64);
            let mut writes = part.iter().map(|(key, value)| (*key, Some(*value)));
            engine.write(&mut writes, revision).map_err(fail)?;
        }
        engine.make_safe().map_err(fail)?;
        engine.dir.use_generation(generation)?;
        Ok((generation, kept))
    }
}

impl Opened {
    /// Opens the files of a generation. Whatever is found is safe when this returns.
    fn of(dir: &StoreDir, generation: Generation) -> Result<(Self, Revision), OpenError> {
        let data = dir.data(generation);
        let fail = |why: String| OpenError::Engine { dir: data.clone(), why };
        let config = sled::Config::default()
            .path(&data)
            .segment_size(SEGMENT_SIZE)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(TIDY_EVERY_MS));
        // sled panics on some kinds of damage.
        let db = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| fail("it panicked on what it found".into()))?
            .map_err(|e| fail(e.to_string()))?;
        let revision = match db.get(REVISION).map_err(|e| fail(e.to_string()))? {
            Some(bytes) => decode_revision(&bytes).ok_or_else(|| fail("its revision is damaged".into()))?,
            None => Revision::default(),
        };
        let files = Files::open(&data).map_err(|e| fail(e.to_string()))?;
        db.flush().map_err(|e| fail(e.to_string()))?;
        sync_tree(&data).and_then(|()| sync_dir(dir.path())).map_err(|e| fail(e.to_string()))?;
        Ok((Self { db, files }, revision))
    }
}

impl Engine for SledEngine {
    fn place(&self) -> String {
        self.dir.path().display().to_string()
    }

    fn id(&self) -> StoreId {
        self.id
    }

    fn generation(&self) -> Generation {
        self.generation
    }

    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &Key) -> io::Result<Option<Value>> {
        let found = self.with(|opened| Ok(opened.db.get(data_key(key.as_str()))?))?;
        found.map(|bytes| value(&bytes)).transpose()
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&Key>,
    ) -> Box<dyn Iterator<Item = io::Result<(Key, Value)>> + 'a> {
        let start = match after {
            Some(key) if key.as_str() >= prefix.as_str() => Bound::Excluded(data_key(key.as_str())),
            _ => Bound::Included(data_key(prefix.as_str())),
        };
        let range = self.with(|opened| Ok(opened.db.range((start, Bound::Excluded(vec![DATA + 1])))));
        let range = match range {
            Ok(range) => range,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let entries = range.map(|entry| {
            let (key, bytes) = entry?;
            Ok((key_of(&key)?, value(&bytes)?))
        });
        Box::new(entries.take_while(|entry| entry.as_ref().map_or(true, |(key, _)| prefix.holds(key))))
    }

    fn write(
        &self,
        writes: &mut dyn Iterator<Item = (&Key, Option<&Value>)>,
        revision: Revision,
    ) -> io::Result<()> {
        let revision = revision.0.to_be_bytes();
        let (first, second) = (writes.next(), writes.next());
        self.with(|Opened { db, .. }| {
            if let (Some((key, value)), None) = (first, second) {
                // For a batch sled writes its log twice, and waits for the disk each time. One key needs none: after a power
                // cut the beginning of the log is found, and a revision whose value is not there was told to nobody.
                db.insert(REVISION, &revision)?;
                match value {
                    Some(value) => db.insert(data_key(key.as_str()), value.as_bytes())?,
                    None => db.remove(data_key(key.as_str()))?,
                };
                return Ok(());
            }
            let mut batch = sled::Batch::default();
            for (key, value) in first.into_iter().chain(second).chain(writes) {
                match value {
                    Some(value) => batch.insert(data_key(key.as_str()), value.as_bytes()),
                    None => batch.remove(data_key(key.as_str())),
                }
            }
            batch.insert(REVISION, &revision);
            Ok(db.apply_batch(batch)?)
        })
    }

    fn make_safe(&self) -> io::Result<()> {
        self.with(|opened| {
            opened.db.flush()?;
            // A disk that was full when it was written to is mended by opening the files anew; one that could not keep
            // what it had taken is not.
            opened.files.sync().map_err(|error| io::Error::other(error.to_string()))
        })
    }

    fn has_room(&self) -> io::Result<()> {
        let disk = nix::sys::statvfs::statvfs(self.dir.path())?;
        let (unit, all) = (disk.fragment_size() as u64, disk.blocks() as u64);
        let room = (disk.blocks_available() as u64).saturating_mul(unit);
        // Of a small disk a part: it may never have had as much.
        if room < ROOM.min(all.saturating_mul(unit) / 8) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn recover(&self) -> io::Result<Revision> {
        // The old files can be read. Without room for what opening writes they would be closed for nothing.
        self.probe()?;
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: the files are locked.
        *opened = None;
        let (anew, revision) = Opened::of(&self.dir, self.generation).map_err(io::Error::other)?;
        *opened = Some(anew);
        Ok(revision)
    }
}

/// The files sled writes while it runs, through handles of our own.
#[derive(Debug)]
struct Files {
    log: File,
    blobs: PathBuf,
    safe_blobs: Mutex<BTreeSet<OsString>>,
}

impl Files {
    fn open(data: &Path) -> io::Result<Self> {
        let log = File::open(data.join("db"))?;
        Ok(Self { log, blobs: data.join("blobs"), safe_blobs: Mutex::default() })
    }

    fn sync(&self) -> io::Result<()> {
        self.log.sync_data()?;
        let mut safe = self.safe_blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeSet::new();
        let mut has_new = false;
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            if !safe.contains(&entry.file_name()) {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // sled has replaced the page meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                has_new = true;
            }
            present.insert(entry.file_name());
        }
        *safe = present;
        if has_new { sync_dir(&self.blobs) } else { Ok(()) }
    }
}

fn data_key(text: &str) -> Vec<u8> {
    [&[DATA], text.as_bytes()].concat()
}

fn key_of(bytes: &[u8]) -> io::Result<Key> {
    let text = bytes.get(1..).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| io::Error::other("a damaged key"))
}

fn value(bytes: &[u8]) -> io::Result<Value> {
    Value::new(bytes).map_err(io::Error::other)
}

fn decode_revision(bytes: &[u8]) -> Option<Revision> {
    bytes.try_into().ok().map(|bytes| Revision(u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests;
