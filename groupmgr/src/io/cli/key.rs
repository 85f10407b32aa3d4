//! `key status` and `key rotate`: which keys the hosts and the data store run with, and the next step of replacing one.
//!
//! A step in the directory alone changes nothing that runs: the files are copied and the programs restarted by people.
//! So before the next step everybody is asked which keys they run with, and whoever does not have the step before is
//! named.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use datastore::io::Target as StoreTarget;
use proto::exit::Exit;
use proto::io::cli::{Failure, KEYS, print};
use proto::io::{KeyDir, Rotation};
use proto::keys::{GroupKey, KeyRing};
use proto::{HostName, KeyId};
use serde::Serialize;
use serde_json::json;

use super::args::{At, KeyCommand};
use super::ask::Daemon;
use super::show::print_json;
use super::table::Table;
use crate::host::admin::{Command, Reply, Status};
use crate::io::admin::wire::{Answer, Ask, Outcome, Target};

pub(super) fn run(at: &At, command: KeyCommand) -> Result<Exit, Failure> {
    match command {
        KeyCommand::Status { dir } => status(at, dir),
        KeyCommand::Rotate { dir, force } => rotate(at, &dir, force),
    }
}

/// A host or a data store, and the keys it runs with, the one it signs with first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Holder {
    name: String,
    /// None when it did not say.
    keys: Vec<KeyId>,
    /// The cause, for a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Holder {
    fn of_host(status: &Status) -> Self {
        // A host of an older version tells the key that it signs with, and no other.
        let keys = if status.keys.is_empty() { vec![status.key] } else { status.keys.clone() };
        Self { name: status.host.to_string(), keys, why: None }
    }

    fn silent(name: String, why: String) -> Self {
        Self { name, keys: Vec::new(), why: Some(why) }
    }

    /// Why it does not run with exactly the keys of `disk`, in that order.
    fn differs(&self, disk: &[KeyId]) -> Option<String> {
        match (&self.why, self.keys == disk) {
            (Some(why), _) => Some(format!("does not say which keys it has: {why}")),
            (None, true) => None,
            (None, false) if self.keys.first() != disk.first() => {
                Some(format!("still signs with {}", list(self.keys.get(..1).unwrap_or_default())))
            }
            (None, false) => Some(format!("verifies {}, not {}", list(&self.keys), list(disk))),
        }
    }
}

/// Everybody in the group, with the keys they run with.
struct Holders {
    all: Vec<Holder>,
    /// The key directory of the daemon that was asked.
    dir: Option<PathBuf>,
    /// Hosts that are heard and have none of the group's keys.
    strangers: Vec<HostName>,
}

fn ids(ring: &KeyRing) -> Vec<KeyId> {
    ring.keys().iter().map(GroupKey::id).collect()
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Asks every host, and each data store that a host uses. `ca` of `keys` is what the data stores are believed by.
fn ask(at: &At, keys: Option<&KeyDir>) -> Result<Holders, Failure> {
    let mut daemon = Daemon::connect(at)?;
    let dir = daemon.ask(Target::Local, Ask::Facts)?.into_iter().find_map(|answer| match answer.outcome {
        Outcome::Answer(Answer::Facts(facts)) => Some(PathBuf::from(facts.keys)),
        _ => None,
    });
    let gathered = daemon.command(Target::All, Command::Status)?;
    let table = daemon.command(Target::Local, Command::Topology)?;
    let rows = table.replies.into_iter().find_map(|(_, reply)| match reply {
        Reply::Topology(rows) => Some(rows),
        _ => None,
    });
    let strangers = rows.unwrap_or_default().into_iter().filter(|row| !row.trusted).map(|row| row.host);
    let (mut all, mut stores) = (Vec::new(), Vec::new());
    for (_, reply) in &gathered.replies {
        if let Reply::Status(status) = reply {
            all.push(Holder::of_host(status));
            stores.extend(status.store.parse::<SocketAddr>());
        }
    }
    all.extend(gathered.unreachable.into_iter().map(|(host, why)| Holder::silent(host.to_string(), why)));
    stores.sort_unstable();
    stores.dedup();
    let opened = KeyDir::open(dir.as_deref().unwrap_or(Path::new(KEYS)));
    if let Some(keys) = keys.or(opened.as_ref().ok()) {
        all.extend(stores.into_iter().map(|store| ask_store(store, keys)));
    }
    Ok(Holders { all, dir, strangers: strangers.collect() })
}

/// A data store names its keys to whoever begins a handshake.
fn ask_store(addr: SocketAddr, keys: &KeyDir) -> Holder {
    let name = format!("data store {addr}");
    let asked = StoreTarget::tcp(addr, keys).map_err(|error| error.to_string()).and_then(|target| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(datastore::io::keys_of(&target))
    });
    match asked {
        Ok(keys) => Holder { name, keys, why: None },
        Err(why) => Holder::silent(name, why),
    }
}

fn status(at: &At, dir: Option<PathBuf>) -> Result<Exit, Failure> {
    let given = dir.as_deref().map(KeyDir::open).transpose()?;
    let holders = ask(at, given.as_ref())?;
    let dir = dir.or(holders.dir).unwrap_or_else(|| KEYS.into());
    let disk = KeyDir::open(&dir);
    if at.json {
        let on_disk = disk.as_ref().map(|keys| ids(&keys.ring)).unwrap_or_default();
        let strangers = &holders.strangers;
        print_json(&json!({"dir": dir, "keys": on_disk, "holders": holders.all, "strangers": strangers}))?;
    } else {
        let mut table = Table::new(&["WHO", "SIGNS WITH", "VERIFIES TOO"]);
        let mut row = |name: &str, keys: &[KeyId], why: Option<&String>| {
            let (first, others) = keys.split_at(keys.len().min(1));
            let others = why.cloned().unwrap_or_else(|| list(others));
            table.row(
                [name.to_owned(), list(first), others].map(|c| if c.is_empty() { "-".into() } else { c }),
            );
        };
        match &disk {
            Ok(keys) => row(&dir.display().to_string(), &ids(&keys.ring), None),
            Err(error) => row(&dir.display().to_string(), &[], Some(&error.to_string())),
        }
        for holder in &holders.all {
            row(&holder.name, &holder.keys, holder.why.as_ref());
        }
        for stranger in &holders.strangers {
            row(stranger.as_str(), &[], Some(&"a key of another group, or one that was given up".to_owned()));
        }
        print(table.to_string())?;
    }
    let on_disk = disk?;
    let agree = holders.all.iter().all(|holder| holder.differs(&ids(&on_disk.ring)).is_none());
    Ok(if agree { Exit::Done } else { Exit::No })
}

/// Refuses the next step while somebody does not have the one before.
fn check(at: &At, dir: &Path) -> Result<(), Failure> {
    let keys = KeyDir::open(dir)?;
    let holders = ask(at, Some(&keys)).map_err(|failure| match failure.exit() {
        Exit::Nobody => Failure::nobody(format!(
            "{failure}; the group is asked first which keys it has: if all of it is stopped, say --force"
        )),
        _ => failure,
    })?;
    let disk = ids(&keys.ring);
    let behind: Vec<String> = (holders.all.iter())
        .filter_map(|holder| Some(format!("{} {}", holder.name, holder.differs(&disk)?)))
        .collect();
    if behind.is_empty() {
        return Ok(());
    }
    let ring = dir.join("group.keys");
    Err(Failure::no(format!(
        "not everybody runs with the keys in {}: {}; nothing was changed. Copy it there and restart what runs there, then \
         look: groupmgr key status",
        ring.display(),
        behind.join("; ")
    )))
}

fn rotate(at: &At, dir: &Path, force: bool) -> Result<Exit, Failure> {
    if !force {
        check(at, dir)?;
    }
    let step = proto::io::rotate(dir)?;
    let (word, key, now, then) = match step {
        Rotation::Added(key) => ("added", key, "verifies beside the old one", "to sign with it"),
        Rotation::Promoted(key) => {
            ("promoted", key, "signs, the old one still verifies", "to drop the old one")
        }
        Rotation::Retired(key) => ("retired", key, "is the only one", ""),
    };
    if at.json {
        print_json(&json!({"step": word, "key": key, "last": then.is_empty()}))?;
        return Ok(Exit::Done);
    }
    let dir = dir.display();
    let next =
        if then.is_empty() { String::new() } else { format!(", then {then}: groupmgr key rotate {dir}") };
    print(format!(
        "key {key} {now}\nCopy {dir}/group.keys to every host and the data store, and restart what runs there \
         (--keep-sessions keeps sessions){next}.\nWho has it: groupmgr key status\n"
    ))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lacks_the_step_before_is_named_with_what_it_has() {
        let [old, new] = [KeyId(1), KeyId(2)];
        let holder = |keys: &[KeyId]| Holder { name: "b".into(), keys: keys.to_vec(), why: None };
        assert_eq!(holder(&[old, new]).differs(&[old, new]), None);
        let lacks = holder(&[old]).differs(&[old, new]).unwrap();
        assert!(lacks.contains("verifies 00000001, not 00000001, 00000002"), "{lacks}");
        let signs = holder(&[old, new]).differs(&[new, old]).unwrap();
        assert!(signs.contains("still signs with 00000001"), "{signs}");
        assert!(Holder::silent("b".into(), "no answer".into()).differs(&[old]).is_some());
    }
}
