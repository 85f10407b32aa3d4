//! The commands that use a data store: by TCP with the group's keys, or by the session's socket.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use proto::io::KeyDir;
use proto::io::cli::{Failure, print};
use serde_json::json;

use super::{At, LISTEN};
use crate::client::Patience;
use crate::io::{Remote, Store, Target, back_up};
use crate::key::{Key, Prefix};
use crate::message::{Answer, Page, Request};
use crate::value::Value;

/// The environment variables that name the socket inside a session: today's, and that of a session which the version
/// before has made.
const SOCKETS: [&str; 2] = ["HOTDESK_DATA", "HOTDESK_SOCKET"];

/// A person waits for a restarting store rather than reading that it is away.
const PATIENCE: Patience = Patience { connect: Duration::from_secs(3), answer: Duration::from_secs(10) };

/// `--store` goes before the session's socket: who names an address means it.
fn connect(at: &At) -> Result<Remote, Failure> {
    let socket = SOCKETS.into_iter().filter_map(std::env::var_os).find(|path| !path.is_empty());
    let target = match (at.store, socket) {
        (None, Some(path)) => Target::Unix(path.into()),
        (addr, _) => Target::tcp(addr.unwrap_or(LISTEN), &KeyDir::open(&at.keys)?)?,
    };
    Ok(Remote::connect(target, PATIENCE))
}

pub(super) async fn get(key: &Key, at: &At) -> Result<(), Failure> {
    let value = connect(at)?.get(key).await?.ok_or_else(|| absent(key))?;
    if at.json {
        return print(format!("{}\n", entry(key, &value)));
    }
    print(value.as_bytes())?;
    // The value as it is, for whoever reads it; a line of its own for a person.
    let is_line = value.as_bytes().ends_with(b"\n") || !std::io::stdout().is_terminal();
    if is_line { Ok(()) } else { print("\n") }
}

pub(super) async fn put(key: &Key, value: &OsStr, at: &At) -> Result<(), Failure> {
    let mut bytes = value.as_bytes().to_vec();
    if value == "-" {
        bytes.clear();
        std::io::stdin().lock().take(Value::LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
    }
    let value = Value::new(&bytes).map_err(Failure::usage)?;
    connect(at)?.put(key, value).await?;
    if at.json {
        print(format!("{}\n", json!({"key": key.as_str(), "stored": true})))?;
    }
    Ok(())
}

pub(super) async fn ls(prefix: &Prefix, at: &At) -> Result<(), Failure> {
    let store = connect(at)?;
    let mut after = None;
    loop {
        let page = store.scan(prefix, after.as_ref(), Page::ENTRIES_MAX).await?;
        let line = |(key, value): &(Key, Value)| match at.json {
            true => format!("{}\n", entry(key, value)),
            false => format!("{key}\n"),
        };
        print(page.entries.iter().map(line).collect::<String>())?;
        if !page.more {
            return Ok(());
        }
        after = page.entries.last().map(|(key, _)| key.clone());
    }
}

pub(super) async fn rm(key: &Key, at: &At) -> Result<(), Failure> {
    let existed = connect(at)?.delete(key).await?;
    if at.json {
        print(format!("{}\n", json!({"key": key.as_str(), "existed": existed})))?;
    }
    if existed { Ok(()) } else { Err(absent(key)) }
}

pub(super) async fn status(at: &At) -> Result<(), Failure> {
    let response = connect(at)?.call(Request::Status).await?;
    let Answer::Status(counted) = response.answer else { return Err(Failure::machine("no status")) };
    let (generation, revision) = (response.generation.0, response.revision.0);
    if at.json {
        let counted: serde_json::Map<_, _> = counted.into_iter().map(|(name, n)| (name, n.into())).collect();
        let object = json!({"generation": generation, "revision": revision, "counted": counted});
        return print(format!("{object}\n"));
    }
    let lines: String = counted.iter().map(|(name, count)| format!("{name:20} {count}\n")).collect();
    print(format!("generation {generation}, revision {revision}\n{lines}"))
}

pub(super) async fn backup(file: &Path, at: &At) -> Result<(), Failure> {
    let saved = back_up(&connect(at)?, file).await?;
    let (generation, revision, records) = (saved.generation.0, saved.revision.0, saved.records);
    let file = file.display().to_string();
    let said = if at.json {
        json!({"file": file, "generation": generation, "revision": revision, "records": records}).to_string()
    } else {
        format!("{file}: generation {generation} at revision {revision}, {records} records")
    };
    print(said + "\n")
}

pub(super) fn restore(file: &Path, dir: &Path, forced: bool, as_json: bool) -> Result<(), Failure> {
    let restored = crate::io::restore(file, dir, forced)?;
    let (generation, keys) = (restored.generation.0, restored.keys);
    let dir = dir.display().to_string();
    let kept = restored.kept.map(|path| path.display().to_string());
    let said = if as_json {
        json!({"dir": dir, "generation": generation, "keys": keys, "kept": kept}).to_string()
    } else {
        let kept = kept.map_or(String::new(), |path| format!("; the data it replaces is kept in {path}"));
        format!("{dir}: {keys} keys, now generation {generation}{kept}")
    };
    print(said + "\n")
}

/// With `rm` and `get` the exit code is the answer, as with `test`.
fn absent(key: &Key) -> Failure {
    Failure::no(format!("no such key: {key}"))
}

/// A key and its value as JSON: as text when it is text, else as hex.
fn entry(key: &Key, value: &Value) -> serde_json::Value {
    let key = key.as_str();
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => json!({"key": key, "value": text}),
        Err(_) => json!({"key": key, "value_hex": proto::hex::encode(value.as_bytes())}),
    }
}
