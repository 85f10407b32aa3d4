//! What a DTU can do to a host: its lines and its host's orders in any order, and what it must never get by them.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use authmgr::{Denial, Gate, GateEffect, GateEvent, GateStage, Order};
use datastore::{MemoryStore, Request, Value};
use groupmgr::announce::Identity;
use groupmgr::host::{ConnId, Datagram, Effect, Host, HostConfig, Input};
use proto::alp::{Access, DisconnectCause, FromHost, Grant, RedirectInf};
use proto::keys::{GroupKey, KeyRing};
use proto::line::{LINE_MAX, Line};
use proto::net::Interface;
use proto::time::Duration;
use proto::{BootId, Instant, MachineId, WallTime};

targets! {
    a_gate_shows_nothing_that_was_not_granted => gate;
    a_host_admits_nobody_without_an_authentication_or_a_ticket => admission;
}

fn peer() -> SocketAddrV4 {
    "10.0.9.9:40000".parse().unwrap()
}

/// The words of a script, a line at a time: what is done, and with what.
fn script(bytes: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let lines = bytes.split(|b| *b == b'\n').take(200);
    lines.filter_map(|line| {
        let end = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        Some((core::str::from_utf8(verb).ok()?, rest.get(1..).unwrap_or_default()))
    })
}

fn number(text: &[u8]) -> u64 {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn grant() -> Grant {
    Grant {
        host: "a".parse().unwrap(),
        standbys: vec!["b@10.0.0.2:7009".parse().unwrap()],
        anchor: "0000000000000001:5:00000000000000000000000000000007:100".parse().unwrap(),
        cookie: Some("1.7/42:a:b".parse().unwrap()),
        displays: Vec::new(),
        displays_total: 0,
    }
}

/// `say LINE`, `wait MS`, `grant`, `deny`, `redirect`, `disconnect` and `refresh`; orders are about the present
/// presentation, or so many before it.
fn gate(bytes: &[u8]) {
    let mut now = Instant::from_micros(1_000_000);
    let (mut gate, mut out) = (Gate::new(now, peer(), None), Vec::new());
    let mut presented = None;
    for (verb, rest) in script(bytes) {
        let order = gate.token_seq().wrapping_sub(number(rest) as u32);
        let may_grant = verb == "grant" && presented == Some(order);
        match verb {
            "say" => {
                if let Ok(line) = Line::parse(rest) {
                    gate.on_line(now, &line, &mut out);
                }
            }
            "wait" => {
                now += Duration::from_millis(number(rest) % 1_000_000);
                gate.on_timeout(now, &mut out);
            }
            verb => {
                let token_seq = order;
                let order = match verb {
                    "grant" => {
                        let (token, grant) = ("card.9".parse().unwrap(), Box::new(grant()));
                        Order::Grant { token_seq, token, grant }
                    }
                    "deny" => Order::Deny { token_seq, why: Denial::Full, reason: String::new() },
                    "redirect" => {
                        let redirect =
                            Box::new(RedirectInf { addr: peer(), props: None, host: None, token_seq: None });
                        Order::Redirect { token_seq, redirect }
                    }
                    "disconnect" => Order::Disconnect(DisconnectCause::Ended),
                    "refresh" => {
                        let Grant { anchor, standbys, cookie, .. } = grant();
                        Order::Refresh { anchor, standbys, cookie }
                    }
                    _ => Order::Notice(verb.to_owned()),
                };
                gate.obey(now, order, &mut out);
            }
        }
        for effect in out.drain(..) {
            match effect {
                GateEffect::Send(message) => {
                    assert!(message.to_line().to_string().len() <= LINE_MAX);
                    if let FromHost::ConnInf(conn) = message {
                        assert!(conn.access != Access::Allowed || may_grant, "granted by nobody");
                    }
                }
                GateEffect::Event(GateEvent::Presented(p)) => presented = Some(p.token_seq),
                GateEffect::Event(GateEvent::Removed { .. } | GateEvent::Left { .. }) => presented = None,
                GateEffect::Event(_) | GateEffect::Close(_) => {}
            }
        }
        if verb == "redirect" && gate.token().is_none() {
            presented = None;
        }
        assert_eq!(gate.poll_at().is_none(), gate.stage() == GateStage::Closed);
    }
}

/// A host alone in its group, whose policy lets nobody in but the holders of one keyed card.
pub(crate) struct Lonely {
    pub(crate) host: Host,
    now: Instant,
    store: MemoryStore,
    /// Whether each connection is open, by its number.
    conns: BTreeMap<u64, bool>,
}

impl Lonely {
    pub(crate) fn new() -> Self {
        let identity = Identity::new("a".parse().unwrap(), BootId(1), MachineId(1));
        let identity = Identity { cpus: 2, chain_len: 64, ..identity };
        let ring = KeyRing::new(GroupKey::new(b"0123456789abcdef").unwrap(), Vec::new());
        let config = HostConfig::new(identity, ring);
        let now = Instant::from_micros(1_000_000);
        let mut store = MemoryStore::default();
        let secret = "0f".repeat(16);
        for (key, value) in [
            (authmgr::admission::policy_key(), "login pseudo=deny cards=registered".to_owned()),
            (
                authmgr::admission::token_key(&"card.7".parse().unwrap()),
                format!("token name=card.7 secret={secret}"),
            ),
        ] {
            let value = Value::new(value.as_bytes()).unwrap();
            store.apply(Request::Put { key, value }, &mut Vec::new());
        }
        let mut lonely = Self { host: Host::new(now, config, [5; 32]), now, store, conns: BTreeMap::new() };
        let eth0 = Interface {
            name: "eth0".parse().unwrap(),
            ip: [10, 0, 0, 1].into(),
            mask: [255, 255, 0, 0].into(),
            bcast: [10, 0, 255, 255].into(),
        };
        lonely.give(Input::Interfaces(vec![eth0]));
        // It serves when it has found that its name is free.
        let said = lonely.wait(Duration::from_millis(200));
        assert!(said.iter().any(|effect| matches!(effect, Effect::Ready)));
        lonely
    }

    /// A datagram comes.
    pub(crate) fn hear(&mut self, from: SocketAddrV4, bytes: &[u8]) -> Vec<Effect> {
        let datagrams = vec![Datagram { at: self.now, from, bytes: bytes.to_vec() }];
        self.give(Input::Datagrams { iface: "eth0".parse().unwrap(), datagrams })
    }

    /// Hands something in and looks at what comes of it.
    pub(crate) fn give(&mut self, input: Input) -> Vec<Effect> {
        let mut all = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut out = Vec::new();
            self.host.handle(self.now, WallTime::from_secs(1_000_000_000), input, &mut out);
            for effect in &out {
                if let Effect::Store { req, request } = effect {
                    let answer = self.store.apply((**request).clone(), &mut Vec::new());
                    inputs.push(Input::Store { req: *req, outcome: Ok(answer) });
                }
            }
            all.extend(out);
        }
        all
    }

    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Effect> {
        let (end, mut all) = (self.now + time, Vec::new());
        while let Some(at) = self.host.poll_at().filter(|at| *at <= end) {
            let idle = at <= self.now;
            self.now = self.now.max(at);
            all.extend(self.give(Input::Timeout));
            let next = self.host.poll_at();
            assert!(!idle || next.is_none_or(|next| next > self.now), "a timer that rings for ever");
        }
        self.now = end;
        all
    }
}

/// `open N`, `close N`, `say N LINE`, `wait MS`, `display SESSION` and `hear DATAGRAM`.
fn admission(bytes: &[u8]) {
    let mut lonely = Lonely::new();
    lonely.wait(Duration::from_millis(50));
    for (verb, rest) in script(bytes) {
        let n = u64::from(rest.first().copied().unwrap_or(0) % 4);
        let conn = ConnId(n);
        let is_open = lonely.conns.get(&n).copied().unwrap_or(false);
        let effects = match verb {
            "open" if !is_open => {
                lonely.conns.insert(n, true);
                lonely.give(Input::Opened { conn, peer: peer(), plain: false, key: None })
            }
            "close" if is_open => {
                lonely.conns.insert(n, false);
                lonely.give(Input::Closed { conn })
            }
            "say" if is_open => {
                let line = Line::parse(rest.get(2..).unwrap_or_default());
                lonely.give(Input::Line { conn, line })
            }
            "display" => {
                let text = core::str::from_utf8(rest).unwrap_or_default();
                let session = text.parse().unwrap_or(proto::SessionId(0));
                lonely.give(Input::Display { conn: ConnId(99), session })
            }
            "hear" => lonely.hear(peer(), rest),
            "wait" => lonely.wait(Duration::from_millis(number(rest) % 2_000)),
            _ => Vec::new(),
        };
        for effect in effects {
            match effect {
                Effect::Send { message, .. } => {
                    if let FromHost::ConnInf(answer) = *message {
                        assert_eq!(answer.access, Access::Denied, "nobody has shown that the card is his");
                    }
                }
                Effect::Spawn(_) | Effect::HandOver { .. } | Effect::Tell { .. } => panic!("{effect:?}"),
                Effect::Close { conn } => drop(lonely.conns.insert(conn.0, false)),
                _ => {}
            }
        }
    }
    assert!(lonely.host.sessions().is_empty());
}
