//! The loop that owns the host machine: one thing at a time goes in, and all that comes out of it is done.
//!
//! Nothing here waits but for the next thing to happen: sockets are written without blocking, and what takes time is
//! handed to other threads. Beacons go first: no turn takes more than a bounded number of inputs before the
//! clock is looked at again.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use authmgr::admission::AccountName;
use proto::Instant;
use proto::alp::FromHost;
use proto::line::{Line, LineError};
use proto::net::Interface;
use proto::time::earliest;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::log;
use crate::host::admin::{Command, Reply};
use crate::host::{AdminReq, ConnId, Effect, Host, Input};
use crate::io::accounts;
use crate::io::admin::audit::AUDIT;
use crate::io::clock::{self, Alarm};
use crate::io::counters::{Counters, Reason};
use crate::io::inbox::{Event, Held, Inbox};
use crate::io::net::{Heard, Net};
use crate::io::peers::Peers;
use crate::io::sessions::SessionDriver;
use crate::io::store::StoreDriver;
use crate::io::vitals::Sampler;

/// Batches of datagrams, and other events, taken in one turn.
const HEARD_PER_TURN: usize = 4;
const EVENTS_PER_TURN: usize = 64;

/// Pause before sockets of an address that changed are opened anew.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a display connection may wait for the host's word.
const HELD_MAX: Duration = Duration::from_secs(5);

/// The host machine and everything it moves.
pub(super) struct EventLoop {
    pub(super) host: Host,
    pub(super) net: Net,
    pub(super) store: StoreDriver,
    pub(super) sessions: SessionDriver,
    pub(super) peers: Peers,
    pub(super) runtime: Handle,
    pub(super) inbox: Inbox,
    pub(super) counters: Counters,
    /// The account of sessions for which nothing else names one.
    pub(super) account: Option<AccountName>,
    pub(super) run_dir: PathBuf,
    pub(super) run_queue: Sampler,
    /// MiB of memory left, when that was last looked at.
    pub(super) mem_mib: Option<u32>,
    pub(super) alarm: Alarm,
    pub(super) pending: Pending,
}

/// Connections and operators that wait for the host machine, and inputs that wait for their turn.
#[derive(Default)]
pub(super) struct Pending {
    /// The ways out of connections of the session protocol.
    writers: BTreeMap<ConnId, mpsc::Sender<Box<str>>>,
    held: BTreeMap<ConnId, (Instant, Held)>,
    operators: BTreeMap<AdminReq, oneshot::Sender<Reply>>,
    next_req: u64,
    /// What followed from doing something, to be handed in next.
    inputs: VecDeque<Input>,
    is_over: bool,
    /// Where a host of the same name lives, because of which this one does not start.
    name_taken: Option<SocketAddrV4>,
}

impl EventLoop {
    /// Takes up what an earlier daemon has left, before any socket is open: whoever asks meanwhile is refused by the
    /// kernel, as while there was no daemon.
    pub(super) async fn take_up(&mut self, events: &mut mpsc::Receiver<Event>) {
        self.feed(Input::Timeout);
        while !self.host.is_ready() && !self.pending.is_over {
            tokio::select! {
                () = clock::until(self.host.poll_at()) => self.feed(Input::Timeout),
                input = self.sessions.next() => self.feed(input),
                Some(event) = events.recv() => self.take(event),
            }
        }
    }

    /// Runs until the host machine says that the daemon is to end. Returns where another host of the name lives, if that
    /// is why.
    pub(super) async fn run(
        &mut self,
        interfaces: Vec<Interface>,
        mut heard: mpsc::Receiver<Heard>,
        mut events: mpsc::Receiver<Event>,
    ) -> Option<SocketAddrV4> {
        // Before the first announcement, so that it says how busy this machine is.
        self.tell_vitals();
        self.feed(Input::Interfaces(interfaces));
        while !self.pending.is_over {
            if self.due().is_some_and(|at| at <= clock::now()) {
                self.go_on_in_time();
            }
            let due = self.due();
            // Whatever is ready has its turn by chance, so that no flood of one kind keeps the others out.
            tokio::select! {
                () = self.alarm.until(due) => {}
                Some(batch) = heard.recv() => {
                    self.hear(batch);
                    self.go_on(&mut heard, &mut events, HEARD_PER_TURN - 1, EVENTS_PER_TURN);
                }
                input = self.sessions.next() => {
                    self.feed(input);
                    self.go_on(&mut heard, &mut events, HEARD_PER_TURN, EVENTS_PER_TURN - 1);
                }
                Some(event) = events.recv() => {
                    self.take(event);
                    self.go_on(&mut heard, &mut events, HEARD_PER_TURN, EVENTS_PER_TURN - 1);
                }
            }
        }
        self.pending.name_taken
    }

    fn due(&self) -> Option<Instant> {
        earliest(self.host.poll_at(), Some(self.net.gather_at()))
    }

    /// Does what is due. Nobody is judged before all is read that came in time.
    fn go_on_in_time(&mut self) {
        for heard in self.net.gathered() {
            self.hear(heard);
        }
        self.tell_vitals();
        if self.host.poll_at().is_some_and(|at| at <= clock::now()) {
            self.feed(Input::Timeout);
        }
    }

    fn tell_vitals(&mut self) {
        if let Some(run_queue) = self.run_queue.poll(clock::now()) {
            self.feed(Input::Vitals { run_queue, mem_mib: self.mem_mib.unwrap_or(0) });
        }
    }

    /// Takes what is there already, up to a bound of either kind.
    fn go_on(
        &mut self,
        heard: &mut mpsc::Receiver<Heard>,
        events: &mut mpsc::Receiver<Event>,
        heard_max: usize,
        events_max: usize,
    ) {
        for _ in 0..heard_max {
            let Ok(batch) = heard.try_recv() else { break };
            self.hear(batch);
        }
        for _ in 0..events_max {
            let Ok(event) = events.try_recv() else { break };
            self.take(event);
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Datagrams { iface, datagrams } => self.feed(Input::Datagrams { iface, datagrams }),
            Heard::Refused { addr } => self.feed(Input::Refused { addr }),
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.feed(input),
            Event::Looked { findings, mem_mib } => {
                self.mem_mib = mem_mib;
                self.feed(Input::Found(findings));
            }
            Event::Opened { conn, peer, plain, key, outgoing, lines } => {
                self.pending.writers.insert(conn, outgoing);
                self.feed(Input::Opened { conn, peer, plain, key });
                lines.into_iter().for_each(|line| self.hear_line(conn, line));
            }
            Event::Line(conn, line) => self.hear_line(conn, line),
            Event::Closed(conn) => {
                if self.pending.writers.remove(&conn).is_some() {
                    self.feed(Input::Closed { conn });
                }
            }
            Event::Display { conn, session, held } => {
                self.pending.held.insert(conn, (clock::now(), held));
                self.feed(Input::Display { conn, session });
            }
            Event::Admin { command, answer } => self.command(command, Some(answer)),
            Event::Look => self.look(),
            Event::Renew => self.sessions.renew(),
            Event::End => {
                tracing::info!(target: AUDIT, what = "stop", by = "a signal", outcome = "done", "audit");
                self.command(Command::Stop, None);
            }
        }
    }

    /// Lines of a connection that was closed meanwhile are nobody's.
    fn hear_line(&mut self, conn: ConnId, line: Result<Line, LineError>) {
        if self.pending.writers.contains_key(&conn) {
            self.feed(Input::Line { conn, line });
        }
    }

    fn command(&mut self, command: Command, answer: Option<oneshot::Sender<Reply>>) {
        self.pending.next_req += 1;
        let req = AdminReq(self.pending.next_req);
        if let Some(answer) = answer {
            self.pending.operators.insert(req, answer);
        }
        self.feed(Input::Admin { req, command });
    }

    /// Asks the kernel for the interfaces of the present moment, and clears away what nobody came for.
    fn look(&mut self) {
        let (interfaces, again) = self.net.refresh();
        if again {
            let inbox = self.inbox.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LOOK_AGAIN).await;
                inbox.send(Event::Look).await;
            });
        }
        self.feed(Input::Interfaces(interfaces));
        let now = clock::now();
        let before = self.pending.held.len();
        self.pending.held.retain(|_, (since, _)| now.since(*since) < HELD_MAX);
        self.counters.count_many(Reason::Display, (before - self.pending.held.len()) as u64);
        self.pending.operators.retain(|_, answer| !answer.is_closed());
    }

    /// Hands one input to the machine, and what follows from doing what it says.
    fn feed(&mut self, input: Input) {
        let mut next = Some(input);
        let mut effects = Vec::new();
        while let Some(input) = next {
            self.host.handle(clock::now(), proto::io::wall_now(), input, &mut effects);
            for effect in effects.drain(..) {
                self.perform(effect);
            }
            next = self.pending.inputs.pop_front();
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Broadcast(said) => self.net.broadcast(&said.iface, &said.bytes),
            Effect::Datagram { iface, to, bytes } => self.net.datagram(&iface, to, &bytes),
            Effect::Ask(ask) => self.net.ask(clock::now(), ask.to, &ask.bytes),
            Effect::Send { conn, message } => self.send(conn, text_of(&message)),
            Effect::Close { conn } => {
                // What waits to be written is written first: the connection ends when its queue does.
                self.pending.writers.remove(&conn);
                self.pending.held.remove(&conn);
            }
            Effect::HandOver { conn, session } => {
                if let Some((_, held)) = self.pending.held.remove(&conn)
                    && !self.sessions.hand_over(session, held)
                {
                    self.counters.count(Reason::Display);
                }
            }
            Effect::Store { req, request } => self.store.ask(&self.runtime, &self.inbox, req, *request),
            Effect::Spawn(spec) => self.pending.inputs.extend(self.sessions.spawn(*spec)),
            Effect::Kill(session) => self.sessions.kill(session),
            Effect::Tell { session, message } => self.sessions.tell(session, *message),
            Effect::Peer { host, message } => {
                if !self.peers.say(host.clone(), message) {
                    self.counters.count(Reason::WriteQueue);
                    self.pending.inputs.push_back(Input::PeerLost { host });
                }
            }
            Effect::Answer { req, reply } => self.answer(req, *reply),
            Effect::Note(note) => log::log(&note),
            Effect::Ready => self.say_ready(),
            Effect::Refuse { at } => {
                self.pending.name_taken = Some(at);
                self.pending.is_over = true;
            }
            Effect::Stop => self.pending.is_over = true,
        }
    }

    fn say_ready(&self) {
        let mut line = Line::new("ready").with("host", self.host.name());
        for addr in self.net.addresses() {
            line.push("addr", addr);
        }
        tracing::info!(host = %self.host.name(), store = %self.store.label(), "ready");
        accounts::warn(self.account.as_ref(), self.sessions.has_own_accounts(), &self.run_dir);
        let mut out = io::stdout().lock();
        // Whoever started the daemon may not want to read it.
        drop(writeln!(out, "{line}").and_then(|()| out.flush()));
    }

    /// Queues a message. Whoever lets the queue fill up does not read, and is closed.
    fn send(&mut self, conn: ConnId, text: Box<str>) {
        let Some(writer) = self.pending.writers.get(&conn) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = writer.try_send(text) {
            self.counters.count(Reason::WriteQueue);
            self.pending.writers.remove(&conn);
            self.pending.inputs.push_back(Input::Closed { conn });
        }
    }

    fn answer(&mut self, req: AdminReq, mut reply: Reply) {
        if let Reply::Status(status) = &mut reply {
            self.counters.add_to(&mut status.refused);
            status.ahead = self.sessions.ahead();
        }
        if let Some(answer) = self.pending.operators.remove(&req) {
            drop(answer.send(reply));
        }
    }

    /// Lets go of every connection; each ends when what it was to be told is written.
    pub(super) fn let_go(&mut self) {
        self.pending.writers.clear();
        self.pending.held.clear();
    }
}

/// A message as it goes onto a connection.
fn text_of(message: &FromHost) -> Box<str> {
    let mut text = message.to_line().to_string();
    text.push('\n');
    text.into()
}
