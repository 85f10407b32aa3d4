//! The session processes, as the host machine sees them. What they say and are told only passes through here.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use proto::SessionId;
use sessiond::control::{SessionSpec, ToSession, Tools};
use sessiond::io::client::{Client, Event, Start, StartError};
use tokio::runtime::Handle;

use super::accept::Held;
use crate::host::Input;

/// The spawner's directory within the daemon's run directory.
const DIR: &str = "sessions";

/// Names of this program in the `PATH` of a session.
const TOOLS: &[&str] = &["datastore", "sessiond"];

/// How long a spawner may take to start, or to end all sessions.
const START_WITHIN: Duration = Duration::from_secs(10);
const END_WITHIN: Duration = Duration::from_secs(5);

/// Why sessions cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// This program cannot be started again as the spawner.
    #[error("this program's own file cannot be found: {0}; start it by its path")]
    Program(std::io::Error),
    /// The spawner does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It does not answer.
    #[error("the spawner in {} does not answer; end it (see {}/lock) and start again", .0.display(), .0.display())]
    Late(PathBuf),
}

/// The spawner and the sessions of one host.
pub(crate) struct SessionDriver {
    client: Client,
    program: PathBuf,
    keeps: bool,
    own_accounts: bool,
    is_gone: bool,
}

impl SessionDriver {
    /// Connects to the spawner in `run_dir`, or starts one. Its tasks run on `workers`.
    pub(crate) fn start(keeps: bool, run_dir: &Path, workers: &Handle) -> Result<Self, SessionError> {
        let program = std::env::current_exe().map_err(SessionError::Program)?;
        let dir = run_dir.join(DIR);
        let start = Start {
            program: program.clone(),
            arguments: vec!["sessiond".into()],
            run_dir: dir.clone(),
            keep: keeps,
        };
        let connected = workers
            .block_on(async { tokio::time::timeout(START_WITHIN, Client::connect_or_start(&start)).await })
            .map_err(|_| SessionError::Late(dir.clone()))?;
        let client = connected?;
        let own_accounts = fs::metadata(&dir).is_ok_and(|meta| meta.uid() == 0);
        if own_accounts && !Uid::effective().is_root() {
            // Accounts of sessions must be able to pass through to what the spawner made for them.
            drop(fs::set_permissions(run_dir, fs::Permissions::from_mode(0o711)));
        }
        tracing::debug!(
            kept = client.kept(),
            was_keeping = client.was_keeping(),
            own_accounts,
            "spawner connected"
        );
        Ok(Self { client, program, keeps, own_accounts, is_gone: false })
    }

    /// Whether sessions can run as users of their own.
    pub(crate) const fn has_own_accounts(&self) -> bool {
        self.own_accounts
    }

    /// Session processes that an earlier daemon has left.
    pub(crate) fn kept(&self) -> usize {
        usize::try_from(self.client.kept()).unwrap_or(usize::MAX)
    }

    /// What sessions find in their `PATH`.
    pub(crate) fn tools(&self) -> Option<Tools> {
        let exe = self.program.to_str()?.to_owned();
        Some(Tools { exe, names: TOOLS.iter().map(|&name| name.to_owned()).collect() })
    }

    /// What happened; waits for ever when nothing can happen any more. Can be dropped and called again.
    pub(crate) async fn next(&mut self) -> Input {
        loop {
            match self.client.next().await {
                Some(Event::Spawned { session, kept }) => return Input::SessionSpawned { session, kept },
                Some(Event::SpawnFailed { session, reason }) => {
                    return Input::SpawnFailed { session, reason };
                }
                Some(Event::Session { session, message }) => {
                    return Input::Session { session, said: Box::new(message) };
                }
                Some(Event::Exited { session, exit }) => {
                    tracing::debug!(%session, %exit, "session process gone");
                    return Input::SessionExited { session };
                }
                Some(Event::SpawnerGone) => {
                    self.is_gone = true;
                    tracing::error!(
                        "the spawner is gone: no session can be made here until groupmgr is restarted"
                    );
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Has a session process made. What is returned has happened already.
    pub(crate) fn spawn(&self, spec: SessionSpec) -> Option<Input> {
        let session = spec.session;
        let failed = |reason| Some(Input::SpawnFailed { session, reason });
        if self.is_gone {
            return failed("the spawner is gone; restart groupmgr on this host".to_owned());
        }
        self.client.spawn(spec).map_or_else(|error| failed(format!("the spawner: {error}")), |()| None)
    }

    /// Ends a session process that does not end itself.
    pub(crate) fn kill(&self, session: SessionId) {
        if let Err(error) = self.client.kill(session) {
            tracing::warn!(%session, %error, "a session process cannot be ended");
        }
    }

    /// Tells a session process something. One that does not read misses it; the host machine's deadlines notice.
    pub(crate) fn tell(&self, session: SessionId, message: ToSession) {
        if let Err(error) = self.client.tell(session, message) {
            tracing::warn!(%session, %error, "a session process was not told something");
        }
    }

    /// Hands a display connection over. Whether it was taken; else it is closed.
    pub(crate) fn hand_over(&self, session: SessionId, held: Held) -> bool {
        let handed = held.stream.into_std().map_err(|error| error.to_string()).and_then(|stream| {
            self.client.hand_over(session, stream.into(), held.already).map_err(|error| error.to_string())
        });
        if let Err(error) = &handed {
            tracing::warn!(%session, error, "a display connection was not taken");
        }
        handed.is_ok()
    }

    /// Leaves the sessions to the next daemon, or ends them all.
    pub(crate) async fn leave(&mut self) {
        if self.keeps || self.is_gone || self.client.end_all().is_err() {
            return;
        }
        let ended = async {
            loop {
                if matches!(self.client.next().await, Some(Event::SpawnerGone) | None) {
                    return;
                }
            }
        };
        if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
            tracing::warn!("some sessions have not ended yet; the spawner goes on ending them");
        }
    }
}
