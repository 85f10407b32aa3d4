//! One search for a host: whom it has still to try, whom it tries, and what became of the others.

use core::time::Duration;
use std::collections::VecDeque;

use proto::{HostName, Instant};

use super::attempt::Attempt;
use super::config::{Config, Timing};
use super::fault::{ConnId, Fault};
use super::host_ref::HostRef;
use super::hosts::{BUSY_FIRST, HOSTS_MAX, Hosts, News};

/// An attempt at a host that is not heard is left for one that is after this time, once all had their turn. In a
/// storm hosts and desks are late, so that not heard means for as long as a busy one may be: to leave a host that is
/// about to serve us costs it the handshake, and to do so at every beacon lets nobody in.
const PREEMPT_AFTER: Duration = Duration::from_millis(100);

/// Why a search began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The DTU was switched on: configured servers come first, in their order.
    Boot,
    /// A host was lost: the best of the others comes first.
    Lost,
}

/// What follows from a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// It is remembered, and changes nothing now.
    Kept,
    /// The hinted host is next, instead of the attempt at this connection.
    Instead(Option<ConnId>),
}

#[derive(Debug)]
pub(super) struct Search {
    pub(super) start: Start,
    pub(super) attempt: Option<Attempt>,
    pub(super) avoid: Option<HostName>,
    round: u32,
    queue: VecDeque<HostRef>,
    /// Set while nobody is left to try in this round.
    pub(super) next_round_at: Option<Instant>,
    /// When the screen says that there is no host; `None` once it has.
    pub(super) announce_at: Option<Instant>,
    /// When the screen says that a host is there and has not got to us yet; `None` once it has.
    pub(super) busy_at: Option<Instant>,
    /// A host that answered and cannot be believed, and why: worth saying when no other is found.
    stranger: Option<(HostRef, Fault)>,
    /// The last host that took no more connections, and what it said.
    busy: Option<(HostRef, Fault)>,
}

impl Search {
    pub(super) const fn new(start: Start, avoid: Option<HostName>, tell_at: Instant) -> Self {
        Self {
            start,
            attempt: None,
            avoid,
            round: 0,
            queue: VecDeque::new(),
            next_round_at: None,
            announce_at: Some(tell_at),
            busy_at: Some(tell_at),
            stranger: None,
            busy: None,
        }
    }

    pub(super) const fn is_first_round(&self) -> bool {
        self.round == 0
    }

    /// Whether another host is left to try in this round.
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next host to try in this round.
    pub(super) fn next(&mut self) -> Option<HostRef> {
        self.queue.pop_front()
    }

    /// Fills the queue for a round. `keeper` has what the session needs to go on.
    pub(super) fn fill(&mut self, now: Instant, config: &Config, hosts: &Hosts, keeper: Option<&HostName>) {
        let configured = config.servers.iter().map(|addr| HostRef { name: None, addr: *addr });
        let configured: Vec<_> = configured.collect();
        // Beacons heard while off are no reason to pass over what the DTU was told to try first.
        let first_boot = self.start == Start::Boot && self.round == 0;
        let known = if first_boot { Vec::new() } else { hosts.ranked(now, &config.serial, keeper) };
        let (first, then) = if self.start == Start::Boot { (configured, known) } else { (known, configured) };
        self.queue = first.into();
        for host in then {
            if self.queue.iter().all(|queued| queued.addr != host.addr) {
                self.queue.push_back(host);
            }
        }
    }

    /// A connection to `host` is being opened.
    pub(super) fn open(&mut self, now: Instant, conn: ConnId, host: HostRef, timing: &Timing) {
        let patience = (timing.open * (1 << self.round.min(5))).min(timing.open_max);
        self.attempt = Some(Attempt::new(now, conn, host, patience, timing));
    }

    /// Nobody is left in this round. Says how long to wait for the next one.
    pub(super) fn end_round(&mut self, timing: &Timing) -> Duration {
        let pause = (timing.round * (1 << self.round.min(8))).min(timing.round_max);
        self.round += 1;
        // Where everybody is refused, everybody comes back.
        if self.busy.is_some() { pause.max(BUSY_FIRST) } else { pause }
    }

    /// What became of an attempt, for the person at the screen.
    pub(super) fn remember(&mut self, host: &HostRef, fault: &Fault) {
        match fault {
            Fault::Tls(_) | Fault::Clock { .. } => self.stranger = Some((host.clone(), fault.clone())),
            Fault::Busy(_) => self.busy = Some((host.clone(), fault.clone())),
            _ => {}
        }
    }

    /// What the screen says when no host was found.
    pub(super) fn why_nobody(&self, keeps_session: bool) -> String {
        match (&self.stranger, &self.busy) {
            (_, Some((host, why))) => format!("Host {host} {why}. This desk tries again by itself."),
            (Some((host, fault @ Fault::Clock { .. })), None) => {
                format!("Host {host} answers and cannot be trusted: {fault}.")
            }
            (Some((host, _)), None) => {
                format!("Host {host} answers and is not trusted: its certificate is of another group.")
            }
            (None, None) if keeps_session => {
                "No host can be reached. If your session still runs, it is shown as soon as its host is back."
                    .to_owned()
            }
            (None, None) => "No host can be reached. You get a session as soon as one is back.".to_owned(),
        }
    }

    /// A host was heard that may be worth an attempt.
    pub(super) fn hint(&mut self, now: Instant, host: HostRef, news: News, hosts: &Hosts) -> Hint {
        let queued = self.queue.iter().any(|queued| queued.addr == host.addr);
        let Some(attempt) = &mut self.attempt else {
            self.queue.retain(|queued| queued.addr != host.addr);
            self.queue.push_front(host);
            return Hint::Instead(None);
        };
        let same = attempt.host.addr == host.addr;
        let old = now.since(attempt.since) >= PREEMPT_AFTER;
        attempt.is_doubtful |= same && news == News::Returned;
        let stuck =
            if same { attempt.is_doubtful } else { self.round > 0 && !hosts.is_about(now, &attempt.host) };
        if old && stuck {
            let conn = attempt.conn;
            self.attempt = None;
            self.queue.push_front(host);
            return Hint::Instead(Some(conn));
        }
        if !same && !queued && self.round == 0 && self.queue.len() < HOSTS_MAX {
            self.queue.push_back(host);
        }
        Hint::Kept
    }
}
