//! Connections that both sides trust: TCP with TLS and the proof of the group key, or the socket inside a
//! session, which needs neither.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::ids::{KeyId, Nonce, StoreId};
use proto::io::{KeyDir, KeyDirError, random, tls};
use proto::keys::KeyRing;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::client::ConnectError;
use crate::handshake::{
    Binding, Challenge, Challenger, Distrust, FRAME_MAX, GUARDS, HandshakeReply, Proof, Prover,
};
use crate::wire::{HEADER_LEN, WireError, decode, encode};

/// How long a connection may take to be made and trusted.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// What keying material is exported for; part of the proof's binding.
const EXPORT_LABEL: &[u8] = b"EXPORTER-hotdesk data store";

/// Both directions of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a data store is reached.
#[derive(Clone)]
pub enum Target {
    /// A server, over TCP.
    Tcp {
        /// The address at which the store listens.
        addr: SocketAddr,
        /// Believes the group's certificates.
        tls: Arc<rustls::ClientConfig>,
        /// Proves that we are of the group.
        ring: Arc<KeyRing>,
    },
    /// The socket inside a session, behind which its host relays.
    Unix(PathBuf),
}

impl Target {
    /// The server at `addr`, trusted by the keys in `keys`.
    ///
    /// # Errors
    /// When the directory's CA certificate cannot be used.
    pub fn tcp(addr: SocketAddr, keys: &KeyDir) -> Result<Self, KeyDirError> {
        Ok(Self::Tcp { addr, tls: keys.client_tls()?, ring: Arc::new(keys.ring.clone()) })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { addr, .. } => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({self})")
    }
}

/// A trusted connection.
pub(super) struct Connected {
    pub(super) stream: Box<dyn Stream>,
    /// Which store it leads to, if that said so.
    pub(super) store: Option<StoreId>,
    /// Whether that knows guarded writes.
    pub(super) guards: bool,
}

/// Connects and makes both sides trust each other.
pub(super) async fn connect(target: &Target) -> Result<Connected, ConnectError> {
    tokio::time::timeout(CONNECT_WITHIN, connect_unhurried(target))
        .await
        .unwrap_or_else(|_| Err(ConnectError::Unreachable("nobody answered".into())))
}

/// The keys that the data store at `target` verifies, the one it signs with first. It tells them to whoever believes its
/// certificate, with or without a key in common.
///
/// # Errors
/// Why it cannot be asked.
pub async fn keys_of(target: &Target) -> Result<Vec<KeyId>, String> {
    let Target::Tcp { addr, tls, .. } = target else {
        return Err("inside a session nobody tells the group's keys".into());
    };
    let asked = async {
        let mut stream = open(*addr, tls).await?;
        let challenge: Challenge = read_message(&mut stream).await.map_err(|e| unreachable(&e))?;
        Ok(challenge.kids)
    };
    let asked = tokio::time::timeout(CONNECT_WITHIN, asked).await;
    asked.unwrap_or_else(|_| Err(ConnectError::Unreachable("nobody answered".into()))).map_err(|error| {
        match error {
            ConnectError::Unreachable(why) | ConnectError::NotTrusted(why) => why,
        }
    })
}

async fn open(
    addr: SocketAddr,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let tcp = TcpStream::connect(addr).await.map_err(|e| unreachable(&e))?;
    tcp.set_nodelay(true).map_err(|e| unreachable(&e))?;
    let connector = TlsConnector::from(Arc::clone(tls));
    connector.connect(tls::server_name(), tcp).await.map_err(tls_failed)
}

async fn connect_unhurried(target: &Target) -> Result<Connected, ConnectError> {
    let (addr, tls, ring) = match target {
        Target::Tcp { addr, tls, ring } => (addr, tls, ring),
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|e| unreachable(&e))?;
            return Ok(Connected { stream: Box::new(stream), store: None, guards: false });
        }
    };
    let mut stream = open(*addr, tls).await?;
    let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORT_LABEL, None);
    let binding = Binding::new(&exported.map_err(|e| ConnectError::NotTrusted(e.to_string()))?);
    let challenge: Challenge = read_message(&mut stream).await.map_err(|e| unreachable(&e))?;
    let (prover, proof) =
        Prover::answer(ring, binding, fresh_nonce(), &challenge).map_err(|e| not_trusted(&e))?;
    write_message(&mut stream, &proof).await.map_err(|e| unreachable(&e))?;
    let reply: HandshakeReply = read_message(&mut stream).await.map_err(|e| unreachable(&e))?;
    match prover.judge(ring, &reply) {
        Ok(store) => Ok(Connected { stream: Box::new(stream), store, guards: challenge.version >= GUARDS }),
        Err(Distrust::Full) => Err(ConnectError::Unreachable(Distrust::Full.to_string())),
        Err(distrust) => Err(not_trusted(&distrust)),
    }
}

fn unreachable(error: &io::Error) -> ConnectError {
    let plain = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
        io::ErrorKind::NotFound => "there is no such socket".into(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "it closed the connection during the handshake".into()
        }
        _ => error.to_string(),
    };
    ConnectError::Unreachable(plain)
}

fn not_trusted(distrust: &Distrust) -> ConnectError {
    ConnectError::NotTrusted(distrust.to_string())
}

fn tls_failed(error: io::Error) -> ConnectError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => {
            ConnectError::NotTrusted("its certificate is not of this group".into())
        }
        Some(other) => ConnectError::NotTrusted(format!("TLS failed: {other}")),
        None => unreachable(&error),
    }
}

/// Why a connection is not served. Counted by reason.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stranger {
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("the handshake broke off: {0}")]
    BrokeOff(io::Error),
    #[error("it did not say anything, or the handshake did not end, in time")]
    Late,
    #[error("its place was needed for others")]
    Evicted,
    #[error("{0}")]
    Distrusted(Distrust),
}

/// The server's side of [`connect`]. `admit` is asked last, and says whether there is room.
pub(super) async fn accept<T>(
    tcp: TcpStream,
    tls: &TlsAcceptor,
    ring: &KeyRing,
    store: Option<StoreId>,
    within: Duration,
    admit: impl FnOnce() -> Option<T>,
) -> Result<(Box<dyn Stream>, T), Stranger> {
    let unhurried = accept_unhurried(tcp, tls, ring, store, admit);
    tokio::time::timeout(within, unhurried).await.unwrap_or(Err(Stranger::Late))
}

async fn accept_unhurried<T>(
    tcp: TcpStream,
    tls: &TlsAcceptor,
    ring: &KeyRing,
    store: Option<StoreId>,
    admit: impl FnOnce() -> Option<T>,
) -> Result<(Box<dyn Stream>, T), Stranger> {
    tcp.set_nodelay(true).map_err(Stranger::BrokeOff)?;
    let mut stream = tls.accept(tcp).await.map_err(Stranger::Tls)?;
    let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORT_LABEL, None);
    let binding = Binding::new(&exported.map_err(|e| Stranger::Tls(io::Error::other(e)))?);
    let (challenger, challenge) = Challenger::new(ring, binding, fresh_nonce(), store);
    write_message(&mut stream, &challenge).await.map_err(Stranger::BrokeOff)?;
    let proof: Proof = read_message(&mut stream).await.map_err(Stranger::BrokeOff)?;
    let mut reply = challenger.judge(ring, &proof);
    let mut admitted = None;
    if let HandshakeReply::Welcome { .. } | HandshakeReply::Greeting { .. } = reply {
        admitted = admit();
        if admitted.is_none() {
            reply = HandshakeReply::Refused(Distrust::Full);
        }
    }
    write_message(&mut stream, &reply).await.map_err(Stranger::BrokeOff)?;
    match (reply, admitted) {
        (HandshakeReply::Refused(distrust), _) => Err(Stranger::Distrusted(distrust)),
        (_, None) => Err(Stranger::Distrusted(Distrust::Full)),
        (_, Some(admitted)) => Ok((Box::new(stream), admitted)),
    }
}

fn fresh_nonce() -> Nonce {
    Nonce(u128::from_be_bytes(random()))
}

/// Reads one message of the handshake, and not a byte more.
async fn read_message<M: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await?;
    let len = u32::from_be_bytes(header) as usize;
    if len > FRAME_MAX {
        return Err(invalid(WireError::TooLong { bytes: len, max: FRAME_MAX }));
    }
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).await?;
    decode(&payload).map_err(invalid)
}

async fn write_message(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes).map_err(invalid)?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn invalid(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
