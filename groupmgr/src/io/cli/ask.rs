//! Asking the daemon of this machine.

use std::io::{self, Write as _};
use std::time::Duration;

use proto::HostName;
use proto::exit::Exit;
use proto::io::cli::Failure;
use proto::io::local::{self, NoDaemon, run_base};

use super::args::At;
use crate::host::admin::{Command, Reply};
use crate::io::admin::wire::{ANSWER_MAX, Answer, Answers, Ask, Outcome, Request, Target};

/// How long a daemon may take to answer: longer than it waits for the other hosts.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A connection to a daemon.
pub(super) struct Daemon(local::Daemon);

impl Daemon {
    /// The daemon `at` means: the one named, else the only one there is.
    pub(super) fn connect(at: &At) -> Result<Self, Failure> {
        let base = at.run_dir.clone().unwrap_or_else(run_base);
        let mut running = local::Daemon::connect_all(&base, at.host.as_ref()).map_err(|why| match why {
            NoDaemon::NotAllowed(_) => Failure::not_allowed(why),
            _ => Failure::nobody(why),
        })?;
        if running.len() > 1 {
            let names: Vec<String> = running.iter().map(|daemon| daemon.host.to_string()).collect();
            let names = names.join(", ");
            return Err(Failure::usage(format!("several daemons run here; say which with --host: {names}")));
        }
        let Some(daemon) = running.pop() else {
            return Err(Failure::nobody("no daemon runs here"));
        };
        daemon.set_patience(ANSWER_WITHIN).map_err(|error| lost(&daemon.host, &error))?;
        Ok(Self(daemon))
    }

    /// Asks, and returns what every host that was meant answered.
    pub(super) fn ask(&mut self, target: Target, ask: Ask) -> Result<Answers, Failure> {
        let request = Request { target, ask };
        let line = serde_json::to_vec(&request).map_err(Failure::usage)?;
        let answer = self.0.exchange(&line, ANSWER_MAX as u64).map_err(|error| lost(&self.0.host, &error))?;
        serde_json::from_slice(&answer).map_err(|error| {
            let host = &self.0.host;
            Failure::no(format!("{host} speaks another version of this program: {error}; restart it"))
        })
    }

    /// Asks for something the host machine answers, as [`Gathered`].
    pub(super) fn command(&mut self, target: Target, command: Command) -> Result<Gathered, Failure> {
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
    pub(super) fn wait_for_end(self) -> Result<(), Failure> {
        let host = self.0.host.clone();
        self.0.wait_for_end().map_err(|error| lost(&host, &error))
    }
}

fn lost(host: &HostName, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "it ended".to_owned(),
        _ => error.to_string(),
    };
    Failure::nobody(format!("the daemon of {host}: {why}; see its log"))
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
    /// Says on the standard error who refused and who did not answer, and returns the exit code of a command that
    /// only looks: what the others answered was printed, so a host that does not answer is no failure, unless it is
    /// the only one that was asked.
    pub(super) fn conclude(&self) -> Exit {
        self.tell();
        let nobody = self.replies.is_empty() && self.stopped.is_empty() && !self.unreachable.is_empty();
        match (self.refused.is_empty(), nobody) {
            (false, _) => Exit::No,
            (true, true) => Exit::Nobody,
            (true, false) => Exit::Done,
        }
    }

    /// As [`Self::conclude`], for a command that changes something: a host that does not answer has not done it.
    pub(super) fn conclude_order(&self) -> Exit {
        match (self.unreachable.is_empty(), self.replies.is_empty()) {
            (false, false) if self.refused.is_empty() => {
                self.tell();
                Exit::NotEverywhere
            }
            _ => self.conclude(),
        }
    }

    fn tell(&self) {
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
