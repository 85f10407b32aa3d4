//! One trusted connection of a server: reads requests, has the store do them, writes answers and events.
//!
//! Requests of one connection are done side by side, [`IN_FLIGHT_MAX`] at most; then nothing more is read
//! until an answer has been written. So a peer that does not read its answers holds only its own.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::server::Counters;
use super::store::Store;
use super::watch::Watch;
use crate::client::WATCHES_MAX;
use crate::error::{Refusal, StoreError};
use crate::message::{Answer, Generation, Request, RequestId, Response, Revision, WatchEvent};
use crate::wire::{Call, FRAME_MAX, FrameBuffer, FromStore, IN_FLIGHT_MAX, encode};

/// A peer that says nothing for so long is gone: clients ping every two seconds.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A peer that takes nothing for so long is gone.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How long requests under way may take to end when the server stops.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// Answers and events are gathered up to so many bytes before they are written.
const WRITE_CHUNK: usize = 64 * 1024;

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed it, or broke off.
    Closed,
    /// The peer was silent, or took nothing, for too long.
    Silent,
    /// The peer sent something that is no request.
    Malformed,
    /// The server stops.
    Stopped,
}

/// Serves `store` on a stream whose peer is trusted to see and change all of it: give a session a
/// [`super::Confined`] store. Returns when the connection has ended, or soon after `stop` becomes true.
/// `counters` are shown to who asks for [`Request::Status`]; without them that is refused.
pub async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Send,
    store: Arc<dyn Store>,
    counters: Option<Arc<Counters>>,
    stop: watch::Receiver<bool>,
) -> Ended {
    let (from_peer, to_peer) = tokio::io::split(stream);
    let (out, outbox) = mpsc::channel(IN_FLIGHT_MAX);
    let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let requests = Requests { store, counters, out, permits };
    tokio::select! {
        ended = requests.run(from_peer, stop) => ended,
        ended = write_answers(to_peer, outbox) => ended,
    }
}

/// The reading half.
struct Requests {
    store: Arc<dyn Store>,
    counters: Option<Arc<Counters>>,
    out: mpsc::Sender<Outgoing>,
    permits: Arc<Semaphore>,
}

/// What the writing half is given. The permit is held until the answer is written.
struct Outgoing {
    id: RequestId,
    response: Response,
    then: Then,
    _permit: OwnedSemaphorePermit,
}

/// What an answer means for the connection's watches.
enum Then {
    Nothing,
    Begin(Watch),
    End(RequestId),
}

impl Requests {
    async fn run(self, from_peer: impl AsyncRead + Unpin, mut stop: watch::Receiver<bool>) -> Ended {
        let ended = tokio::select! {
            ended = self.read(from_peer) => ended,
            // An error means that the server's handle is gone: the same.
            _ = stop.wait_for(|stop| *stop) => Ended::Stopped,
        };
        if ended == Ended::Stopped {
            let all = u32::try_from(IN_FLIGHT_MAX).unwrap_or(u32::MAX);
            drop(timeout(STOP_WITHIN, self.permits.acquire_many(all)).await);
        }
        ended
    }

    async fn read(&self, mut from_peer: impl AsyncRead + Unpin) -> Ended {
        let mut buffer = FrameBuffer::new(FRAME_MAX);
        let mut chunk = vec![0; 16 * 1024];
        loop {
            match buffer.next_message::<Call>() {
                Ok(Some(call)) => {
                    let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                        return Ended::Closed;
                    };
                    self.begin(call, permit);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("a client of the data store is cut off: {error}");
                    return Ended::Malformed;
                }
            }
            match timeout(SILENCE_MAX, from_peer.read(&mut chunk)).await {
                Ok(Ok(0) | Err(_)) => return Ended::Closed,
                Ok(Ok(len)) => buffer.push(&chunk[..len]),
                Err(_) => return Ended::Silent,
            }
        }
    }

    fn begin(&self, call: Call, permit: OwnedSemaphorePermit) {
        let (store, counters, out) = (Arc::clone(&self.store), self.counters.clone(), self.out.clone());
        if let Some(counters) = &counters {
            counters.requests.add();
        }
        tokio::spawn(async move {
            let (response, then) = answer(&*store, counters.as_deref(), call.request).await;
            // The connection may have ended meanwhile; the request is done all the same.
            drop(out.send(Outgoing { id: call.id, response, then, _permit: permit }).await);
        });
    }
}

async fn answer(store: &dyn Store, counters: Option<&Counters>, request: Request) -> (Response, Then) {
    let result = match request {
        Request::Watch { prefix } => match watch_of(store, prefix).await {
            Ok((watch, response)) => return (response, Then::Begin(watch)),
            Err(error) => Err(error),
        },
        Request::Unwatch { watch } => match store.call(Request::Ping).await {
            Ok(pong) => return (Response { answer: Answer::Unwatched, ..pong }, Then::End(watch)),
            Err(error) => Err(error),
        },
        Request::Status => match counters {
            Some(counters) => {
                let status = match store.call(Request::Status).await {
                    // Not every store has something to say.
                    Err(StoreError::Refused(Refusal::NotHere)) => store.call(Request::Ping).await,
                    status => status,
                };
                status.map(|response| {
                    let mut list = counters.list();
                    if let Answer::Status(own) = &response.answer {
                        list.extend(own.iter().cloned());
                    }
                    Response { answer: Answer::Status(list), ..response }
                })
            }
            None => Err(Refusal::NotHere.into()),
        },
        request => store.call(request).await,
    };
    (result.unwrap_or_else(failed), Then::Nothing)
}

async fn watch_of(store: &dyn Store, prefix: crate::Prefix) -> Result<(Watch, Response), StoreError> {
    let watch = store.watch(prefix).await?;
    let pong = store.call(Request::Ping).await?;
    let response = Response { revision: watch.since(), answer: Answer::Watching, ..pong };
    Ok((watch, response))
}

/// Generation and revision are not known here, and nobody relies on those of a failure.
fn failed(error: StoreError) -> Response {
    Response { generation: Generation(0), revision: Revision(0), answer: Answer::Failed(error) }
}

/// The writing half: answers, and before each of them all events up to its revision.
async fn write_answers(mut to_peer: impl AsyncWrite + Unpin, mut outbox: mpsc::Receiver<Outgoing>) -> Ended {
    let mut watches = BTreeMap::new();
    let mut bytes = Vec::new();
    // Held until their answers are written.
    let mut answered = Vec::new();
    loop {
        let next = if bytes.is_empty() {
            Some(poll_fn(|cx| poll_either(&mut watches, &mut outbox, cx)).await)
        } else if bytes.len() < WRITE_CHUNK {
            poll_fn(|cx| Poll::Ready(ready(poll_either(&mut watches, &mut outbox, cx)))).await
        } else {
            None
        };
        match next {
            Some(Next::Event(watch, event)) => put(&FromStore::Event { watch, event }, &mut bytes),
            Some(Next::Answer(outgoing)) => answered.push(put_answer(*outgoing, &mut watches, &mut bytes)),
            Some(Next::End) => return Ended::Closed,
            None => {
                match timeout(STALL_MAX, write(&mut to_peer, &bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ended::Closed,
                    Err(_) => return Ended::Silent,
                }
                bytes.clear();
                answered.clear();
            }
        }
    }
}

async fn write(to_peer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to_peer.write_all(bytes).await?;
    to_peer.flush().await
}

enum Next {
    Event(RequestId, WatchEvent),
    Answer(Box<Outgoing>),
    End,
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// An answer is taken before events, because [`put_answer`] sends the events it must come after.
fn poll_either(
    watches: &mut BTreeMap<RequestId, Watch>,
    outbox: &mut mpsc::Receiver<Outgoing>,
    cx: &mut std::task::Context<'_>,
) -> Poll<Next> {
    match outbox.poll_recv(cx) {
        Poll::Ready(Some(outgoing)) => return Poll::Ready(Next::Answer(Box::new(outgoing))),
        Poll::Ready(None) => return Poll::Ready(Next::End),
        Poll::Pending => {}
    }
    let polled = watches.iter_mut().find_map(|(id, watch)| Some((*id, ready(watch.poll_next(cx))?)));
    match polled {
        Some((id, Some(event))) => Poll::Ready(Next::Event(id, event)),
        // The store is gone for good: so is what it served.
        Some((_, None)) => Poll::Ready(Next::End),
        None => Poll::Pending,
    }
}

fn put_answer(
    outgoing: Outgoing,
    watches: &mut BTreeMap<RequestId, Watch>,
    bytes: &mut Vec<u8>,
) -> OwnedSemaphorePermit {
    let Outgoing { id, mut response, then, _permit: permit } = outgoing;
    for (watch, events) in &mut *watches {
        while let Some(event) = events.try_next() {
            put(&FromStore::Event { watch: *watch, event }, bytes);
        }
    }
    match then {
        Then::Begin(_) if watches.len() >= WATCHES_MAX => {
            response.answer = Answer::Failed(Refusal::TooManyWatches.into());
        }
        Then::Begin(watch) => drop(watches.insert(id, watch)),
        Then::End(watch) => drop(watches.remove(&watch)),
        Then::Nothing => {}
    }
    put(&FromStore::Reply { id, response }, bytes);
    permit
}

fn put(message: &FromStore, bytes: &mut Vec<u8>) {
    if let Err(error) = encode(message, bytes) {
        unreachable!("every answer within its bounds fits a frame: {error}");
    }
}
