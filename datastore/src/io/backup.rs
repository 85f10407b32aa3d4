//! Taking a backup of a store in use, and putting one back.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt as _;

use super::engine::{OpenError, SledEngine};
use super::store::Store;
use super::watch::Watch;
use crate::backup::{Backup, BackupError, BackupReader, BackupWriter, LINE_MAX};
use crate::error::StoreError;
use crate::key::Prefix;
use crate::message::{Answer, Change, Generation, Page, Request, Revision, WatchEvent};

/// Attempts at a backup of a store that is written to faster than it can be read, or restored meanwhile.
const ATTEMPTS: usize = 3;

/// Why a backup was not taken or not put back. The text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BackupFileError {
    /// The system refuses.
    #[error("{}: {source}; choose another file, or make room", path.display())]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The store refuses, or is out of reach.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is no backup, or a damaged one. Nothing was changed.
    #[error("{}: {source}; take another backup file", path.display())]
    Content {
        /// The file or directory concerned.
        path: PathBuf,
        /// Where its text departs from that of a backup.
        source: BackupError,
    },
    /// The directory cannot be restored into.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store changed too fast.
    #[error(
        "the data store was written to faster than it could be read, {ATTEMPTS} times; try again when it is less busy"
    )]
    TooBusy,
}

/// What was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Of which generation the backup is.
    pub generation: Generation,
    /// The state it holds: exactly that after this change.
    pub revision: Revision,
    /// How many keys were read, and how many changes meanwhile.
    pub records: u64,
}

/// Writes a backup of `store` to `file`, while the store is in use. The file appears when it is complete and
/// safe on disk, in place of one that was there.
///
/// The state it holds is that of one moment, the revision of the last page that was read: the pages before are
/// older, but every change after the first was told by a watch begun before it, and is in the file too.
///
/// # Errors
/// See [`BackupFileError`]; an earlier file is untouched then.
pub async fn back_up(store: &dyn Store, file: &Path) -> Result<Saved, BackupFileError> {
    let fail = |source| BackupFileError::Io { path: file.into(), source };
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    for _ in 0..ATTEMPTS {
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut out = options.open(&partial).await.map_err(fail)?;
        let written = write_backup(store, &mut out).await;
        let saved = match written {
            Ok(Some(saved)) => saved,
            Ok(None) => continue,
            Err(error) => {
                drop(tokio::fs::remove_file(&partial).await);
                return Err(match error {
                    Failed::Store(error) => error.into(),
                    Failed::File(error) => fail(error),
                });
            }
        };
        out.sync_all().await.map_err(fail)?;
        tokio::fs::rename(&partial, file).await.map_err(fail)?;
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(fail)?;
        return Ok(saved);
    }
    drop(tokio::fs::remove_file(&partial).await);
    Err(BackupFileError::TooBusy)
}

enum Failed {
    Store(StoreError),
    File(io::Error),
}

/// `None` when events were missed or the store was restored meanwhile.
async fn write_backup(store: &dyn Store, out: &mut tokio::fs::File) -> Result<Option<Saved>, Failed> {
    let mut watch = store.watch(Prefix::default()).await.map_err(Failed::Store)?;
    let mut text = String::new();
    let generation = store.call(Request::Ping).await.map_err(Failed::Store)?.generation;
    let mut writer = BackupWriter::begin(generation, &mut text);
    let mut records = 0;
    let mut after = None;
    loop {
        let scan = Request::Scan { prefix: Prefix::default(), after, limit: Page::ENTRIES_MAX };
        let response = store.call(scan).await.map_err(Failed::Store)?;
        let Answer::Page(page) = response.answer else { return Ok(None) };
        after = page.entries.last().map(|(key, _)| key.clone());
        let entries = page.entries.into_iter().map(|(key, value)| Change { key, value: Some(value) });
        // What happened after the last page is not of its moment; after any other page, the next one is later.
        let until = if page.more { Revision(u64::MAX) } else { response.revision };
        let Some(changes) = changes_until(&mut watch, until) else { return Ok(None) };
        if response.generation != generation {
            return Ok(None);
        }
        for change in entries.chain(changes) {
            writer.record(&change, &mut text);
            records += 1;
        }
        if !page.more {
            writer.end(&mut text);
            out.write_all(text.as_bytes()).await.map_err(Failed::File)?;
            return Ok(Some(Saved { generation, revision: response.revision, records }));
        }
        out.write_all(text.as_bytes()).await.map_err(Failed::File)?;
        text.clear();
    }
}

/// The changes that were told so far; `None` when some were missed.
fn changes_until(watch: &mut Watch, until: Revision) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some(event) = watch.try_next() {
        match event {
            WatchEvent::Changed(event) if event.revision > until => break,
            WatchEvent::Changed(event) => changes.push(event.change),
            WatchEvent::Lagged => return None,
        }
    }
    Some(changes)
}

/// What was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The store's generation now.
    pub generation: Generation,
    /// How many keys it holds.
    pub keys: usize,
    /// Where the data that was replaced is kept.
    pub kept: Option<PathBuf>,
}

/// Puts a backup into `dir`, which no server may be using. The generation rises above that of the backup and
/// of every store that was in the directory, so that no epoch is given out twice. Blocks on the disk.
///
/// # Errors
/// See [`BackupFileError`]; unless `forced`, a directory that holds a store is refused. What was in use before
/// still is then.
pub fn restore(file: &Path, dir: &Path, forced: bool) -> Result<Restored, BackupFileError> {
    let backup = read_backup(file)?;
    let (generation, kept) = SledEngine::restore(dir, &backup, forced)?;
    Ok(Restored { generation, keys: backup.entries.len(), kept })
}

fn read_backup(path: &Path) -> Result<Backup, BackupFileError> {
    let fail = |source| BackupFileError::Io { path: path.into(), source };
    let bad = |source| BackupFileError::Content { path: path.into(), source };
    let mut file = BufReader::new(File::open(path).map_err(fail)?);
    let mut reader = BackupReader::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        // One more than fits, and the line's end: a longer line is no line of a backup.
        let bound = LINE_MAX as u64 + 2;
        if file.by_ref().take(bound).read_until(b'\n', &mut line).map_err(fail)? == 0 {
            return reader.finish().map_err(bad);
        }
        reader.line(line.strip_suffix(b"\n").unwrap_or(&line)).map_err(bad)?;
    }
}
