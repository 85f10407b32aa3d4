//! How a running DTU is commanded: a Unix socket in a directory of its owner's, one per DTU.
//!
//! A request is one line of JSON and gets one line back. After [`Request::Attach`] the socket carries what
//! draws the screen in one direction and further requests, without answers, in the other.

mod client;
mod port;
mod server;

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError, find, list};
pub(super) use port::{Port, open_port};
pub use server::{ControlSocket, serve};

/// What may be asked of a DTU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Put a card in, given as the line of a card file.
    Insert {
        /// The line.
        card: String,
    },
    /// Take the card out.
    Remove,
    /// Press keys.
    Type {
        /// The bytes they send, hex.
        keys: String,
        /// Wait for so many milliseconds until the session is there, and until it has taken them; without it they are
        /// pressed at once, whoever listens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
    },
    /// Change the size of the screen.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// What it is doing and what it shows.
    Look,
    /// The same, once `text` is on the screen, if given, and it is in `phase`, if given.
    Wait {
        /// Text on one line of the screen.
        text: Option<String>,
        /// What it shall be doing.
        phase: Option<String>,
        /// Give up after this time.
        timeout_ms: u64,
    },
    /// Send everything that draws the screen again. Only after [`Request::Attach`].
    Redraw,
    /// Show the screen on this connection.
    Attach,
}

/// What a DTU answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it looks like, when that was asked or waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Appearance>,
}

/// What a DTU is doing and shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appearance {
    /// Its serial.
    pub dtu: String,
    /// What it is doing, in one word.
    pub state: String,
    /// At which host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The token it presents.
    pub token: String,
    /// The session that is, or was last, shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Columns of its screen.
    pub cols: u16,
    /// Rows of its screen.
    pub rows: u16,
    /// The lines on it, without trailing blanks.
    pub lines: Vec<String>,
    /// Column and row of the cursor, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<(usize, usize)>,
    /// The DTU's own line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// What draws the screen, hex.
    pub redraw: String,
}

/// The longest request or answer: a paste, or a screen with its redraw.
const MESSAGE_MAX: u64 = 8 << 20;

/// Where the sockets are unless told otherwise: in the user's runtime directory, or under `/tmp` where there
/// is none.
#[must_use]
pub fn default_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("hotdesk/dtu"),
        None => PathBuf::from(format!("/tmp/hotdesk-{}", nix::unistd::getuid())).join("dtu"),
    }
}

/// Makes the directory for its owner alone, or checks that it is one: whoever can enter can press keys.
fn own_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let meta = std::fs::metadata(dir)?;
    let uid = nix::unistd::getuid().as_raw();
    if meta.uid() != uid || meta.mode() & 0o077 != 0 {
        let what = format!(
            "{}: must belong to you and be closed to others; chmod 0700 it, or choose another with --control DIR",
            dir.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}

const SUFFIX: &str = ".sock";

fn socket_path(dir: &Path, serial: &str) -> PathBuf {
    dir.join(format!("{serial}{SUFFIX}"))
}
