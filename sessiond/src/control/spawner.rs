//! What daemon and spawner say to each other.

use proto::SessionId;
use serde::{Deserialize, Serialize};

use super::{Exit, SessionSpec};

/// Daemon → spawner, which passes what asks for a session on to the process that becomes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSpawner {
    /// Make a session process; answered by `Spawned` or `SpawnFailed`.
    Spawn(Box<SessionSpec>),
    /// End a session process that does not end itself, and all it has started; answered by `Exited`.
    Kill(SessionId),
    /// Whether sessions outlive this daemon from now on.
    Keep(bool),
    /// End all sessions, then the spawner.
    EndAll,
    /// Say [`FromSpawner::Pong`]. Only for a spawner that has said one by itself: older ones do not know it.
    Ping(u32),
    /// Make the directory and the socket again, which somebody has removed. Likewise.
    Renew,
    /// As `Spawn`, and the registry names the account for the session's very token: it may be root.
    SpawnNamed(Box<SessionSpec>),
}

impl ToSpawner {
    /// The session it asks for, if it asks for one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Spawn(spec) | Self::SpawnNamed(spec) => Some(spec.session),
            _ => None,
        }
    }

    /// What that session is to be, as its process takes it.
    #[must_use]
    pub fn into_spec(self) -> Option<Box<SessionSpec>> {
        match self {
            Self::Spawn(spec) => Some(spec),
            Self::SpawnNamed(mut spec) => {
                spec.named_by_registry = true;
                Some(spec)
            }
            _ => None,
        }
    }
}

/// Spawner → daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSpawner {
    /// First: how many sessions there are already; as many `Kept` follow.
    Hello {
        /// Whether sessions outlive the daemon, until it says otherwise.
        keep: bool,
        /// How many sessions there are.
        sessions: u32,
    },
    /// A session made for an earlier daemon, with its control socket.
    Kept(SessionId),
    /// A new session process, with its control socket. It says `Ready` there.
    Spawned(SessionId),
    /// There is no such session process.
    SpawnFailed {
        /// The session asked for.
        session: SessionId,
        /// Why not, and what to do about it.
        reason: String,
    },
    /// A session process is gone, and all it had started with it.
    Exited {
        /// The session that its process ran.
        session: SessionId,
        /// How it ended; 0 is the end of a session that ended in order.
        exit: Exit,
    },
    /// Another daemon is connected; this connection closes.
    Busy,
    /// Instead of `Hello`: the spawner cannot begin.
    Failed(String),
    /// The answer to [`ToSpawner::Ping`]; 0, said without being asked, means that pings are answered.
    Pong(u32),
    /// So many processes wait to become sessions. Zero until it says otherwise.
    Ahead(u32),
}
