//! The data store's server: who may connect, how many, and what was counted.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::io::{KeyDir, KeyDirError};
use proto::keys::KeyRing;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection::{Ended, serve_stream};
use super::store::Store;
use super::transport::{Stranger, accept};
use crate::handshake::Distrust;

/// Trusted connections: one per host, and some for administration.
const CONNECTIONS_MAX: usize = 256;
/// Connections that have not proved anything yet, in all and from one address.
const HALF_OPEN_MAX: usize = 64;
const HALF_OPEN_PER_ADDRESS_MAX: usize = 16;
/// How long a handshake may take.
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
        /// Which.
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
    half_open: Mutex<BTreeMap<IpAddr, usize>>,
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
            half_open: Mutex::default(),
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
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    if let Some(half_open) = HalfOpen::enter(&self.shared, peer.ip()) {
                        let shared = Arc::clone(&self.shared);
                        tasks.spawn(shared.serve(tcp, peer, half_open, stopped.clone()));
                    } else {
                        warn_now_and_then(self.shared.counters.refused_full.add(), peer, "too many at once");
                    }
                }
                Err(error) => {
                    tracing::warn!("no connection can be accepted: {error}; raise the limit on open files");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        drop(self.listener);
        stopping.send_replace(true);
        while tasks.join_next().await.is_some() {}
    }
}

impl Shared {
    async fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        half_open: HalfOpen,
        mut stop: watch::Receiver<bool>,
    ) {
        let room = || Arc::clone(&self.connections).try_acquire_owned().ok();
        let accepted = tokio::select! {
            accepted = accept(tcp, &self.tls, &self.ring, self.store.id(), HANDSHAKE_WITHIN, room) => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        drop(half_open);
        let (stream, _permit): (_, OwnedSemaphorePermit) = match accepted {
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

    fn with_half_open<T>(&self, f: impl FnOnce(&mut BTreeMap<IpAddr, usize>) -> T) -> T {
        f(&mut self.half_open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A place among the connections that have not proved anything yet.
struct HalfOpen {
    shared: Arc<Shared>,
    from: IpAddr,
}

impl HalfOpen {
    fn enter(shared: &Arc<Shared>, from: IpAddr) -> Option<Self> {
        shared.with_half_open(|places| {
            let all: usize = places.values().sum();
            let here = places.get(&from).copied().unwrap_or_default();
            if all >= HALF_OPEN_MAX || here >= HALF_OPEN_PER_ADDRESS_MAX {
                return None;
            }
            places.insert(from, here + 1);
            Some(Self { shared: Arc::clone(shared), from })
        })
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.shared.with_half_open(|places| match places.get_mut(&self.from) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(places.remove(&self.from)),
        });
    }
}
