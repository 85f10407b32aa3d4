//! The command lines of everything that a lab starts. The lab uses no other way in than a person at a shell has.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use groupmgr::io::accounts;

/// The port of a lab's data store.
pub(super) const STORE_PORT: u16 = 7010;

/// Where the files of a lab are. Short names: a socket's path has to fit into 107 bytes.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The directory that goes with the lab.
    pub(super) root: PathBuf,
}

impl Files {
    /// The directories that must be there before anything is started.
    pub(super) fn directories(&self) -> [PathBuf; 6] {
        [self.logs(), self.cards(), self.home(), self.control(), self.run(), self.store()]
    }

    /// Key ring, CA and certificates.
    pub(super) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Where the files of cards are.
    pub(super) fn cards(&self) -> PathBuf {
        self.root.join("cards")
    }

    /// What every machine writes.
    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// One machine's log.
    pub(super) fn log(&self, machine: &str) -> PathBuf {
        self.logs().join(format!("{machine}.log"))
    }

    /// The home directory that all hosts share.
    pub(super) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The control sockets of the DTUs.
    pub(super) fn control(&self) -> PathBuf {
        self.root.join("dtu")
    }

    /// The control socket of a DTU.
    pub(super) fn control_socket(&self, serial: &str) -> PathBuf {
        self.control().join(format!("{serial}.sock"))
    }

    /// The run directories of all hosts.
    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The data store's files.
    pub(super) fn store(&self) -> PathBuf {
        self.root.join("store")
    }
}

/// Builds the command lines.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    /// The one binary.
    pub(super) binary: PathBuf,
    /// Where the files are.
    pub(super) files: Files,
}

impl Commands {
    /// One of the programs of the binary, with these words.
    fn program<I: AsRef<OsStr>>(&self, name: &str, words: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(name).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Makes the key ring and the CA.
    pub(super) fn keygen(&self) -> Command {
        let mut command = self.program("groupmgr", ["keygen"]);
        command.arg(self.files.keys());
        command
    }

    /// Makes a card.
    pub(super) fn new_card(&self, file: &Path) -> Command {
        let mut command = self.program("authmgr", ["card", "new"]);
        command.arg(file);
        command
    }

    /// Runs the data store.
    pub(super) fn datastore(&self, address: Ipv4Addr) -> Command {
        let mut command = self.program("datastore", ["serve", "--json", "--listen"]);
        command.arg(SocketAddrV4::new(address, STORE_PORT).to_string());
        command.arg("--dir").arg(self.files.store()).arg("--keys").arg(self.files.keys());
        command
    }

    /// Runs a host.
    pub(super) fn host(
        &self,
        name: &str,
        bind: Option<Ipv4Addr>,
        store: Option<Ipv4Addr>,
        more: &[String],
    ) -> Command {
        let mut command = self.program("groupmgr", ["run", "--name", name]);
        command.arg("--keys").arg(self.files.keys()).arg("--run-dir").arg(self.files.run());
        command.arg("--state-dir").arg(&self.files.root).args(accounts::trial());
        if let Some(address) = bind {
            command.arg("--bind").arg(address.to_string());
        }
        if let Some(address) = store {
            command.arg("--store").arg(SocketAddrV4::new(address, STORE_PORT).to_string());
        }
        command.args(more);
        command
    }

    /// Switches a DTU on.
    pub(super) fn desk(
        &self,
        serial: &str,
        bind: Option<Ipv4Addr>,
        servers: &[Ipv4Addr],
        more: &[String],
    ) -> Command {
        let mut command = self.program("dtu-emu", ["boot", "--headless", "--json", "--serial", serial]);
        command.arg("--ca").arg(self.files.keys().join("ca.pem")).arg("--control").arg(self.files.control());
        command.arg("--state").arg(self.files.control());
        if let Some(address) = bind {
            command.arg("--bind").arg(address.to_string());
        }
        for server in servers {
            command.arg("--server").arg(SocketAddrV4::new(*server, proto::PORT).to_string());
        }
        command.args(more);
        command
    }

    /// Asks something of a host.
    pub(super) fn ask_host(&self, host: &str, words: &[&str]) -> Command {
        // What follows `--` is a program's own.
        let (words, rest) =
            words.split_at(words.iter().position(|word| *word == "--").unwrap_or(words.len()));
        let mut command = self.program("groupmgr", words);
        command.arg("--run-dir").arg(self.files.run()).args(["--host", host, "--json"]).args(rest);
        command
    }

    /// Registers a card: whose it is, and which template its sessions are made from.
    pub(super) fn register(&self, card: &Path, user: &str, template: &str, store: Ipv4Addr) -> Command {
        let mut command = self.program("authmgr", ["card", "register"]);
        command.arg(card).args(["--user", user, "--template", template]);
        command.arg("--keys").arg(self.files.keys());
        command.arg("--store").arg(SocketAddrV4::new(store, STORE_PORT).to_string());
        command
    }

    /// Stores a template.
    pub(super) fn put_template(&self, host: &str, name: &str, file: &Path) -> Command {
        let mut command = self.program("groupmgr", ["template", "put", name]);
        command.arg(file).arg("--run-dir").arg(self.files.run()).args(["--host", host]);
        command
    }
}
