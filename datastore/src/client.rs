//! One client of a data store: which requests wait, which are under way, and what becomes of them when the
//! connection breaks.
//!
//! A machine without sockets or clock; [`crate::io::Remote`] drives it. Its promise: a write is sent at most
//! once. If its answer does not come, it fails as [`StoreError::OutcomeUnknown`]; reads and watches are
//! taken up again on the next connection.
//!
//! ```text
//!            Connect                 connected
//!  Waiting ───────────▶ Connecting ───────────▶ Up
//!     ▲                     │ connect_failed     │ disconnected, or no answer to a ping
//!     └─────────────────────┴────────────────────┘
//! ```

use std::collections::BTreeMap;

use proto::Instant;
use proto::time::{Duration, earliest};

use crate::error::{Refusal, StoreError};
use crate::key::Prefix;
use crate::message::{Answer, Request, RequestId, Response, WatchEvent};
use crate::wire::{self, Call, FromStore};

/// Requests on one connection at once; others wait. Below the server's bound, so that pings are read.
pub const IN_FLIGHT_MAX: usize = 128;
/// Requests that wait or are under way; one more is refused as busy.
pub const CALLS_MAX: usize = 4096;
/// Watches of one client.
pub const WATCHES_MAX: usize = 64;

const _: () = assert!(IN_FLIGHT_MAX + WATCHES_MAX / 4 < wire::IN_FLIGHT_MAX);

/// Silence after which a ping is sent: while an answer is awaited, and while none is.
const PING_AFTER: [Duration; 2] = [Duration::from_millis(150), Duration::from_secs(2)];
/// How long a ping may stay unanswered before the connection is taken for dead.
const PONG_WITHIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// Who was called so much later than asked did not run itself, and judges nobody by that silence.
const LATE: Duration = Duration::from_millis(200);
/// Pause before the n-th attempt to connect: doubles, up to the first bound while somebody waits, else the
/// second.
const BACKOFF_FIRST: Duration = Duration::from_millis(25);
const BACKOFF_MAX: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// How patient a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long the data store may be out of reach before what was not sent fails. Once it has been for so
    /// long, requests fail at once until it is back.
    pub connect: Duration,
    /// How long an answer may take. Longer than a slow disk needs: a write that fails by this may still be done.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(1), answer: Duration::from_secs(5) }
    }
}

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody there, or nobody answered in time.
    Unreachable(String),
    /// Somebody there, and one side does not believe the other: waiting does not help.
    NotTrusted(String),
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a connection; then say [`Client::connected`] or [`Client::connect_failed`].
    Connect,
    /// Send on the connection.
    Send(Call),
    /// Drop the connection and feed nothing of it any more.
    Disconnect,
    /// A request is done with.
    Done {
        /// The call that this is the answer to.
        id: RequestId,
        /// The answer, or why there is none.
        result: Result<Response, StoreError>,
    },
    /// An event of a watch that has begun.
    Event {
        /// The watch, by the id of the call that began it.
        watch: RequestId,
        /// The change that the watch reports.
        event: WatchEvent,
    },
    /// A watch could not be taken up again: it ends.
    Ended {
        /// The watch, by the id of the call that began it.
        watch: RequestId,
    },
}

#[derive(Debug)]
enum Connection {
    Waiting { retry_at: Instant },
    Connecting,
    Up { heard: Instant, pinged: Option<Instant> },
}

#[derive(Debug)]
struct Pending {
    request: Request,
    is_sent: bool,
    give_up_at: Instant,
}

/// The machine: one connection at a time, and the calls and watches that outlive it.
#[derive(Debug)]
pub struct Client {
    at: String,
    patience: Patience,
    connection: Connection,
    down_since: Instant,
    failures: u32,
    last_failure: Option<ConnectError>,
    next_id: u64,
    calls: BTreeMap<RequestId, Pending>,
    in_flight: usize,
    watches: BTreeMap<RequestId, Prefix>,
    /// When this machine asked to be called next; see [`LATE`].
    due: Option<Instant>,
}

impl Client {
    /// A client of the data store at `at` (for messages), which connects at once.
    #[must_use]
    pub fn new(now: Instant, at: &str, patience: Patience) -> Self {
        Self {
            at: at.into(),
            patience,
            connection: Connection::Waiting { retry_at: now },
            down_since: now,
            failures: 0,
            last_failure: None,
            next_id: 1,
            calls: BTreeMap::new(),
            in_flight: 0,
            watches: BTreeMap::new(),
            due: None,
        }
    }

    /// Whether there is a connection.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.connection, Connection::Up { .. })
    }

    /// Takes in a request; its end is told as [`Effect::Done`]. A [`Request::Watch`] that succeeds goes on
    /// with events under the returned id, across connections, until [`Client::unwatch`].
    pub fn call(&mut self, now: Instant, request: Request, out: &mut Vec<Effect>) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let refusal = if self.calls.len() >= CALLS_MAX {
            Some(Refusal::Busy)
        } else if matches!(request, Request::Watch { .. }) && self.watches.len() >= WATCHES_MAX {
            Some(Refusal::TooManyWatches)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            out.push(Effect::Done { id, result: Err(refusal.into()) });
            return id;
        }
        let give_up_at = now + self.patience.answer;
        self.calls.insert(id, Pending { request, is_sent: false, give_up_at });
        self.tidy(now, out);
        id
    }

    /// Ends a watch; none of its events come any more.
    pub fn unwatch(&mut self, watch: RequestId, out: &mut Vec<Effect>) {
        let began = self.watches.remove(&watch).is_some();
        let asked = self.calls.remove(&watch).is_some_and(|call| call.is_sent);
        self.in_flight -= usize::from(asked);
        if (began || asked) && self.is_up() {
            let id = RequestId(self.next_id);
            self.next_id += 1;
            out.push(Effect::Send(Call { id, request: Request::Unwatch { watch } }));
        }
    }

    /// The connection stands and the handshake is done.
    pub fn connected(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.connection = Connection::Up { heard: now, pinged: None };
        self.failures = 0;
        self.last_failure = None;
        for (id, prefix) in &self.watches {
            out.push(Effect::Send(Call { id: *id, request: Request::Watch { prefix: prefix.clone() } }));
        }
        self.tidy(now, out);
    }

    /// The connection could not be made.
    pub fn connect_failed(&mut self, now: Instant, error: ConnectError, out: &mut Vec<Effect>) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(error);
        self.connection = Connection::Waiting { retry_at: now + self.backoff() };
        self.tidy(now, out);
    }

    /// The connection broke.
    pub fn disconnected(&mut self, now: Instant, why: &str, out: &mut Vec<Effect>) {
        self.connection = Connection::Waiting { retry_at: now };
        self.down_since = now;
        self.last_failure = Some(ConnectError::Unreachable(why.into()));
        self.in_flight = 0;
        let lost: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| call.is_sent && call.request.is_write())
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.calls.remove(&id);
            out.push(Effect::Done { id, result: Err(self.unknown(why)) });
        }
        for call in self.calls.values_mut() {
            call.is_sent = false;
        }
        self.tidy(now, out);
    }

    /// A message came.
    pub fn received(&mut self, now: Instant, message: FromStore, out: &mut Vec<Effect>) {
        if let Connection::Up { heard, pinged } = &mut self.connection {
            (*heard, *pinged) = (now, None);
        }
        match message {
            FromStore::Event { watch, event } => {
                if self.watches.contains_key(&watch) {
                    out.push(Effect::Event { watch, event });
                }
            }
            FromStore::Reply { id, response } => self.reply(id, response, out),
        }
        self.tidy(now, out);
    }

    fn reply(&mut self, id: RequestId, response: Response, out: &mut Vec<Effect>) {
        if let Some(call) = self.calls.remove(&id) {
            self.in_flight -= usize::from(call.is_sent);
            if let (Request::Watch { prefix }, Answer::Watching) = (call.request, &response.answer) {
                self.watches.insert(id, prefix);
            }
            let result = match response.answer {
                Answer::Failed(error) => Err(error),
                _ => Ok(response),
            };
            out.push(Effect::Done { id, result });
        } else if self.watches.contains_key(&id) {
            // Taken up again on a new connection: what happened in between is lost to the watcher.
            if response.answer == Answer::Watching {
                out.push(Effect::Event { watch: id, event: WatchEvent::Lagged });
            } else {
                self.watches.remove(&id);
                out.push(Effect::Ended { watch: id });
            }
        }
    }

    /// The time asked for by [`Client::poll_at`] has come.
    pub fn timeout(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let was_late = self.due.is_some_and(|due| now.since(due) > LATE);
        let [pong_within, ping_after] = [PONG_WITHIN, PING_AFTER].map(|of| of[usize::from(!self.awaits())]);
        if let Connection::Up { heard, pinged } = &mut self.connection {
            match *pinged {
                Some(_) if was_late => *pinged = Some(now),
                Some(at) if now.since(at) >= pong_within => {
                    out.push(Effect::Disconnect);
                    self.disconnected(now, "it stopped answering", out);
                    return;
                }
                Some(_) => {}
                None if now.since(*heard) >= ping_after => {
                    *pinged = Some(now);
                    let id = RequestId(self.next_id);
                    self.next_id += 1;
                    out.push(Effect::Send(Call { id, request: Request::Ping }));
                }
                None => {}
            }
        }
        self.tidy(now, out);
    }

    /// When to call [`Client::timeout`].
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let idle = usize::from(!self.awaits());
        let due = match self.connection {
            Connection::Waiting { retry_at } => Some(retry_at),
            Connection::Connecting => None,
            Connection::Up { pinged: Some(at), .. } => Some(at + PONG_WITHIN[idle]),
            Connection::Up { heard, pinged: None } => Some(heard + PING_AFTER[idle]),
        };
        earliest(due, self.calls.values().next().map(|call| self.deadline(call)))
    }

    fn awaits(&self) -> bool {
        self.in_flight > 0
    }

    /// Never earlier than that of an older call, so that only the oldest need be looked at.
    fn deadline(&self, call: &Pending) -> Instant {
        if call.is_sent || self.is_up() {
            call.give_up_at
        } else {
            call.give_up_at.min(self.down_since + self.patience.connect)
        }
    }

    fn backoff(&self) -> Duration {
        let bound = BACKOFF_MAX[usize::from(self.calls.is_empty())];
        (BACKOFF_FIRST * 2_u32.saturating_pow(self.failures.min(16).saturating_sub(1))).min(bound)
    }

    /// Upkeep after every input: give up what is over, connect and send what can be.
    fn tidy(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.give_up(now, out);
        if let Connection::Waiting { retry_at } = &mut self.connection {
            // Somebody who waits now shortens a pause that was begun when nobody did.
            if !self.calls.is_empty() {
                *retry_at = (*retry_at).min(now + BACKOFF_MAX[0]);
            }
            if *retry_at <= now {
                self.connection = Connection::Connecting;
                out.push(Effect::Connect);
            }
        }
        if self.is_up() {
            let room = IN_FLIGHT_MAX - self.in_flight;
            for (id, call) in self.calls.iter_mut().filter(|(_, call)| !call.is_sent).take(room) {
                call.is_sent = true;
                self.in_flight += 1;
                out.push(Effect::Send(Call { id: *id, request: call.request.clone() }));
            }
        }
        self.due = self.poll_at();
    }

    fn give_up(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let not_trusted = match &self.last_failure {
            Some(ConnectError::NotTrusted(why)) if !self.is_up() => Some(why.clone()),
            _ => None,
        };
        let over: Vec<_> = self
            .calls
            .iter()
            .take_while(|(_, call)| not_trusted.is_some() || self.deadline(call) <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let Some(call) = self.calls.remove(&id) else { continue };
            self.in_flight -= usize::from(call.is_sent);
            let error = match (&not_trusted, call.is_sent) {
                (Some(why), _) => StoreError::NotTrusted { at: self.at.clone(), why: why.clone() },
                (None, true) if call.request.is_write() => self.unknown("no answer came in time"),
                (None, true) => self.unreachable("no answer came in time"),
                (None, false) => match &self.last_failure {
                    Some(ConnectError::Unreachable(why) | ConnectError::NotTrusted(why)) => {
                        self.unreachable(why)
                    }
                    None if self.is_up() => self.unreachable("too much is under way"),
                    None => self.unreachable("nobody answered"),
                },
            };
            out.push(Effect::Done { id, result: Err(error) });
        }
    }

    fn unknown(&self, why: &str) -> StoreError {
        StoreError::OutcomeUnknown { at: self.at.clone(), why: why.into() }
    }

    fn unreachable(&self, why: &str) -> StoreError {
        StoreError::Unreachable { at: self.at.clone(), why: why.into() }
    }
}

#[cfg(test)]
mod tests;
