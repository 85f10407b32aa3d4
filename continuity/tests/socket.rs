//! The state socket as programs find it: what they put is there, operations are all or nothing, and no answer comes before
//! what it promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod common;

use common::object;
use continuity::session::{ANSWERS_MAX, Disable, Effect, PROGRAMS_MAX, Program, StateSession};
use continuity::stream::{Packet, Stream};
use continuity::words::{BadRequest, Request};
use continuity::{Delta, Encoded, Held, Missing, Object, Resolvers, Stamp};
use proptest::prelude::*;
use proto::time::{Duration, Instant, WallTime};
use proto::{Epoch, Line};

const ANN: Program = Program(1);
const BOB: Program = Program(2);
const EPOCH: Epoch = Epoch { generation: 1, counter: 3 };

/// A state session and a host that keeps a copy of what it commits.
struct Desk {
    state: StateSession,
    now: Instant,
    held: Held,
    committed: Vec<Encoded>,
    closed: Vec<Program>,
    /// Whether a version is safe as soon as it is committed.
    is_prompt: bool,
    said: Vec<(Program, Vec<u8>)>,
}

impl Desk {
    fn new(state: StateSession) -> Self {
        let mut desk = Self {
            state,
            now: Instant::ZERO,
            held: Held::default(),
            committed: Vec::new(),
            closed: Vec::new(),
            is_prompt: true,
            said: Vec::new(),
        };
        assert!(desk.state.open(ANN) && desk.state.open(BOB));
        desk
    }

    fn fresh() -> Self {
        Self::new(StateSession::new(object(), EPOCH, None))
    }

    fn wall() -> WallTime {
        WallTime::from_secs(1_000)
    }

    fn drain(&mut self) {
        loop {
            let effects = self.state.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Say { program, bytes } => self.said.push((program, bytes)),
                    Effect::Close(program) => self.closed.push(program),
                    other @ (Effect::Ask { .. } | Effect::Call { .. } | Effect::Reply { .. }) => {
                        unreachable!("{other:?}")
                    }
                    Effect::Committed(version) => {
                        match self.held.encoded() {
                            Some(held) => self.held.take_delta(&Delta::between(held, &version)).unwrap(),
                            None => self.held.take_whole(version.clone()).unwrap(),
                        }
                        assert_eq!(self.held.encoded(), Some(&version));
                        self.committed.push(version);
                    }
                }
            }
            if self.is_prompt {
                self.safe();
            }
        }
    }

    fn safe(&mut self) {
        if let Some(version) = self.committed.last() {
            self.state.safe(self.now, Self::wall(), version.stamp());
        }
    }

    /// What a program was told since this was asked last.
    fn told(&mut self, program: Program) -> Vec<Packet> {
        self.drain();
        let (own, others) = self.said.drain(..).partition::<Vec<_>, _>(|(to, _)| *to == program);
        self.said = others;
        let (mut stream, mut packets) = (Stream::default(), Vec::new());
        for (_, bytes) in own {
            stream.push(&bytes);
            while let Some(packet) = stream.next_packet().unwrap() {
                packets.push(packet.unwrap());
            }
        }
        assert!(stream.is_empty(), "an answer is whole");
        packets
    }

    fn say(&mut self, program: Program, text: &str) -> Vec<Packet> {
        self.state.heard(self.now, Self::wall(), program, format!("{text}\n").as_bytes());
        self.told(program)
    }

    /// The one answer to one request, as text.
    fn ask(&mut self, program: Program, text: &str) -> String {
        let told = self.say(program, text);
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        let Packet { line, payload } = &told[0];
        let payload = payload.as_ref().map(|payload| format!(" [{}]", payload.escape_ascii()));
        format!("{line}{}", payload.unwrap_or_default())
    }
}

#[test]
fn what_is_put_is_got_and_its_version_is_named() {
    let mut desk = Desk::fresh();
    let welcome = "welcome version=1 service=shop session=00000000000000000000000000000007";
    assert_eq!(desk.ask(ANN, "hello version=1"), welcome);
    assert_eq!(desk.ask(ANN, "put pool=global key=count text=41"), "ok stamp=1.3/1");
    assert_eq!(desk.ask(BOB, "put pool=global key=count bytes=2\n42"), "ok stamp=1.3/2");
    assert_eq!(desk.ask(ANN, "get pool=global key=count"), "value kind=raw bytes=2 [42]");
    assert_eq!(desk.ask(ANN, "put pool=global key=count text=42"), "ok stamp=1.3/2", "nothing has changed");
    assert_eq!(desk.ask(ANN, "remove pool=global key=count"), "ok stamp=1.3/3");
    assert_eq!(desk.ask(ANN, "get pool=global key=count"), "none");
    assert!(desk.ask(ANN, "remove pool=global key=count").starts_with("error code=noSuchKey"));
    assert_eq!(desk.committed.len(), 3);
}

#[test]
fn activities_have_values_of_their_own_and_states_to_go_back_to() {
    let mut desk = Desk::fresh();
    for request in [
        "push name=search",
        "put pool=composite key=hits kind=query text=Router size=5",
        "mark pool=composite",
        "put pool=composite key=hits kind=query text=Router size=5 page=1",
        "put pool=step:ask key=word text=Router",
        "push name=detail",
        "put pool=composite key=hits text=none",
        "pop",
    ] {
        assert!(desk.ask(ANN, request).starts_with("ok stamp="), "{request}");
    }
    let hits = "get pool=composite key=hits";
    assert_eq!(desk.ask(ANN, hits), "value kind=query size=5 page=1 bytes=6 [Router]");
    let status = desk.ask(ANN, "status");
    assert!(status.contains(" depth=1 top=search compositeState=2/2 "), "{status}");
    assert!(desk.ask(ANN, "back pool=composite").starts_with("ok"));
    assert_eq!(desk.ask(ANN, hits), "value kind=query size=5 page=0 bytes=6 [Router]");
    assert!(desk.ask(ANN, "back pool=composite").starts_with("error code=noSuchState"));
    assert!(desk.ask(ANN, "forward pool=composite").starts_with("ok"));
    let listed = desk.say(ANN, "list pool=step:ask");
    let listed: Vec<String> = listed.iter().map(|packet| packet.line.to_string()).collect();
    assert_eq!(listed, ["list count=1", "entry key=word kind=raw length=6"]);
    desk.ask(ANN, "pop");
    assert!(desk.ask(ANN, "put pool=composite key=a text=b").starts_with("error code=noComposite"));
}

#[test]
fn an_operation_is_seen_by_its_program_alone_and_committed_as_one_version() {
    let mut desk = Desk::fresh();
    desk.ask(ANN, "put pool=application key=a text=10");
    assert_eq!(desk.ask(ANN, "begin name=order"), "ok stamp=1.3/2 operation=1");
    assert_eq!(desk.ask(ANN, "put pool=application key=a text=0"), "ok stamp=1.3/2 operation=1");
    desk.ask(ANN, "put pool=application key=b text=10");
    assert_eq!(desk.ask(ANN, "get pool=application key=a"), "value kind=raw bytes=1 [0]");
    assert_eq!(desk.ask(BOB, "get pool=application key=a"), "value kind=raw bytes=2 [10]");
    assert!(desk.ask(BOB, "begin name=other").starts_with("error code=busy"));
    desk.ask(BOB, "commit");
    assert!(desk.ask(BOB, "put pool=global key=seen text=yes").starts_with("ok stamp=1.3/3"));
    assert_eq!(desk.ask(ANN, "get pool=global key=seen"), "value kind=raw bytes=3 [yes]");
    assert_eq!(desk.ask(ANN, "commit"), "ok stamp=1.3/4 operation=1");
    assert_eq!(desk.ask(BOB, "get pool=application key=a"), "value kind=raw bytes=1 [0]");
    assert!(desk.ask(BOB, "status").ends_with("operation=1 name=order status=committed"));
    assert!(desk.ask(ANN, "commit").starts_with("error code=noOperation"));
}

#[test]
fn of_an_operation_that_is_given_up_nothing_is_there() {
    let mut desk = Desk::fresh();
    let order = "put pool=global key=a text=1";
    let none = |desk: &mut Desk| {
        assert_eq!(desk.ask(BOB, "get pool=global key=a"), "none");
        let status = desk.ask(BOB, "status");
        assert!(status.ends_with(" name=order status=aborted"), "{status}");
    };
    desk.say(ANN, &format!("begin name=order\n{order}\nabort"));
    none(&mut desk);
    // One change of it is refused: all are, although the program sent them before it read an answer.
    let told = desk.say(ANN, &format!("begin name=order\nremove pool=global key=gone\n{order}\ncommit"));
    let codes: Vec<Option<&str>> = told.iter().map(|packet| packet.line.get("code")).collect();
    assert_eq!(codes, [None, Some("noSuchKey"), None, Some("aborted")]);
    none(&mut desk);
    // It would not fit.
    let half = |key: &str| format!("put pool=global key={key} bytes=20000\n{}", "x".repeat(20_000));
    desk.say(ANN, &half("large"));
    desk.say(ANN, &format!("begin name=order\n{order}\n{}", half("b")));
    desk.say(BOB, &half("meanwhile"));
    assert!(desk.ask(ANN, "commit").starts_with("error code=tooLarge"));
    none(&mut desk);
    // Its program goes away.
    desk.say(ANN, &format!("begin name=order\n{order}"));
    desk.state.close(ANN);
    none(&mut desk);
}

#[test]
fn a_program_that_never_commits_keeps_nobody_waiting_for_long_and_loses_all_of_it() {
    let mut desk = Desk::fresh();
    desk.say(ANN, "begin name=slow\nput pool=global key=a text=1");
    desk.now += Duration::from_secs(29);
    // All of it sent at once: nothing of an operation that was refused is made on its own.
    let told = desk.say(BOB, "begin name=quick\nput pool=global key=b text=1\ncommit");
    let codes: Vec<Option<&str>> = told.iter().map(|packet| packet.line.get("code")).collect();
    assert_eq!(codes, [Some("busy"), Some("aborted"), Some("noOperation")]);
    desk.now += Duration::from_secs(1);
    let told = desk.say(BOB, "begin name=quick\nput pool=global key=b text=1\ncommit");
    assert!(told.iter().all(|packet| packet.line.command() == "ok"), "{told:?}");
    assert!(desk.ask(ANN, "put pool=global key=c text=1").starts_with("error code=aborted"));
    assert!(desk.ask(ANN, "commit").starts_with("error code=noOperation"));
    for (key, is_there) in [("a", false), ("b", true), ("c", false)] {
        assert_eq!(desk.ask(BOB, &format!("get pool=global key={key}")) != "none", is_there, "{key}");
    }
    assert!(desk.ask(ANN, "put pool=global key=c text=1").starts_with("ok"), "it has heard of it");
}

#[test]
fn an_operation_that_is_kept_is_taken_over_by_number_and_given_up_with_its_lease() {
    let mut desk = Desk::fresh();
    assert_eq!(desk.ask(ANN, "begin name=order keep=true"), "ok stamp=1.3/1 operation=1");
    desk.ask(ANN, "put pool=global key=a text=1");
    desk.state.close(ANN);
    assert!(desk.ask(BOB, "join operation=2").starts_with("error code=noOperation"));
    assert!(
        desk.ask(BOB, "put pool=global key=b text=1").starts_with("error code=aborted"),
        "nor is it made alone"
    );
    assert_eq!(desk.ask(BOB, "join operation=1"), "ok stamp=1.3/1 operation=1");
    desk.ask(BOB, "put pool=global key=b text=2");
    assert_eq!(desk.ask(BOB, "get pool=global key=a"), "value kind=raw bytes=1 [1]");
    assert_eq!(desk.ask(BOB, "commit"), "ok stamp=1.3/2 operation=1");
    desk.ask(BOB, "begin name=alone");
    assert!(desk.state.open(ANN));
    assert!(desk.ask(ANN, "join operation=2").starts_with("error code=noOperation"), "it is not kept");
    desk.ask(BOB, "abort");
    desk.ask(BOB, "begin name=forgotten keep=true");
    desk.state.close(BOB);
    desk.now += Duration::from_secs(30);
    assert!(desk.ask(ANN, "begin name=next").starts_with("ok"));
    assert!(desk.ask(ANN, "join operation=3").starts_with("error code=noOperation"));
}

#[test]
fn no_answer_comes_before_its_version_is_safe_and_none_overtakes_another() {
    let mut desk = Desk::fresh();
    desk.is_prompt = false;
    assert_eq!(desk.say(ANN, "put pool=global key=a text=1").len(), 0);
    assert_eq!(desk.say(ANN, "status").len(), 0);
    assert_eq!(desk.say(BOB, "get pool=global key=a").len(), 0, "what is not safe is not shown");
    let first = desk.committed[0].stamp();
    assert_eq!(desk.say(ANN, "put pool=global key=a text=2").len(), 0);
    desk.state.safe(desk.now, Desk::wall(), first);
    let told: Vec<String> = desk.told(ANN).iter().map(|packet| packet.line.command().to_owned()).collect();
    assert_eq!(told, ["ok", "status"]);
    assert_eq!(desk.told(BOB).len(), 1);
    desk.safe();
    assert_eq!(desk.told(ANN)[0].line.to_string(), "ok stamp=1.3/2");
}

#[test]
fn who_asks_faster_than_it_is_answered_is_read_no_further() {
    let mut desk = Desk::fresh();
    desk.is_prompt = false;
    let put = "put pool=global key=a text=1\nput pool=global key=a text=2\n".repeat(ANSWERS_MAX);
    assert_eq!(desk.say(ANN, &put).len(), 0);
    assert!(!desk.state.reads(ANN));
    assert_eq!(desk.committed.len(), ANSWERS_MAX);
    desk.is_prompt = true;
    desk.safe();
    assert_eq!(desk.told(ANN).len(), 2 * ANSWERS_MAX, "the rest is read when there is room");
    desk.is_prompt = false;
    desk.say(ANN, &put.repeat(40));
    desk.told(ANN);
    assert_eq!(desk.closed, [ANN], "who does not stop is closed");
    assert!(desk.state.open(ANN));
    for n in 3..=PROGRAMS_MAX as u32 {
        assert!(desk.state.open(Program(n)));
    }
    assert!(!desk.state.open(Program(99)));
}

#[test]
fn whoever_watches_is_told_where_the_session_is_shown_and_that_it_is_disabled() {
    let mut desk = Desk::fresh();
    let lines = |told: Vec<Packet>| told.iter().map(|packet| packet.line.to_string()).collect::<Vec<_>>();
    desk.state.shown(Some("00144f9cd700".parse().unwrap()));
    assert_eq!(lines(desk.say(ANN, "watch")), ["event is=connect dtu=00144f9cd700", "ok stamp=1.3/0"]);
    desk.state.shown(None);
    desk.state.shown(None);
    assert_eq!(lines(desk.told(ANN)), ["event is=disconnect dtu=00144f9cd700"]);
    assert_eq!(desk.told(BOB).len(), 0, "who has not asked is not told");

    desk.ask(ANN, "push name=order");
    desk.state.disable(Disable::Gracefully);
    assert_eq!(lines(desk.told(ANN)), ["event is=disable how=gracefully"]);
    assert!(desk.ask(ANN, "put pool=composite key=a text=1").starts_with("ok"), "what is begun goes on");
    assert!(desk.ask(ANN, "push name=detail").starts_with("ok"));
    assert!(desk.say(ANN, "pop\npop").iter().all(|packet| packet.line.command() == "ok"));
    assert!(desk.ask(ANN, "push name=another").starts_with("error code=disabled"));
    assert!(desk.ask(ANN, "begin name=another").starts_with("error code=disabled"));
    desk.state.disable(Disable::Now);
    desk.state.disable(Disable::Gracefully);
    assert_eq!(lines(desk.told(ANN)), ["event is=disable how=now"]);
    desk.ask(ANN, "abort");
    assert!(desk.ask(ANN, "put pool=global key=a text=1").starts_with("error code=disabled"));
    assert_eq!(desk.ask(ANN, "get pool=global key=a"), "none");
}

/// A world in which nothing is left.
struct Nothing;

impl continuity::restore::FileResolver for Nothing {
    fn file(&mut self, _: &continuity::PathName) -> Result<(), Missing> {
        Err(Missing::Gone)
    }
}

#[test]
fn another_host_goes_on_with_what_was_committed_and_says_what_is_gone() {
    let mut desk = Desk::fresh();
    desk.say(
        ANN,
        "push name=edit\nput pool=composite key=file kind=file text=/tmp/x\nput pool=global key=n text=7",
    );
    desk.say(ANN, "begin name=save\nput pool=global key=n text=8");
    let object = Object::decode(desk.held.encoded().unwrap()).unwrap();
    let restored = object.restore(&mut Resolvers { file: Some(&mut Nothing), ..Resolvers::default() });
    let later = Epoch { counter: 4, ..EPOCH };
    let mut other = Desk::new(StateSession::new(object, later, Some(&restored)));
    let told: Vec<String> = other.say(ANN, "watch").iter().map(|packet| packet.line.to_string()).collect();
    assert_eq!(
        told,
        [
            "event is=restore stamp=1.3/4 missing=1 operation=1 name=save status=begun",
            "event is=missing depth=0 pool=composite key=file why=gone",
            "ok stamp=1.4/4",
        ]
    );
    assert_eq!(other.ask(ANN, "get pool=global key=n"), "value kind=raw bytes=1 [7]");
    assert_eq!(other.ask(ANN, "begin name=save"), "ok stamp=1.4/5 operation=2");
    assert!(other.committed[0].stamp() > desk.committed.last().unwrap().stamp());
}

#[test]
fn what_is_no_request_is_refused_with_a_code_and_spoils_nothing() {
    let mut desk = Desk::fresh();
    for (request, code) in [
        ("dance", "unknown"),
        ("subscribe to=mail", "reserved"),
        ("call", "unreadable"),
        ("reply call=7 text=x", "noSuchCall"),
        ("invalidate cache=products", "reserved"),
        ("hello version=2", "version"),
        ("put pool=global key=a", "unreadable"),
        ("put pool=nowhere key=a text=b", "unreadable"),
        ("put pool=global key=a\\ b text=b", "unreadable"),
        ("put pool=global key=a kind=query text=x", "unreadable"),
        ("put pool=global key=a kind=file text=relative", "unreadable"),
        ("put pool=global key=a text=b bytes=1\nb", "unreadable"),
        ("back pool=global", "unreadable"),
        ("\u{1}", "unreadable"),
    ] {
        let answer = desk.ask(ANN, request);
        assert!(answer.starts_with(&format!("error code={code} text=")), "{request}: {answer}");
    }
    assert_eq!(desk.committed.len(), 0);
    let told = desk.say(ANN, &format!("status\nput pool=global key=a bytes=99999\n{}", "x".repeat(99_999)));
    let codes: Vec<Option<&str>> = told.iter().map(|packet| packet.line.get("code")).collect();
    assert_eq!((codes, &desk.closed[..]), (vec![None, Some("fault")], &[ANN][..]));
    assert_eq!(desk.ask(BOB, "get pool=global key=a"), "none", "others do not notice");
}

#[test]
fn an_object_says_what_it_is_for_and_until_when() {
    let mut desk = Desk::fresh();
    desk.ask(ANN, "describe scope=/shop/cart object=12 lifetime=60");
    let head = &desk.state.object().head;
    assert_eq!((head.scope.as_str(), head.object.0), ("/shop/cart", 12));
    assert!(!head.is_expired(WallTime::from_secs(1_059)) && head.is_expired(WallTime::from_secs(1_060)));
    desk.ask(ANN, "describe lifetime=0");
    let head = &desk.state.object().head;
    assert_eq!((head.scope.as_str(), head.expiry), ("/shop/cart", None));
}

/// Reads a line and its payload as a request.
fn read(line: Line, payload: Option<Vec<u8>>) -> Result<Request, BadRequest> {
    Request::read(&Packet { line, payload })
}

proptest! {
    #[test]
    fn a_value_is_put_as_it_is_told(value in common::value()) {
        let line = Line::new("put").with("pool", "global").with("key", "k");
        let (line, content) = continuity::words::with_value(line, &value);
        prop_assert_eq!(read(line, Some(content.to_vec())), Ok(Request::Edit(common::put("global", "k", value))));
    }

    #[test]
    fn versions_rise_by_one_whatever_is_said(
        said in proptest::collection::vec((1_u32..3, prop::sample::select(vec![
            "put pool=global key=a text=1", "put pool=global key=a text=2", "remove pool=global key=a", "push name=x",
            "pop", "mark pool=composite", "back pool=composite", "put pool=composite key=c text=1", "begin name=o",
            "commit", "abort", "describe object=3", "get pool=global key=a", "dance",
        ])), 0..60),
    ) {
        let mut desk = Desk::fresh();
        for (program, request) in said {
            desk.ask(Program(program), request);
        }
        let stamps: Vec<Stamp> = desk.committed.iter().map(Encoded::stamp).collect();
        for (n, stamp) in (1..).zip(&stamps) {
            prop_assert_eq!(*stamp, common::stamp(3, n));
        }
        if let Some(held) = desk.held.encoded() {
            prop_assert_eq!(&Object::decode(held).unwrap(), desk.state.object());
        }
    }
}
