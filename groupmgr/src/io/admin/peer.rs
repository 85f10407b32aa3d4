//! The connection between two hosts over which one asks the other on an operator's behalf.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use proto::io::{random, tls};
use proto::keys::KeyRing;
use proto::line::{LINE_MAX, Line};
use proto::{HostName, Nonce};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::audit;
use super::trust::{self, Asked, Binding, Distrust};
use super::wire::{ANSWER_MAX, Answer, Ask, REQUEST_MAX, read_json, read_line, write_json};
use crate::host::admin::Command;

/// How long a host may take to be connected to and trusted.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// And how long to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a host may take to be reached, and to read what has changed.
const FOLLOW_WITHIN: Duration = Duration::from_millis(1500);
/// The key of the last greeting that names the account which gave the order.
const BY: &str = "by";
/// Longest name of an account that is passed on.
const BY_MAX: usize = 64;

const EXPORT_LABEL: &[u8] = b"EXPORTER-hotdesk administration";

/// Why another host gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error("{addr}: {source}")]
    Io { addr: SocketAddrV4, source: io::Error },
    #[error("{addr}: no answer in time")]
    Late { addr: SocketAddrV4 },
    #[error("{addr}: {source}")]
    Distrust { addr: SocketAddrV4, source: Distrust },
    #[error("it has told no address of its own yet")]
    NoAddress,
}

/// What a host asks others with.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) own: HostName,
    pub(super) ring: Arc<KeyRing>,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

impl Asker {
    /// Asks the host `wanted` at the first of `addrs` that answers.
    pub(super) async fn ask(
        &self,
        wanted: &HostName,
        addrs: &[SocketAddrV4],
        ask: &Ask,
        by: &str,
    ) -> Result<Answer, PeerError> {
        let (connect_within, answer_within) = match ask {
            Ask::Host(Command::Follow { .. }) => (FOLLOW_WITHIN, FOLLOW_WITHIN),
            _ => (CONNECT_WITHIN, ANSWER_WITHIN),
        };
        let mut last = PeerError::NoAddress;
        for addr in addrs {
            let addr = *addr;
            match tokio::time::timeout(connect_within, self.connect(addr, wanted, by)).await {
                Err(_) => last = PeerError::Late { addr },
                Ok(Err(error)) => last = error,
                // It was reached: what becomes of the request now is not to be tried again elsewhere.
                Ok(Ok(mut stream)) => {
                    let answer = exchange(&mut stream, addr, ask, answer_within).await;
                    drop(tokio::time::timeout(CONNECT_WITHIN, stream.shutdown()).await);
                    return answer;
                }
            }
        }
        Err(last)
    }

    async fn connect(
        &self,
        addr: SocketAddrV4,
        wanted: &HostName,
        by: &str,
    ) -> Result<impl Both + use<>, PeerError> {
        let io = |source| PeerError::Io { addr, source };
        let distrust = |source| PeerError::Distrust { addr, source };
        let tcp = TcpStream::connect(addr).await.map_err(io)?;
        tcp.set_nodelay(true).map_err(io)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(tls::server_name(), tcp).await.map_err(io)?;
        let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORT_LABEL, None);
        let binding = binding(&exported.map_err(|e| io(io::Error::other(e)))?);
        let mut stream = BufReader::new(stream);
        let nonce = fresh_nonce();
        say(&mut stream, &trust::greeting(&self.own, &self.ring, nonce)).await.map_err(io)?;
        let answer = hear(&mut stream).await.map_err(io)?;
        let last = trust::confirm(&answer, &self.own, wanted, &self.ring, nonce, &binding);
        // Older hosts read past what they do not know.
        let last = last.map_err(distrust)?.with(BY, by.chars().take(BY_MAX).collect::<String>());
        say(&mut stream, &last).await.map_err(io)?;
        Ok(stream)
    }
}

/// Both directions of a connection, read by the line.
pub(super) trait Both: tokio::io::AsyncBufRead + AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncBufRead + AsyncWrite + Unpin + Send> Both for T {}

async fn exchange(
    stream: &mut impl Both,
    addr: SocketAddrV4,
    ask: &Ask,
    within: Duration,
) -> Result<Answer, PeerError> {
    let answer = async {
        write_json(stream, ask).await?;
        read_json(stream, ANSWER_MAX).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer.map_err(|source| PeerError::Io { addr, source }),
        Err(_) => Err(PeerError::Late { addr }),
    }
}

/// The other side of [`Asker::connect`], on a connection whose greeting was read. Returns who asks, as
/// `account@host`, and the stream of its requests.
pub(super) async fn admit<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: tokio_rustls::server::TlsStream<S>,
    greeting: &Line,
    own: &HostName,
    ring: &KeyRing,
) -> Result<(String, impl Both + use<S>), String> {
    let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORT_LABEL, None);
    let binding = binding(&exported.map_err(|e| e.to_string())?);
    let mut stream = BufReader::new(stream);
    let trusted = async {
        let (waiting, answer) = match Asked::answer(greeting, own, ring, fresh_nonce(), binding) {
            Ok(answer) => answer,
            Err(why) => {
                say(&mut stream, &Line::new("peer").with("refused", &why))
                    .await
                    .map_err(|e| e.to_string())?;
                return Err(why.to_string());
            }
        };
        say(&mut stream, &answer).await.map_err(|e| e.to_string())?;
        let last = hear(&mut stream).await.map_err(|e| e.to_string())?;
        let asker = waiting.judge(ring, &last).map_err(|e| e.to_string())?;
        let by = last.get(BY).unwrap_or(audit::UNKNOWN);
        Ok(format!("{}@{asker}", by.chars().take(BY_MAX).collect::<String>()))
    };
    let asker = match tokio::time::timeout(CONNECT_WITHIN, trusted).await {
        Ok(trusted) => trusted?,
        Err(_) => return Err("it did not prove itself in time".into()),
    };
    Ok((asker, stream))
}

/// The next request of another host, within the time it may think.
pub(super) async fn next_ask(stream: &mut impl Both) -> io::Result<Option<Ask>> {
    match tokio::time::timeout(ANSWER_WITHIN, read_json(stream, REQUEST_MAX)).await {
        // A host that died in the middle of a request asks nothing any more.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Ok(ask) => ask,
        Err(_) => Ok(None),
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), line: &Line) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    stream.flush().await
}

async fn hear(stream: &mut impl Both) -> io::Result<Line> {
    let line = read_line(stream, LINE_MAX).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let line = Line::parse(&line).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    line.expect("peer").map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(line)
}

fn fresh_nonce() -> Nonce {
    Nonce(u128::from_be_bytes(random()))
}

fn binding(exported: &[u8; 32]) -> Binding {
    Binding(proto::hex::encode(exported))
}
