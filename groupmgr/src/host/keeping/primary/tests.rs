use super::*;
use sessiond::control::Kind;
use sessiond::template::{Ack, Protect};

const SESSION: SessionId = SessionId(1);
const EACH: Protection = Protection::Each;

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

fn epoch(counter: u32) -> Epoch {
    Epoch { generation: 1, counter }
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn part(service: &str) -> Part {
    Part { service: service.parse().unwrap(), kind: Kind::State }
}

fn object(stamp: &str) -> Encoded {
    let stamp: Stamp = stamp.parse().unwrap();
    Encoded::open(&[b"HDO\x01", &stamp.to_bytes()[..], b"text"].concat()).unwrap()
}

fn whole(stamp: &str) -> Update {
    Update::Whole(Bytes(object(stamp).as_bytes().to_vec()))
}

fn delta(base: &str, result: &str) -> Update {
    Update::Delta(Bytes(Delta::between(&object(base), &object(result)).to_bytes()))
}

/// A session, and what has followed since it was looked at.
struct Bench {
    primary: Primary,
    orders: Vec<Order>,
}

impl Bench {
    fn new(protect: Protect, ack: Ack) -> Self {
        let token = "card.ann".parse().unwrap();
        let replication = Replication { ack, protect, promote: Promote::Card };
        let primary = Primary::new(at(0), (SESSION, epoch(7)), token, replication);
        let mut bench = Self { primary, orders: Vec::new() };
        bench.primary.begin(at(0), None, &mut bench.orders);
        bench
    }

    /// One that `k` keeps and whose record says so, with one version of one part.
    fn protected(protect: Protect, ack: Ack) -> Self {
        let mut bench = Self::new(protect, ack);
        bench.fill("k");
        bench.list(&["t"]);
        bench.said("t", whole("1.7/1"));
        bench.kept("k", "t", "1.7/1");
        bench.recorded(Some("k"), Recorded::Done);
        bench.orders.clear();
        bench
    }

    fn fill(&mut self, to: &str) {
        self.primary.fill(at(1_000), host(to), false, &mut self.orders);
    }

    fn list(&mut self, parts: &[&str]) {
        self.primary.list(at(1_000), parts.iter().map(|service| part(service)).collect(), &mut self.orders);
    }

    fn said(&mut self, service: &str, update: Update) -> bool {
        self.primary.said(at(1_000), part(service), update, &mut self.orders)
    }

    fn kept(&mut self, from: &str, service: &str, stamp: &str) {
        let stamp = stamp.parse().unwrap();
        self.primary.kept(at(1_000), &host(from), part(service), stamp, &mut self.orders);
    }

    fn recorded(&mut self, secondary: Option<&str>, result: Recorded) {
        let secondary = secondary.map(host);
        self.primary.recorded(at(1_000), secondary.as_ref(), result, &mut self.orders);
    }

    fn lost(&mut self, why: Why) {
        self.primary.lost(at(1_000), &host("k"), why, &mut self.orders);
    }

    fn due(&mut self, ms: u64) {
        self.primary.due(at(ms), &mut self.orders);
    }

    /// What has followed, in short.
    fn all(&mut self) -> Vec<String> {
        let short = |order: Order| match order {
            Order::Tell(ToSession::Protect { how, .. }) => format!("{how:?}"),
            Order::Tell(ToSession::Protected { part, stamp }) => format!("{part} is safe to {stamp}"),
            Order::Tell(ToSession::Whole(part)) => format!("whole {part}"),
            Order::Tell(other) => format!("{other:?}"),
            Order::Say(to, Message::Whole { part, object, .. }) => format!("{to}: {part} {}", object.stamp()),
            Order::Say(to, Message::Delta { part, delta, .. }) => format!("{to}: {part} +{}", delta.result()),
            Order::Say(to, Message::Compare { parts, .. }) => format!("{to}: compare {}", parts.len()),
            Order::Say(to, Message::Drop { .. }) => format!("{to}: drop"),
            Order::Say(to, other) => format!("{to}: {other:?}"),
            Order::Record(Some(host)) => format!("record {host}"),
            Order::Record(None) => "record nobody".into(),
            Order::Shun(host) => format!("shun {host}"),
            Order::Kept(host) => format!("{host} keeps it"),
            Order::Bare(_) => "bare".into(),
            Order::Named => "named".into(),
            Order::HandOver(host, objects) => format!("hand {} over to {host}", objects.len()),
            Order::Stays => "stays".into(),
            Order::Moved => "moved".into(),
        };
        self.orders.drain(..).map(short).collect()
    }
}

#[test]
fn the_record_names_a_secondary_that_has_all_and_not_before() {
    let mut bench = Bench::new(Protect::Best, Ack::Each);
    assert_eq!(bench.all(), ["bare", "Alone"]);
    assert!(bench.said("t", whole("1.7/1")), "of which nothing follows: there is nobody");
    bench.fill("k");
    assert_eq!(bench.all(), ["Each"]);
    bench.said("t", whole("1.7/1"));
    bench.kept("k", "t", "1.7/1");
    assert_eq!(bench.all(), ["k: t/state 1.7/1"], "nobody has said that this is all");
    bench.list(&["t", "u"]);
    bench.said("u", whole("1.7/4"));
    assert_eq!(bench.all(), ["k: u/state 1.7/4"]);
    bench.kept("k", "u", "1.7/3");
    bench.kept("x", "u", "1.7/4");
    assert_eq!(bench.all(), [""; 0]);
    bench.kept("k", "u", "1.7/4");
    assert_eq!(bench.all(), ["record k"]);
    // What is new meanwhile is sent, and is safe when the record says who has it.
    bench.list(&["t", "u", "v"]);
    bench.said("v", whole("1.7/1"));
    bench.kept("k", "v", "1.7/1");
    assert_eq!(bench.all(), ["k: v/state 1.7/1"]);
    bench.recorded(Some("k"), Recorded::Done);
    let safe = ["t/state is safe to 1.7/1", "u/state is safe to 1.7/4", "v/state is safe to 1.7/1"];
    assert_eq!(bench.all(), [&["k keeps it"][..], &safe].concat());
    bench.said("t", delta("1.7/1", "1.7/2"));
    bench.kept("k", "t", "1.7/2");
    assert_eq!(bench.all(), ["k: t/state +1.7/2", "t/state is safe to 1.7/2"]);
}

#[test]
fn a_secondary_that_does_not_acknowledge_is_struck_after_200_ms_before_the_session_goes_on_alone() {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.said("t", delta("1.7/1", "1.7/2"));
    bench.all();
    assert_eq!(bench.primary.deadline(), Some(at(1_200)));
    bench.due(1_199);
    assert_eq!(bench.all(), [""; 0]);
    bench.due(1_200);
    assert_eq!(bench.all(), ["record nobody"]);
    bench.kept("k", "t", "1.7/2");
    assert_eq!(bench.all(), [""; 0], "too late: the record may be changed already");
    bench.recorded(None, Recorded::Done);
    assert_eq!(bench.all(), ["k: drop", "shun k", "bare", "Alone"]);
    assert_eq!(bench.primary.deadline(), Some(at(1_050)), "then another is chosen");
}

#[test]
fn a_session_that_must_be_protected_is_held_until_it_is() {
    let mut bench = Bench::new(Protect::Must, Ack::Each);
    assert_eq!(bench.all(), ["bare", "Held"]);
    bench.fill("k");
    bench.list(&["t"]);
    bench.said("t", whole("1.7/1"));
    bench.kept("k", "t", "1.7/1");
    assert_eq!(bench.all(), ["Each", "k: t/state 1.7/1", "record k"]);
    bench.recorded(Some("k"), Recorded::Done);
    bench.all();
    bench.lost(Why::Lost);
    assert_eq!(bench.all(), ["record nobody"]);
    bench.recorded(None, Recorded::Done);
    assert_eq!(bench.all(), ["k: drop", "shun k", "bare", "Held"]);
}

#[test]
fn while_the_store_is_away_nobody_goes_on_without_who_is_named() {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.lost(Why::Gone);
    bench.recorded(None, Recorded::Away);
    assert_eq!(bench.all(), ["record nobody", "Held"]);
    bench.due(1_999);
    assert_eq!(bench.all(), [""; 0]);
    bench.due(2_000);
    bench.recorded(None, Recorded::Done);
    assert_eq!(bench.all(), ["record nobody", "k: drop", "bare", "Alone"]);
    // Nor does one of which nobody knows whether it is named.
    bench.fill("k");
    bench.list(&[]);
    bench.recorded(Some("k"), Recorded::Away);
    assert_eq!(bench.all(), ["Each", "record k", "Held"]);
    bench.due(2_000);
    bench.recorded(None, Recorded::Done);
    assert_eq!(bench.all(), ["record nobody", "k: drop", "bare", "Alone"]);
}

#[test]
fn a_secondary_that_fails_while_it_is_named_is_struck_once_that_is_answered() {
    let mut bench = Bench::new(Protect::Best, Ack::Each);
    bench.fill("k");
    bench.list(&[]);
    bench.all();
    bench.lost(Why::Lost);
    assert_eq!(bench.all(), [""; 0], "one change of the record follows the other");
    bench.recorded(Some("k"), Recorded::Done);
    assert_eq!(bench.all(), ["record nobody"]);
    bench.recorded(None, Recorded::Done);
    assert_eq!(bench.all(), ["k: drop", "shun k", "bare", "Alone"]);
}

#[test]
fn whoever_lost_the_session_shows_nothing_more() {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.lost(Why::Stale);
    bench.recorded(None, Recorded::Lost);
    assert_eq!(bench.all(), ["record nobody", "Held"]);
    assert_eq!((bench.primary.phase(), bench.primary.deadline()), (&Phase::Superseded, None));
}

#[test]
fn a_session_that_moved_here_does_without_nobody_that_its_record_names() {
    let mut bench = Bench::new(Protect::Best, Ack::Each);
    bench.all();
    bench.primary.begin(at(0), Some((host("k"), true)), &mut bench.orders);
    bench.list(&["t"]);
    bench.said("t", whole("1.6/9"));
    assert_eq!(bench.all(), ["Held", "Each", "k: t/state 1.6/9"]);
    bench.kept("k", "t", "1.6/9");
    assert_eq!(bench.all(), ["t/state is safe to 1.6/9", "k keeps it"]);
    // One that is not up any more is struck at once.
    bench.primary.begin(at(0), Some((host("k"), false)), &mut bench.orders);
    bench.recorded(None, Recorded::Done);
    assert_eq!(bench.all(), ["Held", "record nobody", "k: drop", "bare", "Alone"]);
}

#[test]
fn what_is_said_of_another_round_or_epoch_or_too_much_is_not_sent() {
    let mut bench = Bench::new(Protect::Best, Ack::Each);
    bench.fill("k");
    bench.all();
    assert!(bench.said("t", delta("1.7/1", "1.7/2")));
    assert_eq!(bench.all(), ["whole t/state"]);
    assert!(!bench.said("t", whole("1.8/1")), "of a later epoch than the record's");
    assert!(!bench.said("t", Update::Whole(Bytes(b"no object".to_vec()))));
    assert!(!bench.said("t", Update::Delta(Bytes(b"no delta".to_vec()))));
    let sent = (0..PARTS_MAX + 1).filter(|n| bench.said(&format!("s{n}"), whole("1.7/1")));
    assert_eq!(sent.count(), PARTS_MAX);
}

#[test]
fn a_keeper_that_lies_is_given_up_and_one_that_needs_the_whole_gets_it() {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.primary.wanted(&host("x"), part("t"), &mut bench.orders);
    bench.primary.wanted(&host("k"), part("x"), &mut bench.orders);
    assert_eq!(bench.all(), [""; 0]);
    bench.said("t", delta("1.7/1", "1.7/2"));
    bench.primary.wanted(&host("k"), part("t"), &mut bench.orders);
    assert_eq!(bench.all(), ["k: t/state +1.7/2", "whole t/state"]);
    bench.due(1_200);
    assert_eq!(bench.all(), [""; 0], "the process has to answer, not the keeper");
    bench.said("t", whole("1.7/2"));
    bench.kept("k", "t", "1.7/3");
    assert_eq!(bench.all(), ["k: t/state 1.7/2", "record nobody"]);
}

#[test]
fn both_compare_every_10_s_and_the_copies_are_dropped_at_the_end() {
    let mut bench =
        Bench::protected(Protect::Best, Ack::Batch { every: Duration::from_secs(2), versions: 9 });
    assert_eq!(bench.primary.deadline(), Some(at(11_000)));
    bench.due(11_000);
    assert_eq!(bench.all(), ["k: compare 1"]);
    assert_eq!(bench.primary.deadline(), Some(at(21_000)));
    bench.primary.ended(&mut bench.orders);
    assert_eq!(bench.all(), ["k: drop"]);
}

#[test]
fn versions_go_out_together_where_that_is_wanted_and_each_is_waited_for_until_then() {
    let ack = Ack::Batch { every: Duration::from_secs(2), versions: 9 };
    let mut bench = Bench::new(Protect::Best, ack);
    bench.fill("k");
    bench.list(&[]);
    bench.recorded(Some("k"), Recorded::Done);
    let batch = Protection::Batch { every: Duration::from_secs(2), versions: 9 };
    assert_eq!(
        bench.all()[2..],
        [format!("{EACH:?}"), "record k".into(), "k keeps it".into(), format!("{batch:?}")]
    );
}

#[test]
fn a_silent_secondary_is_struck_after_a_while_though_nothing_waits_for_it() {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.primary.is_silent(at(1_000), &host("k"), true, &mut bench.orders);
    assert_eq!(bench.primary.deadline(), Some(at(4_000)));
    bench.primary.is_silent(at(2_000), &host("k"), false, &mut bench.orders);
    assert_eq!(bench.primary.deadline(), Some(at(11_000)));
    bench.primary.is_silent(at(2_000), &host("k"), true, &mut bench.orders);
    bench.due(4_999);
    assert_eq!(bench.all(), [""; 0]);
    bench.due(5_000);
    assert_eq!(bench.all(), ["record nobody"]);
}

#[test]
fn nobody_is_struck_for_what_this_host_could_not_hear() {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.said("t", delta("1.7/1", "1.7/2"));
    bench.all();
    bench.primary.was_away(Duration::from_secs(3));
    bench.due(4_100);
    assert_eq!(bench.all(), [""; 0]);
    bench.due(4_200);
    assert_eq!(bench.all(), ["record nobody"]);
}

/// A bench whose session stands still, and is about to be filled once more.
fn settled() -> Bench {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.primary.leave(at(1_000), &mut bench.orders);
    bench.primary.stands_still(at(1_000), &mut bench.orders);
    bench
}

#[test]
fn a_session_is_handed_over_when_its_secondary_has_all_that_it_will_ever_have_here() {
    let mut bench = settled();
    assert_eq!(bench.all(), ["Still(true)", "Held", "Each"]);
    bench.list(&["t"]);
    bench.said("t", whole("1.7/2"));
    bench.said("t", delta("1.7/2", "1.7/3"));
    bench.kept("k", "t", "1.7/2");
    assert_eq!(bench.all(), ["k: t/state 1.7/2", "k: t/state +1.7/3"]);
    bench.kept("k", "t", "1.7/3");
    let Order::HandOver(_, objects) = bench.orders.last().unwrap() else { panic!() };
    assert_eq!(objects[0].1.stamp(), "1.7/3".parse().unwrap(), "this host keeps the same");
    assert_eq!(bench.all(), ["t/state is safe to 1.7/3", "hand 1 over to k"]);
    assert!(bench.said("t", delta("1.7/3", "1.7/4")));
    bench.lost(Why::Stale);
    assert_eq!(bench.all(), [""; 0], "it takes nothing more, and neither is that a fault");
    bench.primary.handed_over(at(1_000), &host("x"), true, &mut bench.orders);
    assert_eq!(bench.all(), [""; 0]);
    bench.primary.handed_over(at(1_000), &host("k"), true, &mut bench.orders);
    assert_eq!(bench.all(), ["moved"]);
}

#[test]
fn a_session_that_is_not_gone_on_with_goes_on_when_its_record_says_so() {
    for is_late in [true, false] {
        let mut bench = settled();
        bench.list(&["t"]);
        bench.said("t", whole("1.7/2"));
        bench.kept("k", "t", "1.7/2");
        bench.all();
        if is_late {
            bench.due(1_000 + u64::try_from(leaving::LEAVES_WITHIN.as_millis()).unwrap());
        } else {
            bench.primary.handed_over(at(1_000), &host("k"), false, &mut bench.orders);
        }
        assert_eq!(bench.all(), ["record nobody"], "it may be running there all the same");
        bench.recorded(None, Recorded::Away);
        assert_eq!(bench.all(), ["Held"]);
        bench.recorded(None, Recorded::Done);
        assert_eq!(bench.all(), ["k: drop", "stays", "Still(false)", "bare", "Alone"]);
        assert!(!bench.primary.can_move(at(5_999)));
    }
}

#[test]
fn a_session_whose_process_does_not_stand_still_stays_protected_and_is_tried_later() {
    let mut bench = Bench::protected(Protect::Best, Ack::Each);
    bench.primary.leave(at(1_000), &mut bench.orders);
    bench.said("t", delta("1.7/1", "1.7/2"));
    bench.kept("k", "t", "1.7/2");
    bench.all();
    bench.due(4_000);
    assert_eq!(bench.all(), ["stays", "Still(false)"]);
    assert!(!bench.primary.can_move(at(8_999)) && bench.primary.can_move(at(9_000)));
    assert_eq!(bench.primary.state().0, "protected");
}
