//! What the LAN can do to a host: datagrams of strangers, answers in any order, and digests that are wrong.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use groupmgr::digest::{HELD_MAX, Others, Own};
use groupmgr::directory::{Directory, GIVE_UP_AFTER, LookupId, Outbox, Target, TokenReply};
use groupmgr::host::Effect;
use groupmgr::reach::{Choice, Reachable};
use groupmgr::topology::STRANGERS_MAX;
use proto::digest::{DigestPart, DigestVersion, PARTS_ASKED_MAX, PARTS_MAX, ShortTag, TAGS_MAX};
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::peer::{PeerBody, PeerMessage, SessionNote};
use proto::rng::SecretRng;
use proto::time::Duration;
use proto::{BootId, Epoch, GrantId, HostName, Instant, KeyId, Last, Nonce, SessionId};

use crate::feed::Feed;
use crate::users::Lonely;

targets! {
    a_host_believes_nothing_that_is_not_signed_and_proven => datagrams;
    a_lookup_ends_once_and_in_time_whatever_is_answered => lookups;
    digests_keep_their_bounds_and_name_every_token => digests;
}

/// A datagram a line. None of them proves that its sender is alive, whatever key it is signed with.
fn datagrams(bytes: &[u8]) {
    let mut lonely = Lonely::new();
    lonely.wait(Duration::from_millis(10));
    for (n, bytes) in bytes.split(|b| *b == b'\n').take(50).enumerate() {
        let from = SocketAddrV4::new([10, 0, 0, 2 + (n % 200) as u8].into(), proto::PORT);
        let mut effects = lonely.hear(from, bytes);
        effects.extend(lonely.wait(Duration::from_millis(3)));
        let topology = lonely.host.topology();
        assert_eq!((topology.rows().count(), topology.group_size()), (0, 1), "nobody has proved himself");
        assert!(topology.strangers.iter().count() <= STRANGERS_MAX);
        for effect in effects {
            match effect {
                // Whoever asks for a proof gets it and our host message; a DTU gets one short answer.
                Effect::Datagram { to, bytes, .. } => {
                    assert_eq!(to, from);
                    assert!(!bytes.starts_with(b"tokenR") && !bytes.starts_with(b"digest"));
                }
                Effect::Ask(ask) => assert!(ask.bytes.starts_with(b"hostQ"), "{ask:?}"),
                Effect::Broadcast(said) => assert!(!said.bytes.starts_with(b"digest")),
                Effect::Store { .. } | Effect::Note(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn target(n: u8) -> Target {
    let addr = SocketAddrV4::new([10, 0, 0, n].into(), proto::PORT);
    let host = format!("h{n}").parse().unwrap();
    Target {
        reach: Reachable { host, boot: BootId(u64::from(n % 3)), addr, choice: Choice::First },
        ask_at: addr,
    }
}

/// The directory of a host, with the lookups that are under way.
struct Asker {
    directory: Directory,
    ring: KeyRing,
    entropy: SecretRng,
    now: Instant,
    open: Vec<(LookupId, Instant)>,
    nonces: Vec<Nonce>,
}

impl Asker {
    /// One step, drawn from `feed`.
    fn step(&mut self, feed: &mut Feed<'_>) {
        let (mut asks, mut found) = (Vec::new(), Vec::new());
        let mut out = Outbox { asks: &mut asks, found: &mut found };
        let n = feed.u8() % 12;
        match feed.u8() % 6 {
            0 => {
                let targets = (0..feed.u8() % 6).map(|k| target((n + k) % 12)).collect();
                let token = format!("card.{n}").parse().unwrap();
                let id =
                    self.directory.ask(self.now, &self.ring, &mut self.entropy, &token, targets, &mut out);
                self.open.push((id.unwrap(), self.now));
            }
            1 | 2 => {
                let nonce = self.nonces.get(feed.below(self.nonces.len())).copied().unwrap_or(Nonce(7));
                let note = |n| SessionNote { session: SessionId(n), epoch: Epoch::default(), last: Last(1) };
                let sessions = (0..u128::from(feed.u8() % 3)).map(note).collect();
                let (host, boot) = (format!("h{n}").parse().unwrap(), BootId(u64::from(feed.u8() % 3)));
                let reply = TokenReply { nonce, grant: GrantId(1), load: None, sessions, keeps: false };
                self.directory.on_answer(self.now, &host, boot, reply, &mut out);
            }
            3 => drop(self.directory.on_refused(target(n).ask_at, &mut out)),
            4 => self.directory.on_lost(&format!("h{n}").parse().unwrap(), &mut out),
            _ => {
                self.now += Duration::from_millis(u64::from(feed.u8()));
                self.directory.on_timeout(self.now, &self.ring, &mut self.entropy, &mut out);
            }
        }
        for ask in asks {
            let line = self.ring.open(Purpose::Peer, &ask.bytes).unwrap().into_inner();
            if let PeerBody::TokenQ { nonce, .. } = PeerMessage::from_line(&line).unwrap().body {
                self.nonces.push(nonce);
            }
        }
        for found in found {
            let at =
                self.open.iter().position(|(id, _)| *id == found.id).expect("found twice, or never asked");
            self.open.swap_remove(at);
            let hosts: BTreeSet<_> = found.answers.iter().map(|answer| &answer.reach.host).collect();
            assert_eq!(hosts.len(), found.answers.len(), "nobody counts twice");
        }
    }
}

fn lookups(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let mut asker = Asker {
        directory: Directory::new("own".parse().unwrap(), BootId(9)),
        ring: KeyRing::new(GroupKey::new(&[1; 16]).unwrap(), Vec::new()),
        entropy: SecretRng::new([2; 32]),
        now: Instant::from_micros(1),
        open: Vec::new(),
        nonces: Vec::new(),
    };
    while !feed.is_empty() {
        asker.step(&mut feed);
    }
    asker.now += GIVE_UP_AFTER;
    asker.step(&mut Feed(&[0, 5, 0]));
    assert!(asker.open.is_empty(), "given up after {GIVE_UP_AFTER:?}");
}

/// A part that its parser would let through, and that nobody need ever have sent.
fn odd_part(feed: &mut Feed<'_>) -> DigestPart {
    let count = [1, 127, 128, 129, 300, TAGS_MAX as u32][feed.below(6)];
    let version = DigestVersion { generation: u32::from(feed.u8() % 4), count };
    let number = (feed.below(PARTS_MAX) % version.parts()) as u16;
    let first = u32::from(feed.u8());
    let tags = (0..version.len_of(number) as u32).map(|n| ShortTag(first + n / 2)).collect();
    DigestPart { tagged: KeyId(u32::from(feed.u8() % 2)), version, number, tags }
}

/// One host tells the truth, and two say whatever comes up; they have the key, so they are believed.
fn digests(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let every = proto::beacon::INTERVAL;
    let (mut own, mut others, mut entropy) = (Own::new(KeyId(1)), Others::default(), SecretRng::new([4; 32]));
    own.set_group(every, true);
    others.set_group(every, true);
    let names: [HostName; 3] = ["true", "odd", "strange"].map(|name| name.parse().unwrap());
    let (mut now, mut alive, boot) = (Instant::from_micros(1), BTreeSet::new(), BootId(1));
    while !feed.is_empty() {
        now += Duration::from_millis(u64::from(feed.u8()));
        let tag = ShortTag(u32::from(feed.u8()));
        let odd = &names[1 + feed.below(2)];
        match feed.u8() % 8 {
            0 | 1 if alive.insert(tag) => own.add(tag),
            2 if alive.remove(&tag) => own.remove(tag),
            3 => {
                let part = odd_part(&mut feed);
                let run = BootId(u64::from(feed.u8() % 2));
                others.on_part(now, odd, run, &part, &mut entropy);
            }
            4 => others.on_beacon(now, odd, boot, Some(odd_part(&mut feed).version), &mut entropy),
            5 => others.forget(odd),
            6 => others.doubt_all(),
            _ => {}
        }
        if let Some(part) = own.speak(now).filter(|_| feed.u8() % 4 > 0) {
            others.on_part(now, &names[0], boot, &part, &mut entropy);
        }
        if feed.u8().is_multiple_of(4) {
            others.on_beacon(now, &names[0], boot, own.version(), &mut entropy);
            let tags = |tag: &ShortTag| vec![(KeyId(1), *tag)];
            assert!(
                alive.iter().all(|tag| others.may_hold(&names[0], boot, &tags(tag))),
                "a token is missed"
            );
        }
        if let Some(question) = others.on_timeout(now, &mut entropy) {
            assert!(question.parts.len() <= PARTS_ASKED_MAX && !question.parts.is_empty());
            if question.host == names[0] {
                own.on_question(&question.parts);
            }
        }
        assert!(others.held().1 <= HELD_MAX);
    }
}
