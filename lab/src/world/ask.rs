//! Questions to hosts and DTUs, each with a limit: one that stands still must not hold up whoever asks.
//!
//! Hosts and DTUs are asked on the sockets that their own command lines use, since a screen is looked at many times
//! a second; everything else goes by the command lines themselves.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::time::Duration;

use dtu_emu::io::control::{Appearance, Reply as DeskReply, Request as DeskRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{LabError, doing};
use crate::commands::Commands;
use groupmgr::host::admin::{Command as HostCommand, Reply as HostReply};
use groupmgr::io::admin::wire::{Answer, Answers, Ask, Outcome, Request as HostRequest, Target};
use groupmgr::topology::RowView;
use proto::io::local::ADMIN_SOCKET;

/// How long an answer may take. Generous: the processes that are asked share two processors with whatever else
/// the machine does.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer, in bytes.
const ANSWER_MAX: u64 = 64 << 20;

/// Asks hosts and DTUs. Clones ask the same ones, from other threads.
#[derive(Clone, Debug)]
pub struct Asker(pub(super) Commands);

impl Asker {
    /// The topology table of a host.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn topology(&self, host: &str) -> Result<Vec<RowView>, LabError> {
        match self.host(host, HostCommand::Topology)? {
            HostReply::Topology(rows) => Ok(rows),
            other => Err(odd(host, format!("answers something else: {other:?}"))),
        }
    }

    /// Asks a host what an operator would.
    ///
    /// # Errors
    /// When it refuses, or does not answer.
    pub fn host(&self, host: &str, command: HostCommand) -> Result<HostReply, LabError> {
        let socket = self.0.files.run().join(host).join(ADMIN_SOCKET);
        let request = HostRequest { target: Target::Local, ask: Ask::Host(command) };
        let answers: Answers =
            converse(&socket, &request, ANSWER_PATIENCE).map_err(|e| odd(host, e.to_string()))?;
        match answers.into_iter().next().map(|answer| answer.outcome) {
            Some(Outcome::Answer(Answer::Host(HostReply::Refused(why)) | Answer::Refused(why))) => {
                Err(odd(host, why))
            }
            Some(Outcome::Answer(Answer::Host(reply))) => Ok(reply),
            other => Err(odd(host, format!("answers something else: {other:?}"))),
        }
    }

    /// Asks a host something by its command line (`status`, `session list`, ...), as JSON.
    ///
    /// # Errors
    /// When the command fails, answers something else than JSON, or nothing in time.
    pub fn command(&self, host: &str, words: &[&str]) -> Result<Value, LabError> {
        let answer = output(self.0.ask_host(host, words))?;
        serde_json::from_str(&answer).map_err(|e| odd(&words.join(" "), e.to_string()))
    }

    /// What a DTU is doing and shows.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn look(&self, desk: &str) -> Result<Appearance, LabError> {
        self.desk(desk, &DeskRequest::Look, ANSWER_PATIENCE)?
            .look
            .ok_or_else(|| odd(desk, "shows nothing".to_owned()))
    }

    /// Asks a DTU something. `patience` is for its answer.
    ///
    /// # Errors
    /// When it refuses, or does not answer.
    pub fn desk(&self, desk: &str, request: &DeskRequest, patience: Duration) -> Result<DeskReply, LabError> {
        let socket = self.0.files.control_socket(desk);
        let reply: DeskReply = converse(&socket, request, patience).map_err(|e| odd(desk, e.to_string()))?;
        match reply.error {
            Some(error) if !reply.ok => Err(odd(desk, error)),
            _ => Ok(reply),
        }
    }
}

fn odd(what: &str, why: String) -> LabError {
    LabError::Odd { what: what.to_owned(), why }
}

/// One line of JSON there, one back.
fn converse<T: DeserializeOwned>(
    socket: &Path,
    request: &impl Serialize,
    patience: Duration,
) -> io::Result<T> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// Runs a command to its end; its standard output, or what it complained of.
pub(super) fn output(command: Command) -> Result<String, LabError> {
    output_by(command, |mut command| command.spawn())
}

/// The same for a command that is started like this.
pub(super) fn output_by(
    command: Command,
    start: impl FnOnce(Command) -> io::Result<Child>,
) -> Result<String, LabError> {
    let words: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let child = start(command).map_err(doing("run a command"))?;
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
    let late =
        |_| LabError::Late { what: format!("`{}` to end", words.join(" ")), patience: ANSWER_PATIENCE };
    let output = result.map_err(late)?.map_err(doing("run a command"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Refused { command: words.join(" "), said })
    }
}
