//! The part of [`Connection`] that speaks the session protocol as a DTU does
//! (`docs/protocol.md`, "The session protocol").

use core::time::Duration;

use proto::alp::{
    Access, AnchorNote, ConnInf, Cookie, DisconnectCause, FromDtu, FromHost, KEEPALIVE_CONNECTED,
    ProtocolFault, Standby, TokenSeq,
};
use proto::card::{Card, INTERNAL_AUTHENTICATE, STATUS_NO_KEY, STATUS_OK, STATUS_UNKNOWN_COMMAND};
use proto::{Line, hex};

use super::connection::{Connection, State};
use super::ctx::{Ctx, Out};
use super::event::{DtuEvent, Loss};
use super::fault::{ConnId, Fault};
use super::input::Effect;
use super::linked::{Asking, RETRY_FIRST, Talk};
use super::reason::{ConnectReason, RedirectLeg};
use super::step::{Ended, ToDiscovery, ToDisplay, ToFailover, Unusable};
use super::watch::Watch;

/// For so long a host that was left before it answered may yet come to the question.
const ECHO: Duration = Duration::from_secs(10);

impl Connection {
    pub(super) fn on_said(
        &mut self,
        ctx: &Ctx<'_>,
        conn: ConnId,
        said: Result<Box<FromHost>, Box<Unusable>>,
        out: &mut Out<'_>,
    ) {
        if !self.hear(ctx, conn, out) {
            return;
        }
        match said {
            Ok(message) => self.on_message(ctx, conn, *message, out),
            Err(unusable) => self.on_unusable(ctx, &unusable, out),
        }
    }

    /// The host said something: it lives. False when the connection is not the one we have.
    fn hear(&mut self, ctx: &Ctx<'_>, conn: ConnId, out: &mut Out<'_>) -> bool {
        if self.conn() != Some(conn) {
            return false;
        }
        if matches!(self.state, State::Suspended(_)) {
            // A stopped daemon runs on: everything is as it was.
            self.change(|state| match state {
                State::Suspended(linked) => State::Open(linked),
                other => other,
            });
            out.tell(ToFailover::Awake);
        }
        let (now, timing) = (ctx.env.now, &ctx.env.config.timing);
        let State::Open(linked) = &mut self.state else { return false };
        linked.pulse.heard(now);
        linked.expiry_at = now + proto::alp::EXPIRY;
        if let Talk::Asking(asking) = &mut linked.talk {
            asking.probe_at = now + timing.ask;
            asking.due = now + timing.ask * 2;
            asking.limit = now + timing.ask_max;
        }
        out.tell(ToDisplay::Vouched { by: *linked.host.addr.ip() });
        true
    }

    fn on_message(&mut self, ctx: &Ctx<'_>, conn: ConnId, message: FromHost, out: &mut Out<'_>) {
        let State::Open(linked) = &mut self.state else { return };
        match message {
            FromHost::KeepAliveCnf => linked.unanswered = linked.unanswered.saturating_sub(1),
            FromHost::ConnInf(inf) => self.on_conn_inf(ctx, *inf, out),
            FromHost::DiscInf { token_seq, cause } => self.on_disc_inf(ctx, token_seq, cause, out),
            FromHost::KeepAliveInf { anchor, standbys, cookie } => {
                // What it says before the session is granted may be of another one.
                let cookie = cookie.filter(|_| matches!(linked.talk, Talk::Attached));
                self.send(ctx, conn, &FromDtu::KeepAliveRsp, out);
                self.learn(ctx, anchor, standbys, cookie, out);
            }
            FromHost::RedirectInf(inf) => self.on_redirect(ctx, inf, out),
            FromHost::ControlInf(_) => {
                self.send(ctx, conn, &FromDtu::ControlRsp(Line::new("controlRsp")), out);
            }
            FromHost::ControlSmartCard { tag, head, tdata, .. } => {
                let answer = ask_card(ctx.env.seat.card.as_ref(), &tag, &head, &tdata);
                self.send(ctx, conn, &answer, out);
            }
            FromHost::Notice(text) if matches!(linked.talk, Talk::Attached) => {
                out.tell(ToDisplay::PassingNotice(text));
            }
            FromHost::Notice(text) => out.tell(ToDisplay::Notice(text)),
            // On a connection without TLS it is the answer to what was asked.
            FromHost::BusyInf { reason } if matches!(linked.talk, Talk::Asking(_)) => {
                out.effect(Effect::CloseControl { conn });
                self.died(ctx, Loss::Closed(Fault::Busy(reason)), Ended::Theirs, out);
            }
            FromHost::BusyInf { .. } | FromHost::Other(_) => {}
        }
    }

    fn learn(
        &mut self,
        ctx: &Ctx<'_>,
        anchor: Option<AnchorNote>,
        standbys: Vec<Standby>,
        cookie: Option<Cookie>,
        out: &mut Out<'_>,
    ) {
        out.tell(ToDiscovery::Standbys(standbys));
        let State::Open(linked) = &mut self.state else { return };
        if let Some(cookie) = cookie.map(Box::new) {
            out.tell(ToDiscovery::Cookie { from: linked.host.name.clone(), cookie });
        }
        if let (Some(watch), Some(note)) = (&mut linked.watch, anchor) {
            watch.re_anchor(ctx.env.now, &note);
        }
    }

    fn on_conn_inf(&mut self, ctx: &Ctx<'_>, inf: ConnInf, out: &mut Out<'_>) {
        // The answer to an older presentation: a card was moved meanwhile.
        if inf.token_seq != self.token_seq.into() {
            return;
        }
        match inf.access {
            Access::Allowed => self.attach(ctx, inf, out),
            Access::Denied => self.denied(ctx, inf.notice, out),
        }
    }

    fn attach(&mut self, ctx: &Ctx<'_>, inf: ConnInf, out: &mut Out<'_>) {
        let now = ctx.env.now;
        let State::Open(linked) = &mut self.state else { return };
        linked.retry = RETRY_FIRST;
        linked.keepalive_at = now + KEEPALIVE_CONNECTED;
        let before = Self::set_talk(linked, Talk::Attached, out);
        if let Some(grant) = &inf.grant {
            linked.host.name = Some(grant.host.clone());
            let path = *linked.host.addr.ip();
            let turn = out.dice.u16();
            linked.watch = Some(Watch::new(now, grant.host.clone(), path, &grant.anchor, turn));
            out.tell(ToDiscovery::Admitted {
                host: grant.host.clone(),
                addr: linked.host.addr,
                standbys: grant.standbys.clone(),
                cookie: grant.cookie.clone().map(Box::new),
            });
        }
        let (conn, host) = (linked.conn, linked.host.clone());
        self.send(ctx, conn, &FromDtu::ConnRsp { access: Access::Allowed }, out);
        if let Talk::Asking(Asking { reason, .. }) = before {
            match reason {
                ConnectReason::Rejoin { .. } => out.report(DtuEvent::Rejoined { host: host.clone() }),
                ConnectReason::Redirect(RedirectLeg::Out { source, .. }) => {
                    out.report(DtuEvent::Redirected { from: source, to: host.clone() });
                }
                ConnectReason::Redirect(RedirectLeg::Back { .. })
                | ConnectReason::Search { .. }
                | ConnectReason::Again => {}
            }
        }
        out.tell(ToFailover::Granted { host: host.clone() });
        let (displays, total) = inf.grant.map_or_else(Default::default, |g| (g.displays, g.displays_total));
        out.report(DtuEvent::Attached {
            host,
            token: ctx.env.token(),
            session: displays.first().map(|display| display.session),
            service: displays.first().map(|display| display.service.clone()),
        });
        out.tell(ToDisplay::Granted { displays, total, asked_at: self.presented_at });
        if let Some(text) = inf.notice {
            out.tell(ToDisplay::PassingNotice(text));
        }
    }

    fn denied(&mut self, ctx: &Ctx<'_>, notice: Option<String>, out: &mut Out<'_>) {
        let State::Open(linked) = &mut self.state else { return };
        let before = core::mem::replace(&mut linked.talk, Talk::Detached);
        let (conn, host) = (linked.conn, linked.host.clone());
        self.send(ctx, conn, &FromDtu::ConnRsp { access: Access::Denied }, out);
        out.report(DtuEvent::Denied { host: host.clone(), notice: notice.clone() });
        if let Talk::Asking(Asking { reason, .. }) = before {
            match reason {
                ConnectReason::Redirect(RedirectLeg::Out { source, .. }) => {
                    return self.return_from(ctx, source, host, out);
                }
                ConnectReason::Search { may_go_on: true } => {
                    self.close(out);
                    return out.tell(ToDiscovery::Failed { host, fault: Fault::Refused });
                }
                ConnectReason::Search { may_go_on: false } => out.tell(ToDiscovery::Settled),
                _ => {}
            }
        }
        if let State::Open(linked) = &mut self.state {
            linked.deny(ctx.env.now);
        }
        // Whoever was at work before will be told what that host's failure cost.
        out.leave_screen();
        out.tell(ToDisplay::Notice(notice.unwrap_or_else(|| "Access denied.".to_owned())));
    }

    fn on_disc_inf(
        &mut self,
        ctx: &Ctx<'_>,
        token_seq: Option<TokenSeq>,
        cause: Option<String>,
        out: &mut Out<'_>,
    ) {
        let State::Open(linked) = &mut self.state else { return };
        let conn = linked.conn;
        if token_seq.is_some_and(|seq| seq != self.token_seq.into()) {
            return self.send(ctx, conn, &FromDtu::DiscRsp, out);
        }
        let host = linked.host.clone();
        Self::set_talk(linked, Talk::Detached, out);
        linked.again_at = None;
        let was_blank = linked.blank.take().is_some();
        let good = Self::good(ctx, linked);
        self.send(ctx, conn, &FromDtu::DiscRsp, out);
        let reason = cause.as_deref().and_then(|word| word.parse().ok()).unwrap_or(DisconnectCause::Ended);
        if reason.sends_away() {
            self.close(out);
            return out.tell(ToFailover::GiveUp { host, why: Loss::Stopped, good });
        }
        out.report(DtuEvent::Detached { host: host.clone(), cause });
        // A host that was too busy to answer us in time came to it at last, and showed the session to nobody.
        let is_echo = reason == DisconnectCause::ShownElsewhere
            && self.left_unanswered.take().is_some_and(|at| ctx.env.now.since(at) < ECHO);
        if reason == DisconnectCause::Lost || is_echo {
            return self.session_lost(ctx, host, was_blank, out);
        }
        out.leave_session();
        out.tell(ToDisplay::Notice(farewell(reason).to_owned()));
    }

    fn on_unusable(&mut self, ctx: &Ctx<'_>, unusable: &Unusable, out: &mut Out<'_>) {
        let Unusable { command, what } = unusable;
        let cause = match command.as_str() {
            "connInf" => ProtocolFault::Conn,
            "discInf" => ProtocolFault::Disc,
            "keepAliveInf" | "keepAliveCnf" => ProtocolFault::KeepAlive,
            "controlInf" => ProtocolFault::Control,
            "redirectInf" => ProtocolFault::Redirect,
            "controlSmartCard" => ProtocolFault::ControlSmartCard,
            _ => ProtocolFault::ProtocolError,
        };
        let State::Open(linked) = &mut self.state else { return };
        let (conn, host) = (linked.conn, linked.host.clone());
        let before = core::mem::replace(&mut linked.talk, Talk::Detached);
        let good = Self::good(ctx, linked);
        out.report(DtuEvent::Unusable { host: host.clone(), what: format!("{command}: {what}") });
        self.send(ctx, conn, &FromDtu::ProtocolErrorReq { cause: Some(cause) }, out);
        self.close(out);
        match before {
            Talk::Asking(Asking { reason: ConnectReason::Search { .. }, .. }) => {
                out.tell(ToDiscovery::Failed { host, fault: Fault::Closed });
            }
            Talk::Asking(Asking {
                reason: ConnectReason::Redirect(RedirectLeg::Out { source, .. }), ..
            }) => self.return_from(ctx, source, host, out),
            _ => out.tell(ToFailover::GiveUp { host, why: Loss::Protocol, good }),
        }
    }
}

/// Passes a command to the card (`docs/protocol.md`, "Keyed cards").
fn ask_card(card: Option<&Card>, tag: &str, head: &str, tdata: &str) -> FromDtu {
    let said = |success, data: String, status: &str| FromDtu::InfoSmartCard {
        tag: tag.to_owned(),
        success,
        data,
        status: status.to_owned(),
    };
    let Some(card) = card else { return said(false, String::new(), "") };
    if head != INTERNAL_AUTHENTICATE {
        return said(true, String::new(), STATUS_UNKNOWN_COMMAND);
    }
    let challenge: Option<Vec<u8>> =
        tdata.as_bytes().chunks(2).map(|pair| hex::decode::<1>(pair).map(|[byte]| byte)).collect();
    match challenge.and_then(|challenge| card.answer(&challenge)) {
        Some(answer) => said(true, hex::encode(&answer), STATUS_OK),
        None => said(true, String::new(), STATUS_NO_KEY),
    }
}

/// What the screen says when a session was taken away.
const fn farewell(reason: DisconnectCause) -> &'static str {
    match reason {
        DisconnectCause::ShownElsewhere => {
            "Your session is shown at another desk. Press Enter to have it here."
        }
        DisconnectCause::Detached => "Your session was detached. Press Enter to have it back.",
        DisconnectCause::EndedByOperator => "Your session was ended. Press Enter for a new one.",
        _ => "Your session ended. Press Enter for a new one.",
    }
}
