//! What programs log: as much as they are told to, and in colours only to a terminal.
#![allow(clippy::disallowed_types, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::{Daemon, Site};

fn daemon(site: &Site, bind: &str, directives: &str) -> Command {
    let mut command = site.command("keys", "a", bind);
    command.env("HOTDESK_LOG", directives);
    command
}

/// Ends a daemon in order, so that all it has to say is written.
fn stop(site: &Site) {
    let stopped = site.ask("a", &["stop"]);
    assert!(stopped.status.success(), "{stopped:?}");
}

/// The first thing that a data store logs: of a stranger that breaks off.
fn log_of_a_store(site: &Site) -> String {
    let mut command = common::groupmgr();
    command.args(["datastore", "serve", "--listen", "127.11.71.2:7010"]);
    command.arg("--keys").arg(site.path("keys")).arg("--dir").arg(site.path("store"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let is_ready = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("data store ready"));
    assert!(lines.any(is_ready), "it says when it is ready");
    drop(TcpStream::connect("127.11.71.2:7010").expect("it listens"));
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line).expect("it logs that");
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    line
}

#[test]
fn the_log_is_filtered_by_its_directives_and_the_audit_is_kept_whatever_they_say() {
    let site = Site::new();
    let quiet = Daemon::start(daemon(&site, "127.11.70.1", "error"));
    assert!(site.ask("a", &["drain"]).status.success());
    stop(&site);
    let log = quiet.end();
    assert!(log.iter().any(|line| line.contains("what=\"drain\"")), "{log:#?}");
    assert!(log.iter().all(|line| line.contains("audit what=")), "{log:#?}");
    let loud = Daemon::start(daemon(&site, "127.11.70.1", "warn,groupmgr=debug"));
    loud.wait_for(&["DEBUG", "spawner connected"]);
    stop(&site);
}

#[test]
fn a_log_has_colours_on_a_terminal_and_none_in_a_file() {
    let site = Site::new();
    let piped = Daemon::start(daemon(&site, "127.11.71.1", "info"));
    stop(&site);
    let log = piped.end();
    assert!(!log.is_empty() && !log.iter().any(|line| line.contains('\x1b')), "{log:#?}");
    let line = log_of_a_store(&site);
    assert!(line.contains("was refused") && !line.contains('\x1b'), "{line:?}");
    let ends = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = daemon(&site, "127.11.71.1", "info");
    let mut child = command.stdout(Stdio::piped()).stderr(ends.slave).spawn().expect("it can be started");
    drop(command);
    let mut ready = [0; 6];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("it says that it is ready");
    stop(&site);
    child.wait().expect("it was started");
    let mut log = Vec::new();
    // Ends with an error when nobody has the other end any more.
    drop(std::fs::File::from(ends.master).read_to_end(&mut log));
    assert!(String::from_utf8_lossy(&log).contains("\x1b["), "{:?}", String::from_utf8_lossy(&log));
}
