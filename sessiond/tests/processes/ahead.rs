//! Processes that were started ahead of need: what they hold, whose session they become, and how they end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use sessiond::control::SessionSpec;
use sessiond::io::spawner::AHEAD_MAX;

use crate::support::{Daemon, PATIENCE, Process, service, spec};
use crate::{parent_of, run_dir};

/// Waits until as many wait as may, and says which: the children of the spawner of session `known` that are no sessions.
fn all_ahead(daemon: &Daemon, known: u32, sessions: &[u32]) -> BTreeSet<i32> {
    let give_up_at = Instant::now() + PATIENCE;
    while daemon.client().ahead() != u32::try_from(AHEAD_MAX).unwrap() {
        assert!(Instant::now() < give_up_at, "{} wait", daemon.client().ahead());
        std::thread::sleep(Duration::from_millis(5));
    }
    let spawner = parent_of(i32::try_from(known).unwrap());
    let children = std::fs::read_to_string(format!("/proc/{spawner}/task/{spawner}/children")).unwrap();
    let mut pids: BTreeSet<i32> = children.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect();
    for session in sessions {
        assert!(pids.remove(&i32::try_from(*session).unwrap()));
    }
    assert_eq!(pids.len(), AHEAD_MAX);
    pids
}

fn line_of(pid: u32, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until a process has closed what it was forked with: it is counted as soon as it is there.
fn holds_nothing(pid: i32) {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let open = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.unwrap().path()).ok();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(open);
        let beyond = files.filter(|file| !["/", "pipe:"].iter().any(|kind| file.starts_with(kind)));
        let beyond: Vec<String> = beyond.map(|file| file.display().to_string()).collect();
        let sockets = beyond.iter().filter(|file| file.starts_with("socket:")).count();
        if sockets == 1 && beyond.len() <= 2 {
            return;
        }
        assert!(Instant::now() < give_up_at, "its control socket and its signals: {beyond:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn become_sessions(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let first = daemon.make(1, vec![service("cat")]).pid;
    let ahead = all_ahead(&daemon, first, &[first]);
    ahead.iter().for_each(|pid| holds_nothing(*pid));
    // It runs wholly as its account, which it was told last of all.
    let account = geteuid().is_root().then(|| "nobody".to_owned());
    let user = account.as_deref().and_then(|name| nix::unistd::User::from_name(name).unwrap());
    daemon.client().spawn(SessionSpec { account, ..spec(2, vec![service("cat")]) }).unwrap();
    let second = daemon.ready(2).pid;
    assert!(ahead.contains(&i32::try_from(second).unwrap()), "{second} was not among {ahead:?}");
    if let Some(user) = user {
        let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
        assert_eq!(line_of(second, "Uid:"), four(user.uid.as_raw()));
        assert_eq!(line_of(second, "Gid:"), four(user.gid.as_raw()));
        assert_eq!(line_of(second, "Groups:"), user.gid.to_string());
        assert_eq!(line_of(second, "CapPrm:"), "0000000000000000");
    }
    all_ahead(&daemon, first, &[first, second]);
}

pub fn end(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let first = daemon.make(1, vec![service("cat")]).pid;
    let killed = all_ahead(&daemon, first, &[first]);
    for process in killed.iter().copied().map(Process::of) {
        kill(Pid::from_raw(process.pid), Signal::SIGKILL).unwrap();
        process.expect_end("a killed process");
    }
    let second = daemon.make(2, vec![service("cat")]).pid;
    assert!(!killed.contains(&i32::try_from(second).unwrap()), "a dead process was made a session");
    let ahead: Vec<Process> =
        all_ahead(&daemon, first, &[first, second]).into_iter().map(Process::of).collect();
    kill(Pid::from_raw(parent_of(i32::try_from(first).unwrap())), Signal::SIGKILL).unwrap();
    for process in ahead {
        process.expect_end("a process started ahead by a spawner that was killed");
    }
}
