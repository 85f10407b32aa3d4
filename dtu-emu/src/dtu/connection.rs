//! The control connection: the token is presented on it, and it is watched.
//!
//! ```text
//!                   opened                 silent
//!         Closed ─────────────▶ Open ──────────────────▶ Suspended
//!         ▲ ▲  │ ▲              │  ▲ ▲                     │   │
//!  failed │ │  │ └─ ended, left ┘  │ └ it spoke after all ─┘   │
//!         │ │  │ redirectInf,      │ opened                    │
//!         │ │  ▼ or its end        │                           │
//!         └─┼─ Redirecting ────────┘                           │
//!           └──────────────────── given up ────────────────────┘
//! ```
//! Suspended: its host did not answer, and [`super::failover`] says what becomes of it. A held session keeps it open, for
//! a stopped daemon that runs on.

use core::time::Duration;

use proto::alp::{Cause, Event, FromDtu, InfoReq, KeepAliveReq, State as TerminalState, Terminal};
use proto::{HostName, Instant};

use super::ctx::{Ctx, Out};
use super::edges::Edges;
use super::event::{DtuEvent, Loss, Phase};
use super::fault::{ConnId, Fault};
use super::input::Effect;
use super::linked::{Asking, Linked, RETRY_FIRST, Talk};
use super::reason::ConnectReason;
use super::redirecting::Redirecting;
use super::seat;
use super::step::{ControlDeath, Ended, Entrance, Stood, ToConnection, ToDiscovery, ToFailover};
use super::watch::{Prompt, Watch};

/// After a service ended, its host has this long to say what comes next.
const EXIT_PAUSE: Duration = Duration::from_secs(1);
/// A display that nobody misses yet is opened again after this time.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Where the control connection stands.
#[derive(Debug)]
pub(super) enum State {
    /// There is none: it is being looked for, or nobody wants one.
    Closed,
    /// A redirect is followed, or returned from.
    Redirecting(Box<Redirecting>),
    Open(Box<Linked>),
    /// Open and silent.
    Suspended(Box<Linked>),
}

pub(super) const EDGES: Edges = Edges {
    machine: "connection",
    drawn: &[
        ("closed", "open"),
        ("closed", "redirecting"),
        ("open", "closed"),
        ("open", "suspended"),
        ("suspended", "open"),
        ("suspended", "closed"),
        ("redirecting", "open"),
        ("redirecting", "closed"),
    ],
};

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Redirecting(_) => "redirecting",
            Self::Open(_) => "open",
            Self::Suspended(_) => "suspended",
        }
    }
}

/// Owns the control connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) state: State,
    /// Number of the last presentation.
    pub(super) token_seq: u32,
    pub(super) presented_at: Instant,
    /// Displays in a row that died young.
    pub(super) display_failures: u32,
    /// When a host was last left that had not yet answered who we are. It may still come to it.
    pub(super) left_unanswered: Option<Instant>,
}

impl Connection {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Closed,
            token_seq: 0,
            presented_at: Instant::ZERO,
            display_failures: 0,
            left_unanswered: None,
        }
    }

    /// The connection that is open or being opened.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match &self.state {
            State::Closed => None,
            State::Redirecting(redirecting) => Some(redirecting.attempt.conn),
            State::Open(linked) | State::Suspended(linked) => Some(linked.conn),
        }
    }

    pub(super) const fn open(&self) -> Option<&Linked> {
        match &self.state {
            State::Open(linked) => Some(linked),
            _ => None,
        }
    }

    /// What it is doing, unless a search or a held session says that.
    pub(super) const fn phase(&self) -> Option<Phase> {
        match &self.state {
            State::Closed | State::Suspended(_) => None,
            State::Redirecting(_) => Some(Phase::Redirected),
            State::Open(linked) => Some(match &linked.talk {
                Talk::Asking(_) => Phase::Asking,
                Talk::Attached => Phase::Attached,
                Talk::Denied { .. } => Phase::Denied,
                Talk::Detached => Phase::Detached,
            }),
        }
    }

    /// When somebody's silence would be held against him.
    pub(super) fn judges_at(&self) -> Option<Instant> {
        match &self.state {
            State::Closed | State::Suspended(_) => None,
            State::Redirecting(redirecting) => Some(redirecting.attempt.due),
            State::Open(linked) => linked.judges_at(),
        }
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 8] {
        match &self.state {
            State::Open(linked) => linked.deadlines(),
            State::Redirecting(redirecting) => {
                let mut none = [("", None); 8];
                none[0] = ("redirect", Some(redirecting.attempt.due));
                none
            }
            State::Closed | State::Suspended(_) => [("", None); 8],
        }
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToConnection, out: &mut Out<'_>) {
        match step {
            ToConnection::Resumed => self.excuse(ctx),
            ToConnection::Due => self.on_due(ctx, out),
            ToConnection::Reached { conn } => {
                if let State::Redirecting(redirecting) = &mut self.state
                    && redirecting.attempt.conn == conn
                {
                    redirecting.attempt.reached(ctx.hosts, &ctx.env.config.timing);
                }
            }
            ToConnection::Opened { conn, local } => self.redirect_opened(ctx, conn, local, out),
            ToConnection::Closed { conn, fault } => self.on_closed(ctx, conn, fault, out),
            ToConnection::Said { conn, said } => self.on_said(ctx, conn, said, out),
            ToConnection::Heard(beacon) => self.on_beacon(ctx, &beacon, out),
            ToConnection::Enter(entrance) => self.enter(ctx, *entrance, out),
            ToConnection::PresentAgain => self.present_again(ctx, out),
            ToConnection::Removed(token) => {
                if let Some(conn) = self.open().map(|linked| linked.conn) {
                    self.send(ctx, conn, &FromDtu::InfoReq(seat::removal(&token)), out);
                }
            }
            ToConnection::SessionLeft => self.display_failures = 0,
            ToConnection::Close => {
                if let State::Suspended(linked) = &self.state
                    && matches!(linked.talk, Talk::Asking(_))
                {
                    self.left_unanswered = Some(ctx.env.now);
                }
                self.close(out);
            }
            ToConnection::ReturnTo { source, target } => self.return_from(ctx, source, target, out),
            ToConnection::DisplayDied(death) => self.on_display_died(ctx, death, out),
            ToConnection::ServiceEnded => {
                if let State::Open(linked) = &mut self.state {
                    linked.again_at = Some(ctx.env.now + EXIT_PAUSE);
                }
            }
            ToConnection::ReopenDisplay => {
                if let State::Open(linked) = &mut self.state
                    && matches!(linked.talk, Talk::Attached)
                {
                    linked.again_at.get_or_insert(ctx.env.now + REOPEN_PAUSE);
                }
            }
            ToConnection::InputStuck => self.probe_both(ctx, Prompt::Path, out),
        }
    }

    pub(super) fn change(&mut self, to: impl FnOnce(State) -> State) {
        let from = self.state.name();
        self.state = to(core::mem::replace(&mut self.state, State::Closed));
        if self.state.name() != from {
            EDGES.check(from, self.state.name());
        }
    }

    /// Who was not run for a while must not accuse others of silence.
    fn excuse(&mut self, ctx: &Ctx<'_>) {
        let listen = ctx.env.now + ctx.env.config.timing.answer;
        match &mut self.state {
            State::Closed => {}
            State::Redirecting(redirecting) => redirecting.attempt.excuse(listen),
            State::Open(linked) | State::Suspended(linked) => linked.excuse(ctx.env.now, listen),
        }
    }

    /// Closes it, whatever its state.
    pub(super) fn close(&mut self, out: &mut Out<'_>) {
        if let Some(conn) = self.conn() {
            out.effect(Effect::CloseControl { conn });
        }
        self.change(|_| State::Closed);
    }

    /// A connection is open: the token is presented on it.
    fn enter(&mut self, ctx: &Ctx<'_>, entrance: Entrance, out: &mut Out<'_>) {
        let Entrance { conn, host, local, reason, avoid } = entrance;
        self.opened(Linked::new(ctx.env.now, conn, host, local, 0), out);
        self.present(ctx, reason, Cause::Insert, None, avoid, out);
    }

    pub(super) fn opened(&mut self, linked: Linked, out: &mut Out<'_>) {
        out.tell(ToFailover::ControlUp { host: linked.host.clone() });
        out.report(DtuEvent::HostFound { host: linked.host.clone() });
        self.change(|_| State::Open(Box::new(linked)));
    }

    /// The state of the session protocol changes. A search whose host is not asked any more is over.
    pub(super) fn set_talk(linked: &mut Linked, talk: Talk, out: &mut Out<'_>) -> Talk {
        let before = core::mem::replace(&mut linked.talk, talk);
        if let Talk::Asking(Asking { reason: ConnectReason::Search { .. }, .. }) = before {
            out.tell(ToDiscovery::Settled);
        }
        before
    }

    /// Presents the token on the open connection.
    pub(super) fn present(
        &mut self,
        ctx: &Ctx<'_>,
        reason: ConnectReason,
        cause: Cause,
        props: Option<String>,
        avoid: Option<HostName>,
        out: &mut Out<'_>,
    ) {
        let (now, timing) = (ctx.env.now, &ctx.env.config.timing);
        self.token_seq += 1;
        self.presented_at = now;
        let State::Open(linked) = &mut self.state else { return };
        linked.again_at = None;
        linked.blank = None;
        let asking = Asking {
            reason,
            probe_at: now + timing.ask / 2,
            due: now + timing.ask,
            limit: now + timing.ask_max,
        };
        Self::set_talk(linked, Talk::Asking(asking), out);
        let info = InfoReq {
            event: Event::Insert,
            presented: seat::presented(&ctx.env.token()),
            cause: Some(cause),
            token_seq: Some(self.token_seq.into()),
            start_res: Some(ctx.env.seat.size.into()),
            real_ip: Some(linked.local),
            redirect_props: props,
            atr: None,
            size: Some(ctx.env.seat.size),
            avoid,
        };
        let conn = linked.conn;
        self.send(ctx, conn, &FromDtu::InfoReq(info), out);
    }

    fn present_again(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        if let State::Open(linked) = &mut self.state {
            linked.hops = 0;
            linked.retry = RETRY_FIRST;
            self.present(ctx, ConnectReason::Again, Cause::Insert, None, None, out);
        }
    }

    /// Sends a message with the fields that all messages of a DTU have: [`Terminal`].
    pub(super) fn send(&self, ctx: &Ctx<'_>, conn: ConnId, message: &FromDtu, out: &mut Out<'_>) {
        let attached = self.open().is_some_and(|linked| matches!(linked.talk, Talk::Attached));
        let terminal = Terminal {
            fw: Some(concat!("hotdesk-", env!("CARGO_PKG_VERSION")).to_owned()),
            hw: Some("HotdeskEmu".to_owned()),
            sn: Some(ctx.env.config.serial.clone()),
            namespace: Some("IEEE802".to_owned()),
            pn: None,
            state: Some(if attached { TerminalState::Connected } else { TerminalState::Disconnected }),
        };
        out.effect(Effect::SendControl { conn, line: message.to_line(&terminal) });
    }

    pub(super) fn send_keepalive(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let State::Open(linked) = &mut self.state else { return };
        linked.keepalive_at = ctx.env.now + linked.keepalive();
        linked.unanswered += 1;
        let conn = linked.conn;
        self.send(ctx, conn, &FromDtu::KeepAliveReq(KeepAliveReq::default()), out);
    }

    /// When the screen was last known to be good.
    pub(super) fn good(ctx: &Ctx<'_>, linked: &Linked) -> Instant {
        let beacon = linked.watch.as_ref().map(Watch::heard);
        [beacon, ctx.screen.heard].into_iter().flatten().fold(linked.pulse.last(), Instant::max)
    }

    fn on_closed(&mut self, ctx: &Ctx<'_>, conn: ConnId, fault: Fault, out: &mut Out<'_>) {
        if self.conn() != Some(conn) {
            return;
        }
        match &self.state {
            State::Closed => {}
            State::Redirecting(_) => self.redirect_failed(ctx, fault, out),
            State::Suspended(_) => {
                self.change(|_| State::Closed);
                out.tell(ToFailover::SilentClosed);
            }
            State::Open(_) => self.died(ctx, Loss::Closed(fault), Ended::Theirs, out),
        }
    }

    /// The open connection is dead. What follows depends on what was going on, and [`super::failover`] says it.
    pub(super) fn died(&mut self, ctx: &Ctx<'_>, loss: Loss, ended: Ended, out: &mut Out<'_>) {
        let State::Open(linked) = &self.state else { return };
        let stood = match &linked.talk {
            Talk::Attached => Stood::Attached,
            Talk::Asking(asking) => Stood::Asking(asking.reason.clone()),
            Talk::Detached if linked.again_at.is_none() => Stood::TakenAway,
            Talk::Detached | Talk::Denied { .. } => Stood::Waiting,
        };
        let (host, good) = (linked.host.clone(), Self::good(ctx, linked));
        out.tell(ToFailover::ControlDied(Box::new(ControlDeath { host, stood, loss, ended, good })));
        self.change(|state| match (state, ended) {
            (State::Open(linked), Ended::Ours) => State::Suspended(linked),
            _ => State::Closed,
        });
    }
}
