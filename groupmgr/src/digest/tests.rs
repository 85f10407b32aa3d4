use std::collections::BTreeSet;

use proptest::prelude::*;
use proto::digest::{DigestPart, DigestVersion, PARTS_ASKED_MAX, TAGS_MAX, TAGS_PER_PART};
use proto::{BootId, HostName, Instant};

use proto::KeyId;
use proto::digest::ShortTag;
use proto::time::Duration;

use super::*;
use proto::rng::SecretRng;

const KID: KeyId = KeyId(7);
const BOOT: BootId = BootId(1);

fn ms(n: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(n)
}

fn host(n: u32) -> HostName {
    format!("h{n}").parse().unwrap()
}

fn own() -> Own {
    let mut own = Own::new(KID);
    own.set_group(proto::beacon::INTERVAL, true);
    own
}

/// What is said until nothing is due, and the moment when that is.
fn all_said(own: &mut Own, mut now: Instant) -> (Vec<DigestPart>, Instant) {
    let mut said = Vec::new();
    while let Some(at) = own.poll_at() {
        now = now.max(at);
        said.extend(own.speak(now));
    }
    (said, now)
}

/// Another host that listens.
struct Ear {
    others: Others,
    entropy: SecretRng,
}

impl Ear {
    fn new() -> Self {
        let mut others = Others::default();
        others.set_group(proto::beacon::INTERVAL, true);
        Self { others, entropy: SecretRng::new([3; 32]) }
    }

    fn beacon(&mut self, now: Instant, from: u32, version: Option<DigestVersion>) {
        self.others.on_beacon(now, &host(from), BOOT, version, &mut self.entropy);
    }

    fn part(&mut self, now: Instant, from: u32, part: &DigestPart) -> bool {
        self.others.on_part(now, &host(from), BOOT, part, &mut self.entropy)
    }

    fn may_hold(&self, from: u32, tag: u32) -> bool {
        self.others.may_hold(&host(from), BOOT, &vec![(KID, ShortTag(tag))])
    }
}

#[test]
fn a_new_session_is_told_of_at_once_and_no_more_than_five_times_a_beacon() {
    let mut own = own();
    own.add(ShortTag(1));
    assert_eq!(own.speak(ms(0)).unwrap().tags, [ShortTag(1)]);
    let mut said = 0;
    for n in 2..52 {
        own.add(ShortTag(n));
        said += usize::from(own.speak(ms(u64::from(n))).is_some());
    }
    assert_eq!(said, 5);
    let (rest, _) = all_said(&mut own, ms(200));
    assert_eq!(rest.last().unwrap().tags.len(), 51, "what was not said yet is said together");
}

#[test]
fn nobody_is_told_in_a_group_so_small_that_all_are_asked() {
    let mut own = Own::new(KID);
    own.set_group(proto::beacon::INTERVAL, false);
    own.add(ShortTag(1));
    assert_eq!(own.poll_at(), None);
    own.on_question(&[0, 1, 511]);
    assert_eq!(all_said(&mut own, ms(0)).0.len(), 1, "but whoever asks is answered");
}

#[test]
fn a_host_is_asked_unless_its_whole_digest_is_known_and_lacks_the_token() {
    let (mut own, mut ear) = (own(), Ear::new());
    own.add(ShortTag(1));
    assert!(ear.may_hold(1, 2), "never heard");
    ear.beacon(ms(0), 1, own.version());
    assert!(ear.may_hold(1, 2), "announced, not yet held");
    assert!(ear.part(ms(1), 1, &own.speak(ms(1)).unwrap()));
    assert!(ear.may_hold(1, 1) && !ear.may_hold(1, 2));
    own.add(ShortTag(3));
    ear.beacon(ms(2), 1, own.version());
    assert!(ear.may_hold(1, 2), "a later one was announced");
    assert!(ear.part(ms(50), 1, &own.speak(ms(50)).unwrap()));
    assert!(!ear.may_hold(1, 2));
    ear.others.doubt(&host(1));
    assert!(ear.may_hold(1, 2), "out of sight for a while");
    ear.beacon(ms(60), 1, own.version());
    assert!(!ear.may_hold(1, 2));
    assert!(ear.others.may_hold(&host(1), BootId(2), &vec![(KID, ShortTag(2))]), "another run");
    assert!(ear.others.may_hold(&host(1), BOOT, &vec![(KeyId(8), ShortTag(2))]), "a key that we lack");
    ear.beacon(ms(70), 1, None);
    assert!(ear.may_hold(1, 2), "it has none any more");
}

#[test]
fn a_part_that_was_lost_is_asked_for_after_it_had_time_to_come_by_itself() {
    let (mut own, mut ear) = (own(), Ear::new());
    for tag in 0..300 {
        own.add(ShortTag(tag));
    }
    let (mut said, _) = all_said(&mut own, ms(0));
    said.retain(|part| part.number != 1);
    ear.beacon(ms(0), 1, own.version());
    for part in &said {
        ear.part(ms(0), 1, part);
    }
    let at = ear.others.poll_at().unwrap();
    assert!(at >= ms(40) && at <= ms(140), "{at}");
    let question = ear.others.on_timeout(at, &mut ear.entropy).unwrap();
    assert_eq!((question.host, question.boot, &question.parts[..]), (host(1), BOOT, &[1][..]));
    own.on_question(&question.parts);
    own.on_question(&question.parts);
    let (again, _) = all_said(&mut own, ms(2_000));
    assert_eq!(again.len(), 1, "to everybody at once, however many ask");
    ear.part(at, 1, &again[0]);
    assert!(ear.others.is_known(&host(1), BOOT) && ear.others.poll_at().is_none());
}

#[test]
fn questions_that_bring_nothing_come_ever_more_slowly() {
    let (mut own, mut ear) = (own(), Ear::new());
    own.add(ShortTag(1));
    ear.beacon(ms(0), 1, own.version());
    let mut asked = 0;
    while let Some(at) = ear.others.poll_at().filter(|at| *at < ms(60_000)) {
        asked += usize::from(ear.others.on_timeout(at, &mut ear.entropy).is_some());
        ear.beacon(at, 1, own.version());
    }
    assert!((6..=12).contains(&asked), "{asked}");
}

#[test]
fn a_generation_ends_when_most_of_it_is_of_tokens_that_have_gone() {
    let mut own = own();
    for tag in 0..100 {
        own.add(ShortTag(tag));
    }
    let first = own.version().unwrap();
    for tag in 0..40 {
        own.remove(ShortTag(tag));
    }
    let second = own.version().unwrap();
    assert_eq!((first.generation, second.generation, own.tags()), (1, 2, 60));
    assert!(second.count < 70, "{second}");
    // One that comes back before that needs no telling.
    own.remove(ShortTag(99));
    own.add(ShortTag(99));
    assert_eq!(own.version(), Some(second));
}

#[test]
fn a_host_with_more_tokens_than_fit_is_asked_until_they_fit_again() {
    let mut own = own();
    let tag = |n: usize| ShortTag(u32::try_from(n).unwrap());
    for n in 0..TAGS_MAX {
        own.add(tag(n));
    }
    assert_eq!(own.version().unwrap().parts() * TAGS_PER_PART, TAGS_MAX);
    own.add(tag(TAGS_MAX));
    assert_eq!((own.version(), own.poll_at()), (None, None));
    for n in 0..TAGS_MAX / 3 {
        own.remove(tag(n));
    }
    let version = own.version().unwrap();
    assert!(version.generation > 1 && (version.count as usize) < TAGS_MAX, "{version}");
}

#[test]
fn the_largest_digest_reaches_a_new_host_in_a_quarter_of_a_minute() {
    let (mut own, mut ear) = (own(), Ear::new());
    for n in 0..TAGS_MAX {
        own.add(ShortTag(u32::try_from(n).unwrap()));
    }
    all_said(&mut own, ms(0));
    let begin = ms(1_000_000);
    ear.beacon(begin, 1, own.version());
    let (mut now, mut asked, mut said) = (begin, 0, 0);
    while !ear.others.is_known(&host(1), BOOT) {
        now = ear.others.poll_at().into_iter().chain(own.poll_at()).min().unwrap().max(now);
        if let Some(part) = own.speak(now) {
            said += 1;
            ear.part(now, 1, &part);
        }
        if let Some(question) = ear.others.on_timeout(now, &mut ear.entropy) {
            assert!(question.parts.len() <= PARTS_ASKED_MAX);
            asked += 1;
            own.on_question(&question.parts);
        }
    }
    assert_eq!((said, asked), (512, 8));
    assert!(now.since(begin) < Duration::from_secs(15), "{:?}", now.since(begin));
}

#[test]
fn what_does_not_fit_is_not_held_and_its_host_is_asked() {
    let mut ear = Ear::new();
    let count = u32::try_from(TAGS_MAX).unwrap();
    let version = DigestVersion { generation: 1, count };
    let hosts = u32::try_from(HELD_MAX / TAGS_MAX).unwrap() + 1;
    let mut refused = 0;
    for n in 0..hosts {
        for number in 0..u16::try_from(version.parts()).unwrap() {
            let first = u32::from(number) * TAGS_PER_PART as u32;
            let tags = (first..first + TAGS_PER_PART as u32).map(ShortTag).collect();
            let part = DigestPart { tagged: KID, version, number, tags };
            refused += usize::from(!ear.part(ms(0), n, &part));
        }
        ear.beacon(ms(0), n, Some(version));
    }
    assert_eq!((refused, ear.others.held()), (512, (hosts as usize - 1, HELD_MAX)));
    assert!(ear.may_hold(hosts - 1, u32::MAX) && !ear.may_hold(0, u32::MAX));
    ear.others.forget(&host(0));
    assert_eq!(ear.others.held().1, HELD_MAX - TAGS_MAX);
}

/// Something that happens to the digest of one host, or on its way.
#[derive(Clone, Debug)]
enum Act {
    Add(u32),
    Remove(u32),
    Speak,
    Beacon,
    /// One of the datagrams on their way arrives, any of them.
    Arrive(usize),
    /// One is lost.
    Lose(usize),
    /// One arrives and will arrive again.
    Replay(usize),
    Ask,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0_u32..400).prop_map(Act::Add),
        4 => (0_u32..400).prop_map(Act::Remove),
        4 => Just(Act::Speak),
        2 => Just(Act::Beacon),
        4 => any::<usize>().prop_map(Act::Arrive),
        1 => any::<usize>().prop_map(Act::Lose),
        1 => any::<usize>().prop_map(Act::Replay),
        2 => Just(Act::Ask),
    ]
}

#[derive(Clone, Debug)]
enum Wire {
    Beacon(Option<DigestVersion>),
    Part(DigestPart),
}

proptest! {
    #[test]
    fn however_datagrams_are_lost_and_mixed_a_digest_held_as_it_is_now_names_every_token(
        acts in proptest::collection::vec(act(), 1..600),
    ) {
        let (mut own, mut ear) = (own(), Ear::new());
        let (mut alive, mut wire, mut now) = (BTreeSet::new(), Vec::new(), ms(0));
        let hear = |ear: &mut Ear, now, what: &Wire| match what {
            Wire::Beacon(version) => ear.beacon(now, 1, *version),
            Wire::Part(part) => assert!(ear.part(now, 1, part)),
        };
        for act in acts {
            now += Duration::from_millis(7);
            match act {
                Act::Add(tag) if alive.insert(tag) => own.add(ShortTag(tag)),
                Act::Remove(tag) if alive.remove(&tag) => own.remove(ShortTag(tag)),
                Act::Add(_) | Act::Remove(_) => {}
                Act::Speak => wire.extend(own.speak(now).map(Wire::Part)),
                Act::Beacon => wire.push(Wire::Beacon(own.version())),
                Act::Arrive(n) | Act::Lose(n) | Act::Replay(n) if !wire.is_empty() => {
                    let n = n % wire.len();
                    match act {
                        Act::Replay(_) => hear(&mut ear, now, &wire[n]),
                        Act::Lose(_) => drop(wire.swap_remove(n)),
                        _ => hear(&mut ear, now, &wire.swap_remove(n)),
                    }
                }
                Act::Arrive(_) | Act::Lose(_) | Act::Replay(_) => {}
                Act::Ask => {
                    if let Some(question) = ear.others.on_timeout(now, &mut ear.entropy) {
                        own.on_question(&question.parts);
                    }
                }
            }
            let version = own.version().unwrap();
            prop_assert!(version.count as usize <= alive.len() + 33.max(alive.len() / 2 + 1));
        }
        // Whatever was lost: the next beacon, and what is asked for after it, make it whole.
        ear.beacon(now, 1, own.version());
        for _ in 0..20 {
            now += Duration::from_secs(20);
            if let Some(question) = ear.others.on_timeout(now, &mut ear.entropy) {
                own.on_question(&question.parts);
            }
            for part in all_said(&mut own, now).0 {
                ear.part(now, 1, &part);
            }
        }
        prop_assert!(ear.others.is_known(&host(1), BOOT));
        prop_assert!(alive.iter().all(|tag| ear.may_hold(1, *tag)));
        prop_assert_eq!(ear.others.held().1, own.version().unwrap().count as usize);
        prop_assert!(!ear.may_hold(1, 1_000));
    }
}
