//! Commands of the operator's that are run when the daemon has started, and before it ends.
//!
//! A daemon does not depend on them: one that fails or takes too long is said in the log and by `doctor`, and nothing else
//! follows.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use proto::HostName;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};

use super::options::Options;

/// A command may take so long; then it is killed with all that it has started.
const WITHIN: Duration = Duration::from_secs(10);
/// What it has written last is waited for so long: it may have left something running that still could write.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Bytes of its complaints that are told.
const SAID_MAX: usize = 300;

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    Stop,
}

impl Moment {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// The commands, and what became of the last one that was run.
#[derive(Clone, Debug)]
pub(super) struct Hooks {
    host: HostName,
    start: Option<String>,
    stop: Option<String>,
    failed: Arc<Mutex<Option<String>>>,
}

impl Hooks {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            host: options.name.clone(),
            start: options.on_start.clone(),
            stop: options.on_stop.clone(),
            failed: Arc::default(),
        }
    }

    /// Why the last command failed, if it did.
    pub(super) fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs the command of this moment, if there is one, to its end.
    pub(super) async fn run(&self, moment: Moment) {
        let word = moment.word();
        let Some(text) = (match moment {
            Moment::Start => &self.start,
            Moment::Stop => &self.stop,
        }) else {
            return;
        };
        let failed = self.run_command(word, text).await.err();
        match &failed {
            None => tracing::info!(hook = word, "hook done"),
            Some(why) => tracing::warn!(hook = word, %why, "hook failed"),
        }
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
            failed.map(|why| format!("the command at {word} {why}"));
    }

    async fn run_command(&self, word: &str, text: &str) -> Result<(), String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]).env("HOTDESK_HOST", self.host.as_str()).env("HOTDESK_HOOK", word);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
        let complaints = child.stderr.take().map(|from| tokio::spawn(hear(from)));
        let ended = tokio::time::timeout(WITHIN, child.wait()).await;
        let Ok(ended) = ended else {
            kill_all(&child);
            return Err(format!("took longer than {} s and was killed", WITHIN.as_secs()));
        };
        let said = match complaints {
            Some(complaints) => tokio::time::timeout(LAST_WORDS, complaints).await.ok(),
            None => None,
        };
        judge(ended, &said.and_then(Result::ok).unwrap_or_default())
    }
}

fn judge(ended: io::Result<ExitStatus>, said: &str) -> Result<(), String> {
    let status = ended.map_err(|error| format!("cannot be waited for: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    };
    let said = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(said.map_or(how.clone(), |said| format!("{how}: {said}")))
}

fn kill_all(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended this moment.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Reads all that it writes, so that it never waits for us, and returns the end of it.
async fn hear(mut from: ChildStderr) -> String {
    let (mut said, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(len @ 1..) = from.read(&mut part).await {
        said.extend_from_slice(&part[..len]);
        let surplus = said.len().saturating_sub(SAID_MAX);
        said.drain(..surplus);
    }
    String::from_utf8_lossy(&said).into_owned()
}
