//! The data store's server: who may connect, how many, and what was counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::io::{KeyDir, KeyDirError};
use proto::keys::KeyRing;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::{Ended, serve_stream};
use super::places::{Bounds, Place};
use super::store::Store;
use super::transport::{Stranger, Stream, accept};
use crate::arrivals::Limits;
use crate::handshake::Distrust;

/// Trusted connections: one per host, and some for administration.
const CONNECTIONS_MAX: usize = 256;
/// Connections that have not proved anything yet. Hosts of a group may share an address behind a router.
const LIMITS: Limits = Limits { per_address: 64, total: 512, silent: 256, handshakes: 64 };
/// How long a connection may say nothing, and how long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// Pause after the system could not give a socket (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a server cannot start. One line, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program has the port.
    #[error("{0}: the port is taken; stop the other program, or choose another with --listen")]
    PortTaken(SocketAddr),
    /// The address cannot be listened on.
    #[error("{addr}: {source}; choose an address of this machine and a port above 1023 with --listen")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The key directory is not in order.
    #[error(transparent)]
    Keys(#[from] KeyDirError),
}

/// One number that only rises.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What a server counts, by reason.
#[derive(Debug, Default)]
pub struct Counters {
    trusted: Count,
    refused_tls: Count,
    refused_proof: Count,
    refused_broke_off: Count,
    refused_late: Count,
    refused_full: Count,
    refused_evicted: Count,
    ended_malformed: Count,
    ended_silent: Count,
    pub(super) requests: Count,
}

impl Counters {
    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(String, u64)> {
        let all = [
            ("connections_trusted", &self.trusted),
            ("refused_tls", &self.refused_tls),
            ("refused_proof", &self.refused_proof),
            ("refused_broke_off", &self.refused_broke_off),
            ("refused_late", &self.refused_late),
            ("refused_full", &self.refused_full),
            ("refused_evicted", &self.refused_evicted),
            ("ended_malformed", &self.ended_malformed),
            ("ended_silent", &self.ended_silent),
            ("requests", &self.requests),
        ];
        all.map(|(name, count)| (name.to_owned(), count.0.load(Ordering::Relaxed))).to_vec()
    }

    fn refused(&self, peer: SocketAddr, stranger: &Stranger) {
        let count = match stranger {
            Stranger::Tls(_) => &self.refused_tls,
            Stranger::BrokeOff(_) => &self.refused_broke_off,
            Stranger::Late => &self.refused_late,
            Stranger::Distrusted(Distrust::Full) => &self.refused_full,
            Stranger::Evicted => &self.refused_evicted,
            Stranger::Distrusted(_) => &self.refused_proof,
        };
        warn_now_and_then(count.add(), peer, &stranger.to_string());
    }
}

/// Says the 1st, 2nd, 4th, 8th... of a kind, so that a flood fills no disk.
fn warn_now_and_then(count: u64, peer: SocketAddr, what: &str) {
    if count.is_power_of_two() {
        tracing::warn!("{peer} was refused: {what} (number {count} of this kind)");
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    tls: TlsAcceptor,
    ring: KeyRing,
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    connections: Arc<Semaphore>,
    bounds: Bounds,
}

impl Server {
    /// Listens at `addr` (port 0 for any), trusting whoever holds a key of `keys`.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn bind(addr: SocketAddr, keys: &KeyDir, store: Arc<dyn Store>) -> Result<Self, ServerError> {
        let tls = keys.server_tls("datastore")?;
        let listener = TcpListener::bind(addr).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::PortTaken(addr),
            _ => ServerError::Listen { addr, source },
        })?;
        let shared = Shared {
            tls: TlsAcceptor::from(tls),
            ring: keys.ring.clone(),
            store,
            counters: Arc::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            bounds: Bounds::new(LIMITS),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves until `stop` is done; then answers what is under way and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let watch = tokio::spawn(self.shared.bounds.clone().watch());
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((tcp, peer)) => match self.shared.bounds.take(peer.ip()) {
                    Ok(place) => {
                        let shared = Arc::clone(&self.shared);
                        tasks.spawn(shared.serve(tcp, peer, place, stopped.clone()));
                    }
                    Err(_) => self.shared.counters.refused(peer, &Stranger::Distrusted(Distrust::Full)),
                },
                Err(error) => {
                    tracing::warn!("no connection can be accepted: {error}; raise the limit on open files");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        drop(self.listener);
        watch.abort();
        stopping.send_replace(true);
        while tasks.join_next().await.is_some() {}
    }
}

impl Shared {
    async fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        place: Place,
        mut stop: watch::Receiver<bool>,
    ) {
        let accepted = tokio::select! {
            accepted = self.trust(tcp, place) => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, _permit) = match accepted {
            Ok(trusted) => trusted,
            Err(stranger) => return self.counters.refused(peer, &stranger),
        };
        self.counters.trusted.add();
        let counters = Some(Arc::clone(&self.counters));
        match serve_stream(stream, Arc::clone(&self.store), counters, stop).await {
            Ended::Malformed => drop(self.counters.ended_malformed.add()),
            Ended::Silent => drop(self.counters.ended_silent.add()),
            Ended::Closed | Ended::Stopped => {}
        }
    }

    /// Waits until a connection says something, and does the handshake at its turn.
    async fn trust(
        &self,
        tcp: TcpStream,
        place: Place,
    ) -> Result<(Box<dyn Stream>, OwnedSemaphorePermit), Stranger> {
        let mut first = [0];
        let speaks = tokio::time::timeout(HANDSHAKE_WITHIN, tcp.peek(&mut first));
        match place.unless_evicted(speaks).await.ok_or(Stranger::Evicted)? {
            Err(_late) => return Err(Stranger::Late),
            Ok(Err(error)) => return Err(Stranger::BrokeOff(error)),
            Ok(Ok(0)) => return Err(Stranger::BrokeOff(io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(_)) => {}
        }
        place.speak(true).map_err(|_| Stranger::Distrusted(Distrust::Full))?;
        if !place.turn().await {
            return Err(Stranger::Evicted);
        }
        let room = || Arc::clone(&self.connections).try_acquire_owned().ok();
        let accepted = accept(tcp, &self.tls, &self.ring, self.store.id(), HANDSHAKE_WITHIN, room);
        let accepted = place.unless_evicted(accepted).await.ok_or(Stranger::Evicted)??;
        if place.finish() { Ok(accepted) } else { Err(Stranger::Evicted) }
    }
}
