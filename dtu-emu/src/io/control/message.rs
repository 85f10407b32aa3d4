//! What is said over a control socket.

use serde::{Deserialize, Serialize};

/// What may be asked of a DTU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Put a card in, given as the line of a card file.
    Insert {
        /// The card's line, as its file holds it.
        card: String,
    },
    /// Take the card out.
    Remove,
    /// Press these keys, as if on the DTU's keyboard.
    Type {
        /// The bytes they send, hex.
        keys: String,
        /// Wait for so many milliseconds until the session is there, and until it has taken them; without it they are
        /// pressed at once, whoever listens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
    },
    /// Show the next display of the session.
    Flip,
    /// Change the size of the screen.
    Resize {
        /// Columns of the screen from now on.
        cols: u16,
        /// Rows of the screen from now on.
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
    /// Why it was not done, for a person to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it looks like, when that was asked or waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Appearance>,
}

/// What a DTU is doing and shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appearance {
    /// The DTU's serial.
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
    /// The service of it that is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many displays it has.
    #[serde(default)]
    pub displays: usize,
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
pub(super) const MESSAGE_MAX: u64 = 8 << 20;
