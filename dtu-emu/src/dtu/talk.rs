//! The session protocol as a DTU speaks it (protocol sheet 3.2 to 3.8, DESIGN 4.4).

use core::time::Duration;

use proto::alp::{
    Access, AnchorNote, Cause, ConnInf, DisconnectCause, FromDtu, FromHost, KeepAliveReq, ProtocolFault,
    Standby, State, Terminal, TokenSeq,
};
use proto::card::{INTERNAL_AUTHENTICATE, STATUS_NO_KEY, STATUS_OK, STATUS_UNKNOWN_COMMAND};
use proto::{HostName, Line, hex};

use super::config::Shows;
use super::event::{DtuEvent, Loss};
use super::input::{ConnId, Effect, Fault, Paint};
use super::link::{Asking, Came, HoldControl, Link, RETRY_FIRST, Talk, Trip};
use super::search::Start;
use super::watch::Watch;
use super::{Cx, Dtu};

/// For so long a host that was left before it answered may yet come to the question.
const ECHO: Duration = Duration::from_secs(10);

impl Dtu {
    /// Sends a message with the fields common to all (protocol sheet 3.3).
    pub(super) fn send(&self, cx: &mut Cx<'_>, conn: ConnId, message: &FromDtu) {
        let attached = matches!(&self.link, Link::Linked(linked) if matches!(linked.talk, Talk::Attached));
        let terminal = Terminal {
            fw: Some(concat!("hotdesk-", env!("CARGO_PKG_VERSION")).to_owned()),
            hw: Some("HotdeskEmu".to_owned()),
            sn: Some(self.config.serial.clone()),
            namespace: Some("IEEE802".to_owned()),
            pn: None,
            state: Some(if attached { State::Connected } else { State::Disconnected }),
        };
        cx.push(Effect::SendControl { conn, line: message.to_line(&terminal) });
    }

    /// Presents the token on the open connection.
    pub(super) fn present(
        &mut self,
        cx: &mut Cx<'_>,
        came: Came,
        cause: Cause,
        props: Option<String>,
        avoid: Option<HostName>,
    ) {
        self.seat.seq += 1;
        self.presented_at = cx.now;
        let timing = self.config.timing;
        let Link::Linked(linked) = &mut self.link else { return };
        linked.again_at = None;
        linked.blank = None;
        linked.talk = Talk::Asking(Asking {
            came,
            probe_at: cx.now + timing.ask / 2,
            due: cx.now + timing.ask,
            limit: cx.now + timing.ask_max,
        });
        let (conn, local) = (linked.conn, linked.local);
        let mut info = self.insertion(local);
        (info.cause, info.redirect_props, info.avoid) = (Some(cause), props, avoid);
        self.send(cx, conn, &FromDtu::InfoReq(info));
    }

    pub(super) fn send_keepalive(&mut self, cx: &mut Cx<'_>) {
        let Link::Linked(linked) = &mut self.link else { return };
        linked.keepalive_at = cx.now + linked.keepalive();
        linked.unanswered += 1;
        let conn = linked.conn;
        self.send(cx, conn, &FromDtu::KeepAliveReq(KeepAliveReq::default()));
    }

    pub(super) fn on_control_line(&mut self, cx: &mut Cx<'_>, conn: ConnId, line: &Line) {
        if !self.hear(cx, conn) {
            return;
        }
        match FromHost::from_line(line) {
            Ok(message) => self.on_message(cx, message),
            Err(error) => self.unusable(cx, line.command(), &error.to_string()),
        }
    }

    /// The host said something: it lives. False when the connection is not the one we have.
    fn hear(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> bool {
        if self.link.conn() != Some(conn) {
            return false;
        }
        self.awake_from_hold(cx);
        let timing = self.config.timing;
        let Link::Linked(linked) = &mut self.link else { return false };
        linked.pulse.heard(cx.now);
        linked.expiry_at = cx.now + proto::alp::EXPIRY;
        if let Talk::Asking(asking) = &mut linked.talk {
            asking.probe_at = cx.now + timing.ask;
            asking.due = cx.now + timing.ask * 2;
            asking.limit = cx.now + timing.ask_max;
        }
        self.vouch_for_display();
        true
    }

    /// A stopped daemon runs on: everything is as it was.
    fn awake_from_hold(&mut self, cx: &mut Cx<'_>) {
        match core::mem::replace(&mut self.link, Link::Off) {
            Link::Holding(holding) => match holding.control {
                HoldControl::Silent(linked) => {
                    if holding.confirmed {
                        cx.report(DtuEvent::Rejoined { host: holding.host });
                    }
                    if holding.tell_at.is_none() && self.notice_until.take().is_some() {
                        cx.push(Effect::Paint(Paint::Notice(None)));
                    }
                    self.link = Link::Linked(linked);
                }
                _ => self.link = Link::Holding(holding),
            },
            other => self.link = other,
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: FromHost) {
        let Link::Linked(linked) = &mut self.link else { return };
        let conn = linked.conn;
        match message {
            FromHost::KeepAliveCnf => linked.unanswered = linked.unanswered.saturating_sub(1),
            FromHost::ConnInf(inf) => self.on_conn_inf(cx, *inf),
            FromHost::DiscInf { token_seq, cause } => self.on_disc_inf(cx, token_seq, cause),
            FromHost::KeepAliveInf { anchor, standbys } => {
                self.send(cx, conn, &FromDtu::KeepAliveRsp);
                self.learn(cx, anchor, &standbys);
            }
            FromHost::RedirectInf(inf) => self.on_redirect(cx, inf),
            FromHost::ControlInf(_) => {
                self.send(cx, conn, &FromDtu::ControlRsp(Line::new("controlRsp")));
            }
            FromHost::ControlSmartCard { tag, head, tdata, .. } => {
                let answer = self.ask_card(&tag, &head, &tdata);
                self.send(cx, conn, &answer);
            }
            FromHost::Notice(text) if matches!(linked.talk, Talk::Attached) => {
                self.notice_for_a_while(cx, &text);
            }
            FromHost::Notice(text) => self.notice(cx, &text),
            // On a connection without TLS it is the answer to what was asked.
            FromHost::BusyInf { reason } if matches!(linked.talk, Talk::Asking(_)) => {
                cx.push(Effect::CloseControl { conn });
                self.on_control_closed(cx, conn, Fault::Busy(reason));
            }
            FromHost::BusyInf { .. } | FromHost::Other(_) => {}
        }
    }

    /// Passes a command to the card (protocol sheet 3.10).
    fn ask_card(&self, tag: &str, head: &str, tdata: &str) -> FromDtu {
        let said = |success, data: String, status: &str| FromDtu::InfoSmartCard {
            tag: tag.to_owned(),
            success,
            data,
            status: status.to_owned(),
        };
        let Some(card) = &self.seat.card else { return said(false, String::new(), "") };
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

    fn learn(&mut self, cx: &mut Cx<'_>, anchor: Option<AnchorNote>, standbys: &[Standby]) {
        self.hosts.learn_standbys(standbys);
        let Link::Linked(linked) = &mut self.link else { return };
        if let (Some(watch), Some(note)) = (&mut linked.watch, anchor) {
            watch.re_anchor(cx.now, &note);
        }
    }

    fn on_conn_inf(&mut self, cx: &mut Cx<'_>, inf: ConnInf) {
        // The answer to an older presentation: a card was moved meanwhile.
        if inf.token_seq != self.seat.seq.into() {
            return;
        }
        match inf.access {
            Access::Allowed => self.attach(cx, inf),
            Access::Denied => self.denied(cx, inf.notice.as_deref()),
        }
    }

    fn attach(&mut self, cx: &mut Cx<'_>, inf: ConnInf) {
        let Link::Linked(linked) = &mut self.link else { return };
        linked.retry = RETRY_FIRST;
        linked.keepalive_at = cx.now + proto::alp::KEEPALIVE_CONNECTED;
        let came = match core::mem::replace(&mut linked.talk, Talk::Attached) {
            Talk::Asking(asking) => Some(asking.came),
            _ => None,
        };
        if let Some(grant) = &inf.grant {
            linked.host.name = Some(grant.host.clone());
            let path = *linked.host.addr.ip();
            linked.watch = Some(Watch::new(cx.now, grant.host.clone(), path, &grant.anchor));
            self.hosts.learn_own(&grant.host, linked.host.addr);
            self.hosts.learn_standbys(&grant.standbys);
        }
        let (conn, host) = (linked.conn, linked.host.clone());
        self.send(cx, conn, &FromDtu::ConnRsp { access: Access::Allowed });
        match came {
            Some(Came::Rejoin { .. }) => cx.report(DtuEvent::Rejoined { host: host.clone() }),
            Some(Came::Errand(Trip::Out { source, .. })) => {
                cx.report(DtuEvent::Redirected { from: source, to: host.clone() });
            }
            _ => {}
        }
        if let Some(gap) = &mut self.gap {
            gap.conn_inf(cx.now);
        }
        let display = inf.grant.and_then(|grant| grant.displays.into_iter().next());
        cx.report(DtuEvent::Attached {
            host,
            token: self.token(),
            session: display.as_ref().map(|display| display.session),
            service: display.as_ref().map(|display| display.service.clone()),
        });
        self.notice_until = None;
        cx.push(Effect::Paint(Paint::Notice(None)));
        self.show_granted(cx, display);
        if let Some(text) = inf.notice {
            self.notice_for_a_while(cx, &text);
        }
    }

    fn show_granted(&mut self, cx: &mut Cx<'_>, display: Option<proto::alp::Display>) {
        match (display, self.config.shows) {
            (Some(display), Shows::Display) => self.show(cx, display),
            (display, _) => {
                self.close_display(cx);
                if let Some(display) = &display {
                    self.picture.of(display.session);
                }
                self.close_gap(cx, display.map(|display| display.session));
            }
        }
    }

    fn denied(&mut self, cx: &mut Cx<'_>, notice: Option<&str>) {
        let Link::Linked(linked) = &mut self.link else { return };
        let talk = core::mem::replace(&mut linked.talk, Talk::Detached);
        let (conn, host) = (linked.conn, linked.host.clone());
        self.send(cx, conn, &FromDtu::ConnRsp { access: Access::Denied });
        cx.report(DtuEvent::Denied { host: host.clone(), notice: notice.map(str::to_owned) });
        if let Talk::Asking(asking) = talk {
            match asking.came {
                Came::Errand(Trip::Out { source, .. }) => return self.return_from(cx, source, host),
                // Someone who was at work is not left at the first host that is full.
                Came::Search(search) if search.start == Start::Lost && search.has_more() => {
                    self.close_control(cx);
                    return self.search_failed(cx, search, host, Fault::Refused);
                }
                _ => {}
            }
        }
        if let Link::Linked(linked) = &mut self.link {
            linked.deny(cx.now);
            linked.keepalive_at = linked.keepalive_at.min(cx.now + proto::alp::KEEPALIVE_DISCONNECTED);
        }
        let gap = self.gap.take();
        self.leave_session(cx);
        self.gap = gap;
        self.notice(cx, notice.unwrap_or("Access denied."));
    }

    fn on_disc_inf(&mut self, cx: &mut Cx<'_>, token_seq: Option<TokenSeq>, cause: Option<String>) {
        let Link::Linked(linked) = &mut self.link else { return };
        let conn = linked.conn;
        if token_seq.is_some_and(|seq| seq != self.seat.seq.into()) {
            return self.send(cx, conn, &FromDtu::DiscRsp);
        }
        let host = linked.host.clone();
        linked.talk = Talk::Detached;
        linked.again_at = None;
        let was_blank = linked.blank.take().is_some();
        self.send(cx, conn, &FromDtu::DiscRsp);
        let reason = cause.as_deref().and_then(|word| word.parse().ok()).unwrap_or(DisconnectCause::Ended);
        if reason.sends_away() {
            let good = self.last_good(cx);
            self.close_control(cx);
            return self.give_up(cx, host, Loss::Stopped, good);
        }
        cx.report(DtuEvent::Detached { host: host.clone(), cause });
        // A host that was too busy to answer us in time came to it at last, and showed the session to nobody.
        let is_echo = reason == DisconnectCause::ShownElsewhere
            && self.left_unanswered.take().is_some_and(|at| cx.now.since(at) < ECHO);
        if reason == DisconnectCause::Lost || is_echo {
            return self.session_lost(cx, host, was_blank);
        }
        if was_blank {
            // It ended because of this, and nothing was missed.
            self.gap = None;
        }
        self.leave_session(cx);
        self.notice(cx, farewell(reason));
    }

    fn unusable(&mut self, cx: &mut Cx<'_>, command: &str, what: &str) {
        let cause = match command {
            "connInf" => ProtocolFault::Conn,
            "discInf" => ProtocolFault::Disc,
            "keepAliveInf" | "keepAliveCnf" => ProtocolFault::KeepAlive,
            "controlInf" => ProtocolFault::Control,
            "redirectInf" => ProtocolFault::Redirect,
            "controlSmartCard" => ProtocolFault::ControlSmartCard,
            _ => ProtocolFault::ProtocolError,
        };
        let Link::Linked(linked) = &mut self.link else { return };
        let (conn, host) = (linked.conn, linked.host.clone());
        let talk = core::mem::replace(&mut linked.talk, Talk::Detached);
        cx.report(DtuEvent::Unusable { host: host.clone(), what: format!("{command}: {what}") });
        self.send(cx, conn, &FromDtu::ProtocolErrorReq { cause: Some(cause) });
        let good = self.last_good(cx);
        self.close_control(cx);
        match talk {
            Talk::Asking(Asking { came: Came::Search(search), .. }) => {
                self.search_failed(cx, search, host, Fault::Closed);
            }
            Talk::Asking(Asking { came: Came::Errand(Trip::Out { source, .. }), .. }) => {
                self.return_from(cx, source, host);
            }
            _ => self.give_up(cx, host, Loss::Protocol, good),
        }
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
