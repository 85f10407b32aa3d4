//! Machines one by one: what each tells the others, and in which order.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use authmgr::Presentation;
use proto::alp::Cause;
use proto::frame::Size;
use proto::keys::{GroupKey, KeyRing};
use proto::net::Interface;
use proto::{BootId, Epoch, Last, MachineId, SessionId, Token};
use sessiond::manager::{Claim, NewSession};
use sessiond::template::Template;

use super::admin::Reply;
use super::step::{
    Asker, Attach, Judgement, PresentationId, Taken, ToAttachments, ToConnections, ToPresentations,
    ToSessions,
};
use super::*;
use crate::announce::Identity;
use crate::directory::Ask;
use crate::reach::Dtu;
use crate::topology::Change;

const DTU: Dtu = Dtu { addr: std::net::Ipv4Addr::new(10, 0, 0, 9), plain: false };

struct Bench {
    config: HostConfig,
    machines: Machines,
    queue: VecDeque<Step>,
    effects: Vec<Effect>,
    counters: Counters,
}

impl Bench {
    fn new(sessions_max: usize) -> Self {
        let identity = Identity::new("a".parse().unwrap(), BootId(1), MachineId(1));
        let identity = Identity { cpus: 2, chain_len: 64, ..identity };
        let ring = KeyRing::new(GroupKey::new(&[1; 32]).unwrap(), Vec::new());
        let config = HostConfig { sessions_max, ..HostConfig::new(identity, ring) };
        let machines = Machines::new(&env(&config), [7; 32]);
        let (queue, effects, counters) = (VecDeque::new(), Vec::new(), Counters::default());
        Self { config, machines, queue, effects, counters }
    }

    /// Delivers one step. Returns what it makes its machine tell others, by receiver and variant.
    fn tell(&mut self, step: impl Into<Step>) -> Vec<String> {
        let step = step.into();
        let mut out = Out {
            from: step.receiver(),
            queue: &mut self.queue,
            effects: &mut self.effects,
            counters: &mut self.counters,
        };
        deliver(env(&self.config), &mut self.machines, step, &mut out);
        self.queue.iter().map(name).collect()
    }

    /// Delivers one step and all that follow.
    fn run(&mut self, step: impl Into<Step>) {
        self.queue.push_back(step.into());
        while let Some(step) = self.queue.pop_front() {
            let rest = core::mem::take(&mut self.queue);
            self.tell(step);
            let emitted = core::mem::replace(&mut self.queue, rest);
            self.queue.extend(emitted);
        }
    }

    /// A session of `token` that runs: without services it needs no process.
    fn session(&mut self, id: u128, token: &str) -> SessionId {
        self.run(ToSessions::Make { asker: Asker::Operator(AdminReq(0)), new: Box::new(new(id, token)) });
        SessionId(id)
    }

    fn replies(&mut self) -> Vec<Reply> {
        let reply = |effect| match effect {
            Effect::Answer { reply, .. } => Some(*reply),
            _ => None,
        };
        self.effects.drain(..).filter_map(reply).collect()
    }
}

fn env(config: &HostConfig) -> Env<'_> {
    Env { now: Instant::from_micros(1_000_000), wall: WallTime::from_secs(1_000_000), config }
}

fn name(step: &Step) -> String {
    if let Step::Connections(ToConnections::Order { conn, order }) = step {
        let order = format!("{order:?}");
        let kind: String = order.chars().take_while(|c| c.is_alphanumeric()).collect();
        return format!("Connections {kind} at {}", conn.0);
    }
    let text = format!("{step:?}");
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).take(2).collect();
    words.join(" ")
}

fn new(id: u128, token: &str) -> NewSession {
    NewSession {
        id: SessionId(id),
        token: token.parse().unwrap(),
        owner: "user/ann/".into(),
        epoch: Epoch::default(),
        claim: Claim::Held,
        guest: None,
        account: None,
        machine_account: None,
        name: "default".into(),
        restore: None,
        template: Template { services: Vec::new(), ..Template::default() },
        size: Size::default(),
    }
}

fn attach(conn: u64, session: SessionId) -> ToAttachments {
    ToAttachments::Attach(Box::new(Attach {
        conn: ConnId(conn),
        token_seq: 1,
        session,
        serial: "080020abcdef".parse().unwrap(),
        dtu: DTU,
        size: Size::default(),
        last_heard: Last::default(),
    }))
}

fn presented(conn: u64, token: &str) -> ToPresentations {
    let presentation = Box::new(Presentation {
        token_seq: 1,
        token: token.parse().unwrap(),
        serial: "080020abcdef".parse().unwrap(),
        key: None,
        addr: DTU.addr,
        real_ip: None,
        cause: Cause::Insert,
        ticket: None,
        size: Size::default(),
        avoid: None,
    });
    ToPresentations::Presented { conn: ConnId(conn), dtu: DTU, presentation }
}

#[test]
fn whoever_shows_a_session_lets_go_before_it_is_shown_anew_and_its_claim_is_looked_at_last() {
    let mut bench = Bench::new(0);
    let session = bench.session(1, "card.ann");
    let first = ["Sessions Attach", "Connections Grant at 1", "Claims Shown"];
    assert_eq!(bench.tell(attach(1, session)), first);
    // Not even what was told a moment ago is looked up in the table of sessions, which does not show it yet.
    let then =
        ["Connections Disconnect at 1", "Sessions Detach", "Sessions Attach", "Connections Grant at 2"];
    assert_eq!(bench.tell(attach(2, session))[3..], [&then[..], &["Claims Shown"]].concat());
}

#[test]
fn a_session_is_connected_later_than_all_that_was_announced_of_its_token_before_it_was_made() {
    let mut bench = Bench::new(0);
    let kid = bench.config.ring.signing();
    let tag = bench.config.ring.tag(kid, &"card.ann".parse().unwrap()).unwrap();
    // A little ahead of this host's clock.
    let announced = Last(1_000_000_000 + 5_000);
    let (host, tokens) = ("b".parse().unwrap(), vec![(tag, announced)]);
    bench.run(ToAttachments::ShownAt { host, tagged: kid, tokens });
    let session = bench.session(1, "card.ann");
    bench.tell(attach(1, session));
    let Some(Step::Sessions(ToSessions::Attach { last, .. })) = bench.queue.pop_front() else { panic!() };
    assert!(last > announced, "{last:?}");
}

#[test]
fn another_session_of_the_token_at_the_same_desk_takes_the_place_of_the_first() {
    let mut bench = Bench::new(0);
    let (one, two) = (bench.session(1, "card.ann"), bench.session(2, "card.ann"));
    bench.tell(attach(1, one));
    let shown = bench.queue.pop_front().unwrap();
    bench.queue.clear();
    bench.run(shown);
    assert!(bench.machines.sessions.all().get(one).unwrap().shown.is_some());
    let told = ["Sessions Detach", "Sessions Attach", "Connections Grant at 1", "Claims Shown"];
    assert_eq!(bench.tell(attach(1, two)), told);
    assert_eq!(bench.machines.attachments.shown_at(ConnId(1)), Some(two));
}

#[test]
fn a_session_that_was_granted_to_nobody_is_not_shown() {
    let mut bench = Bench::new(0);
    let session = bench.session(1, "card.ann");
    bench.run(attach(7, session));
    assert_eq!(bench.machines.attachments.len(), 0, "there is no such connection");
    assert!(bench.machines.sessions.all().get(session).unwrap().shown.is_none());
}

#[test]
fn of_two_sessions_that_are_ordered_at_once_only_as_many_are_made_as_there_is_room() {
    let mut bench = Bench::new(1);
    for id in [1, 2] {
        let new = Box::new(new(id, "card.ann"));
        bench.queue.push_back(ToSessions::Make { asker: Asker::Operator(AdminReq(0)), new }.into());
    }
    bench.run(ToSessions::Due);
    let replies = bench.replies();
    assert!(matches!(replies[..], [Reply::Made(SessionId(1)), Reply::Refused(_)]), "{replies:?}");
}

#[test]
fn a_session_that_there_is_no_room_for_gives_its_record_and_its_claim_back() {
    let mut bench = Bench::new(1);
    bench.session(1, "card.bob");
    let id = PresentationId { conn: ConnId(1), number: 1 };
    let make = ToSessions::Make { asker: Asker::Presentation(id), new: Box::new(new(2, "card.ann")) };
    assert_eq!(bench.tell(make), ["Presentations NotMade"]);
    let Some(Step::Presentations(not_made)) = bench.queue.pop_front() else { panic!() };
    assert_eq!(bench.tell(not_made), ["Records GaveUp", "Claims Release"]);
}

#[test]
fn a_token_that_was_removed_is_not_presented_again() {
    let mut bench = Bench::new(0);
    let token: Token = "card.ann".parse().unwrap();
    let again = || ToPresentations::Again { req: AdminReq(1), token: token.clone() };
    bench.run(presented(1, "card.ann"));
    bench.run(again());
    bench.run(ToPresentations::Removed { conn: ConnId(1) });
    bench.run(again());
    let replies = bench.replies();
    assert!(matches!(replies[..], [Reply::At(1), Reply::At(0)]), "{replies:?}");
}

#[test]
fn an_answer_for_a_decision_that_is_over_is_nobodys_and_a_claim_made_for_it_is_given_back() {
    let mut bench = Bench::new(0);
    bench.tell(presented(1, "card.ann"));
    // The same token, presented again at the same desk: it is decided anew.
    bench.tell(presented(1, "card.ann"));
    bench.queue.clear();
    let id = PresentationId { conn: ConnId(1), number: 1 };
    let judgement =
        || Box::new(Judgement::Admit(authmgr::Admitted::unregistered(&"card.ann".parse().unwrap())));
    assert_eq!(bench.tell(ToPresentations::Verdict { id, judgement: judgement() }), [""; 0]);
    let (token, session, epoch) = ("card.ann".parse().unwrap(), SessionId(1), Epoch::default());
    let taken = ToPresentations::Taken { id, token, session, epoch, is_heir: false, result: Taken::Won };
    assert_eq!(bench.tell(taken), ["Claims Release", "Records GaveUp"]);
    bench.queue.clear();
    let id = PresentationId { number: 2, ..id };
    assert_eq!(bench.tell(ToPresentations::Verdict { id, judgement: judgement() }), ["Directory Look"]);
}

#[test]
fn an_answer_of_the_store_is_known_to_all_before_anybody_goes_on_with_it() {
    let mut host = Host::new(Instant::from_micros(1), Bench::new(0).config, [1; 32]);
    let outcome = Err(datastore::StoreError::Unreachable { at: "-".into(), why: "-".into() });
    let req = StoreReq { port: Port::Claims, seq: 1 };
    host.take(
        Instant::from_micros(2),
        WallTime::from_secs(1),
        Input::Store { req, outcome },
        &mut Vec::new(),
    );
    let steps: Vec<String> = host.queue.iter().map(name).collect();
    assert_eq!(steps, ["Store Answered", "Claims Stored"]);
}

/// When the first of three hosts calls the third one silent, which says nothing more after two seconds. What comes to a
/// host is handed to it every `gather` milliseconds, and before it is called in time.
fn called_silent_at(gather: u64) -> Vec<Instant> {
    let ip = |n: usize| Ipv4Addr::new(10, 0, 0, n as u8 + 1);
    let interface = |n| Interface {
        name: "eth0".parse().unwrap(),
        ip: ip(n),
        mask: [255, 255, 255, 0].into(),
        bcast: [10, 0, 0, 255].into(),
    };
    let (mut silent, mut waiting) = (Vec::new(), [const { Vec::new() }; 3]);
    let mut hosts: Vec<Host> = (0..3)
        .map(|n| {
            let mut config = Bench::new(0).config;
            config.identity.host = ["a", "b", "c"][n].parse().unwrap();
            config.identity.boot = BootId(n as u64);
            Host::new(Instant::ZERO, config, [n as u8; 32])
        })
        .collect();
    for ms in 0..3_000 {
        let now = Instant::from_micros(ms * 1_000);
        let alive = if ms < 2_000 { 3 } else { 2 };
        for (n, host) in hosts.iter_mut().enumerate().take(alive) {
            let is_due = host.poll_at().is_some_and(|at| at <= now);
            let datagrams = if is_due || ms % gather == 0 { std::mem::take(&mut waiting[n]) } else { vec![] };
            let mut inputs = vec![Input::Datagrams { iface: "eth0".parse().unwrap(), datagrams }];
            inputs.extend((ms == 0).then(|| Input::Interfaces(vec![interface(n)])));
            inputs.extend(is_due.then_some(Input::Timeout));
            let mut effects = Vec::new();
            inputs.into_iter().for_each(|i| host.handle(now, WallTime::from_secs(9), i, &mut effects));
            for effect in effects {
                let (to, bytes) = match effect {
                    Effect::Broadcast(said) => (0..3, said.bytes),
                    Effect::Datagram { to, bytes, .. } | Effect::Ask(Ask { to, bytes }) => {
                        let to = usize::from(to.ip().octets()[3]) - 1;
                        (to..to + 1, bytes)
                    }
                    Effect::Note(Note::Host(Change::Silent(_))) if n == 0 => {
                        silent.push(now);
                        continue;
                    }
                    _ => continue,
                };
                let from = SocketAddrV4::new(ip(n), proto::PORT);
                to.for_each(|to| waiting[to].push(Datagram { at: now, from, bytes: bytes.clone() }));
            }
        }
    }
    silent
}

#[test]
fn a_host_whose_beacons_were_let_wait_is_called_silent_no_sooner_and_no_later() {
    let at_once = called_silent_at(1);
    assert_eq!(at_once.len(), 1, "{at_once:?}");
    for gather in [7, 10, 40] {
        assert_eq!(called_silent_at(gather), at_once, "read every {gather} ms");
    }
}
