//! Daemons as processes, on loopback addresses of these tests' own, and waiting for what they say.
#![allow(
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "each test uses a part of this"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for anything that must happen; far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) fn groupmgr() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_groupmgr"));
    command.stdin(Stdio::null()).env("HOTDESK_LOG", "info").env_remove("XDG_RUNTIME_DIR");
    command
}

/// Runs the program to its end.
pub(crate) fn run(words: &[&str]) -> Output {
    groupmgr().args(words).output().expect("the program can be started")
}

/// A directory with keys and the run directories of daemons.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        // Short, since sockets live below it.
        let dir = tempfile::Builder::new().prefix("hd").tempdir_in("/tmp").expect("a directory");
        // Where root runs the tests, sessions run as somebody else and must reach what is theirs.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .expect("it is ours");
        let site = Self { dir };
        site.keygen("keys");
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn keygen(&self, name: &str) {
        let made = groupmgr().arg("keygen").arg(self.path(name)).output().expect("keygen can be started");
        assert!(made.status.success(), "{made:?}");
    }

    /// The command line of a daemon, to be added to.
    pub(crate) fn command(&self, keys: &str, name: &str, bind: &str) -> Command {
        let mut command = groupmgr();
        command.args(["run", "--name", name, "--bind", bind]);
        command.arg("--keys").arg(self.path(keys)).arg("--run-dir").arg(self.path("run"));
        command.arg("--state-dir").arg(self.path("state")).args(groupmgr::io::accounts::trial());
        command
    }

    /// Starts a daemon and waits until it serves.
    pub(crate) fn start(&self, keys: &str, name: &str, bind: &str) -> Daemon {
        Daemon::start(self.command(keys, name, bind))
    }

    /// Asks the daemon `host` something.
    pub(crate) fn ask(&self, host: &str, words: &[&str]) -> Output {
        let mut command = groupmgr();
        command.args(words).args(["--host", host]).arg("--run-dir").arg(self.path("run"));
        command.output().expect("the program can be started")
    }

    /// Asks for JSON.
    pub(crate) fn ask_json(&self, host: &str, words: &[&str]) -> serde_json::Value {
        let output = self.ask(host, &[words, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {output:?}"))
    }

    /// What `by` thinks of `of`.
    pub(crate) fn standing(&self, by: &str, of: &str) -> Option<String> {
        let table = self.ask_json(by, &["topology"]);
        let rows = table.as_array().expect("a table");
        let row = rows.iter().find(|row| row["host"] == of && row["trusted"] == true)?;
        row["standing"].as_str().map(str::to_owned)
    }
}

/// A running daemon, killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Receiver<String>,
    pub(crate) ready: String,
}

impl Daemon {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the daemon can be started");
        let stdout = child.stdout.take().expect("a pipe");
        let (lines, log) = channel();
        let stderr = child.stderr.take().expect("a pipe");
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                drop(lines.send(line));
            }
        });
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).expect("its standard output can be read");
        let daemon = Self { child, log, ready: ready.trim_end().to_owned() };
        assert!(daemon.ready.starts_with("ready "), "{:?}", daemon.log.iter().collect::<Vec<_>>());
        daemon
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Waits for a record in its log that holds all of `words`.
    pub(crate) fn wait_for(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("nothing in the log holds {words:?}: {seen:#?}");
            };
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
            seen.push(line);
        }
    }

    /// What its log holds that was not waited for.
    pub(crate) fn rest_of_log(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("it runs");
    }

    /// Stops it, and waits until it has stopped: a signal says nothing about when.
    pub(crate) fn freeze(&self) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        self.signal(nix::sys::signal::Signal::SIGSTOP);
        let pid = nix::unistd::Pid::from_raw(self.pid());
        waitid(Id::Pid(pid), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT).expect("it is a child");
    }

    /// Kills it; what of its log was not waited for.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it can be waited for");
        self.log.iter().collect()
    }

    /// Waits for its end; its exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("it can be waited for").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// The one line of an error, and the exit code.
pub(crate) fn complaint(output: &Output) -> (String, i32) {
    let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert_eq!(text.lines().count(), 1, "an error is one line: {text:?}");
    assert!(text.starts_with("groupmgr: "), "{text:?}");
    (text, output.status.code().expect("it was not killed"))
}

/// Reads what a plain connection is sent until it is closed.
pub(crate) fn read_to_end(stream: &mut std::net::TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut text = Vec::new();
    // A connection that is closed with something unread is reset, which is an end as well.
    drop(stream.read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.exists()
}
