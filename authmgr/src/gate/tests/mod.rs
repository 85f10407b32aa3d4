//! A desk for tests: a gate, its clock, and what came out of it.

mod any_order;
mod foreign;
mod rules;

use super::*;
use crate::challenge::CardChallenge;
use crate::{Admitted, Denial};
use proto::alp::{Cause, DisconnectCause, Grant, RedirectInf};
use proto::card::CardSecret;

const SECS: Duration = Duration::from_secs(1);

struct Desk {
    gate: Gate,
    now: Instant,
    out: Vec<GateEffect>,
}

impl Desk {
    fn connected() -> Self {
        let now = Instant::from_micros(1_000_000_000);
        Self { gate: Gate::new(now, "192.0.2.77:40000".parse().unwrap(), None), now, out: Vec::new() }
    }

    /// Connected, with `card.1` inserted, granted and shown.
    fn at_work() -> Self {
        let mut desk = Self::connected();
        desk.insert("card", "1", 1);
        desk.grant(1);
        desk.say("connRsp access=allowed state=connected");
        assert_eq!(desk.gate.stage(), GateStage::Shown);
        desk.out.clear();
        desk
    }

    fn say(&mut self, line: &str) -> &mut Self {
        self.gate.on_line(self.now, &line.parse().unwrap(), &mut self.out);
        self
    }

    fn insert(&mut self, kind: &str, id: &str, seq: u32) -> &mut Self {
        self.say(&format!(
            "infoReq _=1 event=insert type={kind} id={id} sn=080020abcdef cause=insert tokenSeq={seq} size=80x24"
        ))
    }

    fn remove(&mut self, kind: &str, id: &str) -> &mut Self {
        self.say(&format!("infoReq _=1 event=remove type={kind} id={id} sn=080020abcdef state=connected"))
    }

    fn grant(&mut self, seq: u32) -> &mut Self {
        let token = self.gate.token().cloned().unwrap_or_else(|| "card.none".parse().unwrap());
        self.gate.obey(
            self.now,
            Order::Grant { token_seq: seq, token: token.clone(), grant: Box::new(grant()) },
            &mut self.out,
        );
        self
    }

    /// Lets time pass, ringing every timer exactly when it is due.
    fn wait(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(at) = self.gate.poll_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.gate.on_timeout(self.now, &mut self.out);
            assert!(self.gate.poll_at().is_none_or(|next| next > self.now), "a timer that rings for ever");
        }
        self.now = end;
        self
    }

    fn sent(&mut self) -> Vec<String> {
        let sent = self.out.iter().filter_map(|e| match e {
            GateEffect::Send(message) => Some(message.to_line().to_string()),
            _ => None,
        });
        sent.collect()
    }

    /// The first words of what was sent.
    fn sent_words(&mut self) -> Vec<String> {
        self.sent().iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect()
    }

    fn events(&mut self) -> Vec<GateEvent> {
        let events = self.out.iter().filter_map(|e| match e {
            GateEffect::Event(event) => Some(event.clone()),
            _ => None,
        });
        events.collect()
    }

    fn presented(&mut self) -> Presentation {
        let mut all = self.events().into_iter().rev().filter_map(|e| match e {
            GateEvent::Presented(presentation) => Some(*presentation),
            _ => None,
        });
        all.next().expect("nothing was presented")
    }

    fn closed(&mut self) -> Option<CloseReason> {
        match self.out.last() {
            Some(GateEffect::Close(reason)) => Some(*reason),
            _ => None,
        }
    }

    fn forget(&mut self) -> &mut Self {
        self.out.clear();
        self
    }
}

fn grant() -> Grant {
    Grant {
        host: "a".parse().unwrap(),
        standbys: vec!["b@192.0.2.2:7009".parse().unwrap()],
        anchor: "0000000000000001:5:00000000000000000000000000000007:100".parse().unwrap(),
        cookie: None,
        displays: vec![display()],
        displays_total: 1,
    }
}

fn display() -> proto::alp::Display {
    proto::alp::Display {
        addr: "192.0.2.1:7009".parse().unwrap(),
        session: proto::SessionId(9),
        service: "shell".parse().unwrap(),
        ticket: proto::Nonce(8),
        fp: [3; 32],
    }
}

fn redirect() -> RedirectInf {
    RedirectInf {
        addr: "192.0.2.2:7009".parse().unwrap(),
        props: Some("t".into()),
        host: Some("b".parse().unwrap()),
        token_seq: None,
    }
}

fn challenge() -> CardChallenge {
    let then = Admitted::unregistered(&"card.1".parse().unwrap());
    CardChallenge::new([7; 16], CardSecret::new([1; 16]), then)
}

fn token(text: &str) -> Token {
    text.parse().unwrap()
}
