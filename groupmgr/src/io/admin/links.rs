//! Links to other hosts: one task for each, which hands what comes and the time to the machine
//! ([`links`](crate::links)) and writes what it says. Questions and their answers are its channels, and what the host
//! machines say to each other ([`keep`](super::keep)).

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::HostName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::busy::Busy;
use super::keep::Outgoing;
use super::peer::{self, Asker, BY_MAX, Both, CONNECT_WITHIN, Connected, NoAnswer, PeerError};
use super::talk::{Answering, Question, Shared, Task, Wanted};
use super::wire::{Answer, Ask};
use crate::io::counters::Counters;
use crate::io::inbox::Inbox;
use crate::keep::channel::PURPOSE;
use crate::links::{End, Loss};

/// Where a link's task takes what is wanted of it.
#[derive(Clone)]
struct Handle {
    addr: SocketAddrV4,
    wanted: mpsc::Sender<Wanted>,
}

impl Handle {
    /// Whether the link is still there.
    fn is_alive(&self) -> bool {
        !self.wanted.is_closed()
    }

    /// Asks over the link. Given up when the future is dropped.
    async fn ask(&self, request: Vec<u8>, by: &str) -> Result<Vec<u8>, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let by = by.chars().take(BY_MAX).collect();
        // A question that the task never took was not seen by the other host.
        let unseen = NoAnswer::Lost(Loss::Goodbye);
        let question = Wanted::Ask(Question { by, request, answer });
        self.wanted.send(question).await.map_err(|_| unseen)?;
        answered.await.unwrap_or(Err(unseen))
    }
}

/// The link to one host, if there is one; locked while it is being opened.
type Slot = Arc<tokio::sync::Mutex<Option<Handle>>>;

/// How another host can be asked.
enum Reached {
    Link(Handle),
    Single(Box<dyn Both>, SocketAddrV4),
}

/// All links of this host.
pub(super) struct Links {
    shared: Shared,
    slots: Mutex<BTreeMap<HostName, Slot>>,
}

impl Links {
    pub(super) fn new(counters: Counters, busy: Busy, inbox: Inbox) -> Self {
        let shared = Shared { counters, busy, inbox, closing: Arc::default(), running: Arc::default() };
        Self { shared, slots: Mutex::default() }
    }

    /// Asks the host `wanted` over its link, which is opened at the first of `addrs` that answers if there is none. A
    /// host of the version before speaks no links: it is asked over a connection of its own.
    pub(super) async fn ask(
        &self,
        answering: Arc<dyn Answering>,
        asker: &Asker,
        (wanted, addrs): (&HostName, &[SocketAddrV4]),
        ask: &Ask,
        by: &str,
    ) -> Result<Answer, PeerError> {
        let (connect_within, answer_within) = peer::patience(ask);
        let request = serde_json::to_vec(ask).unwrap_or_default();
        let mut last = PeerError::NoAddress;
        // A host that says goodbye has not seen the question, which may be asked once more. After any other loss nobody
        // knows whether it has.
        for _ in 0..2 {
            let handle = match self.reach(&answering, asker, (wanted, addrs), by, connect_within).await? {
                Reached::Link(handle) => handle,
                Reached::Single(mut stream, addr) => {
                    let answer = peer::exchange(&mut stream, addr, ask, answer_within).await;
                    drop(tokio::time::timeout(CONNECT_WITHIN, stream.shutdown()).await);
                    return answer;
                }
            };
            let addr = handle.addr;
            match tokio::time::timeout(answer_within, handle.ask(request.clone(), by)).await {
                Err(_) => return Err(PeerError::Late { addr }),
                Ok(Ok(answer)) => {
                    let bad = |source: serde_json::Error| PeerError::Io { addr, source: source.into() };
                    return serde_json::from_slice(&answer).map_err(bad);
                }
                Ok(Err(source)) => last = PeerError::NoAnswer { addr, source },
            }
            if !matches!(last, PeerError::NoAnswer { source: NoAnswer::Lost(Loss::Goodbye), .. }) {
                break;
            }
        }
        Err(last)
    }

    /// Carries what the host machine says to the host `wanted` over its link. Returns whether there is one now.
    pub(super) async fn carry(
        &self,
        answering: Arc<dyn Answering>,
        asker: &Asker,
        (wanted, addrs): (&HostName, &[SocketAddrV4]),
        mut outgoing: Outgoing,
    ) -> bool {
        // A link that says goodbye at this moment takes it no more, and another one is opened.
        for _ in 0..2 {
            let reached = self.reach(&answering, asker, (wanted, addrs), PURPOSE, CONNECT_WITHIN).await;
            let Ok(Reached::Link(handle)) = reached else { return false };
            match handle.wanted.send(Wanted::Carry(outgoing)).await {
                Ok(()) => return true,
                Err(mpsc::error::SendError(Wanted::Carry(back))) => outgoing = back,
                Err(_) => return false,
            }
        }
        false
    }

    async fn reach(
        &self,
        answering: &Arc<dyn Answering>,
        asker: &Asker,
        (wanted, addrs): (&HostName, &[SocketAddrV4]),
        by: &str,
        within: Duration,
    ) -> Result<Reached, PeerError> {
        let slot = self.slot(wanted);
        let others = within.saturating_mul(u32::try_from(addrs.len()).unwrap_or(u32::MAX));
        let Ok(mut slot) = tokio::time::timeout(others, slot.lock()).await else {
            return Err(addrs.last().map_or(PeerError::NoAddress, |addr| PeerError::Late { addr: *addr }));
        };
        if let Some(handle) = slot.as_ref().filter(|handle| handle.is_alive()) {
            return Ok(Reached::Link(handle.clone()));
        }
        let (stream, addr) = asker.connect(wanted, addrs, by, within).await?;
        match stream {
            Connected::Single(stream) => Ok(Reached::Single(Box::new(stream), addr)),
            Connected::Link(stream) => {
                let (wanted, task) =
                    Task::new(&self.shared, Arc::clone(answering), stream, End::Opener, wanted.clone());
                let handle = Handle { addr, wanted };
                tokio::spawn(task.run());
                *slot = Some(handle.clone());
                Ok(Reached::Link(handle))
            }
        }
    }

    /// Runs a link that the host `peer` has opened, over which it may be asked as well.
    pub(super) async fn serve<S>(
        &self,
        answering: Arc<dyn Answering>,
        stream: S,
        peer: HostName,
        addr: SocketAddrV4,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (wanted, task) = Task::new(&self.shared, answering, stream, End::Accepter, peer.clone());
        let handle = Handle { addr, wanted };
        if let Ok(mut slot) = self.slot(&peer).try_lock()
            && !slot.as_ref().is_some_and(Handle::is_alive)
        {
            *slot = Some(handle);
        }
        task.run().await;
    }

    /// Where the link to `host` is. Asked only for hosts of the group.
    fn slot(&self, host: &HostName) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(Handle::is_alive))
        });
        Arc::clone(slots.entry(host.clone()).or_default())
    }

    /// Says goodbye on every link.
    pub(super) fn close(&self) {
        self.shared.closing.notify_waiters();
    }

    /// Whether every link has ended.
    pub(super) fn is_empty(&self) -> bool {
        Arc::strong_count(&self.shared.running) == 1
    }
}
