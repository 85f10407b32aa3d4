//! Desks: the real DTU machine with a screen, or a hand that types the session protocol itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use dtu_emu::dtu::{Config, ConnId, DisplayTarget, Dtu, DtuInput, Effect, Fault, Paint, Shows};
use proto::beacon::Beacon;
use proto::card::Card;
use proto::discovery::{ServerQ, ServerR};
use proto::frame::Frame;
use proto::line::Line;
use proto::{DtuKey, SessionId};
use terminal::Terminal;

use super::parts::desk::{Brain, Desk, DeskId, DeskPlan, Key, ToDesk};
use super::parts::observation::Observation;
use super::parts::tcp::{Conn, ConnKey, Kind, Seg, Side};
use super::parts::udp::Datagram;
use super::wire::{LanId, Node};
use super::{Event, World};

/// Events of a desk that are kept.
const EVENTS_MAX: usize = 4_000;

/// The key of a desk that has one of its own: no other's, and none that a plan can name.
fn own_key(desk: usize) -> DtuKey {
    let mut key = [0xff; 32];
    key[..8].copy_from_slice(&desk.to_be_bytes());
    DtuKey(key)
}

impl World {
    /// Adds a desk and switches it on.
    pub fn add_desk(&mut self, plan: DeskPlan) -> DeskId {
        let number = self.desks.len();
        let serial = plan.serial.clone().unwrap_or_else(|| format!("02{number:010x}"));
        let servers = plan.servers.iter().map(|host| {
            let cables = &self.machines[self.host_number(host)].cables;
            let near = cables.iter().find(|cable| plan.lans.contains(&self.wire.cable(**cable).lan));
            SocketAddrV4::new(self.wire.cable(*near.unwrap_or(&cables[0])).ip, proto::PORT)
        });
        let servers: Vec<SocketAddrV4> = servers.collect();
        let config = Config {
            servers,
            shows: plan.shows,
            size: plan.size,
            timing: plan.timing,
            ..Config::new(self.parsed(&serial), self.dice.seed())
        };
        let screen = (plan.shows == Shows::Display).then(|| Terminal::new(plan.size));
        let desk = self.put_desk(&plan.name, &plan.lans, Brain::Dtu(Box::new(Dtu::new(config))), screen);
        self.desks[number].key = match plan.key {
            Key::Own => Some(own_key(number)),
            Key::None => None,
            Key::Number(n) => Some(DtuKey([n; 32])),
        };
        if let Some(token) = &plan.card {
            self.insert(desk, token);
        }
        if !plan.is_off {
            self.switch_on(desk);
        }
        desk
    }

    pub(super) fn put_desk(
        &mut self,
        name: &str,
        lans: &[LanId],
        brain: Brain,
        screen: Option<Terminal>,
    ) -> DeskId {
        let number = self.desks.len();
        let cables = lans.iter().enumerate().map(|(n, lan)| self.plug_in(Node::Desk(number), n, *lan));
        let cables = cables.collect();
        self.desks.push(Desk {
            name: name.to_owned(),
            brain,
            cables,
            conns: BTreeMap::new(),
            wake: None,
            is_asleep: false,
            hears_broadcasts: true,
            hears_from_elsewhere: false,
            is_plain: false,
            key: None,
            held: VecDeque::new(),
            screen,
            notice: None,
            events: VecDeque::new(),
            seen: None,
        });
        DeskId(number)
    }

    /// Switches a desk on.
    pub fn switch_on(&mut self, desk: DeskId) {
        self.give(desk.0, DtuInput::Boot);
    }

    /// Puts a card in that is presented as `token`.
    pub fn insert(&mut self, desk: DeskId, token: &str) {
        let card = Card::new(self.parsed(token), None);
        match card {
            Ok(card) => self.insert_card(desk, card),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Puts this card in.
    pub fn insert_card(&mut self, desk: DeskId, card: Card) {
        self.history.tell(self.now, || format!("{}: card {} put in", self.desks[desk.0].name, card.token()));
        self.give(desk.0, DtuInput::CardInserted(card));
    }

    /// Takes the card out.
    pub fn remove(&mut self, desk: DeskId) {
        self.history.tell(self.now, || format!("{}: card taken out", self.desks[desk.0].name));
        self.give(desk.0, DtuInput::CardRemoved);
    }

    /// Wants to see the next display of the session.
    pub fn flip(&mut self, desk: DeskId) {
        self.history.tell(self.now, || format!("{}: flips", self.desks[desk.0].name));
        self.give(desk.0, DtuInput::Flip);
    }

    /// Types a line and Enter.
    pub fn type_line(&mut self, desk: DeskId, line: &str) {
        self.type_keys(desk, &format!("{line}\r"));
    }

    /// Types, and nothing else.
    pub fn type_keys(&mut self, desk: DeskId, text: &str) {
        self.history.tell(self.now, || format!("{}: types {text:?}", self.desks[desk.0].name));
        self.give(desk.0, DtuInput::Typed(text.as_bytes()));
    }

    /// The desk is not run for a while, as when its machine is busy.
    pub fn put_to_sleep(&mut self, desk: DeskId) {
        self.desks[desk.0].is_asleep = true;
    }

    /// It runs on.
    pub fn wake_up(&mut self, desk: DeskId) {
        self.desks[desk.0].is_asleep = false;
        for what in core::mem::take(&mut self.desks[desk.0].held) {
            self.reach_desk(desk.0, what);
        }
        self.on_desk_due(desk.0);
    }

    pub(super) fn desk_hears_beacon(&mut self, desk: usize, beacon: &Beacon, from: Ipv4Addr) {
        if !self.desks[desk].hears_broadcasts {
            return;
        }
        let from = if self.desks[desk].hears_from_elsewhere { Ipv4Addr::new(192, 0, 2, 1) } else { from };
        if self.desks[desk].is_asleep {
            self.desks[desk].held.push_back(ToDesk::Beacon(Box::new(beacon.clone()), from));
        } else {
            self.give(desk, DtuInput::Beacon { beacon, from, at: self.now });
        }
    }

    pub(super) fn desk_hears(&mut self, desk: usize, datagram: Datagram) {
        self.reach_desk(desk, ToDesk::Datagram(datagram));
    }

    pub(super) fn seg_to_desk(&mut self, desk: usize, key: ConnKey, seg: Seg) {
        self.reach_desk(desk, ToDesk::Seg(key, seg));
    }

    fn reach_desk(&mut self, desk: usize, what: ToDesk) {
        if self.desks[desk].is_asleep {
            self.desks[desk].held.push_back(what);
            return;
        }
        match what {
            ToDesk::Beacon(beacon, from) => {
                self.give(desk, DtuInput::Beacon { beacon: &beacon, from, at: self.now });
            }
            ToDesk::Datagram(datagram) => {
                if let Some(beacon) = super::udp::read_beacon(&datagram.bytes) {
                    self.give(
                        desk,
                        DtuInput::Beacon { beacon: &beacon, from: *datagram.from.ip(), at: self.now },
                    );
                } else if let Ok(line) = Line::parse(&datagram.bytes)
                    && let Ok(answer) = ServerR::from_line(&line)
                {
                    self.give(desk, DtuInput::ServerR(&answer));
                }
            }
            ToDesk::Seg(key, seg) => self.desk_takes_seg(desk, key, seg),
        }
    }

    fn desk_takes_seg(&mut self, desk: usize, key: ConnKey, seg: Seg) {
        let Some(conn) = self.conns.get_mut(&key).filter(|conn| conn.is_wanted) else { return };
        let (id, kind, near) = (ConnId(conn.number), conn.kind, conn.near);
        conn.is_opened |= matches!(seg, Seg::HelloBack(_));
        match (seg, kind) {
            (Seg::SynAck, _) => self.transmit(key, Side::Host, Seg::Hello),
            (Seg::HelloBack(_), Kind::Control) => {
                let local = self.wire.cable(near).ip;
                self.give(desk, DtuInput::ControlOpened { conn: id, local });
            }
            (Seg::HelloBack(fp), Kind::Display(target)) if fp == target.fp => {
                self.give(desk, DtuInput::DisplayOpened { conn: id });
            }
            (Seg::HelloBack(_), Kind::Display(_)) => {
                self.close_from_desk(desk, id);
                let fault = Fault::Tls("another certificate than connInf told".into());
                self.give(desk, DtuInput::DisplayClosed { conn: id, fault });
            }
            (Seg::Data(bytes), Kind::Control) => {
                let mut lines = Vec::new();
                conn.desk_lines.push(&bytes, |line| lines.extend(line.ok()));
                for line in lines {
                    self.give(desk, DtuInput::ControlLine { conn: id, line: &line });
                }
            }
            (Seg::Data(bytes), Kind::Display(_)) => self.frames_come(desk, key, &bytes),
            (Seg::Refused, kind) => self.end_at_desk(desk, key, kind, Fault::Refused),
            (Seg::Fin | Seg::Rst, kind) => self.end_at_desk(desk, key, kind, Fault::Closed),
            (Seg::Syn | Seg::Hello, _) => {}
        }
    }

    fn frames_come(&mut self, desk: usize, key: ConnKey, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let id = ConnId(conn.number);
        conn.desk_frames.push(bytes);
        while let Some(conn) = self.conns.get_mut(&key).filter(|conn| conn.is_wanted)
            && let Ok(Some(frame)) = conn.desk_frames.next_frame()
        {
            self.give(desk, DtuInput::DisplayFrame { conn: id, frame });
        }
    }

    pub(super) fn end_at_desk(&mut self, desk: usize, key: ConnKey, kind: Kind, fault: Fault) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        conn.is_wanted = false;
        let number = conn.number;
        self.desks[desk].conns.remove(&number);
        self.transmit(key, Side::Host, Seg::Fin);
        let conn = ConnId(number);
        let input = match kind {
            Kind::Control => DtuInput::ControlClosed { conn, fault },
            Kind::Display(_) => DtuInput::DisplayClosed { conn, fault },
        };
        self.give(desk, input);
    }

    /// Hands an input to the desk and does what it says.
    pub(super) fn give(&mut self, desk: usize, input: DtuInput<'_>) {
        let now = self.now;
        let mut out = Vec::new();
        match &mut self.desks[desk].brain {
            Brain::Dtu(dtu) => dtu.handle(now, input, &mut out),
            Brain::Hand { heard, is_open } => match input {
                DtuInput::ControlLine { line, .. } => heard.push(line.clone()),
                DtuInput::ControlOpened { .. } => *is_open = true,
                DtuInput::ControlClosed { .. } => *is_open = false,
                _ => {}
            },
        }
        let has_acted = !out.is_empty();
        for effect in out {
            self.perform_at_desk(desk, effect);
        }
        if has_acted {
            self.saw_screen(desk);
        }
        self.rearm_desk(desk);
    }

    fn rearm_desk(&mut self, number: usize) {
        let desk = &mut self.desks[number];
        let due = match &desk.brain {
            Brain::Dtu(dtu) if !desk.is_asleep => dtu.poll_at(),
            _ => None,
        };
        let Some(due) = due.map(|at| at.max(self.now)) else { return };
        if desk.wake.is_none_or(|wake| wake > due) {
            desk.wake = Some(due);
            self.queue.put(due, Event::DeskDue { desk: number });
        }
    }

    pub(super) fn on_desk_due(&mut self, number: usize) {
        let now = self.now;
        let desk = &mut self.desks[number];
        desk.wake.take_if(|at| *at <= now);
        if desk.is_asleep {
            return;
        }
        let is_due = desk.dtu().and_then(Dtu::poll_at).is_some_and(|at| at <= now);
        if is_due {
            self.give(number, DtuInput::Timeout);
        } else {
            self.rearm_desk(number);
        }
    }

    fn perform_at_desk(&mut self, desk: usize, effect: Effect) {
        match effect {
            Effect::BroadcastServerQ => self.ask_for_servers(desk),
            Effect::OpenControl { conn, addr } => self.open(desk, conn.0, addr, Kind::Control),
            Effect::OpenDisplay { conn, target } => {
                self.open(desk, conn.0, target.addr, Kind::Display(target));
            }
            Effect::SendControl { conn, line } => {
                self.send_from_desk(desk, conn, format!("{line}\n").into_bytes());
            }
            Effect::SendDisplay { conn, frame } => {
                let mut bytes = Vec::new();
                Frame::emit(&frame, &mut bytes);
                self.send_from_desk(desk, conn, bytes);
            }
            Effect::CloseControl { conn } | Effect::CloseDisplay { conn } => self.close_from_desk(desk, conn),
            Effect::Paint(paint) => self.paint(desk, paint),
            Effect::Report(event) => {
                self.history.tell(self.now, || format!("{}: {event:?}", self.desks[desk].name));
                self.observe(|_| Some(Observation::Says { desk: DeskId(desk), event: event.clone() }));
                let events = &mut self.desks[desk].events;
                if events.len() == EVENTS_MAX {
                    events.pop_front();
                }
                events.push_back((self.now, event));
            }
        }
    }

    fn ask_for_servers(&mut self, desk: usize) {
        for n in 0..self.desks[desk].cables.len() {
            let cable = self.desks[desk].cables[n];
            let Some(sn) = self.desks[desk].dtu().map(|dtu| dtu.serial().clone()) else { return };
            let question = ServerQ { sn, ip: self.wire.cable(cable).ip };
            self.broadcast(cable, question.to_line().to_string().into_bytes().into());
        }
    }

    /// Begins to open a connection. Where no way leads, nothing answers.
    pub(super) fn open(&mut self, desk: usize, number: u64, addr: SocketAddrV4, kind: Kind) {
        let Some((near, far)) = self.wire.route(&self.desks[desk].cables, *addr.ip()) else { return };
        let Node::Host(host) = self.wire.cable(far).node else { return };
        self.next_conn += 1;
        let key = ConnKey(self.next_conn);
        let mut conn = Conn::new(desk, number, kind, host, (near, far), *addr.ip());
        conn.is_plain = self.desks[desk].is_plain;
        conn.key = self.desks[desk].key.filter(|_| !conn.is_plain);
        self.conns.insert(key, conn);
        self.desks[desk].conns.insert(number, key);
        self.transmit(key, Side::Host, Seg::Syn);
    }

    pub(super) fn send_from_desk(&mut self, desk: usize, conn: ConnId, bytes: Vec<u8>) {
        if let Some(key) = self.desks[desk].conns.get(&conn.0).copied() {
            self.saw_desk_say(desk, key, &bytes);
            self.transmit(key, Side::Host, Seg::Data(bytes));
            self.watch_sent(key);
        }
    }

    pub(super) fn close_from_desk(&mut self, desk: usize, conn: ConnId) {
        let Some(key) = self.desks[desk].conns.remove(&conn.0) else { return };
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.is_wanted = false;
        }
        self.transmit(key, Side::Host, Seg::Fin);
    }

    fn paint(&mut self, desk: usize, paint: Paint) {
        let desk = &mut self.desks[desk];
        match paint {
            Paint::Notice(notice) => desk.notice = notice.map(|notice| notice.text),
            Paint::Bytes(bytes) => {
                if let Some(screen) = &mut desk.screen {
                    screen.feed(&bytes);
                }
            }
            Paint::Repaint { size, bytes } => {
                if let Some(screen) = &mut desk.screen {
                    *screen = Terminal::new(size);
                    screen.feed(&bytes);
                }
            }
            Paint::Clear => {
                if let Some(screen) = &mut desk.screen {
                    *screen = Terminal::new(screen.size());
                }
            }
        }
    }

    /// Opens a display by hand: for whoever has seen a connInf that was not meant for it.
    pub fn open_display_by_hand(
        &mut self,
        desk: DeskId,
        number: u64,
        addr: SocketAddrV4,
        session: SessionId,
    ) {
        let target = DisplayTarget { addr, session, fp: [0; 32] };
        self.open(desk.0, number, addr, Kind::Display(target));
    }
}
