//! What is asked and answered on the administration socket and between hosts: one line of JSON each way.

use std::io;

use proto::HostName;
use proto::net::Interface;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::host::admin::{Command, Reply};

/// Longest request, in bytes: the longest template, as JSON, with room.
pub const REQUEST_MAX: usize = 128 * 1024;
/// Longest answer, in bytes: the DTUs of a large group.
pub const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The host that is asked.
    Local,
    /// Every host of the group.
    All,
    /// Every host of the group that is heard at this moment.
    Up,
    /// The host of this name.
    Host(HostName),
}

/// A request of the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Which hosts are to answer.
    pub target: Target,
    /// The question or order.
    pub ask: Ask,
}

/// What is asked of a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Something the host machine answers.
    Host(Command),
    /// Something about the templates in the data store.
    Template(TemplateAsk),
    /// What only the daemon's process knows, for `doctor`.
    Facts,
}

/// A request about templates, which live in the data store under `template/<name>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateAsk {
    /// The names of all that are stored.
    List,
    /// The text of one.
    Show(String),
    /// Store one, whose text was checked.
    Put {
        /// What it is called, in the registry and by `--template`.
        name: String,
        /// The lines of the template.
        text: String,
    },
    /// Delete the template of this name.
    Remove(String),
}

/// The answer of one host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostAnswer {
    /// The host that answered, or should have.
    pub host: HostName,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of asking a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The host answered this.
    Answer(Answer),
    /// It did not, and this is why.
    Unreachable(String),
    /// It was not asked: it said goodbye.
    Stopped,
}

/// What a host answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The host machine's reply.
    Host(Reply),
    /// Names of templates.
    Templates(Vec<String>),
    /// The text of a template.
    Template(String),
    /// The daemon's facts.
    Facts(Box<Facts>),
    /// It was done, and there is nothing to tell.
    Done,
    /// Not done; the text says why and what would help.
    Refused(String),
}

/// What only the daemon's process knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The daemon's process id.
    pub pid: u32,
    /// The version of the program, as `--version` prints it.
    pub version: String,
    /// Its key directory.
    pub keys: String,
    /// Its directory for sockets.
    pub run_dir: String,
    /// Its directory for data.
    pub state_dir: String,
    /// The interfaces that it serves.
    pub interfaces: Vec<Interface>,
    /// TCP connections it has.
    pub connections: usize,
    /// File descriptors it has open.
    pub fds: u64,
    /// And may have.
    pub fds_max: u64,
    /// Whether the processes of sessions run as users of their own.
    pub own_accounts: bool,
    /// The account of sessions for which nothing else names one.
    #[serde(default)]
    pub account: Option<String>,
    /// The account of the daemon itself; a host of an older version does not say.
    #[serde(default)]
    pub runs_as: Option<String>,
    /// Why the last command failed that its operator has it run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_failed: Option<String>,
    /// Accounts that sessions run as here, as far as host and registry name them.
    #[serde(default)]
    pub homes: Vec<Home>,
}

/// An account that sessions run as, and its home directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The account's name.
    pub account: String,
    /// Its home directory; none when there is no such account on the host.
    pub dir: Option<String>,
}

/// All answers to a request, in the order of the hosts' names.
pub type Answers = Vec<HostAnswer>;

/// Reads one line of JSON of at most `max` bytes. `None` at the end of the stream.
///
/// # Errors
/// What the stream says; `InvalidData` for a line that is too long or no such JSON.
pub async fn read_json<T: DeserializeOwned>(
    stream: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> io::Result<Option<T>> {
    let Some(line) = read_line(stream, max).await? else { return Ok(None) };
    serde_json::from_slice(&line).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Reads one line of at most `max` bytes, without its end.
///
/// # Errors
/// As [`read_json`].
pub(super) async fn read_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> io::Result<Option<Vec<u8>>> {
    use tokio::io::AsyncReadExt as _;
    let mut line = Vec::new();
    let read = stream.take(max as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        None => Ok(None),
        Some(_) if read > max => Err(io::Error::new(io::ErrorKind::InvalidData, "a line that is too long")),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes one line of JSON.
///
/// # Errors
/// What the stream says.
pub async fn write_json(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_request_is_one_line_and_a_long_or_unfinished_one_is_an_error() {
        let request = Request { target: Target::All, ask: Ask::Host(Command::Status) };
        let mut line = Vec::new();
        write_json(&mut line, &request).await.unwrap();
        assert_eq!(line, b"{\"target\":\"all\",\"ask\":{\"host\":\"status\"}}\n");
        let mut stream = line.as_slice();
        let read: Option<Request> = read_json(&mut stream, REQUEST_MAX).await.unwrap();
        assert_eq!(read.unwrap().target, Target::All);
        assert!(read_json::<Request>(&mut stream, REQUEST_MAX).await.unwrap().is_none());
        let kind = |result: io::Result<Option<Request>>| result.unwrap_err().kind();
        assert_eq!(kind(read_json(&mut &line[..20], 100).await), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(read_json(&mut line.as_slice(), 10).await), io::ErrorKind::InvalidData);
        assert_eq!(kind(read_json(&mut &b"{}\n"[..], 10).await), io::ErrorKind::InvalidData);
    }

    #[test]
    fn answers_say_whose_they_are() {
        let host: HostName = "a".parse().unwrap();
        let answer = HostAnswer { host, outcome: Outcome::Unreachable("no".into()) };
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"host":"a","unreachable":"no"}"#);
        let done = Outcome::Answer(Answer::Host(Reply::Done));
        assert_eq!(serde_json::to_string(&done).unwrap(), r#"{"answer":{"host":"done"}}"#);
    }

    proptest! {
        #[test]
        fn no_bytes_on_the_socket_are_more_than_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read_json::<Request>(&mut bytes.as_slice(), 100));
            prop_assert!(!matches!(read, Ok(Some(_))));
        }
    }
}
