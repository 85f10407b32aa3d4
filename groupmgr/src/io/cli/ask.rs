//! Asking the daemon of this machine.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use proto::HostName;

use super::args::At;
use super::{CliError, UNREACHABLE};
use crate::host::admin::{Command, Reply};
use crate::io::admin::wire::{ANSWER_MAX, Answer, Answers, Ask, Outcome, Request, Target};
use crate::io::dirs;

/// How long a daemon may take to answer: longer than it waits for the other hosts.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A connection to a daemon.
pub(super) struct Daemon {
    stream: BufReader<UnixStream>,
    host: HostName,
}

impl Daemon {
    /// The daemon `at` means: the one named, else the only one there is.
    pub(super) fn connect(at: &At) -> Result<Self, CliError> {
        let base = at.run_dir.clone().unwrap_or_else(dirs::run_base);
        let mut running = Vec::new();
        let mut trouble = None;
        for host in dirs::hosts_in(&base) {
            if at.host.as_ref().is_some_and(|wanted| *wanted != host) {
                continue;
            }
            let path = base.join(host.as_str()).join(dirs::ADMIN_SOCKET);
            match UnixStream::connect(&path) {
                Ok(stream) => running.push((host, stream)),
                // What a daemon that was killed left behind.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => trouble = Some((path, error)),
            }
        }
        match (running.pop(), running.is_empty()) {
            (Some((host, stream)), true) => Self::new(host, stream),
            (Some((last, _)), false) => {
                let mut names: Vec<String> = running.iter().map(|(host, _)| host.to_string()).collect();
                names.push(last.to_string());
                Err(CliError::Usage(format!(
                    "several daemons run here; say which with --host: {}",
                    names.join(", ")
                )))
            }
            (None, _) => Err(CliError::Unreachable(nobody(at, base, trouble))),
        }
    }

    fn new(host: HostName, stream: UnixStream) -> Result<Self, CliError> {
        let limits = stream.set_read_timeout(Some(ANSWER_WITHIN));
        let limits = limits.and_then(|()| stream.set_write_timeout(Some(ANSWER_WITHIN)));
        limits.map_err(|error| lost(&host, &error))?;
        Ok(Self { stream: BufReader::new(stream), host })
    }

    /// Asks, and returns what every host that was meant answered.
    pub(super) fn ask(&mut self, target: Target, ask: Ask) -> Result<Answers, CliError> {
        let request = Request { target, ask };
        let mut line = serde_json::to_vec(&request).map_err(|e| CliError::Usage(e.to_string()))?;
        line.push(b'\n');
        let mut answer = Vec::new();
        let asked = self.stream.get_mut().write_all(&line);
        let read =
            asked.and_then(|()| self.stream.by_ref().take(ANSWER_MAX as u64).read_until(b'\n', &mut answer));
        if read.map_err(|error| lost(&self.host, &error))? == 0 {
            return Err(lost(&self.host, &io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&answer).map_err(|error| {
            CliError::No(format!("{} speaks another version of this program: {error}; restart it", self.host))
        })
    }

    /// Asks for something the host machine answers, as [`Gathered`].
    pub(super) fn command(&mut self, target: Target, command: Command) -> Result<Gathered, CliError> {
        let answers = self.ask(target, Ask::Host(command))?;
        let mut gathered = Gathered::default();
        for answer in answers {
            match answer.outcome {
                Outcome::Answer(Answer::Host(Reply::Refused(why)) | Answer::Refused(why)) => {
                    gathered.refused.push((answer.host, why));
                }
                Outcome::Answer(Answer::Host(reply)) => gathered.replies.push((answer.host, reply)),
                Outcome::Answer(other) => {
                    gathered.refused.push((answer.host, format!("an answer to something else: {other:?}")));
                }
                Outcome::Unreachable(why) => gathered.unreachable.push((answer.host, why)),
                Outcome::Stopped => gathered.stopped.push(answer.host),
            }
        }
        Ok(gathered)
    }

    /// Waits until the daemon has ended.
    pub(super) fn wait_for_end(mut self) -> Result<(), CliError> {
        match io::copy(&mut self.stream, &mut io::sink()) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(lost(&self.host, &error)),
            _ => Ok(()),
        }
    }
}

fn nobody(at: &At, base: PathBuf, trouble: Option<(PathBuf, io::Error)>) -> String {
    if let Some((path, error)) = trouble {
        return format!("{}: {error}; run this as the user the daemon runs as, or as root", path.display());
    }
    match &at.host {
        Some(host) => format!(
            "no daemon of host {host} runs here (looked in {}); start one with: groupmgr run --name {host}",
            base.display()
        ),
        None => format!(
            "no daemon runs here (looked in {}); start one with: groupmgr run, or name its directory with --run-dir",
            base.display()
        ),
    }
}

fn lost(host: &HostName, error: &io::Error) -> CliError {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "it ended".to_owned(),
        _ => error.to_string(),
    };
    CliError::Unreachable(format!("the daemon of {host}: {why}; see its log"))
}

/// What hosts answered to a command.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) replies: Vec<(HostName, Reply)>,
    pub(super) refused: Vec<(HostName, String)>,
    pub(super) unreachable: Vec<(HostName, String)>,
    pub(super) stopped: Vec<HostName>,
}

impl Gathered {
    /// Says on the standard error who refused and who did not answer, and returns the exit code that follows.
    pub(super) fn conclude(&self) -> ExitCode {
        let mut err = io::stderr().lock();
        for (host, why) in &self.refused {
            drop(writeln!(err, "groupmgr: {host} refused: {why}"));
        }
        for (host, why) in &self.unreachable {
            drop(writeln!(
                err,
                "groupmgr: {host} does not answer: {why}; if it is gone for good: groupmgr forget {host}"
            ));
        }
        if !self.unreachable.is_empty() {
            ExitCode::from(UNREACHABLE)
        } else if !self.refused.is_empty() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    /// At how many DTUs in all something was done.
    pub(super) fn at(&self) -> usize {
        let at = |(_, reply): &(HostName, Reply)| if let Reply::At(n) = reply { *n } else { 0 };
        self.replies.iter().map(at).sum()
    }

    /// Those who did not answer, for JSON.
    pub(super) fn missing(&self) -> Vec<serde_json::Value> {
        let missing = |(host, why): &(HostName, String)| serde_json::json!({"host": host, "why": why});
        self.unreachable.iter().map(missing).collect()
    }
}
