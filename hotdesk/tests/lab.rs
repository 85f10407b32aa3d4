//! The interactive lab and the terminal it is shown in.
#![allow(clippy::expect_used, clippy::disallowed_types, clippy::disallowed_methods, reason = "tests")]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn lab(files: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotdesk"));
    command.args(["lab", "--hosts", "1", "--desks", "1"]).env("TMPDIR", files).env("TERM", "xterm");
    command
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

/// Waits for something that no other process tells.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn has_ended(child: &mut Child) -> bool {
    child.try_wait().expect("it is a child").is_some()
}

#[test]
fn a_lab_ends_with_its_terminal_and_leaves_nothing_behind() {
    let files = tempfile::Builder::new().prefix("hd").tempdir_in("/tmp").expect("a directory");
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    // Or the lab itself would hold the end that is to go away.
    for end in [&terminal.master, &terminal.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor of ours");
    }
    let stdio = || Stdio::from(terminal.slave.try_clone().expect("a descriptor"));
    let mut child = lab(files.path())
        .stdin(stdio())
        .stdout(stdio())
        .stderr(Stdio::null())
        .spawn()
        .expect("the lab can be started");
    drop(terminal.slave);
    let mut master = File::from(terminal.master);
    // It is drawn, so the lab is at work; nobody has to read on, since a full terminal only stops the drawing.
    let mut drawn = [0; 512];
    let len = std::io::Read::read(&mut master, &mut drawn).expect("it draws");
    assert!(len > 0 && entries(files.path()) > 0, "the lab has files while it runs");
    drop(master);
    wait_until("its end", || has_ended(&mut child));
    assert_eq!(entries(files.path()), 0, "files of the lab are left");
}

#[test]
fn without_a_terminal_no_lab_begins_and_nothing_is_left_behind() {
    let files = tempfile::Builder::new().prefix("hd").tempdir_in("/tmp").expect("a directory");
    // In a session of its own the program has no terminal at all.
    let mut command = Command::new("setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_hotdesk"), "lab"]).env("TMPDIR", files.path());
    let output = command.stdin(Stdio::null()).output().expect("setsid can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("--demo"), "{said}");
    assert_eq!(entries(files.path()), 0, "files of the lab are left");
}
