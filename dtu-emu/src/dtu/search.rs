//! Looking for a host (DESIGN 4.3 and 5): configured servers, the hosts known from before, whoever answers a
//! serverQ or is heard by its beacons, one after the other until one lets us in.

use core::time::Duration;
use std::collections::VecDeque;

use proto::time::earliest;
use proto::{HostName, Instant};

use super::event::DtuEvent;
use super::hosts::{BUSY_FIRST, Failure, HOSTS_MAX, HostRef, News};
use super::input::{ConnId, Effect, Fault, Notice, Paint};
use super::link::{Attempt, Link};
use super::{Cx, Dtu};

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

#[derive(Debug)]
pub(super) struct Search {
    pub(super) start: Start,
    pub(super) attempt: Option<Attempt>,
    pub(super) avoid: Option<HostName>,
    round: u32,
    queue: VecDeque<HostRef>,
    /// Set while nobody is left to try in this round.
    next_round_at: Option<Instant>,
    /// When the screen says that there is no host; `None` once it has.
    announce_at: Option<Instant>,
    /// When the screen says that a host is there and has not got to us yet; `None` once it has.
    busy_at: Option<Instant>,
    /// A host that answered and cannot be believed, and why: worth saying when no other is found.
    stranger: Option<(HostRef, Fault)>,
    /// The last host that took no more connections, and what it said.
    busy: Option<(HostRef, Fault)>,
}

impl Search {
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref().map(|attempt| attempt.due);
        earliest(earliest(attempt, self.next_round_at), earliest(self.announce_at, self.busy_at))
    }

    /// The host that is tried, which has its time whatever else is heard; in later rounds only if it is heard itself.
    pub(super) const fn tried(&self) -> Option<(&HostRef, bool)> {
        match &self.attempt {
            Some(attempt) => Some((&attempt.host, self.round == 0)),
            None => None,
        }
    }

    /// Whether another host is left to try in this round.
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl Dtu {
    pub(super) fn begin_search(&mut self, cx: &mut Cx<'_>, start: Start, avoid: Option<HostName>) {
        let mut search = Search {
            start,
            attempt: None,
            avoid,
            round: 0,
            queue: VecDeque::new(),
            next_round_at: None,
            announce_at: Some(cx.now + self.config.timing.no_host),
            busy_at: Some(cx.now + self.config.timing.no_host),
            stranger: None,
            busy: None,
        };
        self.fill_queue(cx, &mut search);
        self.search_on(cx, Box::new(search));
    }

    fn fill_queue(&mut self, cx: &Cx<'_>, search: &mut Search) {
        let configured = self.config.servers.iter().map(|addr| HostRef { name: None, addr: *addr });
        let configured: Vec<_> = configured.collect();
        // Beacons heard while off are no reason to pass over what the DTU was told to try first.
        let first_boot = search.start == Start::Boot && search.round == 0;
        let known = if first_boot { Vec::new() } else { self.hosts.ranked(cx.now, &self.config.serial) };
        let (first, then) =
            if search.start == Start::Boot { (configured, known) } else { (known, configured) };
        search.queue = first.into();
        for host in then {
            if search.queue.iter().all(|queued| queued.addr != host.addr) {
                search.queue.push_back(host);
            }
        }
    }

    /// Goes on with a search: the next host, or a pause when nobody is left.
    pub(super) fn search_on(&mut self, cx: &mut Cx<'_>, mut search: Box<Search>) {
        if search.attempt.is_none() {
            if let Some(host) = search.queue.pop_front() {
                let patience = self.open_patience(search.round);
                search.attempt = Some(self.open_control(cx, host, patience));
            } else if search.next_round_at.is_none() {
                cx.push(Effect::BroadcastServerQ);
                let timing = &self.config.timing;
                let mut pause = (timing.round * (1 << search.round.min(8))).min(timing.round_max);
                if search.busy.is_some() {
                    // Where everybody is refused, everybody comes back.
                    pause = pause.max(BUSY_FIRST);
                }
                search.next_round_at = Some(cx.now + self.dice.spread(pause));
                search.round += 1;
            }
        }
        self.link = Link::Searching(search);
    }

    fn open_patience(&self, round: u32) -> Duration {
        (self.config.timing.open * (1 << round.min(5))).min(self.config.timing.open_max)
    }

    /// Starts opening a control connection.
    pub(super) fn open_control(&mut self, cx: &mut Cx<'_>, host: HostRef, patience: Duration) -> Attempt {
        let conn = self.next_conn();
        cx.push(Effect::OpenControl { conn, addr: host.addr });
        let limit = cx.now + self.config.timing.open_max.max(patience);
        Attempt { conn, host, since: cx.now, due: cx.now + patience, limit }
    }

    /// We are in the host's line. Only a host of the group is believed that it has one: anybody can take a connection,
    /// and have beacons heard.
    pub(super) fn on_control_reached(&mut self, conn: ConnId) {
        let attempt = match &mut self.link {
            Link::Searching(search) => search.attempt.as_mut(),
            Link::Errand(errand) => Some(&mut errand.attempt),
            _ => None,
        };
        if let Some(attempt) = attempt.filter(|attempt| attempt.conn == conn)
            && self.hosts.is_told(&attempt.host)
        {
            attempt.limit = attempt.since + self.config.timing.line_max;
        }
    }

    /// Whether an attempt whose time is up gets more: a host that is heard lives and is only slow.
    pub(super) fn extend(&mut self, cx: &Cx<'_>, attempt: &mut Attempt) -> bool {
        let more = cx.now < attempt.limit && self.hosts.is_about(cx.now, &attempt.host);
        if more {
            attempt.due = (cx.now + self.config.timing.open).min(attempt.limit);
        }
        more
    }

    /// A host of the search failed us, before or after it opened a connection.
    pub(super) fn search_failed(
        &mut self,
        cx: &mut Cx<'_>,
        mut search: Box<Search>,
        host: HostRef,
        fault: Fault,
    ) {
        // A clock may be put right any moment; a certificate of another group stays one.
        let failure = match fault {
            Fault::Tls(_) => Failure::Stranger,
            Fault::Busy(_) => Failure::Busy,
            _ => Failure::Away,
        };
        match fault {
            Fault::Tls(_) | Fault::Clock { .. } => search.stranger = Some((host.clone(), fault.clone())),
            Fault::Busy(_) => search.busy = Some((host.clone(), fault.clone())),
            _ => {}
        }
        self.hosts.failed(cx.now, &host, failure);
        cx.report(DtuEvent::HostFailed { host, fault });
        search.attempt = None;
        self.search_on(cx, search);
    }

    pub(super) fn tend_search(&mut self, cx: &mut Cx<'_>) {
        let Link::Searching(mut search) = core::mem::replace(&mut self.link, Link::Off) else { return };
        let slow = search.attempt.as_ref().is_some_and(|a| self.hosts.is_about(cx.now, &a.host));
        if slow && search.announce_at.is_some() {
            // Someone is there who has not got to us yet.
            search.announce_at = search.announce_at.map(|at| at.max(cx.now + self.config.timing.open));
        }
        if search.busy_at.take_if(|at| *at <= cx.now).is_some()
            && let Some(attempt) = search.attempt.as_ref().filter(|_| slow)
        {
            let host = &attempt.host;
            let text =
                format!("Host {host} has many desks to serve. Yours is in line, and shown at its turn.");
            self.notice(cx, &text);
        }
        if search.announce_at.take_if(|at| *at <= cx.now).is_some() {
            cx.report(DtuEvent::NoHost);
            let text = match (&search.stranger, &search.busy) {
                (_, Some((host, why))) => format!("Host {host} {why}. This desk tries again by itself."),
                (Some((host, fault @ Fault::Clock { .. })), None) => {
                    format!("Host {host} answers and cannot be trusted: {fault}.")
                }
                (Some((host, _)), None) => {
                    format!("Host {host} answers and is not trusted: its certificate is of another group.")
                }
                (None, None) if self.keeps_session => {
                    "No host can be reached. If your session still runs, it is shown as soon as its host is back."
                        .to_owned()
                }
                (None, None) => "No host can be reached. You get a session as soon as one is back.".to_owned(),
            };
            cx.push(Effect::Paint(Paint::Notice(Some(Notice { text, passes: false }))));
        }
        if let Some(mut attempt) = search.attempt.take_if(|attempt| attempt.due <= cx.now) {
            if !self.extend(cx, &mut attempt) {
                cx.push(Effect::CloseControl { conn: attempt.conn });
                return self.search_failed(cx, search, attempt.host, Fault::Unreachable);
            }
            search.attempt = Some(attempt);
        }
        if search.next_round_at.take_if(|at| *at <= cx.now).is_some() {
            self.fill_queue(cx, &mut search);
        }
        self.search_on(cx, search);
    }

    /// A host was heard that may be worth an attempt.
    pub(super) fn hint(&mut self, cx: &mut Cx<'_>, name: &HostName, news: News) {
        let Link::Searching(search) = &mut self.link else { return };
        let Some(host) = self.hosts.hinted(cx.now, name) else { return };
        let queued = search.queue.iter().any(|queued| queued.addr == host.addr);
        match &search.attempt {
            None => {
                search.queue.retain(|queued| queued.addr != host.addr);
                search.queue.push_front(host);
            }
            Some(attempt) => {
                let same = attempt.host.addr == host.addr;
                let old = cx.now.since(attempt.since) >= PREEMPT_AFTER;
                let stuck = if same {
                    news == News::Returned
                } else {
                    search.round > 0 && !self.hosts.is_about(cx.now, &attempt.host)
                };
                if !(old && stuck) {
                    if !same && !queued && search.round == 0 && search.queue.len() < HOSTS_MAX {
                        search.queue.push_back(host);
                    }
                    return;
                }
                cx.push(Effect::CloseControl { conn: attempt.conn });
                search.attempt = None;
                search.queue.push_front(host);
            }
        }
        if let Link::Searching(search) = core::mem::replace(&mut self.link, Link::Off) {
            self.search_on(cx, search);
        }
    }
}
