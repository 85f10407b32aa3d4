//! What a DTU says, and what follows from it.

use proto::alp::{
    Access, Cause, ConnInf, Event, FromDtu, FromHost, InfoReq, ProtocolFault, State, Terminal, TokenSeq,
};
use proto::frame::Pixels;
use proto::line::{Line, cut};
use proto::{Serial, Token};

use super::stage::GateState;
use super::{
    CloseReason, Gate, GateEffect, GateEvent, GateStage, Odd, Presentation, REASON_MAX, TEXT_MAX, token,
};
use crate::challenge::CardAnswer;
use crate::denial::Denial;

impl Gate {
    pub(super) fn on_message(&mut self, message: FromDtu, line: &Line, out: &mut Vec<GateEffect>) {
        match message {
            FromDtu::InfoReq(info) => match info.event {
                Event::Insert => self.on_insert(&info, out),
                Event::Remove => self.on_remove(&info, out),
            },
            FromDtu::SessionReq(line) => {
                odd(Odd::SoftwareClient, out);
                // To a DTU that presented a token in the known way, a denial would be about that one.
                if !self.stage().has_token() {
                    let number = line.lenient("tokenSeq").unwrap_or_else(|| self.stated_seq.clone());
                    out.push(denied(&number, Denial::SoftwareClient, ""));
                }
            }
            FromDtu::ConnRsp { access } => self.on_conn_rsp(access, line, out),
            FromDtu::DiscRsp => {
                if let GateState::Leaving { reason: reason @ CloseReason::SentAway(_), .. } = self.state {
                    self.close(reason, out);
                }
            }
            FromDtu::DiscReq { cause } => {
                let reason = match self.state {
                    GateState::Leaving { reason, .. } => reason,
                    _ => CloseReason::Bye(cause),
                };
                self.close(reason, out);
            }
            FromDtu::KeepAliveReq(_) => out.push(GateEffect::Send(FromHost::KeepAliveCnf)),
            FromDtu::KeepAliveRsp | FromDtu::ControlRsp(_) => {}
            FromDtu::InfoSmartCard { tag, success, data, status } => {
                let asked = self.stage() == GateStage::Challenged && tag == self.tag();
                match asked {
                    true => self.judge(&CardAnswer::read(success, &data, &status), out),
                    false => odd(Odd::CardAnswerOutOfTurn, out),
                }
            }
            FromDtu::ProtocolErrorReq { cause } => self.on_protocol_error(cause, out),
            FromDtu::Other(_) => odd(Odd::UnknownCommand, out),
        }
    }

    /// Keeps the last value of every common field, within bounds.
    pub(super) fn merge(&mut self, line: &Line, out: &mut Vec<GateEffect>) {
        self.terminal.merge(line);
        let Terminal { fw, hw, namespace, .. } = &mut self.terminal;
        for text in [fw, hw, namespace].into_iter().flatten() {
            if text.len() > TEXT_MAX {
                *text = cut(text, TEXT_MAX).to_owned();
            }
        }
        match (&self.serial, &self.terminal.sn) {
            (None, said) => self.serial.clone_from(said),
            // One connection is one DTU: else it could make a session for every serial it thinks of.
            (Some(first), Some(said)) if first != said => {
                self.terminal.sn = Some(first.clone());
                odd(Odd::SerialChanged, out);
            }
            _ => {}
        }
    }

    fn on_insert(&mut self, info: &InfoReq, out: &mut Vec<GateEffect>) {
        self.knows_ours |= info.size.is_some();
        if let Some(size) = info.size.or_else(|| info.start_res.and_then(Pixels::in_cells)) {
            self.size = size;
        }
        if let Some(seq) = &info.token_seq {
            self.stated_seq = seq.clone();
        }
        let read = token::read(&info.presented, self.serial.as_ref());
        let unfollowed = match &self.state {
            GateState::Leaving { reason: CloseReason::Redirected, sent, .. } => {
                // It did not go: the same token again means that it could not, whether it says so or not.
                let stated = read.as_ref().ok().map(|(token, _)| token);
                sent.as_ref().filter(|sent| Some(&sent.token) == stated).and_then(|sent| sent.to.clone())
            }
            GateState::Leaving { .. } => {
                odd(Odd::Leaving, out);
                return out.push(denied(&self.stated_seq, Denial::HostLeaving, ""));
            }
            _ => None,
        };
        // Whatever was there before is gone, even if its removal was never told.
        if let Some(before) = self.token.take()
            && read.as_ref().ok().map(|(token, _)| token) != Some(&before)
        {
            out.push(GateEffect::Event(GateEvent::Removed { token_seq: self.token_seq, token: before }));
        }
        self.token_seq = self.token_seq.wrapping_add(1);
        match read {
            Ok((token, serial)) => {
                let mut presentation = self.presentation(info, token, serial, out);
                presentation.avoid = presentation.avoid.or(unfollowed);
                self.token = Some(presentation.token.clone());
                self.turn(GateState::Judging);
                out.push(GateEffect::Event(GateEvent::Presented(Box::new(presentation))));
            }
            Err((why, reason)) => {
                odd(reason, out);
                self.turn(GateState::Vacant);
                out.push(denied(&self.stated_seq, why, ""));
            }
        }
    }

    /// The DTU could not follow the redirect: its holder is to choose once more, without the host it was sent to.
    fn present_unfollowed(&mut self, out: &mut Vec<GateEffect>) {
        let GateState::Leaving { sent, .. } = &mut self.state else { return };
        let Some(sent) = sent.take() else { return };
        let Some(serial) = self.serial.clone().or_else(|| sent.token.id().parse().ok()) else { return };
        self.token_seq = self.token_seq.wrapping_add(1);
        self.token = Some(sent.token.clone());
        self.turn(GateState::Judging);
        out.push(GateEffect::Event(GateEvent::Presented(Box::new(Presentation {
            token_seq: self.token_seq,
            token: sent.token,
            serial,
            key: self.key,
            addr: *self.peer.ip(),
            real_ip: None,
            cause: Cause::Insert,
            ticket: None,
            size: self.size,
            avoid: sent.to,
        }))));
    }

    fn presentation(
        &self,
        info: &InfoReq,
        token: Token,
        serial: Serial,
        out: &mut Vec<GateEffect>,
    ) -> Presentation {
        let ticket = match info.cause {
            // Some terminals bring the ticket and no cause.
            Some(Cause::Redirect) | None => info.redirect_props.as_ref().and_then(|text| text.parse().ok()),
            Some(Cause::Insert) => None,
        };
        if info.cause == Some(Cause::Redirect) && ticket.is_none() {
            odd(Odd::NoTicket, out);
        }
        Presentation {
            token_seq: self.token_seq,
            token,
            serial,
            key: self.key,
            addr: *self.peer.ip(),
            real_ip: info.real_ip,
            cause: if ticket.is_some() { Cause::Redirect } else { Cause::Insert },
            ticket,
            size: self.size,
            avoid: info.avoid.clone(),
        }
    }

    /// A removal is not answered: an insert that says what is there now follows, and is.
    fn on_remove(&mut self, info: &InfoReq, out: &mut Vec<GateEffect>) {
        if self.stage() == GateStage::Leaving {
            return;
        }
        match self.token.take() {
            None => odd(Odd::NothingToRemove, out),
            Some(token) => {
                let stated = token::read(&info.presented, self.serial.as_ref());
                if stated.is_ok_and(|(stated, _)| stated != token) {
                    odd(Odd::OtherRemoved, out);
                }
                out.push(GateEffect::Event(GateEvent::Removed { token_seq: self.token_seq, token }));
            }
        }
        self.turn(GateState::Vacant);
    }

    fn on_conn_rsp(&mut self, access: Access, line: &Line, out: &mut Vec<GateEffect>) {
        let stated: Option<TokenSeq> = line.lenient("tokenSeq");
        let about_older = stated.is_some_and(|number| number != self.stated_seq);
        let says_state = line.lenient("state") == Some(State::Connected);
        let took = access == Access::Allowed || (line.get("access").is_none() && says_state);
        match self.stage() {
            _ if about_older => odd(Odd::ConnRspOutOfTurn, out),
            GateStage::Offered if took => {
                self.turn(GateState::Shown);
                out.push(GateEffect::Event(GateEvent::Took { token_seq: self.token_seq }));
            }
            GateStage::Offered => self.refused(out),
            // The answer to a connInf that denied.
            GateStage::Idle | GateStage::Vacant | GateStage::Leaving if !took => {}
            _ => odd(Odd::ConnRspOutOfTurn, out),
        }
    }

    /// The terminal starts again by itself after such a report; until then the connection stays. One that could not
    /// follow a redirect is decided about anew.
    fn on_protocol_error(&mut self, cause: Option<ProtocolFault>, out: &mut Vec<GateEffect>) {
        odd(Odd::ProtocolError, out);
        match (self.stage(), cause) {
            (GateStage::Offered, Some(ProtocolFault::Conn)) => self.refused(out),
            (GateStage::Challenged, Some(ProtocolFault::ControlSmartCard)) => {
                self.judge(&CardAnswer::Silent, out);
            }
            (GateStage::Leaving, Some(ProtocolFault::Redirect)) => self.present_unfollowed(out),
            _ => {}
        }
    }

    pub(super) fn refused(&mut self, out: &mut Vec<GateEffect>) {
        self.turn(GateState::Idle);
        out.push(GateEffect::Event(GateEvent::Refused { token_seq: self.token_seq }));
    }

    pub(super) fn judge(&mut self, answer: &CardAnswer, out: &mut Vec<GateEffect>) {
        let GateState::Challenged { challenge, .. } = &self.state else { return };
        let result = challenge.judge(answer);
        self.turn(GateState::Judging);
        out.push(GateEffect::Event(GateEvent::CardAnswered { token_seq: self.token_seq, result }));
    }

    pub(super) fn close(&mut self, reason: CloseReason, out: &mut Vec<GateEffect>) {
        self.token = None;
        self.turn(GateState::Closed);
        out.push(GateEffect::Event(GateEvent::Left { cause: reason }));
        out.push(GateEffect::Close(reason));
    }

    /// The one place where the stage changes.
    pub(super) fn turn(&mut self, next: GateState) {
        let (from, to) = (self.stage(), next.stage());
        debug_assert!(from.may_become(to), "a gate went from {from} to {to}");
        self.state = next;
    }

    /// What a card's answer to the present challenge must echo.
    pub(super) fn tag(&self) -> String {
        format!("hotdesk-{}", self.token_seq)
    }
}

pub(super) fn odd(reason: Odd, out: &mut Vec<GateEffect>) {
    out.push(GateEffect::Event(GateEvent::Odd(reason)));
}

/// A connInf that denies, with the sentence for the person at the screen.
pub(super) fn denied(token_seq: &TokenSeq, why: Denial, reason: &str) -> GateEffect {
    let mut notice = why.notice().to_owned();
    if !reason.is_empty() {
        notice.push(' ');
        notice.push_str(cut(reason, REASON_MAX));
    }
    GateEffect::Send(FromHost::ConnInf(Box::new(ConnInf {
        token_seq: token_seq.clone(),
        access: Access::Denied,
        token: None,
        grant: None,
        notice: Some(notice),
    })))
}
