//! Daemons that cannot make sessions, and two of one name: what they say, and what becomes of them.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that drives real processes reads clocks, and stops when it cannot go on"
)]

mod common;

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Daemon, Site, complaint};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The spawner that a daemon has started.
fn spawner_of(daemon: &Daemon) -> Option<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", daemon.pid());
    // Whichever thread started it.
    let tasks = std::fs::read_dir(Path::new(&path).parent()?.parent()?).ok()?;
    let children =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<i32> = children
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    let is_spawner = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').any(|word| word == "spawner")
    };
    pids.into_iter().find(is_spawner).map(Pid::from_raw)
}

fn status(site: &Site, asked: &str, of: &str) -> serde_json::Value {
    let hosts = site.ask_json(asked, &["status"])["hosts"].clone();
    hosts.as_array().expect("hosts").iter().find(|host| host["host"] == of).cloned().unwrap_or_default()
}

/// What `asked` hears that `of` lacks.
fn heard_to_lack(site: &Site, asked: &str, of: &str) -> (bool, String) {
    let rows = site.ask_json(asked, &["topology"]);
    let row =
        rows.as_array().expect("a table").iter().find(|row| row["host"] == of).cloned().unwrap_or_default();
    (row["drain"] == true, row["lacks"].to_string())
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Has sessions run a program that every account may: one for trials may have no login shell.
fn run_cat(site: &Site, host: &str) {
    let file = site.path("cat.toml");
    std::fs::write(&file, "[[service]]\nname = \"terminal\"\ncommand = [\"/bin/cat\"]\n").expect("ours");
    let file = file.to_str().expect("text");
    assert!(site.ask(host, &["template", "put", "default", file]).status.success());
}

/// Makes a session on a host for as many tokens, and says whether its process runs.
fn makes_a_session(site: &Site, host: &str, token: &str) -> bool {
    if !site.ask(host, &["session", "new", token]).status.success() {
        return false;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sessions = site.ask_json(host, &["session", "list"])["sessions"].clone();
        let state = sessions
            .as_array()
            .and_then(|all| all.iter().find(|s| s["token"] == token))
            .map(|s| s["state"].clone());
        match state {
            Some(state) if state == "running" => return true,
            None => return false,
            _ => assert!(Instant::now() < deadline, "{sessions}"),
        }
    }
}

/// Accounts of their own for sessions: root needs one, others have their own.
fn command(site: &Site, name: &str, bind: &str) -> Command {
    site.command("keys", name, bind)
}

#[test]
fn a_host_whose_spawner_is_killed_or_stopped_takes_no_sessions_until_it_has_another_one() {
    let site = Site::new();
    let a = Daemon::start(command(&site, "a", "127.11.26.1"));
    let b = Daemon::start(command(&site, "b", "127.11.26.2"));
    a.wait_for(&["host up", "host=b"]);
    run_cat(&site, "b");
    assert!(makes_a_session(&site, "b", "card.1"));
    let first = spawner_of(&b).expect("a spawner");
    kill(first, Signal::SIGKILL).expect("it runs");
    b.wait_for(&["takes no new sessions", "lacks=spawner"]);
    // Within milliseconds, so that the others may not even hear of it.
    b.wait_for(&["another spawner is there"]);
    let second = spawner_of(&b).expect("another spawner");
    assert_ne!(first, second);
    // What the old one made goes on, and new ones are made.
    let sessions = site.ask_json("b", &["session", "list"])["sessions"].clone();
    assert_eq!(sessions[0]["state"], "running", "{sessions}");
    assert!(makes_a_session(&site, "b", "card.2"));
    // Its end is noticed although nobody is left who would tell of it.
    let id = sessions[0]["session"].as_str().expect("an id").to_owned();
    assert!(site.ask("b", &["session", "end", &id]).status.success());
    until("the session of the old spawner is gone", || {
        !site.ask_json("b", &["session", "list"])["sessions"].to_string().contains(&id)
    });
    kill(second, Signal::SIGSTOP).expect("it runs");
    b.wait_for(&["takes no new sessions", "lacks=spawner"]);
    a.wait_for(&["host takes no new sessions", "host=b", "lacks=spawner"]);
    assert_eq!(heard_to_lack(&site, "a", "b"), (true, "[\"spawner\"]".into()));
    assert!(
        status(&site, "a", "b")["lacks"]["spawner"]
            .as_str()
            .is_some_and(|why| why.contains("does not answer"))
    );
    let doctor = site.ask("a", &["doctor"]);
    assert!(
        String::from_utf8_lossy(&doctor.stdout).contains("b takes no new sessions (spawner)"),
        "{doctor:?}"
    );
    b.wait_for(&["another spawner is there"]);
    a.wait_for(&["host takes sessions again", "host=b"]);
    assert!(makes_a_session(&site, "b", "card.3"));
}

#[test]
fn a_host_whose_run_directory_is_removed_makes_it_again() {
    let site = Site::new();
    let b = Daemon::start(command(&site, "b", "127.11.27.1"));
    run_cat(&site, "b");
    assert!(makes_a_session(&site, "b", "card.0"));
    let run = site.path("run").join("b");
    for entry in std::fs::read_dir(&run).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).expect("ours");
        } else {
            std::fs::remove_file(path).expect("ours");
        }
    }
    b.wait_for(&["takes no new sessions", "lacks=rundir"]);
    b.wait_for(&["has what it lacked", "rundir"]);
    assert!(makes_a_session(&site, "b", "card.1"));
    // What ran goes on, and its programs find what they had.
    let sessions = site.ask_json("b", &["session", "list"])["sessions"].clone();
    for token in ["card.0", "card.1"] {
        let session = sessions
            .as_array()
            .and_then(|all| all.iter().find(|s| s["token"] == token))
            .expect("it is there");
        assert_eq!(session["state"], "running", "{session}");
        let dir = run.join("sessions/s").join(session["session"].as_str().expect("an id"));
        until(&format!("{token} is reached at {}", dir.display()), || {
            let events = UnixStream::connect(dir.join("events"));
            events.is_ok()
                && ["data", "state0"].iter().all(|socket| UnixStream::connect(dir.join(socket)).is_ok())
                && dir.join("bin/datastore").exists()
        });
        let lock = Command::new("flock").arg("-n").arg(&dir).arg("true").status().expect("util-linux");
        assert!(!lock.success(), "a spawner sees that somebody lives in {}", dir.display());
    }
    // The name is still locked, and the spawner's directory too.
    let (text, _) = complaint(&command(&site, "b", "127.11.27.1").output().expect("it can be started"));
    assert!(text.contains("runs already"), "{text}");
}

#[test]
fn a_second_host_of_a_name_does_not_start_and_says_where_the_first_one_is() {
    let site = Site::new();
    let a = Daemon::start(command(&site, "a", "127.11.28.1"));
    let b = Daemon::start(command(&site, "b", "127.11.28.2"));
    b.wait_for(&["host up", "host=a"]);
    let newcomer = || {
        let mut command = common::groupmgr();
        command.args(["run", "--name", "a", "--bind", "127.11.28.3"]);
        command.arg("--keys").arg(site.path("keys")).arg("--run-dir").arg(site.path("run3"));
        command.arg("--state-dir").arg(site.path("state3")).args(groupmgr::io::accounts::trial());
        command
    };
    let output = newcomer().env("HOTDESK_LOG", "off").output().expect("it can be started");
    let (text, code) = complaint(&output);
    assert!(text.contains("a host named a runs already, at 127.11.28.1:7009"), "{text}");
    assert!(code != 0 && output.stdout.is_empty(), "{output:?}");
    // While the first one stands still nobody can know of it.
    a.freeze();
    let second = Daemon::start(newcomer());
    a.signal(Signal::SIGCONT);
    for daemon in [&a, &b, &second] {
        daemon.wait_for(&["two hosts have one name", "first=127.11.28.1:7009", "second=127.11.28.3:7009"]);
    }
    second.wait_for(&["takes no new sessions", "lacks=name"]);
    let doubles = status(&site, "b", "b")["doubles"].clone();
    assert_eq!(doubles[0]["second"], "127.11.28.3:7009", "{doubles}");
    let doctor = site.ask("b", &["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("there are two hosts named a"), "{doctor:?}");
    drop(second);
    b.wait_for(&["there is one host of this name again"]);
    assert_eq!(site.standing("b", "a"), Some("up".into()));
}

/// A plain connection that has said something, if it is taken.
fn connect(to: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.write_all(b"keepAliveReq\n").ok()?;
    Some(stream)
}

#[test]
fn a_host_with_few_descriptors_refuses_the_newest_and_stays_in_the_group() {
    let site = Site::new();
    let a = Daemon::start(command(&site, "a", "127.11.29.1"));
    // The limit is the shell's to lower, and holds for what it becomes.
    let mut c = command(&site, "c", "127.11.29.2");
    c.arg("--plain");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(c.get_program()).args(c.get_args());
    limited.stdin(Stdio::null()).env("HOTDESK_LOG", "info").env_remove("XDG_RUNTIME_DIR");
    let c = Daemon::start(limited);
    a.wait_for(&["host up", "host=c"]);
    let mut open = Vec::new();
    for _ in 0..60 {
        open.extend(connect("127.11.29.2:7009"));
    }
    c.wait_for(&["takes no new sessions", "lacks=descriptors"]);
    a.wait_for(&["host takes no new sessions", "host=c", "lacks=descriptors"]);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(site.standing("a", "c"), Some("up".into()));
    drop(open);
    a.wait_for(&["host takes sessions again", "host=c"]);
    let log = c.rest_of_log();
    assert!(!log.iter().any(|line| line.contains("no interface is up")), "{log:#?}");
}
