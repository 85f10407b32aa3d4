//! Following a redirect, and coming back from one that leads nowhere (DESIGN 4.4).

use core::time::Duration;

use proto::alp::{Cause, DiscCause, FromDtu, ProtocolFault, RedirectInf};

use super::event::DtuEvent;
use super::hosts::{Failure, HostRef};
use super::input::{Effect, Fault};
use super::link::{Came, Errand, Link, Talk, Trip};
use super::search::Start;
use super::{Cx, Dtu};

/// Redirects and returns within one presentation. A redirect binds, so one of each is usual; more than this
/// is a quarrel between hosts.
const HOPS_MAX: u8 = 6;

/// How long hosts that send us around in circles have to agree. A host waits for 4 s for whom it has sent on, and closes
/// the connection then, so the token is presented again before that.
const QUARREL_PAUSE: Duration = Duration::from_secs(3);

impl Dtu {
    pub(super) fn on_redirect(&mut self, cx: &mut Cx<'_>, inf: RedirectInf) {
        let Link::Linked(linked) = &mut self.link else { return };
        let (conn, source, hops) = (linked.conn, linked.host.clone(), linked.hops + 1);
        if hops > HOPS_MAX {
            // Told once, a host chooses again without the one it named; what it says then is not followed either.
            if matches!(linked.talk, Talk::Denied { .. }) {
                return;
            }
            linked.talk = Talk::Denied { retry_at: cx.now + QUARREL_PAUSE };
            linked.declined = inf.host;
            self.send(cx, conn, &FromDtu::ProtocolErrorReq { cause: Some(ProtocolFault::Redirect) });
            // Hosts that send us around in circles need time to agree.
            self.leave_session(cx);
            return self.notice(cx, "The hosts disagree about your session. Please wait.");
        }
        linked.talk = Talk::Detached;
        self.send(cx, conn, &FromDtu::DiscReq { cause: Some(DiscCause::Redirect) });
        self.close_control(cx);
        self.close_display(cx);
        let target = HostRef { name: inf.host, addr: inf.addr };
        self.set_out(cx, target, Trip::Out { props: inf.props, source }, hops);
    }

    fn set_out(&mut self, cx: &mut Cx<'_>, host: HostRef, trip: Trip, hops: u8) {
        let attempt = self.open_control(cx, host, self.config.timing.open);
        self.link = Link::Errand(Box::new(Errand { attempt, trip, hops, seating: self.seat.seating }));
    }

    /// The target of a redirect failed: the source shall choose again without it. The connection to the
    /// target, if there is one, is closed.
    pub(super) fn return_from(&mut self, cx: &mut Cx<'_>, source: HostRef, target: HostRef) {
        let hops = match &self.link {
            Link::Linked(linked) => linked.hops + 1,
            Link::Errand(errand) => errand.hops + 1,
            _ => 1,
        };
        self.close_control(cx);
        self.hosts.failed(cx.now, &target, Failure::Away);
        cx.report(DtuEvent::RedirectFailed { to: target.clone() });
        self.set_out(cx, source, Trip::Back { avoid: target.name }, hops);
    }

    pub(super) fn errand_opened(&mut self, cx: &mut Cx<'_>, errand: Errand, local: std::net::Ipv4Addr) {
        let Errand { attempt, trip, hops, seating } = errand;
        self.enter(cx, attempt.conn, attempt.host, local, hops);
        // Of a ticket made for someone else nothing is left but the way.
        let current = seating == self.seat.seating;
        let (cause, props, avoid) = match &trip {
            Trip::Out { props, .. } if current => (Cause::Redirect, props.clone(), None),
            Trip::Out { .. } => (Cause::Insert, None, None),
            Trip::Back { avoid } => (Cause::Insert, None, avoid.clone()),
        };
        self.present(cx, Came::Errand(trip), cause, props, avoid);
    }

    /// The connection of an errand could not be opened.
    pub(super) fn errand_failed(&mut self, cx: &mut Cx<'_>, fault: Fault) {
        let Link::Errand(errand) = &self.link else { return };
        let (host, trip) = (errand.attempt.host.clone(), errand.trip.clone());
        match trip {
            Trip::Out { source, .. } => self.return_from(cx, source, host),
            Trip::Back { avoid } => {
                self.hosts.failed(cx.now, &host, Failure::Away);
                cx.report(DtuEvent::HostFailed { host, fault });
                self.begin_search(cx, Start::Lost, avoid);
            }
        }
    }

    pub(super) fn tend_errand(&mut self, cx: &mut Cx<'_>) {
        let Link::Errand(errand) = &self.link else { return };
        if errand.attempt.due > cx.now {
            return;
        }
        let mut attempt = errand.attempt.clone();
        if self.extend(cx, &mut attempt) {
            if let Link::Errand(errand) = &mut self.link {
                errand.attempt = attempt;
            }
            return;
        }
        cx.push(Effect::CloseControl { conn: attempt.conn });
        self.errand_failed(cx, Fault::Unreachable);
    }
}
