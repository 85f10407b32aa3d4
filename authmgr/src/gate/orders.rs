//! What the holder of a gate orders. An order about a presentation that is over changes nothing: decisions
//! take time, and a card can be gone before they are made.

use proto::Instant;
use proto::Token;
use proto::alp::{
    Access, AnchorNote, ConnInf, Cookie, DISPLAYS_MAX, DisconnectCause, FromHost, Grant, RedirectInf,
    STANDBYS_MAX, Standby,
};
use proto::line::{LINE_MAX, cut};

use super::dialogue::denied;
use super::stage::{GateState, Sent};
use super::{ANSWER_WITHIN, CloseReason, Gate, GateEffect, GateStage, LEAVE_WITHIN, TAKE_WITHIN};
use crate::challenge::CardChallenge;
use crate::denial::Denial;

/// Longest notice, in bytes; a byte takes up to four in a line.
const NOTICE_MAX: usize = 400;
const _: () = assert!(NOTICE_MAX * 4 + 32 < LINE_MAX);

/// Of a grant that does not fit into a line, at least so many hosts to fail over to are kept before services
/// are left out.
const STANDBYS_KEPT: usize = 4;

/// What the holder of a gate orders.
#[derive(Clone, Debug)]
pub enum Order {
    /// Show the DTU a session: that of `token`, which differs from what was presented when a lost card was
    /// replaced. May be repeated, to show another session. What does not fit into one line is left out: hosts
    /// to fail over to first, then services, each from the end.
    Grant {
        /// The presentation that this answers; an order about an older one changes nothing.
        token_seq: u32,
        /// The token whose session is granted: another than was presented where that replaces a lost card.
        token: Token,
        /// Where it is seen, and where to fail over to.
        grant: Box<Grant>,
    },
    /// Tell the DTU that it gets no session, and why. A later grant of the same presentation is possible.
    Deny {
        /// The presentation that this answers; an order about an older one changes nothing.
        token_seq: u32,
        /// The cause, for a person to read.
        why: Denial,
        /// What the person at the screen is told besides, unless it is empty; cut after
        /// [`REASON_MAX`](super::REASON_MAX) bytes.
        reason: String,
    },
    /// Send the DTU to another host. With this the presentation is over, without a
    /// [`super::GateEvent::Removed`]: what comes is `Left`, or another `Presented` when the DTU could not
    /// follow, or ignored it. It has [`LEAVE_WITHIN`] to say discReq; then the connection is closed, since some terminals
    /// ignore a redirectInf.
    Redirect {
        /// The presentation that this answers; an order about an older one changes nothing.
        token_seq: u32,
        /// Where to, and with what ticket.
        redirect: Box<RedirectInf>,
    },
    /// Take the session off the DTU, if it is shown or offered one; the token stays there and may be granted
    /// again. When it is the host that goes, the DTU is told so whatever it is shown, and the connection
    /// ends.
    Disconnect(DisconnectCause),
    /// Show the person at the DTU a line, cut to 400 bytes.
    Notice(String),
    /// Tell the DTU by what to check the host's beacons, where to fail over to, and who keeps its session, from now on.
    Refresh {
        /// By what to check the beacons.
        anchor: AnchorNote,
        /// Where to fail over to.
        standbys: Vec<Standby>,
        /// Who keeps its session; `None` means no change.
        cookie: Option<Cookie>,
    },
    /// Ask the card in the DTU to prove its secret. The answer comes back, judged, as
    /// [`super::GateEvent::CardAnswered`], within [`ANSWER_WITHIN`].
    Challenge {
        /// The presentation that this answers; an order about an older one changes nothing.
        token_seq: u32,
        /// What it is asked.
        challenge: Box<CardChallenge>,
    },
}

impl Gate {
    /// Carries out an order. `false` when it changes nothing: it is about a presentation that is over, or nothing is
    /// there to be changed.
    pub fn obey(&mut self, now: Instant, order: Order, out: &mut Vec<GateEffect>) -> bool {
        let before = out.len();
        match order {
            Order::Grant { token_seq, token, grant } => self.grant(now, token_seq, &token, *grant, out),
            Order::Deny { token_seq, why, reason } => self.deny(token_seq, why, &reason, out),
            Order::Redirect { token_seq, redirect } => self.redirect(now, token_seq, *redirect, out),
            Order::Disconnect(cause) => self.disconnect(now, cause, out),
            Order::Notice(text) => self.notice(&text, out),
            Order::Refresh { anchor, standbys, cookie } => self.refresh(anchor, standbys, cookie, out),
            Order::Challenge { token_seq, challenge } => self.challenge(now, token_seq, challenge, out),
        }
        out.len() > before
    }

    /// Whether an order about `token_seq` that leads to `next` can be carried out.
    fn heeds(&self, token_seq: u32, next: GateStage) -> bool {
        let stage = self.stage();
        self.token_seq == token_seq && stage.has_token() && stage.may_become(next)
    }

    fn grant(
        &mut self,
        now: Instant,
        token_seq: u32,
        token: &Token,
        mut grant: Grant,
        out: &mut Vec<GateEffect>,
    ) {
        if !self.heeds(token_seq, GateStage::Offered) {
            return;
        }
        self.turn(GateState::Offered { take_by: now + TAKE_WITHIN });
        if !self.knows_ours {
            // A server that real terminals know never says a key twice, and would call it an error.
            grant.standbys.clear();
            grant.cookie = None;
            grant.displays.truncate(1);
            grant.displays_total = grant.displays.len();
        }
        out.push(GateEffect::Send(fit(FromHost::ConnInf(Box::new(ConnInf {
            token_seq: self.stated_seq.clone(),
            access: Access::Allowed,
            token: Some(token.clone()),
            grant: Some(grant),
            notice: None,
        })))));
    }

    fn deny(&mut self, token_seq: u32, why: Denial, reason: &str, out: &mut Vec<GateEffect>) {
        if self.heeds(token_seq, GateStage::Idle) {
            self.turn(GateState::Idle);
            out.push(denied(&self.stated_seq, why, reason));
        }
    }

    fn redirect(&mut self, now: Instant, token_seq: u32, to: RedirectInf, out: &mut Vec<GateEffect>) {
        if self.heeds(token_seq, GateStage::Leaving) {
            let sent = self.token.take().map(|token| Box::new(Sent { token, to: to.host.clone() }));
            let (close_by, reason) = (now + LEAVE_WITHIN, CloseReason::Redirected);
            self.turn(GateState::Leaving { close_by, reason, sent });
            let token_seq = Some(self.stated_seq.clone());
            out.push(GateEffect::Send(FromHost::RedirectInf(RedirectInf { token_seq, ..to })));
        }
    }

    fn disconnect(&mut self, now: Instant, cause: DisconnectCause, out: &mut Vec<GateEffect>) {
        if cause.sends_away() {
            if matches!(self.stage(), GateStage::Leaving | GateStage::Closed) {
                return;
            }
            self.token = None;
            let reason = CloseReason::SentAway(cause);
            self.turn(GateState::Leaving { close_by: now + LEAVE_WITHIN, reason, sent: None });
        } else if matches!(self.stage(), GateStage::Offered | GateStage::Shown) {
            self.turn(GateState::Idle);
        } else {
            return;
        }
        out.push(GateEffect::Send(FromHost::DiscInf {
            token_seq: Some(self.stated_seq.clone()),
            cause: Some(cause.to_string()),
        }));
    }

    fn notice(&mut self, text: &str, out: &mut Vec<GateEffect>) {
        if self.is_talking() {
            out.push(GateEffect::Send(FromHost::Notice(cut(text, NOTICE_MAX).to_owned())));
        }
    }

    fn refresh(
        &mut self,
        anchor: AnchorNote,
        standbys: Vec<Standby>,
        cookie: Option<Cookie>,
        out: &mut Vec<GateEffect>,
    ) {
        if self.is_talking() {
            let message = FromHost::KeepAliveInf { anchor: Some(anchor), standbys, cookie };
            out.push(GateEffect::Send(fit(message)));
        }
    }

    fn challenge(
        &mut self,
        now: Instant,
        token_seq: u32,
        challenge: Box<CardChallenge>,
        out: &mut Vec<GateEffect>,
    ) {
        if self.heeds(token_seq, GateStage::Challenged) {
            out.push(GateEffect::Send(challenge.question(self.tag())));
            self.turn(GateState::Challenged { challenge, answer_by: now + ANSWER_WITHIN });
        }
    }

    /// Whether the DTU has begun to talk, knows what we add to the protocol, and was not told to go.
    fn is_talking(&self) -> bool {
        self.knows_ours && !matches!(self.stage(), GateStage::Fresh | GateStage::Leaving | GateStage::Closed)
    }
}

/// Leaves out what does not fit into one line.
fn fit(mut message: FromHost) -> FromHost {
    if let Some((standbys, displays)) = lists(&mut message) {
        standbys.truncate(STANDBYS_MAX);
        if let Some(displays) = displays {
            displays.truncate(DISPLAYS_MAX);
        }
    }
    while message.to_line().to_string().len() > LINE_MAX && shorten(&mut message) {}
    message
}

type Lists<'a> = (&'a mut Vec<Standby>, Option<&'a mut Vec<proto::alp::Display>>);

fn lists(message: &mut FromHost) -> Option<Lists<'_>> {
    match message {
        FromHost::ConnInf(conn) => conn.grant.as_mut().map(|g| (&mut g.standbys, Some(&mut g.displays))),
        FromHost::KeepAliveInf { standbys, .. } => Some((standbys, None)),
        _ => None,
    }
}

/// Takes one thing out of a list; `false` when there is nothing left to take.
fn shorten(message: &mut FromHost) -> bool {
    let Some((standbys, displays)) = lists(message) else { return false };
    match displays {
        Some(displays) if standbys.len() <= STANDBYS_KEPT && displays.len() > 1 => displays.pop().is_some(),
        _ => standbys.pop().is_some(),
    }
}
