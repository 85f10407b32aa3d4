//! TCP connections: who may have one, what each of them is, and where it goes from here.
//!
//! ```text
//!  accept ─ place? ─▶ first byte ─┬─ 0x16 ──▶ TLS ─▶ first line ─┬─ peer … ──▶ another host's administration
//!             │ no                │                              └─ else ───▶ session protocol
//!             ▼                   ├─ "display session=…" ──▶ waits for the host to say whose it is
//!           closed                └─ else ──▶ session protocol where plain text is allowed; otherwise closed
//! ```
//!
//! Whatever a stranger can make grow has a bound in [`bounds`] or [`session`]; what is over it is closed and
//! counted. Runs on all processors, apart from the thread of the host machine; and what is new has threads of its own,
//! so that in a storm of handshakes those who are at work still get an answer when they ask whether this host lives.

pub mod bounds;
pub mod first;
pub(crate) mod session;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proto::line::{Line, LineError, Splitter};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_rustls::TlsAcceptor;

use self::bounds::{Bounds, Place};
use self::first::First;
use self::session::{Connection, WRITE_QUEUE_MAX, read_lines};
use crate::host::ConnId;
use crate::io::admin::desk::Desk;
use crate::io::counters::{Counters, Reason};
use crate::io::daemon::{Event, Inbox};

/// What a connection that vanished without a word may cost.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(20))
    .with_interval(Duration::from_secs(5))
    .with_retries(4);
/// What was sent must be acknowledged by the other end's kernel within this time.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);

/// Everything a new connection needs.
pub(crate) struct Acceptor {
    /// Where new connections are until it is known what they are.
    pub(crate) greeters: Handle,
    /// Where they are from then on.
    pub(crate) workers: Handle,
    pub(crate) tls: TlsAcceptor,
    /// Whether the session protocol may be spoken without TLS.
    pub(crate) allows_plain: bool,
    pub(crate) bounds: Bounds,
    pub(crate) counters: Counters,
    pub(crate) inbox: Inbox,
    pub(crate) desk: Arc<Desk>,
    pub(crate) next_conn: AtomicU64,
}

/// A display connection that waits for the host to say whose it is.
pub(crate) struct Held {
    pub(crate) stream: TcpStream,
    /// What was read behind its first line.
    pub(crate) already: Vec<u8>,
    pub(crate) _place: Place,
}

impl Acceptor {
    /// Takes connections until its task is dropped.
    pub(crate) async fn listen(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "a listener cannot be used");
                return;
            }
        };
        while let Some(half_open) = self.bounds.half_open().await {
            match listener.accept().await {
                Ok((stream, SocketAddr::V4(peer))) => {
                    if let Some(place) = self.bounds.admit(*peer.ip(), &self.counters) {
                        self.greeters.spawn(Arc::clone(&self).welcome(stream, peer, place, half_open));
                    }
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) => rest_after(&error).await,
            }
        }
    }

    async fn welcome(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddrV4,
        place: Place,
        half_open: OwnedSemaphorePermit,
    ) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%peer, %error, "a connection ended at once");
            return;
        }
        let has_begun = AtomicBool::new(false);
        if let Some(known) =
            self.in_time(&has_begun, self.recognise(&has_begun, stream, peer)).await.flatten()
        {
            drop(half_open);
            self.start(known, peer, place).await;
        }
    }

    /// Waits for `work`, less patiently while others wait for its place.
    async fn in_time<T>(&self, has_begun: &AtomicBool, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        for waited in 1.. {
            if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), &mut work).await {
                return Some(done);
            }
            let why = bounds::must_leave(waited, has_begun.load(Ordering::Relaxed), self.bounds.is_crowded());
            if let Some(why) = why {
                self.counters.count(why);
                break;
            }
        }
        None
    }

    async fn recognise(
        &self,
        has_begun: &AtomicBool,
        mut stream: TcpStream,
        peer: SocketAddrV4,
    ) -> Option<Known> {
        let refuse = |reason| {
            self.counters.count(reason);
            None
        };
        match first::identify(&mut stream, self.allows_plain).await {
            Ok(First::Tls) => {
                has_begun.store(true, Ordering::Relaxed);
                match self.tls.accept(stream).await {
                    Ok(stream) => first_line(stream).await.map(|begun| Known::Tls(Box::new(begun))),
                    Err(error) => {
                        tracing::debug!(%peer, %error, "handshake failed");
                        refuse(Reason::Handshake)
                    }
                }
            }
            Ok(First::Display { session, already }) => Some(Known::Display { session, already, stream }),
            Ok(First::Plain { line, already }) => {
                let mut splitter = Splitter::new();
                let mut lines = vec![Ok(line)];
                splitter.push(&already, |line| lines.push(line));
                Some(Known::Plain(Begun { stream, splitter, lines }))
            }
            Ok(First::Refused) => refuse(Reason::Plain),
            Ok(First::Bad) => refuse(Reason::FirstLine),
            Ok(First::GivenUp) => refuse(Reason::GivenUp),
            Ok(First::Gone) | Err(_) => None,
        }
    }

    async fn start(self: Arc<Self>, known: Known, peer: SocketAddrV4, place: Place) {
        match known {
            Known::Display { session, already, stream } => {
                let held = Held { stream, already, _place: place };
                self.inbox.send(Event::Display { conn: self.name(), session, held }).await;
            }
            Known::Plain(begun) => self.open(begun, peer, place).await,
            Known::Tls(begun) => match begun.lines.first() {
                Some(Ok(line)) if line.command() == "peer" => {
                    let line = line.clone();
                    let desk = Arc::clone(&self.desk);
                    self.workers.spawn(async move {
                        desk.serve_peer(begun.stream, &line, peer).await;
                        drop(place);
                    });
                }
                _ => self.open(*begun, peer, place).await,
            },
        }
    }

    /// Begins the session protocol. The task is a new one, as small as the connection: of the handshake nothing
    /// is kept.
    async fn open<S>(&self, begun: Begun<S>, peer: SocketAddrV4, place: Place)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let conn = self.name();
        let (sender, outgoing) = mpsc::channel(WRITE_QUEUE_MAX);
        self.inbox.send(Event::Opened { conn, peer, outgoing: sender }).await;
        for line in begun.lines {
            self.inbox.send(Event::Line(conn, line)).await;
        }
        let connection = Connection {
            stream: begun.stream,
            conn,
            splitter: begun.splitter,
            outgoing,
            inbox: self.inbox.clone(),
            counters: self.counters.clone(),
            _place: place,
        };
        self.workers.spawn(connection.serve());
    }

    fn name(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }
}

/// A connection of which is known what it is.
enum Known {
    Tls(Box<Begun<tokio_rustls::server::TlsStream<TcpStream>>>),
    Plain(Begun<TcpStream>),
    Display { session: proto::SessionId, already: Vec<u8>, stream: TcpStream },
}

/// A connection whose first lines were read.
struct Begun<S> {
    stream: S,
    splitter: Splitter,
    lines: Vec<Result<Line, LineError>>,
}

async fn first_line<S: AsyncRead + Unpin>(mut stream: S) -> Option<Begun<S>> {
    let (mut splitter, mut lines) = (Splitter::new(), Vec::new());
    while lines.is_empty() {
        if !matches!(read_lines(&mut stream, &mut splitter, &mut lines).await, Ok(1..)) {
            return None;
        }
    }
    Some(Begun { stream, splitter, lines })
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))
}

/// Out of file descriptors or memory: taking a connection will fail again until others end.
async fn rest_after(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "no connection can be taken at the moment");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
