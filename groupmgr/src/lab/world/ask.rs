//! Questions to hosts and DTUs, each with a limit: one that stands still must not hold up whoever asks.

use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{LabError, doing};
use crate::lab::commands::Commands;

/// How long an answer may take. Generous: the processes that are asked share two processors with whatever else
/// the machine does.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Asks hosts and DTUs by their command lines. Clones ask the same ones, from other threads.
#[derive(Clone, Debug)]
pub struct Asker(pub(super) Commands);

impl Asker {
    /// Asks a host something (`topology`, `status`, `session list`, ...).
    ///
    /// # Errors
    /// When the command fails, answers something else than JSON, or nothing in time.
    pub fn host(&self, host: &str, words: &[&str]) -> Result<Value, LabError> {
        let answer = output(self.0.ask_host(host, words))?;
        serde_json::from_str(&answer).map_err(|e| LabError::Odd { what: words.join(" "), why: e.to_string() })
    }

    /// Asks a DTU something (`screen`, `type TEXT`, ...).
    ///
    /// # Errors
    /// When the command fails or does not end in time.
    pub fn desk(&self, desk: &str, words: &[&str]) -> Result<String, LabError> {
        output(self.0.ask_desk(desk, words))
    }
}

/// Runs a command to its end; its standard output, or what it complained of.
pub(super) fn output(mut command: Command) -> Result<String, LabError> {
    let words: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let child = command.spawn().map_err(doing("run a command"))?;
    let pid = i32::try_from(child.id()).map(Pid::from_raw);
    let (done, finished) = channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(child.wait_with_output());
    });
    let result = finished.recv_timeout(ANSWER_PATIENCE);
    if result.is_err()
        && let Ok(pid) = pid
    {
        // Not reaped yet, or its output would be here.
        let _ = kill(pid, Signal::SIGKILL);
    }
    let _ = thread.join();
    let late = |_| LabError::Late {
        what: format!("`groupmgr {}` to end", words.join(" ")),
        patience: ANSWER_PATIENCE,
    };
    let output = result.map_err(late)?.map_err(doing("run a command"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Refused { command: words.join(" "), said })
    }
}
