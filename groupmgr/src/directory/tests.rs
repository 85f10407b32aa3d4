use proto::keys::GroupKey;
use proto::line::Line;
use proto::{Epoch, Last, SessionId};

use super::*;
use crate::reach::Choice;

struct Rig {
    directory: Directory,
    ring: KeyRing,
    entropy: SecretRng,
    asks: Vec<Ask>,
    found: Vec<Found>,
}

fn ms(n: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(n)
}

fn target(n: u8) -> Target {
    let addr = SocketAddrV4::new([10, 0, 0, n].into(), 7009);
    let host = format!("h{n}").parse().unwrap();
    Target {
        reach: Reachable { host, boot: BootId(u64::from(n)), addr, choice: Choice::First },
        ask_at: addr,
    }
}

fn reply(nonce: Nonce, sessions: Vec<SessionNote>) -> TokenReply {
    TokenReply { nonce, grant: GrantId(1), load: None, sessions, keeps: false }
}

impl Rig {
    fn new() -> Self {
        Self {
            directory: Directory::new("h0".parse().unwrap(), BootId(0)),
            ring: KeyRing::new(GroupKey::new(&[1; 32]).unwrap(), Vec::new()),
            entropy: SecretRng::new([2; 32]),
            asks: Vec::new(),
            found: Vec::new(),
        }
    }

    fn ask(&mut self, now: Instant, hosts: &[u8]) -> LookupId {
        let token = "card.1".parse().unwrap();
        let targets = hosts.iter().map(|n| target(*n)).collect();
        let mut out = Outbox { asks: &mut self.asks, found: &mut self.found };
        self.directory.ask(now, &self.ring, &mut self.entropy, &token, targets, &mut out).unwrap()
    }

    /// The nonce of the newest question.
    fn nonce(&self) -> Nonce {
        let bytes = &self.asks.last().unwrap().bytes;
        let line: Line = self.ring.open(Purpose::Peer, bytes).unwrap().into_inner();
        match PeerMessage::from_line(&line).unwrap().body {
            PeerBody::TokenQ { nonce, .. } => nonce,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, n: u8, nonce: Nonce, sessions: Vec<SessionNote>) -> bool {
        self.answer_at(ms(0), n, nonce, sessions)
    }

    fn answer_at(&mut self, now: Instant, n: u8, nonce: Nonce, sessions: Vec<SessionNote>) -> bool {
        let mut out = Outbox { asks: &mut self.asks, found: &mut self.found };
        let host = format!("h{n}").parse().unwrap();
        self.directory.on_answer(now, &host, BootId(u64::from(n)), reply(nonce, sessions), &mut out)
    }

    fn timeout(&mut self, now: Instant) {
        let mut out = Outbox { asks: &mut self.asks, found: &mut self.found };
        self.directory.on_timeout(now, &self.ring, &mut self.entropy, &mut out);
    }

    fn refused(&mut self, n: u8) -> BTreeSet<HostName> {
        let mut out = Outbox { asks: &mut self.asks, found: &mut self.found };
        self.directory.on_refused(target(n).ask_at, &mut out)
    }
}

fn note(session: u128, last: u64) -> SessionNote {
    SessionNote { session: SessionId(session), epoch: Epoch::default(), last: Last(last) }
}

#[test]
fn a_lookup_ends_with_the_last_answer() {
    let mut rig = Rig::new();
    let id = rig.ask(ms(0), &[1, 2]);
    let nonce = rig.nonce();
    assert!(rig.answer(1, nonce, vec![note(5, 9)]));
    assert!(rig.found.is_empty());
    assert!(rig.answer(2, nonce, vec![]));
    assert_eq!((rig.found.len(), rig.found[0].id, rig.found[0].answers.len()), (1, id, 2));
    assert_eq!(rig.directory.poll_at(), None);
}

#[test]
fn nobody_to_ask_is_an_answer_at_once() {
    let mut rig = Rig::new();
    rig.ask(ms(0), &[]);
    assert_eq!(rig.found.len(), 1);
}

#[test]
fn a_question_is_sent_again_at_10_30_and_80_ms_and_given_up_at_150() {
    let mut rig = Rig::new();
    rig.ask(ms(0), &[1]);
    let mut at = Vec::new();
    while rig.found.is_empty() {
        let due = rig.directory.poll_at().unwrap();
        at.push(due.as_micros() / 1_000);
        rig.timeout(due);
    }
    assert_eq!((at, rig.asks.len()), (vec![10, 30, 80, 150], 4));
    assert!(rig.found[0].mute.contains(&"h1".parse().unwrap()));
}

#[test]
fn a_question_is_sent_again_to_a_host_that_is_silent_or_has_answered_a_later_one_and_not_to_one_that_is_behind()
 {
    let mut rig = Rig::new();
    let nonces: Vec<Nonce> = (0..3).map(|n| (rig.ask(ms(n), &[1]), rig.nonce()).1).collect();
    let answer = |rig: &mut Rig, at, nonce| rig.answer_at(ms(at), 1, nonces[nonce], vec![]);
    answer(&mut rig, 2, 0);
    rig.timeout(ms(12));
    assert_eq!(rig.asks.len(), 3, "it answers in turn, and has both that are left");
    rig.timeout(ms(32));
    assert_eq!(rig.asks.len(), 5, "it has said nothing more");
    answer(&mut rig, 33, 2);
    rig.timeout(ms(82));
    assert_eq!(rig.asks.len(), 6, "the second was lost: the third is answered");
    // It was slow just now.
    rig.ask(ms(100), &[1]);
    rig.timeout(ms(110));
    rig.timeout(ms(130));
    assert_eq!(rig.asks.len(), 7);
    rig.timeout(ms(180));
    assert_eq!(rig.asks.len(), 8);
}

#[test]
fn a_mute_host_makes_only_the_first_lookup_late_until_it_answers() {
    let mut rig = Rig::new();
    rig.ask(ms(0), &[1]);
    for at in [10, 30, 80, 150] {
        rig.timeout(ms(at));
    }
    assert_eq!(rig.found.len(), 1);
    rig.ask(ms(200), &[1]);
    assert_eq!(rig.found.len(), 2, "not waited for");
    // It is asked in the background once a second, and any answer ends it.
    let before = rig.asks.len();
    rig.timeout(ms(1_150));
    assert_eq!(rig.asks.len(), before + 1);
    let nonce = rig.nonce();
    assert!(!rig.answer(1, nonce, vec![]), "nobody waited for it");
    assert_eq!(rig.directory.mute().count(), 0);
    rig.ask(ms(1_200), &[1]);
    assert_eq!(rig.found.len(), 2, "waited for again");
}

#[test]
fn a_refused_question_is_an_answer_the_daemon_is_gone() {
    let mut rig = Rig::new();
    rig.ask(ms(0), &[1, 2]);
    let nonce = rig.nonce();
    assert_eq!(rig.refused(1), ["h1".parse().unwrap()].into());
    rig.answer(2, nonce, vec![]);
    assert!(rig.found[0].gone.contains(&"h1".parse().unwrap()));
    assert_eq!(rig.directory.mute().count(), 0);
}

#[test]
fn an_answer_to_another_question_counts_for_nothing() {
    let mut rig = Rig::new();
    rig.ask(ms(0), &[1]);
    let nonce = rig.nonce();
    assert!(!rig.answer(1, Nonce(42), vec![note(1, 1)]));
    assert!(rig.found.is_empty());
    assert!(rig.answer(1, nonce, vec![]));
    assert!(rig.found[0].answers[0].sessions.is_empty());
}

#[test]
fn a_host_that_was_restarted_meanwhile_answers_as_its_new_run_and_is_not_mute() {
    let mut rig = Rig::new();
    rig.ask(ms(0), &[1]);
    let nonce = rig.nonce();
    let mut out = Outbox { asks: &mut rig.asks, found: &mut rig.found };
    let h1 = "h1".parse().unwrap();
    assert!(rig.directory.on_answer(ms(0), &h1, BootId(99), reply(nonce, vec![note(1, 1)]), &mut out));
    assert_eq!(
        rig.found[0].answers[0].reach.boot,
        BootId(99),
        "a ticket is made out to the run that answered"
    );
    assert_eq!(rig.directory.mute().count(), 0);
}

#[test]
fn a_host_that_is_lost_meanwhile_is_not_waited_for() {
    let mut rig = Rig::new();
    rig.ask(ms(0), &[1]);
    let mut out = Outbox { asks: &mut rig.asks, found: &mut rig.found };
    rig.directory.on_lost(&"h1".parse().unwrap(), &mut out);
    assert_eq!(rig.found.len(), 1);
}
