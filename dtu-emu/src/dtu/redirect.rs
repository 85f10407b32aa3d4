//! The part of [`Connection`] that follows a redirect, and comes back from one that leads nowhere.

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::alp::{Cause, DiscCause, FromDtu, ProtocolFault, RedirectInf};

use super::attempt::Attempt;
use super::connection::{Connection, State};
use super::ctx::{Ctx, Out};
use super::event::DtuEvent;
use super::fault::{ConnId, Fault};
use super::host_ref::HostRef;
use super::hosts::Failure;
use super::input::Effect;
use super::linked::{Linked, Talk};
use super::reason::{ConnectReason, RedirectLeg};
use super::redirecting::Redirecting;
use super::step::{ToDiscovery, ToDisplay};

/// Redirects and returns within one presentation. A redirect binds, so one of each is usual; more than this
/// is a quarrel between hosts.
const HOPS_MAX: u8 = 6;

/// How long hosts that send us around in circles have to agree. A host waits for 4 s for whom it has sent on, and closes
/// the connection then, so the token is presented again before that.
const QUARREL_PAUSE: Duration = Duration::from_secs(3);

impl Connection {
    pub(super) fn on_redirect(&mut self, ctx: &Ctx<'_>, inf: RedirectInf, out: &mut Out<'_>) {
        let State::Open(linked) = &mut self.state else { return };
        // The answer to an older presentation, whose ticket is somebody else's: a card was moved meanwhile.
        if inf.token_seq.is_some_and(|seq| seq != self.token_seq.into()) {
            return;
        }
        let (conn, source, hops) = (linked.conn, linked.host.clone(), linked.hops + 1);
        if hops > HOPS_MAX {
            // Told once, a host chooses again without the one it named; what it says then is not followed either.
            if matches!(linked.talk, Talk::Denied { .. }) {
                return;
            }
            Self::set_talk(linked, Talk::Denied { retry_at: ctx.env.now + QUARREL_PAUSE }, out);
            linked.declined = inf.host;
            let fault = Some(ProtocolFault::Redirect);
            self.send(ctx, conn, &FromDtu::ProtocolErrorReq { cause: fault }, out);
            // Hosts that send us around in circles need time to agree.
            out.leave_session();
            out.tell(ToDisplay::Notice("The hosts disagree about your session. Please wait.".to_owned()));
            return;
        }
        Self::set_talk(linked, Talk::Detached, out);
        self.send(ctx, conn, &FromDtu::DiscReq { cause: Some(DiscCause::Redirect) }, out);
        self.close(out);
        out.tell(ToDisplay::Close);
        let target = HostRef { name: inf.host, addr: inf.addr };
        self.set_out(ctx, target, RedirectLeg::Out { props: inf.props, source }, hops, out);
    }

    fn set_out(&mut self, ctx: &Ctx<'_>, host: HostRef, leg: RedirectLeg, hops: u8, out: &mut Out<'_>) {
        let timing = &ctx.env.config.timing;
        let conn = out.next_conn();
        out.effect(Effect::OpenControl { conn, addr: host.addr });
        let attempt = Attempt::new(ctx.env.now, conn, host, timing.open, timing);
        let seating = ctx.env.seat.seating;
        self.change(|_| State::Redirecting(Box::new(Redirecting { attempt, leg, hops, seating })));
    }

    /// The target of a redirect failed: the source chooses again without it. The connection to the
    /// target, if there is one, is closed.
    pub(super) fn return_from(&mut self, ctx: &Ctx<'_>, source: HostRef, target: HostRef, out: &mut Out<'_>) {
        let hops = match &self.state {
            State::Open(linked) => linked.hops + 1,
            State::Redirecting(redirecting) => redirecting.hops + 1,
            State::Closed | State::Suspended(_) => 1,
        };
        self.close(out);
        out.tell(ToDiscovery::Unreached { host: target.clone(), failure: Failure::Away });
        out.report(DtuEvent::RedirectFailed { to: target.clone() });
        self.set_out(ctx, source, RedirectLeg::Back { avoid: target.name }, hops, out);
    }

    pub(super) fn redirect_opened(
        &mut self,
        ctx: &Ctx<'_>,
        conn: ConnId,
        local: Ipv4Addr,
        out: &mut Out<'_>,
    ) {
        let State::Redirecting(redirecting) = &self.state else { return };
        if redirecting.attempt.conn != conn {
            return;
        }
        let Redirecting { attempt, leg, hops, seating } = &**redirecting;
        let linked = Linked::new(ctx.env.now, conn, attempt.host.clone(), local, *hops);
        // Of a ticket made for someone else nothing is left but the way.
        let current = *seating == ctx.env.seat.seating;
        let leg = leg.clone();
        let (cause, props, avoid) = match &leg {
            RedirectLeg::Out { props, .. } if current => (Cause::Redirect, props.clone(), None),
            RedirectLeg::Out { .. } => (Cause::Insert, None, None),
            RedirectLeg::Back { avoid } => (Cause::Insert, None, avoid.clone()),
        };
        self.opened(linked, out);
        self.present(ctx, ConnectReason::Redirect(leg), cause, props, avoid, out);
    }

    /// The connection of a redirect could not be opened.
    pub(super) fn redirect_failed(&mut self, ctx: &Ctx<'_>, fault: Fault, out: &mut Out<'_>) {
        let State::Redirecting(redirecting) = &self.state else { return };
        let (host, leg) = (redirecting.attempt.host.clone(), redirecting.leg.clone());
        match leg {
            RedirectLeg::Out { source, .. } => self.return_from(ctx, source, host, out),
            RedirectLeg::Back { avoid } => {
                out.tell(ToDiscovery::Unreached { host: host.clone(), failure: Failure::Away });
                out.report(DtuEvent::HostFailed { host, fault });
                self.change(|_| State::Closed);
                out.tell(ToDiscovery::Search { avoid });
            }
        }
    }

    pub(super) fn redirect_due(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let State::Redirecting(redirecting) = &mut self.state else { return };
        let attempt = &mut redirecting.attempt;
        if attempt.due > ctx.env.now || attempt.extend(ctx.env.now, ctx.hosts, &ctx.env.config.timing) {
            return;
        }
        let conn = attempt.conn;
        out.effect(Effect::CloseControl { conn });
        self.redirect_failed(ctx, Fault::Unreachable, out);
    }
}
