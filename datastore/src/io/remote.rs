//! A data store on another machine: the driver of [`Client`].

use std::collections::BTreeMap;

use proto::{Instant, StoreId};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::store::{Pending, Store, not_here};
use super::transport::{Connected, Target, connect};
use super::watch::{Feed, Watch};
use crate::client::{Client, ConnectError, Effect, Patience};
use crate::error::StoreError;
use crate::key::Prefix;
use crate::message::{Request, RequestId, Response};
use crate::wire::{Call, FrameBuffer, FromStore, encode};

/// Messages read from the connection and not yet taken in.
const INBOX_MAX: usize = 64;
/// Requests are gathered up to so many bytes before they are written.
const WRITE_CHUNK: usize = 64 * 1024;

/// A client of a data store's server. Connects by itself, and again whenever the connection breaks; when and
/// how requests fail meanwhile, [`crate::client`] says.
#[derive(Debug)]
pub struct Remote {
    at: String,
    commands: mpsc::UnboundedSender<Command>,
    link: watch::Receiver<LinkState>,
}

/// Whether a remote store can be reached, and which one it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether there is a connection.
    pub up: bool,
    /// The id that the store told when a connection was last made; none before, and of a store of version 1.
    pub store: Option<StoreId>,
}

#[derive(Debug)]
enum Command {
    Call { request: Request, done: oneshot::Sender<Result<Response, StoreError>> },
    Watch { prefix: Prefix, done: oneshot::Sender<Result<Watch, StoreError>> },
    Unwatch(RequestId),
}

impl Remote {
    /// Begins to connect to `target`; never fails by itself. Must be called within a tokio runtime, on which
    /// the connection then lives until this is dropped.
    #[must_use]
    pub fn connect(target: Target, patience: Patience) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        let (link_tx, link) = watch::channel(LinkState::default());
        let at = target.to_string();
        let clock = Clock::start();
        let driver = Driver {
            client: Client::new(clock.now(), &at, patience),
            clock,
            target,
            commands: commands.downgrade(),
            waiting: BTreeMap::new(),
            feeds: BTreeMap::new(),
            link: None,
            store: None,
            state: link_tx,
        };
        tokio::spawn(driver.run(queue));
        Self { at, commands, link }
    }

    /// Whether there is a connection and to which store, now and as it changes.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.link.clone()
    }

    /// Sends a command to the driver, which lives as long as this and its runtime.
    async fn ask<T>(
        &self,
        command: Command,
        done: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::OutcomeUnknown { at: self.at.clone(), why: "this program stopped".into() };
        drop(self.commands.send(command));
        done.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Store for Remote {
    fn call(&self, request: Request) -> Pending<'_, Response> {
        Box::pin(async move {
            if let Request::Watch { .. } | Request::Unwatch { .. } = request {
                return Err(not_here());
            }
            let (done, result) = oneshot::channel();
            self.ask(Command::Call { request, done }, result).await
        })
    }

    fn id(&self) -> Option<StoreId> {
        self.link.borrow().store
    }

    fn watch(&self, prefix: Prefix) -> Pending<'_, Watch> {
        let (done, result) = oneshot::channel();
        Box::pin(self.ask(Command::Watch { prefix, done }, result))
    }
}

enum Waiter {
    Call(oneshot::Sender<Result<Response, StoreError>>),
    Watch(oneshot::Sender<Result<Watch, StoreError>>),
}

struct Driver {
    client: Client,
    clock: Clock,
    target: Target,
    commands: mpsc::WeakUnboundedSender<Command>,
    waiting: BTreeMap<RequestId, Waiter>,
    feeds: BTreeMap<RequestId, Feed>,
    link: Option<StoreConnection>,
    /// The id that the store told last.
    store: Option<StoreId>,
    state: watch::Sender<LinkState>,
}

impl Driver {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>) {
        let mut out = Vec::new();
        // The client connects as soon as it is called.
        self.client.timeout(self.clock.now(), &mut out);
        self.perform(&mut out);
        loop {
            tokio::select! {
                command = queue.recv() => match command {
                    Some(command) => self.command(command, &mut out),
                    None => return,
                },
                event = next_event(&mut self.link) => self.event(event, &mut out),
                () = self.clock.until(self.client.poll_at()) => {
                    self.client.timeout(self.clock.now(), &mut out);
                }
            }
            self.perform(&mut out);
            let state = LinkState { up: self.client.is_up(), store: self.store };
            self.state.send_if_modified(|told| std::mem::replace(told, state) != state);
        }
    }

    fn command(&mut self, command: Command, out: &mut Vec<Effect>) {
        let now = self.clock.now();
        match command {
            Command::Call { request, done } => {
                let id = self.client.call(now, request, out);
                self.waiting.insert(id, Waiter::Call(done));
            }
            Command::Watch { prefix, done } => {
                let id = self.client.call(now, Request::Watch { prefix }, out);
                self.waiting.insert(id, Waiter::Watch(done));
            }
            Command::Unwatch(watch) => {
                self.feeds.remove(&watch);
                self.client.unwatch(watch, out);
            }
        }
    }

    fn event(&mut self, event: LinkEvent, out: &mut Vec<Effect>) {
        let now: Instant = self.clock.now();
        match event {
            LinkEvent::Connected(store) => {
                self.store = store;
                self.client.connected(now, out);
            }
            LinkEvent::ConnectFailed(error) => {
                self.link = None;
                self.client.connect_failed(now, error, out);
            }
            LinkEvent::Message(message) => self.client.received(now, message, out),
            LinkEvent::Broke(why) => {
                self.link = None;
                self.client.disconnected(now, &why, out);
            }
        }
    }

    fn perform(&mut self, out: &mut Vec<Effect>) {
        for effect in out.drain(..) {
            match effect {
                Effect::Connect => self.link = Some(StoreConnection::begin(self.target.clone())),
                Effect::Disconnect => self.link = None,
                Effect::Send(call) => {
                    if let Some(link) = &self.link {
                        // If it is broken, its last event says so.
                        drop(link.outgoing.send(call));
                    }
                }
                Effect::Done { id, result } => match self.waiting.remove(&id) {
                    Some(Waiter::Call(done)) => drop(done.send(result)),
                    Some(Waiter::Watch(done)) => {
                        let watch = result.map(|response| self.feed(id, &response));
                        drop(done.send(watch));
                    }
                    None => {}
                },
                Effect::Event { watch, event } => {
                    if let Some(feed) = self.feeds.get(&watch) {
                        feed.push(event);
                    }
                }
                Effect::Ended { watch } => drop(self.feeds.remove(&watch)),
            }
        }
    }

    /// A watch that tells us when nobody watches any more.
    fn feed(&mut self, id: RequestId, response: &Response) -> Watch {
        let (watch, feed) = Watch::new(response.revision);
        self.feeds.insert(id, feed);
        let commands = self.commands.clone();
        watch.on_drop(move || {
            if let Some(commands) = commands.upgrade() {
                drop(commands.send(Command::Unwatch(id)));
            }
        })
    }
}

/// One attempt at a connection, and the connection. Dropping it closes it.
struct StoreConnection {
    outgoing: mpsc::UnboundedSender<Call>,
    events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

enum LinkEvent {
    Connected(Option<StoreId>),
    ConnectFailed(ConnectError),
    Message(FromStore),
    /// The last one.
    Broke(String),
}

impl StoreConnection {
    fn begin(target: Target) -> Self {
        // Bounded by the client, which has at most so many requests and watches under way.
        let (outgoing, calls) = mpsc::unbounded_channel();
        let (events, inbox) = mpsc::channel(INBOX_MAX);
        let task = tokio::spawn(async move {
            let end = match connect(&target).await {
                Err(error) => LinkEvent::ConnectFailed(error),
                Ok(Connected { stream, store, guards }) => {
                    drop(events.send(LinkEvent::Connected(store)).await);
                    let (from_store, to_store) = tokio::io::split(stream);
                    LinkEvent::Broke(tokio::select! {
                        why = read(from_store, &events) => why,
                        why = write(to_store, guards, calls) => why,
                    })
                }
            };
            drop(events.send(end).await);
        });
        Self { outgoing, events: inbox, task }
    }
}

impl Drop for StoreConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn next_event(link: &mut Option<StoreConnection>) -> LinkEvent {
    match link {
        Some(link) => {
            link.events.recv().await.unwrap_or_else(|| LinkEvent::Broke("the connection ended".into()))
        }
        None => std::future::pending().await,
    }
}

async fn read(mut from_store: impl AsyncRead + Unpin, events: &mpsc::Sender<LinkEvent>) -> String {
    let mut buffer = FrameBuffer::default();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        match buffer.next_message() {
            Ok(Some(message)) => {
                if events.send(LinkEvent::Message(message)).await.is_err() {
                    return "nobody wants the connection".into();
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => return format!("it does not speak this program's protocol: {error}"),
        }
        match from_store.read(&mut chunk).await {
            Ok(0) => return "it closed the connection".into(),
            Ok(len) => buffer.push(&chunk[..len]),
            Err(error) => return format!("the connection broke: {error}"),
        }
    }
}

async fn write(
    mut to_store: impl AsyncWrite + Unpin,
    guards: bool,
    mut calls: mpsc::UnboundedReceiver<Call>,
) -> String {
    let mut bytes = Vec::new();
    while let Some(call) = calls.recv().await {
        let mut next = Some(call);
        while let Some(mut call) = next {
            if !guards {
                call.request = call.request.unguarded();
            }
            if let Err(error) = encode(&call, &mut bytes) {
                unreachable!("every request within its bounds fits a frame: {error}");
            }
            next = if bytes.len() < WRITE_CHUNK { calls.try_recv().ok() } else { None };
        }
        let written = async {
            to_store.write_all(&bytes).await?;
            to_store.flush().await
        };
        if let Err(error) = written.await {
            return format!("the connection broke: {error}");
        }
        bytes.clear();
    }
    "nobody wants the connection".into()
}
