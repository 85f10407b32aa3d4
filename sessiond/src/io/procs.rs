//! Finding and ending all that a process has started.
//!
//! Whoever uses this is a child subreaper (`PR_SET_CHILD_SUBREAPER`): what its descendants leave behind becomes its
//! own child, however often it forked and whatever session it went to. So everything is found by walking down
//! from here, and nothing is left once `waitpid` says that there is no child.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};

use crate::control::Exit;

/// The processes that descend from `of`, parents before their children, as the kernel lists them.
fn listed_below(of: Pid) -> Vec<Pid> {
    let mut found = children(of);
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        // One that has ended meanwhile has left its children to us; they are found the next time.
        found.extend(children(pid));
        at += 1;
    }
    found
}

/// The account that a process runs as, unless it has ended.
pub(super) fn account_of(pid: Pid) -> Option<(Uid, Gid)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let id = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some((Uid::from_raw(id("Uid:")?), Gid::from_raw(id("Gid:")?)))
}

/// The directory that a process is in; `None` if it has ended, is not ours to ask, or its directory is gone.
pub(super) fn directory_of(pid: Pid) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    path.is_dir().then(|| path.to_str().map(str::to_owned))?
}

/// What a process was started as, for a person to read.
pub(super) fn command_of(pid: Pid) -> Option<String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&words).replace('\0', " ");
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// The children of all threads of a process; none of one that has ended.
fn children(of: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
    }
    found
}

/// Whether the kernel lists children (CONFIG_PROC_CHILDREN); nearly every one does.
fn is_listing() -> bool {
    let me = Pid::this();
    Path::new(&format!("/proc/{me}/task/{me}/children")).exists()
}

/// The same by reading of every process who its parent is.
fn searched_below(of: Pid) -> Vec<Pid> {
    let mut by_parent: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(stat) = Stat::of(Pid::from_raw(pid)) {
            by_parent.entry(stat.parent).or_default().push(Pid::from_raw(pid));
        }
    }
    let mut found = by_parent.remove(&of).unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(by_parent.remove(pid).unwrap_or_default());
        at += 1;
    }
    found
}

/// All that descends from `of` at this moment.
pub(super) fn below(of: Pid) -> Vec<Pid> {
    if is_listing() { listed_below(of) } else { searched_below(of) }
}

/// The direct children of this process.
pub(super) fn own_children() -> Vec<Pid> {
    let me = Pid::this();
    if is_listing() {
        return children(me);
    }
    let child_of_mine = |pid: &Pid| Stat::of(*pid).is_some_and(|stat| stat.parent == me);
    searched_below(me).into_iter().filter(child_of_mine).collect()
}

struct Stat {
    parent: Pid,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, brackets and blanks too; after its last bracket: state, parent ...
        let parent = text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self { parent: Pid::from_raw(parent) })
    }
}

/// What belongs to the service whose process is `leader` and whose processes inherit the variable `mark`
/// (`NAME=value`): what descends from it, and what has left it and still carries the mark. One that did both, leave
/// and clear its environment, is only found when the whole session ends.
pub(super) fn of_service(leader: Pid, mark: &str) -> Vec<Pid> {
    let all = below(Pid::this());
    let mut found = if all.contains(&leader) { vec![leader] } else { Vec::new() };
    found.extend(below(leader));
    let is_marked = |pid: &Pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let strays: Vec<Pid> = all.into_iter().filter(|pid| !found.contains(pid) && is_marked(pid)).collect();
    found.extend(strays);
    found
}

/// Asks processes to end, by SIGHUP or SIGTERM. The stopped ones are woken, or they would not hear it.
pub(super) fn ask_to_end(pids: &[Pid], by: Signal) {
    for pid in pids {
        let _ = kill(*pid, by);
        let _ = kill(*pid, Signal::SIGCONT);
    }
}

/// Ends processes. One that belongs to another account (a `sudo` of the session's user) cannot be ended from
/// here; the spawner gets it as its child when this process leaves.
pub(super) fn end(pids: &[Pid]) {
    for pid in pids {
        let _ = kill(*pid, Signal::SIGKILL);
    }
}

/// What is known of the children of this process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// This one has ended.
    Child(Pid, Exit),
    /// None has ended since; there are some.
    NoneYet,
    /// There are none.
    NoneLeft,
}

/// Takes note of one child that has ended.
pub(super) fn reap() -> Reaped {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => return Reaped::Child(pid, Exit::Status(status)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Reaped::Child(pid, Exit::Signal(signal as i32));
            }
            Err(Errno::EINTR) => {}
            Err(_) => return Reaped::NoneLeft,
            Ok(_) => return Reaped::NoneYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn both_ways_of_looking_find_children_and_grandchildren() {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "/bin/sh -c 'echo $$; exec tail -f /dev/null' & wait"])
            .env("PROCS_TEST", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        // Kept: `tail` ends when nobody reads what it writes.
        let mut stdout = BufReader::new(shell.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let (child, grandchild) =
            (Pid::from_raw(shell.id() as i32), Pid::from_raw(line.trim().parse().unwrap()));
        for found in [listed_below(Pid::this()), searched_below(Pid::this())] {
            assert!(found.contains(&child) && found.contains(&grandchild), "{found:?}");
        }
        assert_eq!(below(child), [grandchild]);
        assert!(own_children().contains(&child) && !own_children().contains(&grandchild));
        assert_eq!(of_service(child, "NO=mark"), [child, grandchild]);
        assert!(of_service(Pid::from_raw(1), "PROCS_TEST=1").contains(&grandchild), "it carries the mark");
        end(&[child, grandchild]);
        shell.wait().unwrap();
    }
}
