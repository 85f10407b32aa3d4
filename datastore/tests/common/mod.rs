//! What the tests of this crate share: keys, and servers as real processes.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use datastore::client::Patience;
use datastore::io::{Remote, Target};
use datastore::{Key, Value};
use proto::io::KeyDir;

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

pub(crate) fn value(text: &str) -> Value {
    Value::new(text.as_bytes()).unwrap()
}

pub(crate) fn text(value: &Value) -> String {
    String::from_utf8(value.as_bytes().to_vec()).unwrap()
}

/// A group's keys and a place for its data, gone when dropped.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) keys: KeyDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyDir::generate(&dir.path().join("keys")).unwrap();
        Self { dir, keys }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A client with the patience of a test on a busy machine.
    pub(crate) fn remote(&self, addr: SocketAddr) -> Remote {
        self.remote_with(addr, Patience { connect: Duration::from_secs(20), answer: Duration::from_secs(40) })
    }

    pub(crate) fn remote_with(&self, addr: SocketAddr, patience: Patience) -> Remote {
        Remote::connect(Target::tcp(addr, &self.keys).unwrap(), patience)
    }

    /// The program with these arguments, keys of this group, and no session around it.
    pub(crate) fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_datastore"));
        command
            .args(args)
            .env_remove("HOTDESK_DATA")
            .env_remove("HOTDESK_SOCKET")
            .current_dir(self.dir.path());
        command
    }
}

/// The real server as a process of its own; killed when dropped.
pub(crate) struct ServerProcess {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) generation: u64,
}

impl ServerProcess {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(place: &Place, dir: &Path) -> Self {
        let (keys, dir) = (place.keys.path.to_str().unwrap(), dir.to_str().unwrap());
        let args = ["serve", "--listen", "127.0.0.1:0", "--dir", dir, "--keys", keys, "--json"];
        let mut child = place.program(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("the server says {line:?}: {e}"));
        let addr = ready["listen"].as_str().unwrap().parse().unwrap();
        Self { child, addr, generation: ready["generation"].as_u64().unwrap() }
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Stops it, and waits until all its threads stand still.
    pub(crate) fn freeze(&self) {
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
        self.signal(nix::sys::signal::Signal::SIGSTOP);
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    }

    fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Ends it as a power cut of the process would, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
