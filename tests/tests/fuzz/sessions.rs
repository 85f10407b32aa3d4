//! What a session's process can do to its daemon, and daemon, services and DTUs to the session's process.

use std::collections::{BTreeMap, BTreeSet};

use proto::frame::{Frame, FrameBuffer, Hello, Size};
use proto::time::Duration;
use proto::{Epoch, HostName, Instant, Last, Nonce, Serial, ServiceName, SessionId};
use sessiond::control::{Bytes, Exit, Fingerprint, FromSession, Message as _, SessionSpec, ToSession};
use sessiond::display::{BACKLOG_MAX, DisplayFeed, Extent};
use sessiond::manager::{Claim, NewSession, SessionEffect, SessionEvent, Sessions};
use sessiond::session::{self, ConnId, SessionCore};
use sessiond::template::{Command, Service, Template};

use crate::feed::Feed;

targets! {
    whatever_session_processes_say_there_are_only_the_sessions_that_were_made => processes;
    a_display_opens_with_its_ticket_and_once => tickets;
    input_is_applied_once_and_in_order_whatever_a_dtu_sends => display;
}

fn new_session(n: u8) -> NewSession {
    NewSession {
        id: SessionId(u128::from(n)),
        token: format!("card.{}", n % 3).parse().unwrap(),
        owner: "owner".into(),
        epoch: Epoch::default(),
        claim: Claim::Unclaimed,
        guest: None,
        account: None,
        machine_account: None,
        name: "default".into(),
        restore: None,
        // Some need no process, and run at once.
        template: if n < 3 {
            Template::default()
        } else {
            Template { services: Vec::new(), ..Template::default() }
        },
        size: Size::default(),
    }
}

/// Lets one thing happen to the sessions of a host. What processes say is taken from packets as they come.
fn happen(sessions: &mut Sessions, now: &mut Instant, feed: &mut Feed<'_>, out: &mut Vec<SessionEffect>) {
    let n = feed.u8() % 8;
    let id = SessionId(u128::from(n));
    match feed.u8() % 10 {
        0 if sessions.get(id).is_none() => drop(sessions.make(*now, new_session(n), out)),
        1 => sessions.on_spawned(*now, id, feed.u8().is_multiple_of(4), out),
        2 => sessions.on_spawn_failed(*now, id, "no".into(), out),
        3 => sessions.on_exited(*now, id, out),
        4 => {
            let (last, serial) = (Last(u64::from(feed.u16())), "080020abcdef".parse().unwrap());
            sessions.attach(id, last, Nonce(1), &serial, Size::default(), out);
        }
        5 => sessions.detach(id, out),
        6 => drop(sessions.end(*now, id, out)),
        7 => {
            *now += Duration::from_millis(u64::from(feed.u16()));
            sessions.on_timeout(*now, out);
        }
        _ => {
            let len = feed.below(1_200).min(feed.0.len());
            let (packet, rest) = feed.0.split_at(len);
            feed.0 = rest;
            if let Ok(said) = FromSession::decode(packet) {
                sessions.on_said(*now, id, said, out);
            }
        }
    }
}

fn processes(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let host: HostName = "a".parse().unwrap();
    let (mut sessions, mut now, mut out) = (Sessions::new(host, None), Instant::from_micros(1), Vec::new());
    let mut known: BTreeMap<SessionId, ()> = BTreeMap::new();
    while !feed.is_empty() {
        happen(&mut sessions, &mut now, &mut feed, &mut out);
        for effect in out.drain(..) {
            match effect {
                SessionEffect::Spawn(spec) => {
                    spec.check().unwrap();
                    known.insert(spec.session, ());
                }
                SessionEffect::Tell(_, message) => drop(message.encode().expect("it fits a packet")),
                SessionEffect::Event(SessionEvent::Ended { session, .. }) => drop(known.remove(&session)),
                SessionEffect::Event(_) | SessionEffect::Kill(_) => {}
            }
        }
        // Those that an earlier daemon made are there as soon as the spawner says so.
        let kept = sessions.iter().filter(|s| !known.contains_key(&s.id)).count();
        assert_eq!(sessions.len(), known.len() + kept);
        assert!(sessions.len() <= 8);
        for token in ["card.0", "card.1", "card.2"] {
            let of_token = sessions.of_token(&token.parse().unwrap());
            assert!(of_token.is_sorted_by_key(|s| core::cmp::Reverse(s.last)));
        }
    }
}

/// A session's process with two services; what its daemon says is taken from packets as they come.
fn tickets(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let names: [ServiceName; 3] = ["terminal", "mail", "none"].map(|name| name.parse().unwrap());
    let (serials, mut now) = (["080020000001", "080020000002"], Instant::from_micros(1));
    let mut out = Vec::new();
    let spec = spec(&names[..2]);
    let mut core = SessionCore::new(spec, 7, Nonce(1));
    core.begin(&mut out);
    core.ready(Fingerprint([3; 32]), &mut out);
    // The ticket that is good, for whom, and the services that were opened with it.
    let mut good: Option<(u8, u8, BTreeSet<ServiceName>)> = None;
    for conn in (0..).map(ConnId) {
        if feed.is_empty() {
            break;
        }
        let (ticket, whose, name) = (feed.u8() % 4, feed.u8() % 2, &names[feed.below(3)]);
        let serial: Serial = serials[usize::from(whose)].parse().unwrap();
        let older = ConnId(u64::from(feed.u8()));
        match feed.u8() % 11 {
            0 | 1 => {
                let size = Size::clamped(u16::from(feed.u8()), u16::from(feed.u8()));
                core.control(now, ToSession::Attach { ticket: Nonce(ticket.into()), serial, size }, &mut out);
                good = Some((ticket, whose, BTreeSet::new()));
            }
            2 => {
                core.control(now, ToSession::Detach, &mut out);
                good = None;
            }
            3 | 4 => {
                let hello = hello(ticket, serial, name.clone(), &mut feed);
                core.hello(now, conn, &hello, &mut out);
                let fits = good.as_mut().is_some_and(|(t, w, used)| {
                    (*t, *w) == (ticket, whose) && *name != names[2] && used.insert(name.clone())
                });
                assert!(fits || !core.is_open(conn), "opened without a ticket of its own");
            }
            5 => core.lost(older, &mut out),
            6 => core.started(name, u32::from(feed.u16()), &mut out),
            7 => core.exited(now, name, Exit::Status(i32::from(feed.u8())), &mut out),
            8 => {
                now += Duration::from_millis(u64::from(feed.u16()));
                core.on_timeout(now, &mut out);
            }
            9 => core.output(name, feed.bytes()),
            _ => {
                let (packet, mut buffer) = (feed.bytes(), FrameBuffer::default());
                buffer.push(packet);
                if let Ok(Some(frame)) = buffer.next_frame() {
                    core.frame(now, older, frame, &mut out);
                } else if let Ok(said) = ToSession::decode(packet)
                    && !matches!(said, ToSession::Attach { .. } | ToSession::Detach)
                {
                    core.control(now, said, &mut out);
                }
            }
        }
        for effect in out.drain(..) {
            if let session::Effect::Tell(said) = effect {
                said.encode().expect("what is said to the daemon fits a packet");
            }
        }
    }
}

fn spec(names: &[ServiceName]) -> SessionSpec {
    let service = |name: &ServiceName| Service {
        name: name.clone(),
        required: false,
        ..Service::terminal(Command::LoginShell)
    };
    SessionSpec {
        session: SessionId(5),
        token: "card.1".parse().unwrap(),
        host: "a".parse().unwrap(),
        account: None,
        named_by_registry: false,
        services: names.iter().map(service).collect(),
        size: Size::default(),
        continuity: Template::default().continuity,
        tools: None,
        meta: Bytes(Vec::new()),
    }
}

fn hello(ticket: u8, serial: Serial, service: ServiceName, feed: &mut Feed<'_>) -> Hello {
    Hello {
        ticket: Nonce(u128::from(ticket)),
        serial,
        service,
        run: Nonce(u128::from(feed.u8() % 3)),
        stream: Nonce(u128::from(feed.u8() % 3)),
        have: u64::from(feed.u16()),
        size: Size::clamped(u16::from(feed.u8()), u16::from(feed.u8())),
    }
}

/// A service, and the DTUs that come and go before it.
struct Theatre {
    feed: DisplayFeed,
    now: Instant,
    run: u128,
    /// What each run has sent, and how much of all input the service has got from it.
    sent: BTreeMap<u128, u64>,
    got: Vec<u8>,
    written: u64,
    /// Whether there is a DTU. What is sent without one goes nowhere.
    is_watched: bool,
}

/// What stands at a place of a run's input: so that whatever is applied twice, or out of its order, shows. No answer of
/// the terminal holds any of it.
fn typed(run: u128, at: u64) -> u8 {
    0x80 | (run as u8) << 5 | (at % 31) as u8
}

impl Theatre {
    fn hello(&mut self, choices: &mut Feed<'_>) {
        self.run = u128::from(choices.u8() % 3);
        let hello = hello(0, "080020abcdef".parse().unwrap(), "terminal".parse().unwrap(), choices);
        let hello = Hello { run: Nonce(self.run), ..hello };
        self.feed.attach(&hello, &mut Vec::new());
        self.is_watched = true;
    }

    /// Input from anywhere before what is due: the beginning has been sent before, the rest is new.
    fn input(&mut self, choices: &mut Feed<'_>) {
        if !self.is_watched {
            return;
        }
        let sent = self.sent.entry(self.run).or_default();
        let from = sent.saturating_sub(u64::from(choices.u8()));
        let until = from + u64::from(choices.u16()) % 9_000;
        let bytes = (from..until).map(|at| typed(self.run, at)).collect();
        if self.feed.frame(Frame::Input { seq: from, bytes }, &mut Vec::new()).is_ok() {
            *sent = (*sent).max(until);
        }
    }

    fn step(&mut self, choices: &mut Feed<'_>) {
        match choices.u8() % 9 {
            0 => self.hello(choices),
            1 | 2 => self.input(choices),
            3 => {
                let bytes = choices.bytes().repeat(1 + choices.below(60));
                self.feed.output(&bytes);
                self.written += bytes.len() as u64;
            }
            4 => {
                let ready = self.feed.input().to_vec();
                let taken = choices.below(ready.len() + 1);
                self.got.extend(&ready[..taken]);
                self.feed.input_taken(self.now, taken);
            }
            5 => self.pull(choices.below(70_000)),
            6 => {
                self.feed.detach();
                self.is_watched = false;
            }
            7 => self.now += Duration::from_millis(u64::from(choices.u8())),
            _ => {
                // Whatever else a DTU may send, as it is read from the wire.
                let mut buffer = FrameBuffer::default();
                buffer.push(choices.bytes());
                while let Ok(Some(frame)) = buffer.next_frame() {
                    // Input that is not in its place is refused, or is what was sent before; what is in its place
                    // would be of our making.
                    if !matches!(frame, Frame::Input { .. }) {
                        let _ = self.feed.frame(frame, &mut Vec::new());
                    }
                }
            }
        }
    }

    fn pull(&mut self, room: usize) {
        let mut out = Vec::new();
        let _ = self.feed.pull(self.now, room, &mut out);
        let (mut buffer, mut at) = (FrameBuffer::default(), None);
        buffer.push(&out);
        while let Some(frame) = buffer.next_frame().expect("the session sends frames") {
            match frame {
                Frame::Output { offset, bytes } => {
                    assert!(at.is_none_or(|at| at == offset), "output without a gap");
                    at = Some(offset + bytes.len() as u64);
                }
                Frame::Repaint { offset, .. } => at = Some(offset),
                Frame::Ack { input, .. } | Frame::Welcome { input_applied: input, .. } => {
                    assert!(input <= self.sent.get(&self.run).copied().unwrap_or(0));
                }
                _ => {}
            }
            assert!(at.is_none_or(|at| at <= self.written));
        }
        assert!(out.len() <= room + 2 * BACKLOG_MAX + 64 * 1024, "bounded, whatever was asked");
    }
}

fn display(bytes: &[u8]) {
    let mut choices = Feed(bytes);
    let mut theatre = Theatre {
        feed: DisplayFeed::new(Nonce(1), Extent::Cells(Size::default())),
        now: Instant::from_micros(1),
        run: 0,
        sent: BTreeMap::new(),
        got: Vec::new(),
        written: 0,
        is_watched: false,
    };
    theatre.hello(&mut choices);
    while !choices.is_empty() {
        theatre.step(&mut choices);
    }
    while !theatre.feed.input().is_empty() {
        let ready = theatre.feed.input().to_vec();
        theatre.got.extend(&ready);
        theatre.feed.input_taken(theatre.now, ready.len());
    }
    for (run, sent) in &theatre.sent {
        let of_run: Vec<u8> =
            theatre.got.iter().copied().filter(|b| u128::from(b >> 5) == 4 + *run).collect();
        let wanted: Vec<u8> = (0..*sent).map(|at| typed(*run, at)).collect();
        assert!(of_run == wanted, "run {run}: {} bytes arrived of {sent}", of_run.len());
    }
}
