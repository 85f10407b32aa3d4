//! What a DTU does when its control connection dies: two rows of the table in `docs/architecture.md`, "What a DTU does when
//! a connection dies". The other rows are [`super::connection`]'s, which presents the token again and probes.
//!
//! | Control connection | Display (probed) | Here |
//! |---|---|---|
//! | dead | answers | [`Failover::hold`] |
//! | dead | reset, or silent | [`Failover::give_up`] |
//!
//! ```text
//!             control dead, display alive
//!  Watching ───────────────────────────────▶ Holding
//!     ▲                                         │
//!     └── given up, its daemon is back or answers, card ──┘
//!
//!  Holding: Silent ── it ends ──▶ Waiting ◀──▶ Opening
//! ```

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::{HostName, Instant, SessionId};

use super::ctx::{Ctx, Out};
use super::edges::Edges;
use super::event::{DtuEvent, Loss};
use super::fault::{ConnId, Fault};
use super::gap::OpenGap;
use super::host_ref::HostRef;
use super::input::Effect;
use super::reason::{ConnectReason, RedirectLeg};
use super::step::{
    ControlDeath, DisplayDeath, Ended, Entrance, Stood, ToConnection, ToDiscovery, ToDisplay, ToFailover,
};

/// First and longest pause between attempts to reach the daemon of a held session.
const REJOIN_FIRST: Duration = Duration::from_millis(20);
const REJOIN_MAX: Duration = Duration::from_millis(250);
/// How long one such attempt may take.
const REJOIN_OPEN: Duration = Duration::from_secs(1);
/// A held session whose host is not back after this time is worth a word.
const TELL_HELD: Duration = Duration::from_secs(3);

/// Whether a session is held.
#[derive(Debug)]
enum State {
    /// No session is held.
    Watching,
    /// The session is shown, the daemon is gone.
    Holding(Box<Holding>),
}

#[derive(Debug)]
struct Holding {
    host: HostRef,
    until: Instant,
    control: HoldControl,
    /// The display answered since: reported once.
    confirmed: bool,
    /// When the person at the screen is told that it waits; `None` once that is done. A restart takes no longer.
    tell_at: Option<Instant>,
    /// The next pause between attempts to reconnect.
    pause: Duration,
    /// When the screen was last known to be good before its host's daemon was gone.
    good: Instant,
}

/// The control connection of a held session.
#[derive(Debug)]
enum HoldControl {
    /// The old one is still open. A stopped daemon that runs on answers there, and nothing was lost.
    Silent,
    /// A new one is being opened.
    Opening { conn: ConnId, due: Instant },
    /// Refused; next try then.
    Waiting { retry_at: Instant },
}

pub(super) const EDGES: Edges = Edges {
    machine: "failover",
    drawn: &[
        ("watching", "silent"),
        ("watching", "waiting"),
        ("silent", "waiting"),
        ("silent", "watching"),
        ("waiting", "opening"),
        ("waiting", "watching"),
        ("opening", "waiting"),
        ("opening", "watching"),
    ],
};

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Holding(holding) => match holding.control {
                HoldControl::Silent => "silent",
                HoldControl::Opening { .. } => "opening",
                HoldControl::Waiting { .. } => "waiting",
            },
        }
    }
}

/// Owns a held session, and measures how long a screen was not good.
#[derive(Debug)]
pub(super) struct Failover {
    state: State,
    gap: Option<OpenGap>,
}

impl Failover {
    pub(super) const fn new() -> Self {
        Self { state: State::Watching, gap: None }
    }

    const fn holding(&self) -> Option<&Holding> {
        match &self.state {
            State::Holding(holding) => Some(holding),
            State::Watching => None,
        }
    }

    /// The host of the held session.
    pub(super) fn held(&self) -> Option<&HostRef> {
        self.holding().map(|holding| &holding.host)
    }

    /// The host whose session is held, where its name is known.
    pub(super) fn held_name(&self) -> Option<&HostName> {
        self.held()?.name.as_ref()
    }

    /// The connection that is being opened.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.holding()?.control {
            HoldControl::Opening { conn, .. } => Some(conn),
            HoldControl::Silent | HoldControl::Waiting { .. } => None,
        }
    }

    /// When somebody's silence would be held against him.
    pub(super) fn judges_at(&self) -> Option<Instant> {
        match self.holding()?.control {
            HoldControl::Opening { due, .. } => Some(due),
            HoldControl::Silent | HoldControl::Waiting { .. } => None,
        }
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 4] {
        let holding = self.holding();
        let retry = holding.and_then(|holding| match holding.control {
            HoldControl::Waiting { retry_at } => Some(retry_at),
            HoldControl::Silent | HoldControl::Opening { .. } => None,
        });
        [
            ("grace time", holding.map(|holding| holding.until)),
            ("word about a held session", holding.and_then(|holding| holding.tell_at)),
            ("rejoin", self.judges_at()),
            ("next rejoin", retry),
        ]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToFailover, out: &mut Out<'_>) {
        match step {
            ToFailover::Resumed => self.excuse(ctx),
            ToFailover::Due => self.on_due(ctx, out),
            ToFailover::Opened { conn, local } => self.on_opened(conn, local, out),
            ToFailover::Closed { conn } => {
                if self.conn() == Some(conn) {
                    self.wait(ctx);
                }
            }
            ToFailover::Heard { from } => self.on_heard(ctx, from),
            ToFailover::ControlDied(death) => self.on_control_died(ctx, *death, out),
            ToFailover::SilentClosed => self.wait(ctx),
            ToFailover::Awake => self.on_awake(out),
            ToFailover::DisplayHeard => self.on_display_heard(out),
            ToFailover::DisplayDied(death) => self.on_display_died(ctx, death, out),
            ToFailover::GiveUp { host, why, good } => self.give_up(ctx, host, why, good, out),
            ToFailover::DisplayLost { host, good } => {
                if self.gap.is_none() {
                    let session = ctx.screen.session;
                    self.gap = Some(OpenGap::new(host, false, session, good, ctx.env.now));
                }
            }
            ToFailover::ControlUp { host } => {
                if let Some(gap) = &mut self.gap {
                    gap.control_up(ctx.env.now, host);
                }
            }
            ToFailover::Granted { host } => {
                if let Some(gap) = &mut self.gap {
                    gap.conn_inf(ctx.env.now, host);
                }
            }
            ToFailover::InputLost(bytes) => {
                if let Some(gap) = &mut self.gap {
                    gap.lost_input(bytes);
                }
            }
            ToFailover::ScreenGood(session) => self.close_gap(ctx, session, out),
            ToFailover::Forget => self.gap = None,
            ToFailover::PresentAgain => {
                // Its daemon does not answer, and nothing of its session is ours any more.
                if self.holding().is_some() {
                    self.close_control(out);
                    out.tell(ToDiscovery::Search { avoid: None });
                }
            }
        }
    }

    fn change(&mut self, to: impl FnOnce(State) -> State) {
        let from = self.state.name();
        self.state = to(core::mem::replace(&mut self.state, State::Watching));
        if self.state.name() != from {
            EDGES.check(from, self.state.name());
        }
    }

    fn set_control(&mut self, control: HoldControl) {
        self.change(|state| match state {
            State::Holding(mut holding) => {
                holding.control = control;
                State::Holding(holding)
            }
            State::Watching => State::Watching,
        });
    }

    fn excuse(&mut self, ctx: &Ctx<'_>) {
        let listen = ctx.env.now + ctx.env.config.timing.answer;
        if let State::Holding(holding) = &mut self.state
            && let HoldControl::Opening { due, .. } = &mut holding.control
        {
            *due = (*due).max(listen);
        }
    }

    /// Nothing is held any more, and no connection to that host is wanted.
    fn close_control(&mut self, out: &mut Out<'_>) {
        if let Some(conn) = self.conn() {
            out.effect(Effect::CloseControl { conn });
        }
        self.change(|_| State::Watching);
        out.tell(ToConnection::Close);
    }

    fn on_control_died(&mut self, ctx: &Ctx<'_>, death: ControlDeath, out: &mut Out<'_>) {
        let now = ctx.env.now;
        let display_lives = ctx.screen.is_alive(now);
        if death.was_settled() && display_lives {
            return self.hold(ctx, death, out);
        }
        if death.ended == Ended::Ours {
            out.tell(ToConnection::Close);
        }
        let ControlDeath { host, stood, loss, good, .. } = death;
        match stood {
            Stood::Attached | Stood::Asking(ConnectReason::Again) => {
                self.give_up(ctx, host, loss, good, out);
            }
            Stood::Asking(ConnectReason::Search { .. }) => {
                let fault = match loss {
                    Loss::Closed(fault) => fault,
                    _ => Fault::Unreachable,
                };
                out.tell(ToDiscovery::Failed { host, fault });
            }
            Stood::Asking(ConnectReason::Redirect(RedirectLeg::Out { source, .. })) => {
                out.tell(ToConnection::ReturnTo { source, target: host });
            }
            Stood::Asking(ConnectReason::Rejoin { until }) if display_lives && until > now => {
                self.change(|_| {
                    State::Holding(Box::new(Holding {
                        host,
                        until,
                        control: HoldControl::Waiting { retry_at: now + REJOIN_MAX },
                        confirmed: true,
                        tell_at: None,
                        pause: REJOIN_MAX,
                        good,
                    }))
                });
            }
            Stood::Asking(ConnectReason::Rejoin { .. }) => self.give_up(ctx, host, loss, good, out),
            // Unless the token was about to be presented again, whoever sits here decides what happens next.
            Stood::TakenAway => {
                out.report(DtuEvent::Lost { host, why: loss });
                out.tell(ToDiscovery::Wait);
            }
            Stood::Waiting => self.search_without(host, loss, None, out),
            Stood::Asking(ConnectReason::Redirect(RedirectLeg::Back { avoid })) => {
                self.search_without(host, loss, avoid, out);
            }
        }
    }

    /// A host is dead that showed nothing.
    fn search_without(&mut self, host: HostRef, why: Loss, avoid: Option<HostName>, out: &mut Out<'_>) {
        out.report(DtuEvent::Lost { host: host.clone(), why });
        out.tell(ToDiscovery::Bury(host));
        out.tell(ToDiscovery::Search { avoid });
    }

    /// Control dead, display not: the session is asked whether it lives, and held if it does.
    fn hold(&mut self, ctx: &Ctx<'_>, death: ControlDeath, out: &mut Out<'_>) {
        let (now, timing) = (ctx.env.now, &ctx.env.config.timing);
        let ControlDeath { host, ended, good, .. } = death;
        out.tell(ToDisplay::Probe { patience: timing.answer, again_in: Some(timing.probe) });
        let control = match ended {
            Ended::Theirs => HoldControl::Waiting { retry_at: now + REJOIN_FIRST },
            Ended::Ours => HoldControl::Silent,
        };
        self.change(|_| {
            State::Holding(Box::new(Holding {
                host,
                until: now + timing.grace,
                control,
                confirmed: false,
                tell_at: Some(now + TELL_HELD),
                pause: REJOIN_FIRST,
                good,
            }))
        });
    }

    /// The connection to the daemon of a held session ended.
    fn wait(&mut self, ctx: &Ctx<'_>) {
        let State::Holding(holding) = &mut self.state else { return };
        let retry_at = ctx.env.now + holding.pause;
        holding.pause = (holding.pause * 2).min(REJOIN_MAX);
        self.set_control(HoldControl::Waiting { retry_at });
    }

    fn on_opened(&mut self, conn: ConnId, local: Ipv4Addr, out: &mut Out<'_>) {
        let Some(holding) = self.holding().filter(|_| self.conn() == Some(conn)) else { return };
        let (host, until) = (holding.host.clone(), holding.until);
        let reason = ConnectReason::Rejoin { until };
        self.change(|_| State::Watching);
        out.tell(ToConnection::Enter(Box::new(Entrance { conn, host, local, reason, avoid: None })));
    }

    /// A stopped daemon runs on: everything is as it was.
    fn on_awake(&mut self, out: &mut Out<'_>) {
        let Some(holding) = self.holding() else { return };
        if holding.confirmed {
            out.report(DtuEvent::Rejoined { host: holding.host.clone() });
        }
        if holding.tell_at.is_none() {
            out.tell(ToDisplay::EndPassingNotice);
        }
        self.change(|_| State::Watching);
    }

    /// The display of a held session said something.
    fn on_display_heard(&mut self, out: &mut Out<'_>) {
        if let State::Holding(holding) = &mut self.state
            && !holding.confirmed
        {
            holding.confirmed = true;
            out.report(DtuEvent::Held { host: holding.host.clone() });
        }
    }

    fn on_display_died(&mut self, ctx: &Ctx<'_>, death: DisplayDeath, out: &mut Out<'_>) {
        let Some(holding) = self.holding() else { return };
        let (host, good) = (holding.host.clone(), holding.good.max(death.heard));
        let loss = if death.was_silent { Loss::Silent } else { Loss::Closed(death.fault) };
        self.close_control(out);
        self.give_up(ctx, host, loss, good, out);
    }

    fn on_due(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let now = ctx.env.now;
        let Some(holding) = self.holding() else { return };
        if holding.until > now {
            return self.rejoin(ctx, out);
        }
        let (host, good) =
            (holding.host.clone(), ctx.screen.heard.map_or(holding.good, |h| h.max(holding.good)));
        let loss = if ctx.screen.is_alive(now) { Loss::GraceOver } else { Loss::Silent };
        self.close_control(out);
        self.give_up(ctx, host, loss, good, out);
    }

    fn rejoin(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let now = ctx.env.now;
        let State::Holding(holding) = &mut self.state else { return };
        if holding.tell_at.take_if(|at| *at <= now).is_some() {
            let host = match &holding.host.name {
                Some(name) => name.to_string(),
                None => holding.host.to_string(),
            };
            let secs = holding.until.since(now).as_secs();
            out.tell(ToDisplay::PassingNotice(format!(
                "Host {host} does not answer, and your session there goes on. It is waited for, {secs} s at most."
            )));
        }
        let addr = holding.host.addr;
        if let HoldControl::Opening { conn, due } = holding.control
            && due <= now
        {
            out.effect(Effect::CloseControl { conn });
            self.set_control(HoldControl::Waiting { retry_at: now });
        }
        if let Some(HoldControl::Waiting { retry_at }) = self.holding().map(|holding| &holding.control)
            && *retry_at <= now
        {
            let conn = out.next_conn();
            out.effect(Effect::OpenControl { conn, addr });
            self.set_control(HoldControl::Opening { conn, due: now + REJOIN_OPEN });
        }
    }

    /// The host of a held session is heard again.
    fn on_heard(&mut self, ctx: &Ctx<'_>, from: Ipv4Addr) {
        if let State::Holding(holding) = &mut self.state
            && *holding.host.addr.ip() == from
            && let HoldControl::Waiting { retry_at } = &mut holding.control
        {
            *retry_at = (*retry_at).min(ctx.env.now);
        }
    }

    /// A host is dead, and so is what it showed: another one is looked for.
    fn give_up(&mut self, ctx: &Ctx<'_>, host: HostRef, why: Loss, good: Instant, out: &mut Out<'_>) {
        out.report(DtuEvent::Lost { host: host.clone(), why: why.clone() });
        // Where its machine only fell silent, the session's process may live; a reset came from one that is gone.
        let keeps_session = match &why {
            Loss::Silent | Loss::GraceOver | Loss::Protocol | Loss::Closed(Fault::Unreachable) => true,
            Loss::Closed(_) | Loss::Stopped => false,
        };
        out.tell(ToDiscovery::Lost { host: host.clone(), keeps_session });
        out.tell(ToDisplay::Close);
        let gap = OpenGap::new(host, true, ctx.screen.session, good, ctx.env.now);
        self.gap = Some(gap.and(self.gap.as_ref()));
        out.tell(ToDiscovery::Search { avoid: None });
    }

    /// The screen is good again.
    fn close_gap(&mut self, ctx: &Ctx<'_>, session: Option<SessionId>, out: &mut Out<'_>) {
        let Some(open) = self.gap.take() else { return };
        if let Some(text) = open.tell(session) {
            out.tell(ToDisplay::PassingNotice(text));
        }
        let gap = open.close(ctx.env.now);
        let OpenGap { from, to, given_up, .. } = open;
        out.report(if given_up {
            DtuEvent::FailedOver { from, to, session, gap }
        } else {
            DtuEvent::Restored { host: to, gap }
        });
    }
}
