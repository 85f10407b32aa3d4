use super::*;
use continuity::{Delta, Stamp};
use sessiond::control::Kind;

const SESSION: SessionId = SessionId(1);
const SMALL: Limits = Limits { sessions: 4, bytes: 4_000, shares: 2 };

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

fn epoch(counter: u32) -> Epoch {
    Epoch { generation: 1, counter }
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn token(id: &str) -> Token {
    Token::new("card", id).unwrap()
}

fn part(service: &str) -> Part {
    Part { service: service.parse().unwrap(), kind: Kind::State }
}

fn object(stamp: &str, len: usize) -> Encoded {
    let stamp: Stamp = stamp.parse().unwrap();
    let body = vec![u8::try_from(stamp.version.0).unwrap(); len];
    Encoded::open(&[b"HDO\x01", &stamp.to_bytes()[..], &body].concat()).unwrap()
}

fn of(counter: u32, floor: u32) -> Wanted {
    Wanted { session: SESSION, epoch: epoch(counter), floor: epoch(floor) }
}

fn standing(service: &str, object: &Encoded) -> Standing {
    Standing { part: part(service), stamp: object.stamp(), hash: object.hash() }
}

struct Bench(Copies);

impl Bench {
    fn new() -> Self {
        Self(Copies::new(SMALL))
    }

    fn whole(&mut self, from: &str, counter: u32, service: &str, object: &Encoded) -> Message {
        let of = (SESSION, epoch(counter));
        self.0.whole(at(0), &host(from), of, token("ann"), (part(service), object.clone()))
    }

    fn delta(&mut self, from: &str, counter: u32, base: &Encoded, result: &Encoded) -> Message {
        let delta = Delta::between(base, result);
        self.0.delta(at(0), &host(from), (SESSION, epoch(counter)), (part("t"), &delta))
    }

    fn held(&self) -> Option<&Encoded> {
        self.0.get(SESSION, &part("t"))
    }

    fn compare(&mut self, now: u64, parts: Vec<Standing>) -> Vec<Message> {
        self.0.compare(at(now), &host("p"), (SESSION, epoch(1)), parts)
    }
}

fn kept(object: &Encoded) -> Message {
    Message::Kept { session: SESSION, part: part("t"), stamp: object.stamp() }
}

const WANT: fn() -> Message = || Message::Want { session: SESSION, part: part("t") };
const STALE: fn(u32) -> Message = |counter| Message::Stale { session: SESSION, epoch: epoch(counter) };

#[test]
fn a_copy_takes_the_whole_and_then_what_follows_it_and_a_gap_brings_the_whole() {
    let [one, two, three] =
        [("1.1/1", 9), ("1.1/2", 10), ("1.1/3", 11)].map(|(stamp, len)| object(stamp, len));
    let mut bench = Bench::new();
    assert_eq!(bench.delta("p", 1, &one, &two), WANT(), "nothing is held");
    assert_eq!(bench.whole("p", 1, "t", &one), kept(&one));
    assert_eq!(bench.delta("p", 1, &two, &three), WANT(), "a gap");
    assert_eq!(bench.delta("p", 1, &one, &two), kept(&two));
    assert_eq!(bench.delta("p", 1, &one, &two), kept(&two), "said twice");
    assert_eq!(bench.whole("p", 1, "t", &one), kept(&two), "overtaken");
    assert_eq!(bench.held(), Some(&two));
    assert!(bench.0.keeps(&token("ann")) && !bench.0.keeps(&token("bob")));
}

#[test]
fn an_older_epoch_is_refused_and_a_later_one_taken() {
    let (one, two) = (object("1.1/1", 9), object("1.2/2", 9));
    let mut bench = Bench::new();
    assert_eq!(bench.whole("p", 2, "t", &two), kept(&two));
    assert_eq!(bench.whole("q", 1, "t", &one), STALE(1));
    assert_eq!(bench.whole("q", 2, "t", &one), STALE(2), "two primaries of one epoch");
    assert_eq!(bench.delta("q", 1, &one, &two), STALE(1));
    let old = (SESSION, epoch(1));
    assert_eq!(bench.0.compare(at(0), &host("q"), old, Vec::new()), [STALE(1)]);
    assert!(!bench.0.drop_session(SESSION, epoch(1)));
    let three = object("1.3/3", 9);
    assert_eq!(bench.delta("q", 3, &two, &three), WANT(), "another host's copy is not built upon");
    assert_eq!(bench.whole("q", 3, "t", &three), kept(&three));
    assert_eq!(bench.whole("p", 2, "t", &two), STALE(2));
    assert!(bench.0.drop_session(SESSION, epoch(3)));
    assert!(bench.0.is_empty() && !bench.0.keeps(&token("ann")) && bench.0.bytes() == 0);
}

#[test]
fn what_was_fetched_takes_nothing_of_that_epoch_until_its_primary_has_struck_this_keeper() {
    let (one, two) = (object("1.1/1", 9), object("1.1/2", 9));
    let mut bench = Bench::new();
    bench.whole("p", 1, "t", &one);
    let all = bench.0.fetch(at(0), &host("q"), of(1, 0)).unwrap();
    assert_eq!(all, [(part("t"), one.clone())].into());
    assert_eq!(bench.delta("p", 1, &one, &two), STALE(1));
    assert_eq!(bench.whole("p", 1, "t", &two), STALE(1));
    assert_eq!(bench.held(), Some(&one));
    // Only who was struck from the record hears this.
    assert!(bench.0.drop_session(SESSION, epoch(1)));
    assert_eq!(bench.whole("p", 1, "t", &two), kept(&two));
    // A host that has not heard of the later primary gets nothing.
    bench.whole("q", 2, "t", &object("1.2/3", 9));
    assert_eq!(bench.0.fetch(at(0), &host("r"), of(1, 0)), Err(epoch(2)));
    // What was kept in an earlier epoch than it must be is not enough.
    assert!(bench.0.fetch(at(0), &host("r"), of(3, 3)).unwrap().is_empty());
    // One that was never filled does not become a keeper behind the back of who found it empty.
    let mut empty = Bench::new();
    assert!(empty.0.fetch(at(0), &host("q"), of(1, 0)).unwrap().is_empty());
    assert_eq!(empty.whole("p", 1, "t", &one), STALE(1));
    assert_eq!(empty.whole("q", 2, "t", &one), kept(&one));
}

#[test]
fn what_differs_is_found_and_not_believed_any_longer() {
    let (one, two) = (object("1.1/1", 9), object("1.1/2", 9));
    let mut bench = Bench::new();
    bench.whole("p", 1, "t", &one);
    bench.whole("p", 1, "u", &one);
    let [t, u] = ["t", "u"].map(|service| standing(service, &one));
    assert_eq!(bench.compare(1, vec![t.clone(), u.clone()]), []);
    assert_eq!(bench.compare(1, vec![t.clone()]), [], "the other one is over");
    assert_eq!(bench.0.get(SESSION, &part("u")), None);
    let drifted = Standing { hash: two.hash(), ..t.clone() };
    assert_eq!(bench.compare(1, vec![drifted]), [WANT()]);
    assert_eq!(bench.held(), None);
    // So a copy that was above what its primary has is mended, too.
    bench.whole("p", 1, "t", &two);
    assert_eq!(bench.compare(1, vec![t]), [WANT()]);
    assert_eq!(bench.whole("p", 1, "t", &one), kept(&one));
}

#[test]
fn a_host_keeps_no_more_than_it_may_and_of_one_host_no_more_than_its_share() {
    let full = Message::Full { session: SESSION, epoch: epoch(1) };
    let mut bench = Bench::new();
    let large = object("1.1/1", 1_500);
    assert_eq!(bench.whole("p", 1, "t", &large), kept(&large));
    assert_eq!(bench.whole("p", 1, "u", &large), full, "more than its share of the bytes");
    let (less, larger) = (object("1.1/2", 100), object("1.1/3", 2_100));
    assert_eq!(bench.whole("p", 1, "t", &less), kept(&less), "what it replaces does not count");
    assert_eq!(bench.delta("p", 1, &less, &larger), full);
    assert_eq!(bench.held(), Some(&less));
    let mut other = |from: &str, n: u128| {
        let of = (SessionId(n), epoch(1));
        bench.0.whole(at(0), &host(from), of, token("bob"), (part("t"), less.clone()))
    };
    assert!(matches!(other("p", 2), Message::Kept { .. }));
    assert!(matches!(other("p", 3), Message::Full { .. }), "more than its share of the sessions");
    assert!(matches!(other("q", 3), Message::Kept { .. }));
    assert!(matches!(other("q", 4), Message::Kept { .. }));
    assert!(matches!(other("r", 5), Message::Full { .. }), "all places are taken");
    assert_eq!((bench.0.len(), bench.0.bytes()), (4, 4 * 120));
    (0..PARTS_MAX).for_each(|n| drop(bench.whole("p", 1, &format!("s{n}"), &object("1.1/1", 1))));
    assert_eq!(bench.0.view().next().unwrap().parts, PARTS_MAX);
}

#[test]
fn a_session_of_which_its_primary_says_nothing_is_asked_about() {
    let mut bench = Bench::new();
    bench.whole("p", 1, "t", &object("1.1/1", 9));
    assert_eq!(bench.0.doubted(at(29)), None);
    assert_eq!(bench.compare(20, vec![standing("t", &object("1.1/1", 9))]), []);
    assert_eq!(bench.0.doubted(at(49)), None);
    assert_eq!(bench.0.poll_at(), Some(at(54)), "it is looked at now and then");
    assert_eq!(bench.0.doubted(at(54)), Some(SESSION));
    assert_eq!(bench.0.doubted(at(54)), None, "once in a while");
    assert!(bench.0.remove(SESSION) && bench.0.is_empty());
}
