//! TCP connections: who may have one, what each of them is, and where it goes from here.
//!
//! ```text
//!  accept ─ place? ─▶ first byte ─┬─ 0x16 ──▶ its turn ─▶ TLS ─▶ first line ─┬─ peer … ──▶ another host's administration
//!             │ no                │                                          └─ else ───▶ session protocol
//!             ▼                   ├─ "display session=…" ──▶ waits for the host to say whose it is
//!           busyInf               └─ else ──▶ session protocol where plain text is allowed; otherwise closed
//! ```
//!
//! Whatever a stranger can make grow has a bound in [`datastore::arrivals`] or [`session`]; what is over it is told so
//! ([`refusal`]), closed and counted. A listener accepts whatever comes and never waits for a place: what waits in the
//! kernel's queue is served in the order of arrival, whoever fills it. Runs on all processors, apart from the thread of
//! the host machine; and handshakes have threads of their own, so that in a storm of them those who are at work still
//! get an answer when they ask whether this host lives.

mod arrived;
pub mod bounds;
pub mod first;
mod refusal;
pub(crate) mod session;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datastore::arrivals::Refused;
use proto::DtuKey;
use proto::alp::BusyReason;
use proto::io::tls::dtu;
use proto::line::{Line, LineError, Splitter};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use self::arrived::Arrived;
use self::bounds::{Bounds, Place};
use self::first::First;
use self::refusal::Refusals;
use self::session::{Connection, WRITE_QUEUE_MAX, read_lines};
use crate::host::ConnId;
use crate::io::admin::service::AdminService;
use crate::io::counters::{Counters, Reason};
use crate::io::inbox::{Event, Held, Inbox};

/// What a connection that vanished without a word may cost.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(20))
    .with_interval(Duration::from_secs(5))
    .with_retries(4);
/// What was sent must be acknowledged by the other end's kernel within this time.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);

/// How long a listener rests when it could not take a connection.
const REST: Duration = Duration::from_millis(50);

/// What an [`Acceptor`] is made with.
pub(crate) struct Ways {
    /// Where TLS handshakes are done.
    pub(crate) greeters: Handle,
    /// Where everything else is.
    pub(crate) workers: Handle,
    pub(crate) tls: TlsAcceptor,
    /// Whether the session protocol may be spoken without TLS.
    pub(crate) allows_plain: bool,
    pub(crate) bounds: Bounds,
    pub(crate) counters: Counters,
    pub(crate) inbox: Inbox,
    pub(crate) admin: Arc<AdminService>,
}

/// Takes connections and hands each to what its first bytes ask for.
pub(crate) struct Acceptor {
    ways: Ways,
    refusals: Refusals,
    next_conn: AtomicU64,
}

impl Acceptor {
    pub(crate) fn new(ways: Ways) -> Self {
        ways.workers.spawn(ways.bounds.clone().watch());
        Self { ways, refusals: Refusals::new(), next_conn: AtomicU64::new(1) }
    }

    /// Takes connections until its task is dropped.
    pub(crate) async fn listen(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = match prepare(&listener).and_then(|()| TcpListener::from_std(listener)) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "a listener cannot be used");
                return;
            }
        };
        let mut spare = Spare::new();
        loop {
            match listener.accept().await {
                Ok((stream, SocketAddr::V4(peer))) => self.take(stream, peer),
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if is_out_of_descriptors(&error) => self.make_room(&listener, &mut spare).await,
                Err(error) => rest_after(&error).await,
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddrV4) {
        match self.ways.bounds.take((*peer.ip()).into()) {
            Ok(place) => drop(self.ways.workers.spawn(Arc::clone(self).welcome(stream, peer, place))),
            Err(refused) => self.refuse(stream, peer, refused),
        }
    }

    fn refuse(&self, stream: TcpStream, peer: SocketAddrV4, refused: Refused) {
        let (reason, why) = match refused {
            Refused::Address => (Reason::PerAddress, BusyReason::Address),
            Refused::Host => (Reason::Connections, BusyReason::Host),
        };
        self.ways.counters.count(reason);
        self.refusals.refuse(stream, *peer.ip(), why, true);
    }

    /// The system gives no more descriptors. A silent connection leaves for the newest one; without any, the newest one
    /// is refused, with the descriptor that is kept for this.
    async fn make_room(&self, listener: &TcpListener, spare: &mut Spare) {
        if self.ways.bounds.evict_silent() {
            // Its task closes it as soon as it is run.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return;
        }
        self.ways.counters.count(Reason::Descriptors);
        spare.0 = None;
        // Other threads may take the descriptor first: then there is nothing to accept with.
        if let Ok(Ok((stream, SocketAddr::V4(peer)))) = tokio::time::timeout(REST, listener.accept()).await {
            self.refusals.refuse(stream, *peer.ip(), BusyReason::Host, false);
        } else {
            tokio::time::sleep(REST).await;
        }
        *spare = Spare::new();
    }

    /// Finds out what a connection is. It has said nothing yet.
    async fn welcome(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddrV4, place: Place) {
        let first = first::identify(&mut stream, self.ways.allows_plain);
        let Some(first) = self.in_time(false, place.unless_evicted(first)).await else { return };
        let counters = &self.ways.counters;
        let known = match first {
            None => return counters.count(Reason::Evicted),
            Some(Ok(First::Tls { already })) => {
                return self.greet(Arrived::new(stream, already), peer, place).await;
            }
            Some(Ok(First::Display { session, already })) => Known::Display { session, already, stream },
            Some(Ok(First::Plain { already })) => {
                let (mut splitter, mut lines) = (Splitter::new(), Vec::new());
                splitter.push(&already, |line| lines.push(line));
                Known::Plain(Begun { stream, splitter, lines })
            }
            Some(Ok(First::Refused)) => return counters.count(Reason::Plain),
            Some(Ok(First::Bad)) => return counters.count(Reason::FirstLine),
            Some(Ok(First::Gone) | Err(_)) => return,
        };
        match place.speak(false) {
            Ok(()) => self.start(known, peer, place).await,
            Err(refused) => match known {
                Known::Display { stream, .. } | Known::Plain(Begun { stream, .. }) => {
                    self.refuse(stream, peer, refused);
                }
                Known::Tls(_) => {}
            },
        }
    }

    /// Lets a TLS handshake wait for its turn, and begins it.
    async fn greet(self: Arc<Self>, arrived: Arrived, peer: SocketAddrV4, place: Place) {
        if let Err(refused) = place.speak(true) {
            return self.refuse(arrived.into_stream(), peer, refused);
        }
        if !place.turn().await {
            return self.ways.counters.count(Reason::Crowded);
        }
        // In a storm a handshake may come to its turn after its DTU has tried another host. To do it all the
        // same would make the next ones late as well, until every one is done for nothing.
        if first::is_half_closed(arrived.stream()) {
            return self.ways.counters.count(Reason::GivenUp);
        }
        let greeters = self.ways.greeters.clone();
        greeters.spawn(self.shake_hands(arrived, peer, place));
    }

    async fn shake_hands(self: Arc<Self>, arrived: Arrived, peer: SocketAddrV4, place: Place) {
        let counters = &self.ways.counters;
        let begun = async {
            match self.ways.tls.accept(arrived).await {
                Ok(stream) => first_line(stream).await,
                Err(error) => {
                    tracing::debug!(%peer, %error, "handshake failed");
                    counters.count(why_failed(&error));
                    None
                }
            }
        };
        let begun = match self.in_time(true, place.unless_evicted(begun)).await {
            None | Some(Some(None)) => return,
            Some(None) => return counters.count(Reason::Crowded),
            Some(Some(Some(begun))) => begun,
        };
        if !place.finish() {
            return counters.count(Reason::Crowded);
        }
        self.start(Known::Tls(Box::new(begun)), peer, place).await;
    }

    /// Waits for `work`; if it is a handshake, less patiently while others wait for its place.
    async fn in_time<T>(&self, is_handshake: bool, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        for waited in 1.. {
            if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), &mut work).await {
                return Some(done);
            }
            let why = bounds::must_leave(waited, is_handshake, self.ways.bounds.is_crowded());
            if let Some(why) = why {
                self.ways.counters.count(why);
                break;
            }
        }
        None
    }

    async fn start(self: Arc<Self>, known: Known, peer: SocketAddrV4, place: Place) {
        match known {
            Known::Display { session, already, stream } => {
                let held = Held { stream, already, _place: place };
                self.ways.inbox.send(Event::Display { conn: self.name(), session, held }).await;
            }
            Known::Plain(begun) => self.open(begun, peer, place, Over::Plain).await,
            Known::Tls(begun) => match begun.lines.first() {
                Some(Ok(line)) if line.command() == "peer" => {
                    let line = line.clone();
                    let admin = Arc::clone(&self.ways.admin);
                    self.ways.workers.spawn(async move {
                        admin.serve_peer(begun.stream, &line, peer).await;
                        drop(place);
                    });
                }
                _ => {
                    let (_, tls) = begun.stream.get_ref();
                    let key = dtu::proved_by(tls.peer_certificates());
                    self.open(*begun, peer, place, Over::Tls(key)).await;
                }
            },
        }
    }

    /// Makes it a connection of the session protocol. What it had to say first is with the host before anything later
    /// is read.
    async fn open<S>(&self, begun: Begun<S>, peer: SocketAddrV4, place: Place, over: Over)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let conn = self.name();
        let (sender, outgoing) = mpsc::channel(WRITE_QUEUE_MAX);
        let Begun { stream, splitter, lines } = begun;
        let (plain, key) = match over {
            Over::Plain => (true, None),
            Over::Tls(key) => (false, key),
        };
        self.ways.inbox.send(Event::Opened { conn, peer, plain, key, outgoing: sender, lines }).await;
        let connection = Connection {
            stream,
            conn,
            splitter,
            outgoing,
            inbox: self.ways.inbox.clone(),
            counters: self.ways.counters.clone(),
            _place: place,
        };
        self.ways.workers.spawn(connection.serve());
    }

    fn name(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }
}

/// A connection of which is known what it is.
enum Known {
    Tls(Box<Begun<tokio_rustls::server::TlsStream<Arrived>>>),
    Plain(Begun<TcpStream>),
    Display { session: proto::SessionId, already: Vec<u8>, stream: TcpStream },
}

/// What a connection of the session protocol goes over.
enum Over {
    Plain,
    /// With the key that the DTU has proved.
    Tls(Option<DtuKey>),
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

/// Sets up a listener: its connections have these options from it, and none has to be set on each.
fn prepare(listener: &std::net::TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))
}

/// A descriptor kept for accepting a connection when there is no other, so that it can be refused.
struct Spare(Option<std::fs::File>);

impl Spare {
    fn new() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }
}

/// Only DTUs are asked for certificates, so one that is not believed is a DTU's.
fn why_failed(error: &io::Error) -> Reason {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Reason::DtuKey,
        _ => Reason::Handshake,
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Out of memory, say: taking a connection will fail again until others end.
async fn rest_after(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "no connection can be taken at the moment");
    tokio::time::sleep(REST).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_has_the_options_of_its_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        prepare(&listener).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = TcpListener::from_std(listener).unwrap().accept().await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(20));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(ACKNOWLEDGED_WITHIN));
        drop(client);
    }
}
