//! What a DTU looks like to whoever looks at it.

use std::sync::Arc;

use proto::Serial;
use proto::frame::Size;

use crate::dtu::Status;

/// What a DTU looks like.
#[derive(Clone, Debug)]
pub struct Look {
    /// What it would say of itself.
    pub status: Status,
    /// The serial of the DTU that is shown.
    pub serial: Serial,
    /// The size of its screen.
    pub size: Size,
    /// The lines on it.
    pub lines: Vec<String>,
    /// Column and row of its cursor.
    pub cursor: Option<(usize, usize)>,
    /// Its own line above the session's output.
    pub notice: Option<String>,
    /// What draws it on a terminal of the same size.
    pub redraw: Vec<u8>,
}

/// A change of a watched screen, to be written to the terminal that watches it.
pub type View = Arc<[u8]>;
