//! The backup file: text, a record a line, with a checksum at the end.
//!
//! ```text
//! hotdesk backup 1
//! generation 3
//! put notes/a 6869
//! delete notes/b
//! end records=2 sha256=...
//! ```
//!
//! Records are to be applied in order; later ones overrule earlier ones. That is what lets a backup be taken
//! while the store is written to: first the pages of a listing, then every change that happened meanwhile.
//! The checksum is over everything before the last line.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::key::Key;
use crate::message::{Change, Generation};
use crate::value::Value;

const MAGIC: &str = "hotdesk backup 1";

/// Longest line of a backup, in bytes, without its end: a put of the longest key and the largest value.
pub const LINE_MAX: usize = "put ".len() + Key::LEN_MAX + 1 + 2 * Value::LEN_MAX;

/// Why a file is no backup that can be restored. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Not made by `datastore backup`.
    #[error("line 1: not a backup (it should begin with {MAGIC:?})")]
    NotABackup,
    /// A line that is no record.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with the line.
        what: &'static str,
    },
    /// The end is missing: the file was cut, or its making interrupted.
    #[error("the end is missing: the backup was interrupted or the file cut")]
    Cut,
    /// The checksum is wrong: the file was changed or damaged.
    #[error("the checksum is wrong: the file was changed or damaged")]
    Checksum,
}

/// Writes the lines of a backup.
#[derive(Debug)]
pub struct BackupWriter {
    hash: Sha256,
    records: u64,
}

impl BackupWriter {
    /// Begins a backup of a store of this generation.
    #[must_use]
    pub fn begin(generation: Generation, out: &mut String) -> Self {
        let head = format!("{MAGIC}\ngeneration {generation}\n");
        out.push_str(&head);
        Self { hash: Sha256::new_with_prefix(head), records: 0 }
    }

    /// Appends a record.
    pub fn record(&mut self, change: &Change, out: &mut String) {
        let line = match &change.value {
            Some(value) => format!("put {} {}\n", change.key, proto::hex::encode(value.as_bytes())),
            None => format!("delete {}\n", change.key),
        };
        self.hash.update(&line);
        self.records += 1;
        out.push_str(&line);
    }

    /// Ends the backup.
    pub fn end(self, out: &mut String) {
        let sum = proto::hex::encode(&self.hash.finalize());
        out.push_str(&format!("end records={} sha256={sum}\n", self.records));
    }
}

/// A backup that was read and found in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The generation of the store it is of.
    pub generation: Generation,
    /// What was stored.
    pub entries: BTreeMap<Key, Value>,
}

/// Reads a backup line by line.
#[derive(Debug)]
pub struct BackupReader {
    hash: Sha256,
    line: usize,
    records: u64,
    generation: Option<Generation>,
    entries: BTreeMap<Key, Value>,
    ended: bool,
}

impl Default for BackupReader {
    fn default() -> Self {
        Self {
            hash: Sha256::new(),
            line: 0,
            records: 0,
            generation: None,
            entries: BTreeMap::new(),
            ended: false,
        }
    }
}

impl BackupReader {
    /// Takes in the next line, without its end.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn line(&mut self, text: &[u8]) -> Result<(), BackupError> {
        self.line += 1;
        let bad = BackupError::Line { line: self.line, what: "not a record of a backup" };
        let line = core::str::from_utf8(text).map_err(|_| bad.clone())?;
        match self.line {
            1 if line != MAGIC => return Err(BackupError::NotABackup),
            1 => {}
            2 => {
                let number = line.strip_prefix("generation ").and_then(|n| n.parse().ok());
                self.generation = Some(Generation(number.ok_or(bad)?));
            }
            _ if self.ended => return Err(bad),
            _ => match line.strip_prefix("end ") {
                Some(rest) => return self.end(rest),
                None => self.record(line).ok_or(bad)?,
            },
        }
        self.hash.update(text);
        self.hash.update(b"\n");
        Ok(())
    }

    fn record(&mut self, line: &str) -> Option<()> {
        self.records += 1;
        let (verb, rest) = line.split_once(' ')?;
        match verb {
            "put" => {
                let (key, hex) = rest.split_once(' ')?;
                self.entries.insert(key.parse().ok()?, value_of_hex(hex)?);
            }
            "delete" => drop(self.entries.remove(&rest.parse::<Key>().ok()?)),
            _ => return None,
        }
        Some(())
    }

    fn end(&mut self, rest: &str) -> Result<(), BackupError> {
        self.ended = true;
        let sum = proto::hex::encode(&self.hash.finalize_reset());
        if rest == format!("records={} sha256={sum}", self.records) {
            Ok(())
        } else {
            Err(BackupError::Checksum)
        }
    }

    /// The whole of it, once all lines were taken in.
    ///
    /// # Errors
    /// [`BackupError::NotABackup`] when there was no line, [`BackupError::Cut`] when the end did not come.
    pub fn finish(self) -> Result<Backup, BackupError> {
        match (self.line, self.generation) {
            (0, _) => Err(BackupError::NotABackup),
            (_, Some(generation)) if self.ended => Ok(Backup { generation, entries: self.entries }),
            _ => Err(BackupError::Cut),
        }
    }
}

fn value_of_hex(hex: &str) -> Option<Value> {
    if hex.len() > 2 * Value::LEN_MAX {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        hex.as_bytes().chunks(2).map(|pair| proto::hex::decode::<1>(pair).map(|[byte]| byte)).collect();
    Value::new(&bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(key: &str, value: Option<&[u8]>) -> Change {
        Change { key: key.parse().unwrap(), value: value.map(|v| Value::new(v).unwrap()) }
    }

    fn sample() -> String {
        let mut text = String::new();
        let mut writer = BackupWriter::begin(Generation(3), &mut text);
        for (key, value) in [("a", Some(&b"1"[..])), ("b", Some(b"")), ("a", Some(b"2")), ("b", None)] {
            writer.record(&change(key, value), &mut text);
        }
        writer.end(&mut text);
        text
    }

    fn read(text: &str) -> Result<Backup, BackupError> {
        let mut reader = BackupReader::default();
        text.lines().try_for_each(|line| reader.line(line.as_bytes()))?;
        reader.finish()
    }

    #[test]
    fn a_backup_reads_back_with_later_records_overruling_earlier_ones() {
        let backup = read(&sample()).unwrap();
        assert_eq!(backup.generation, Generation(3));
        let entries: Vec<_> = backup.entries.iter().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
        assert_eq!(entries, [("a", &b"2"[..])]);
    }

    #[test]
    fn a_backup_that_was_cut_or_changed_anywhere_is_refused() {
        let text = sample();
        let lines: Vec<_> = text.lines().collect();
        for count in 0..lines.len() {
            assert!(read(&lines[..count].join("\n")).is_err(), "{count} lines");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(read(&changed).is_err(), "byte {at}");
            }
        }
        assert_eq!(
            read(&format!("{text}put a 00")),
            Err(BackupError::Line { line: 8, what: "not a record of a backup" })
        );
        assert_eq!(read("something else"), Err(BackupError::NotABackup));
    }

    #[test]
    fn the_longest_line_is_within_its_bound() {
        let mut text = String::new();
        let mut writer = BackupWriter::begin(Generation(1), &mut text);
        text.clear();
        writer.record(&change(&"k".repeat(Key::LEN_MAX), Some(&[0; Value::LEN_MAX])), &mut text);
        assert_eq!(text.trim_end().len(), LINE_MAX);
    }

    proptest! {
        #[test]
        fn reading_backups_never_panics(lines in proptest::collection::vec("(put|delete|end|generation) [a-f0-9/]{0,4}( [0-9a-fx]{0,5})?|.{0,20}", 0..6)) {
            let mut reader = BackupReader::default();
            let _ = reader.line(MAGIC.as_bytes());
            let _ = reader.line(b"generation 1");
            for line in &lines {
                let _ = reader.line(line.as_bytes());
            }
            let _ = reader.finish();
        }
    }
}
