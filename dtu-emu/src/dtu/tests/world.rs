//! One DTU among scripted hosts, in virtual time. A host here speaks the real protocol by way of `proto` and
//! can be killed, frozen, cut off, or lose its daemon alone. Every message takes one millisecond each way.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use proto::alp::{
    Access, BusyReason, ConnInf, Display, FromDtu, FromHost, Grant, InfoReq, RedirectInf, Standby, TokenSeq,
};
use proto::beacon::{Beacon, INTERVAL};
use proto::card::Card;
use proto::discovery::ServerR;
use proto::frame::Frame;
use proto::{Instant, Line, Nonce, SessionId};

use super::host::{Host, Policy, Proc};
use crate::dtu::{Config, ConnId, Dtu, DtuEvent, DtuInput, Effect, Fault, Paint, Phase};

pub(super) const HOP: Duration = Duration::from_millis(1);

pub(super) enum Delivery {
    Reached(ConnId),
    Opened(ConnId),
    Line(ConnId, Line),
    Closed(ConnId, Fault),
    DisplayOpened(ConnId),
    Frame(ConnId, Frame),
    DisplayClosed(ConnId, Fault),
    Beacon(Beacon, Ipv4Addr),
    ServerR(ServerR),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Display,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) dtu: Dtu,
    pub(super) hosts: BTreeMap<&'static str, Host>,
    pub(super) events: Vec<(Instant, DtuEvent)>,
    pub(super) paints: Vec<Paint>,
    pub(super) broadcasts: Vec<Instant>,
    /// The text on the screen, as far as plain text goes, and the notice above it.
    pub(super) screen: String,
    pub(super) notice: Option<String>,
    /// Beacons reach the DTU late by this much.
    pub(super) delay: Duration,
    pub(super) conns: BTreeMap<ConnId, (&'static str, Kind)>,
    wire: BTreeMap<(Instant, u64), Delivery>,
    sent: u64,
    pub(super) next_beacon: Instant,
}

pub(super) fn card(id: &str) -> Card {
    format!("card type=card id={id}").parse().unwrap()
}

impl World {
    /// Hosts of these names at 10.0.0.1 and up; the DTU is off.
    pub(super) fn new(names: &[&'static str], configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("0200000000aa".parse().unwrap(), [7; 32]);
        configure(&mut config);
        let hosts = names.iter().zip(1..).map(|(name, last)| (*name, Host::new(name, last))).collect();
        Self {
            now: Instant::from_micros(1_000_000),
            dtu: Dtu::new(config),
            hosts,
            events: Vec::new(),
            paints: Vec::new(),
            broadcasts: Vec::new(),
            screen: String::new(),
            notice: None,
            delay: Duration::ZERO,
            conns: BTreeMap::new(),
            wire: BTreeMap::new(),
            sent: 0,
            next_beacon: Instant::from_micros(1_000_000),
        }
    }

    /// The same, switched on with a card and attached to the first host.
    pub(super) fn attached(names: &[&'static str]) -> Self {
        let first = names[0];
        let mut world = Self::new(names, |config| config.servers = vec![format_addr(1)]);
        world.input(DtuInput::CardInserted(card("1")));
        world.input(DtuInput::Boot);
        world.run_ms(950);
        assert_eq!(world.phase(), Phase::Attached);
        assert_eq!(world.screen, format!("{first}$ "));
        world.events.clear();
        world
    }

    pub(super) fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.get_mut(name).unwrap()
    }

    pub(super) fn phase(&self) -> Phase {
        self.dtu.status().phase
    }

    pub(super) fn at_host(&self) -> String {
        self.dtu.status().host.map_or_else(String::new, |host| host.to_string())
    }

    /// The names of the events so far, in order.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.events.iter().map(|(_, event)| event.name()).collect()
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|n| **n == name).count()
    }

    pub(super) fn input(&mut self, input: DtuInput<'_>) {
        let mut out = Vec::new();
        self.dtu.handle(self.now, input, &mut out);
        for effect in out {
            self.perform(effect);
        }
    }

    pub(super) fn type_text(&mut self, text: &str) {
        self.input(DtuInput::Typed(text.as_bytes()));
    }

    pub(super) fn later(&mut self, delivery: Delivery) {
        self.later_by(HOP, delivery);
    }

    fn later_by(&mut self, by: Duration, delivery: Delivery) {
        self.sent += 1;
        self.wire.insert((self.now + by, self.sent), delivery);
    }

    fn name_at(&self, addr: SocketAddrV4) -> Option<&'static str> {
        self.hosts.iter().find(|(_, host)| host.addr == addr).map(|(name, _)| *name)
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::BroadcastServerQ => self.serverq(),
            Effect::OpenControl { conn, addr } => self.open(conn, addr, Kind::Control),
            Effect::OpenDisplay { conn, target } => self.open(conn, target.addr, Kind::Display),
            Effect::SendControl { conn, line } => {
                if let Some((name, _)) = self.conns.get(&conn).copied() {
                    self.on_line(name, conn, line);
                }
            }
            Effect::SendDisplay { conn, frame } => {
                if let Some((name, _)) = self.conns.get(&conn).copied() {
                    self.on_frame(name, conn, frame);
                }
            }
            Effect::CloseControl { conn } | Effect::CloseDisplay { conn } => {
                self.conns.remove(&conn);
            }
            Effect::Paint(paint) => self.paint(paint),
            Effect::Report(event) => self.events.push((self.now, event)),
        }
    }

    fn paint(&mut self, paint: Paint) {
        match &paint {
            Paint::Bytes(bytes) => self.screen.push_str(&String::from_utf8_lossy(bytes)),
            Paint::Repaint { bytes, .. } => self.screen = String::from_utf8_lossy(bytes).into_owned(),
            Paint::Clear => self.screen.clear(),
            Paint::Notice(notice) => self.notice = notice.as_ref().map(|notice| notice.text.clone()),
        }
        self.paints.push(paint);
    }

    fn serverq(&mut self) {
        self.broadcasts.push(self.now);
        let answers = self.hosts.values().filter(|h| h.daemon == Proc::Runs && h.answers_serverq);
        let answers: Vec<_> = answers
            .map(|host| ServerR {
                host: host.name.clone(),
                ip: *host.addr.ip(),
                port: host.addr.port(),
                load: host.load,
                drain: host.drain,
                plain: false,
            })
            .collect();
        for answer in answers {
            self.later_by(HOP * 2, Delivery::ServerR(answer));
        }
    }

    fn open(&mut self, conn: ConnId, addr: SocketAddrV4, kind: Kind) {
        let Some(name) = self.name_at(addr) else { return };
        let host = &self.hosts[name];
        let process = if kind == Kind::Control { host.daemon } else { host.session };
        self.conns.insert(conn, (name, kind));
        let delivery = match (process, kind) {
            (Proc::Stopped, _) => return,
            (Proc::Runs, Kind::Control) if host.out_of_reach => return,
            (Proc::Runs, Kind::Control) if host.crowded => Delivery::Reached(conn),
            (Proc::Runs, Kind::Control) if host.is_stranger => {
                Delivery::Closed(conn, Fault::Tls("unknown issuer".to_owned()))
            }
            (Proc::Runs, Kind::Control) if host.is_busy => {
                Delivery::Closed(conn, Fault::Busy(Some(BusyReason::Address)))
            }
            (Proc::Runs, Kind::Control) => Delivery::Opened(conn),
            (Proc::Runs, Kind::Display) => Delivery::DisplayOpened(conn),
            (Proc::Dead, Kind::Control) => Delivery::Closed(conn, Fault::Refused),
            (Proc::Dead, Kind::Display) => Delivery::DisplayClosed(conn, Fault::Refused),
        };
        self.later_by(HOP * 2, delivery);
    }

    /// A host that had too many desks to serve comes to those that wait.
    pub(super) fn come_to_all(&mut self, name: &'static str) {
        self.host(name).crowded = false;
        let waiting: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, to)| **to == (name, Kind::Control))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in waiting {
            self.later_by(HOP, Delivery::Opened(conn));
        }
    }

    pub(super) fn on_line(&mut self, name: &'static str, conn: ConnId, line: Line) {
        let host = self.host(name);
        if host.deaf {
            return;
        }
        match host.daemon {
            Proc::Dead => return,
            Proc::Stopped => return host.backlog.push((conn, line)),
            Proc::Runs => {}
        }
        let message = FromDtu::from_line(&line).unwrap();
        host.said.push(message.clone());
        let reply = match message {
            FromDtu::InfoReq(info) => {
                host.asked.push(info.clone());
                let removal = info.event == proto::alp::Event::Remove;
                if removal { None } else { self.decide(name, &info) }
            }
            FromDtu::KeepAliveReq(_) => Some(FromHost::KeepAliveCnf.to_line()),
            _ => None,
        };
        if let Some(line) = reply {
            self.later_by(HOP * 2, Delivery::Line(conn, line));
        }
    }

    fn decide(&mut self, name: &'static str, info: &InfoReq) -> Option<Line> {
        let token_seq = info.token_seq.clone().unwrap();
        let refused = |notice: &str| ConnInf {
            token_seq: token_seq.clone(),
            access: Access::Denied,
            token: None,
            grant: None,
            notice: Some(notice.to_owned()),
        };
        let message = match self.hosts[name].policy.clone() {
            Policy::Mute => return None,
            Policy::Garble => return Some(Line::new("connInf").with("access", "allowed")),
            Policy::Deny(notice) => FromHost::ConnInf(Box::new(refused(notice))),
            Policy::Redirect(to) => FromHost::RedirectInf(RedirectInf {
                addr: self.hosts[to].addr,
                props: Some(format!("ticket-for-{to}")),
                host: Some(to.parse().unwrap()),
                token_seq: Some(token_seq),
            }),
            Policy::Grant(session) => FromHost::ConnInf(Box::new(self.grant(name, token_seq, session))),
        };
        Some(message.to_line())
    }

    fn grant(&mut self, name: &'static str, token_seq: TokenSeq, session: u128) -> ConnInf {
        let others = self.hosts.values().filter(|host| host.name.as_str() != name);
        let standbys = others.map(|h| Standby { host: h.name.clone(), addr: h.addr }).collect();
        let host = self.host(name);
        let display = Display {
            addr: host.addr,
            session: SessionId(session),
            service: "terminal".parse().unwrap(),
            ticket: Nonce(token_seq.to_string().parse().unwrap()),
            fp: [host.run; 32],
        };
        let second = Display { service: "second".parse().unwrap(), ..display.clone() };
        let displays: Vec<_> =
            [display].into_iter().chain(host.has_broken_second.then_some(second)).collect();
        let displays_total = displays.len();
        let (anchor, cookie) = (host.anchor(), host.cookie.clone());
        let grant = Grant { host: host.name.clone(), standbys, anchor, cookie, displays, displays_total };
        ConnInf { token_seq, access: Access::Allowed, token: None, grant: Some(grant), notice: None }
    }

    fn on_frame(&mut self, name: &'static str, conn: ConnId, frame: Frame) {
        if matches!(&frame, Frame::Hello(hello) if hello.service.as_str() == "second") {
            return self.later_by(HOP * 2, Delivery::DisplayClosed(conn, Fault::Closed));
        }
        for frame in self.host(name).on_frame(frame) {
            self.later_by(HOP * 2, Delivery::Frame(conn, frame));
        }
    }

    /// The session writes this.
    pub(super) fn print(&mut self, name: &'static str, text: &str) {
        let host = self.host(name);
        let offset = host.output.len() as u64;
        host.output.extend(text.as_bytes());
        self.send_display(name, Frame::Output { offset, bytes: text.as_bytes().to_vec() });
    }

    pub(super) fn send_display(&mut self, name: &'static str, frame: Frame) {
        for conn in self.conns_of(name, Kind::Display) {
            self.later(Delivery::Frame(conn, frame.clone()));
        }
    }

    pub(super) fn send_control(&mut self, name: &'static str, message: &FromHost) {
        for conn in self.conns_of(name, Kind::Control) {
            self.later(Delivery::Line(conn, message.to_line()));
        }
    }

    pub(super) fn conns_of(&self, name: &str, kind: Kind) -> Vec<ConnId> {
        let open = self.conns.iter().filter(|(_, (host, k))| *host == name && *k == kind);
        open.map(|(conn, _)| *conn).collect()
    }

    pub(super) fn close_all(&mut self, name: &'static str, kind: Kind) {
        for conn in self.conns_of(name, kind) {
            self.conns.remove(&conn);
            let fault = Fault::Closed;
            self.later(match kind {
                Kind::Control => Delivery::Closed(conn, fault),
                Kind::Display => Delivery::DisplayClosed(conn, fault),
            });
        }
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until the DTU is in `phase`; says how long that took.
    pub(super) fn until(&mut self, phase: Phase, ms_max: u64) -> Duration {
        let (start, end) = (self.now, self.now + Duration::from_millis(ms_max));
        while self.phase() != phase {
            assert!(self.step(end), "not {phase} within {ms_max} ms but {}: {:?}", self.phase(), self.events);
        }
        self.now.since(start)
    }

    /// The next thing that happens, if it does by `end`.
    fn step(&mut self, end: Instant) -> bool {
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        let next = [wire, self.dtu.poll_at(), Some(self.next_beacon)].into_iter().flatten().min().unwrap();
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        if self.next_beacon <= self.now {
            self.beacons();
        }
        let due: Vec<_> = self.wire.range(..=(self.now, u64::MAX)).map(|(key, _)| *key).collect();
        for key in due {
            let delivery = self.wire.remove(&key).unwrap();
            self.deliver(delivery);
        }
        if self.dtu.poll_at().is_some_and(|at| at <= self.now) {
            self.input(DtuInput::Timeout);
        }
        true
    }

    pub(super) fn beacons(&mut self) {
        self.next_beacon += INTERVAL;
        let by = HOP + self.delay;
        let speaking = self.hosts.values_mut().filter(|host| host.daemon == Proc::Runs);
        let beacons: Vec<_> = speaking.map(|host| (host.beacon(), *host.addr.ip(), host.beacons)).collect();
        for (beacon, from, reaches) in beacons {
            if reaches {
                self.later_by(by, Delivery::Beacon(beacon, from));
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let local = Ipv4Addr::new(10, 0, 0, 200);
        if let Delivery::Closed(conn, _) | Delivery::DisplayClosed(conn, _) = &delivery {
            self.conns.remove(conn);
        }
        match delivery {
            Delivery::Reached(conn) => self.input(DtuInput::ControlReached { conn }),
            Delivery::Opened(conn) => self.input(DtuInput::ControlOpened { conn, local }),
            Delivery::Line(conn, line) => self.input(DtuInput::ControlLine { conn, line: &line }),
            Delivery::Closed(conn, fault) => self.input(DtuInput::ControlClosed { conn, fault }),
            Delivery::DisplayOpened(conn) => self.input(DtuInput::DisplayOpened { conn }),
            Delivery::Frame(conn, frame) => self.input(DtuInput::DisplayFrame { conn, frame }),
            Delivery::DisplayClosed(conn, fault) => self.input(DtuInput::DisplayClosed { conn, fault }),
            Delivery::Beacon(beacon, from) => {
                self.input(DtuInput::Beacon { beacon: &beacon, from, at: self.now });
            }
            Delivery::ServerR(answer) => self.input(DtuInput::ServerR(&answer)),
        }
    }
}

pub(super) fn format_addr(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), proto::PORT)
}
