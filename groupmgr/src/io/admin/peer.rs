//! How two hosts connect: they prove themselves, and agree whether to speak a link on it or single requests.

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
use crate::links::Loss;

/// How long a host may take to be connected to and trusted.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// And how long to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a host may take to be reached, and to read what has changed.
const FOLLOW_WITHIN: Duration = Duration::from_millis(1500);
/// The key with which the asked host offers links, and the asker takes the offer.
const LINKS: &str = "links";
const LINKS_VERSION: u8 = 1;
/// The key of the last greeting that names the account which gave the order.
pub(super) const BY: &str = "by";
/// Longest name of an account that is passed on.
pub(super) const BY_MAX: usize = 64;

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
    #[error("{addr}: {source}")]
    NoAnswer { addr: SocketAddrV4, source: NoAnswer },
    #[error("it has told no address of its own yet")]
    NoAddress,
}

/// Why a question got no answer over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The link was lost.
    #[error("{0}")]
    Lost(Loss),
    /// The other host refused the question, or its answer was too long.
    #[error("it did not take the question, or its answer is too long")]
    Refused,
}

/// What a host asks others with.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) own: HostName,
    pub(super) ring: Arc<KeyRing>,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

impl Asker {
    /// Connects to the host `wanted` at the first of `addrs` that answers.
    pub(super) async fn connect(
        &self,
        wanted: &HostName,
        addrs: &[SocketAddrV4],
        by: &str,
        within: Duration,
    ) -> Result<(Connected<impl Both + use<>>, SocketAddrV4), PeerError> {
        let mut last = PeerError::NoAddress;
        for addr in addrs {
            let addr = *addr;
            match tokio::time::timeout(within, self.connect_to(addr, wanted, by)).await {
                Err(_) => last = PeerError::Late { addr },
                Ok(Err(error)) => last = error,
                Ok(Ok(stream)) => return Ok((stream, addr)),
            }
        }
        Err(last)
    }

    async fn connect_to(
        &self,
        addr: SocketAddrV4,
        wanted: &HostName,
        by: &str,
    ) -> Result<Connected<impl Both + use<>>, PeerError> {
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
        // Older hosts read past what they do not know, and offer no links.
        let last = last.map_err(distrust)?.with(BY, by.chars().take(BY_MAX).collect::<String>());
        if answer.get(LINKS).is_some() {
            say(&mut stream, &last.with(LINKS, LINKS_VERSION)).await.map_err(io)?;
            return Ok(Connected::Link(stream));
        }
        say(&mut stream, &last).await.map_err(io)?;
        Ok(Connected::Single(stream))
    }
}

/// A connection on which both hosts are sure of each other, and what is spoken on it.
pub(super) enum Connected<S> {
    /// The frames of a link.
    Link(S),
    /// Requests and answers by the line, as hosts of the version before do.
    Single(S),
}

/// How long a host may take to be connected to, and how long to answer.
pub(super) const fn patience(ask: &Ask) -> (Duration, Duration) {
    match ask {
        Ask::Host(Command::Follow { .. }) => (FOLLOW_WITHIN, FOLLOW_WITHIN),
        _ => (CONNECT_WITHIN, ANSWER_WITHIN),
    }
}

/// Both directions of a connection, read by the line.
pub(super) trait Both: tokio::io::AsyncBufRead + AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncBufRead + AsyncWrite + Unpin + Send> Both for T {}

pub(super) async fn exchange(
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

/// The other side of [`Asker::connect`], on a connection whose greeting was read. Returns the host that asks, the
/// account in whose name, and the stream.
pub(super) async fn admit<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: tokio_rustls::server::TlsStream<S>,
    greeting: &Line,
    own: &HostName,
    ring: &KeyRing,
) -> Result<(HostName, String, Connected<impl Both + use<S>>), String> {
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
        say(&mut stream, &answer.with(LINKS, LINKS_VERSION)).await.map_err(|e| e.to_string())?;
        let last = hear(&mut stream).await.map_err(|e| e.to_string())?;
        let asker = waiting.judge(ring, &last).map_err(|e| e.to_string())?;
        let by = last.get(BY).unwrap_or(audit::UNKNOWN).chars().take(BY_MAX).collect::<String>();
        Ok((asker, by, last.get(LINKS).is_some()))
    };
    let (asker, by, is_link) = match tokio::time::timeout(CONNECT_WITHIN, trusted).await {
        Ok(trusted) => trusted?,
        Err(_) => return Err("it did not prove itself in time".into()),
    };
    let stream = if is_link { Connected::Link(stream) } else { Connected::Single(stream) };
    Ok((asker, by, stream))
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
