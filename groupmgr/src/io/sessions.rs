//! The session processes, as the host machine sees them. What they say and are told only passes through here.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use proto::SessionId;
use proto::lack::Lack;
use sessiond::control::{SessionSpec, ToSession, Tools};
use sessiond::io::client::{Client, Event, NewSpawner, Start, StartError};
use sessiond::io::limits::OpenFiles;
use sessiond::io::root;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::inbox::Held;
use crate::fitness::{Condition, Finding};
use crate::host::Input;

/// The spawner's directory within the daemon's run directory.
const DIR: &str = "sessions";

/// Names of this program in the `PATH` of a session.
const TOOLS: &[&str] = &["datastore", "sessiond", "groupmgr"];

/// How long a spawner may take to start, or to end all sessions.
const START_WITHIN: Duration = Duration::from_secs(10);
const END_WITHIN: Duration = Duration::from_secs(5);

/// A spawner that lived for so long did not end because it cannot run here.
const LONG_LIVED: Duration = Duration::from_secs(60);
/// The longest pause between two attempts to start one.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pause after so many attempts that failed.
fn pause_after(attempts: u32) -> Duration {
    Duration::from_secs(1 << attempts.min(5)).min(PAUSE_MAX)
}

/// What of the spawner's part of a run directory is not there, if anything.
pub(crate) fn missing_in(run_dir: &Path) -> Option<PathBuf> {
    let dir = run_dir.join(DIR);
    [dir.join("lock"), dir.join("s"), dir.join("spawner/socket")].into_iter().find(|path| !path.exists())
}

fn spawner_is(how: Condition) -> Input {
    Input::Found(vec![Finding { of: Lack::Spawner, how }])
}

async fn next_attempt<T>(attempts: &mut Option<mpsc::Receiver<T>>) -> T {
    if let Some(attempts) = attempts
        && let Some(attempt) = attempts.recv().await
    {
        return attempt;
    }
    std::future::pending().await
}

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
    start: Start,
    workers: Handle,
    is_gone: bool,
    /// When the present spawner was connected, and how many before it ended soon after they began.
    since: Instant,
    short_lived: u32,
    /// Attempts to get another one: what came of each.
    attempts: Option<mpsc::Receiver<Result<NewSpawner, String>>>,
}

impl SessionDriver {
    /// Connects to the spawner in `run_dir`, or starts one. Its tasks run on `workers`.
    ///
    /// `open_files` is what this process was started with; the programs of sessions get the same.
    pub(crate) fn start(
        keeps: bool,
        run_dir: &Path,
        open_files: Option<OpenFiles>,
        workers: &Handle,
    ) -> Result<Self, SessionError> {
        let program = std::env::current_exe().map_err(SessionError::Program)?;
        let dir = run_dir.join(DIR);
        let start = Start {
            program: program.clone(),
            arguments: vec!["sessiond".into()],
            run_dir: dir.clone(),
            keep: keeps,
            open_files,
        };
        let connected = workers
            .block_on(async { tokio::time::timeout(START_WITHIN, Client::connect_or_start(&start)).await })
            .map_err(|_| SessionError::Late(dir.clone()))?;
        let client = connected?;
        let own_accounts = fs::metadata(&dir).is_ok_and(|meta| meta.uid() == 0) && root::is_uid_0_root();
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
        let driver = Self {
            client,
            program,
            keeps,
            own_accounts,
            start,
            workers: workers.clone(),
            is_gone: false,
            since: Instant::now(),
            short_lived: 0,
            attempts: None,
        };
        driver.open_up();
        Ok(driver)
    }

    /// Whether sessions can run as users of their own.
    pub(crate) const fn has_own_accounts(&self) -> bool {
        self.own_accounts
    }

    /// Session processes that an earlier daemon has left.
    pub(crate) fn kept(&self) -> usize {
        usize::try_from(self.client.kept()).unwrap_or(usize::MAX)
    }

    /// Processes that wait to become sessions.
    pub(crate) fn ahead(&self) -> u32 {
        self.client.ahead()
    }

    /// What sessions find in their `PATH`.
    pub(crate) fn tools(&self) -> Option<Tools> {
        let exe = self.program.to_str()?.to_owned();
        Some(Tools { exe, names: TOOLS.iter().map(|&name| name.to_owned()).collect() })
    }

    /// What happened; waits for ever when nothing can happen any more. Can be dropped and called again.
    pub(crate) async fn next(&mut self) -> Input {
        loop {
            let event = tokio::select! {
                event = self.client.next() => event,
                attempt = next_attempt(&mut self.attempts) => return self.on_attempt(attempt),
            };
            match event {
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
                    self.get_another();
                    return spawner_is(Condition::Wrong(self.gone("it ended")));
                }
                Some(Event::SpawnerStuck) => {
                    let text = "the spawner does not answer; if it does not soon it is killed and another one started";
                    return spawner_is(Condition::Wrong(text.to_owned()));
                }
                Some(Event::SpawnerBack) => return spawner_is(Condition::Well),
                None => std::future::pending().await,
            }
        }
    }

    /// Begins to get another spawner, the later the more of them ended soon after they began.
    fn get_another(&mut self) {
        let lived_long = self.since.elapsed() >= LONG_LIVED;
        self.short_lived = if lived_long { 0 } else { self.short_lived + 1 };
        let (sender, receiver) = mpsc::channel(1);
        self.attempts = Some(receiver);
        let first_pause = match self.short_lived {
            0 | 1 => Duration::ZERO,
            n => pause_after(n - 1),
        };
        let (start, connector, may_start) = (self.start.clone(), self.client.connector(), self.may_start());
        self.workers.spawn(async move {
            tokio::time::sleep(first_pause).await;
            for n in 1.. {
                let attempt = connector.another_spawner(&start, may_start);
                let spawner = tokio::time::timeout(START_WITHIN, attempt).await;
                let came = match spawner {
                    Ok(Ok(spawner)) => Ok(spawner),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_late) => Err("it does not answer".to_owned()),
                };
                let is_over = came.is_ok();
                if sender.send(came).await.is_err() || is_over {
                    return;
                }
                tokio::time::sleep(pause_after(n)).await;
            }
        });
    }

    fn on_attempt(&mut self, attempt: Result<NewSpawner, String>) -> Input {
        match attempt {
            Ok(spawner) => {
                self.attempts = None;
                self.client.use_spawner(spawner);
                self.is_gone = false;
                self.since = Instant::now();
                tracing::warn!("another spawner is there; the sessions of the old one go on");
                spawner_is(Condition::Well)
            }
            Err(why) => spawner_is(Condition::Wrong(self.gone(&why))),
        }
    }

    /// One that was root is not replaced by one that is not: sessions would run as the daemon, which holds the keys.
    fn may_start(&self) -> bool {
        !self.own_accounts || Uid::effective().is_root()
    }

    fn gone(&self, why: &str) -> String {
        if self.may_start() {
            format!("the spawner is gone ({why}); another one is being started")
        } else {
            let dir = self.start.run_dir.display();
            format!(
                "the spawner is gone ({why}); start it again as root: groupmgr sessiond spawner --run-dir {dir} --daemon-uid {}",
                Uid::effective()
            )
        }
    }

    /// Somebody has removed the run directory, and the daemon has made it again: the spawner's part is made again too.
    pub(crate) fn renew(&self) {
        if !self.is_gone
            && let Err(error) = self.client.renew()
        {
            tracing::error!(%error, "the spawner cannot make its directory again; restart groupmgr on this host");
        }
        self.open_up();
    }

    /// Accounts of sessions must be able to pass through to what the spawner made for them.
    fn open_up(&self) {
        if self.own_accounts
            && !Uid::effective().is_root()
            && let Some(run_dir) = self.start.run_dir.parent()
        {
            drop(fs::set_permissions(run_dir, fs::Permissions::from_mode(0o711)));
        }
    }

    /// Has a session process made. What is returned has happened already.
    pub(crate) fn spawn(&self, spec: SessionSpec) -> Option<Input> {
        let session = spec.session;
        let failed = |reason| Some(Input::SpawnFailed { session, reason });
        if self.is_gone {
            return failed("the spawner is gone; another one is being started".to_owned());
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
