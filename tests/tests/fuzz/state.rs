//! The session object: its encoding, its deltas, a copy of it on another host, and the socket on which programs change it.

use continuity::limits::{OBJECT_MAX, VALUES_MAX};
use continuity::session::{Effect as StateEffect, Program, StateSession};
use continuity::stream::Stream;
use continuity::{
    Delta, Edit, Encoded, Held, History, Object, Place, Refused, SeriesName, Stamp, Value, Version,
};
use datastore::Answer;
use proto::time::{Duration, Instant, WallTime};
use proto::{Epoch, SessionId};

use crate::feed::Feed;

targets! {
    an_object_has_one_encoding => encoding;
    a_delta_makes_what_it_names_or_is_refused => delta;
    a_copy_is_always_a_version_that_was_committed_and_never_falls => copy;
    whatever_programs_say_operations_are_all_or_nothing => socket;
}

/// What deltas are applied to.
const EVERYTHING: &[u8] = include_bytes!("__fuzz__/state__an_object_has_one_encoding/corpus/everything");

fn encoding(bytes: &[u8]) {
    let Ok(encoded) = Encoded::open(bytes) else { return };
    assert_eq!(encoded.as_bytes(), bytes);
    let Ok(object) = Object::decode(&encoded) else { return };
    assert!(bytes.len() <= OBJECT_MAX && object.values() <= VALUES_MAX);
    assert_eq!(object.encode().unwrap(), encoded);
}

fn delta(bytes: &[u8]) {
    let base = Encoded::open(EVERYTHING).unwrap();
    let Ok(delta) = Delta::from_bytes(bytes) else { return };
    assert_eq!(delta.to_bytes(), bytes);
    match delta.apply(&base) {
        Ok(made) => {
            assert_eq!((made.stamp(), made.hash()), (delta.result(), delta.hash()));
            assert!(made.stamp() > base.stamp() && delta.base() == base.stamp());
        }
        Err(Refused::Stale { result, held }) => assert!(result <= held),
        Err(Refused::Gap { base: named, .. }) => assert_ne!(named, base.stamp()),
        Err(Refused::Corrupt { .. }) => {}
    }
}

/// A change drawn from a feed.
fn edit(feed: &mut Feed<'_>) -> Edit {
    let series = [SeriesName::Composite, SeriesName::Interactive, SeriesName::Application][feed.below(3)];
    let name = |n: u8| format!("n{n}");
    let places = [
        Place::Global,
        Place::Composite,
        Place::Step("s".parse().unwrap()),
        Place::Interactive,
        Place::Application,
    ];
    let place = places[feed.below(5)].clone();
    let key = name(feed.u8() % 6).parse().unwrap();
    match feed.u8() % 12 {
        0 => Edit::Push(name(feed.u8() % 4).parse().unwrap()),
        1 => Edit::Pop,
        2 | 3 => Edit::Mark(series),
        4 => Edit::Back(series),
        5 => Edit::Forward(series),
        6 => Edit::Forget(series),
        7 => Edit::Remove { place, key },
        _ => {
            let (piece, times) = (feed.bytes(), feed.below(40));
            Edit::Put { place, key, value: Value::raw(&piece.repeat(times)).unwrap() }
        }
    }
}

/// A primary commits, and what it sends to a keeper is lost, repeated, delayed and damaged.
fn copy(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let mut object = Object::new(SessionId(1), "s".parse().unwrap());
    let (mut history, mut committed) = (History::default(), Vec::<Encoded>::new());
    let (mut held, mut sent) = (Held::default(), Vec::<Vec<u8>>::new());
    let mut highest = Stamp::default();
    while !feed.is_empty() && committed.len() < 60 {
        match feed.u8() % 8 {
            0..=2 => {
                let mut next = object.clone();
                let _ = next.apply(edit(&mut feed));
                let Stamp { epoch, version } = object.head.stamp;
                let counter = epoch.counter + u32::from(feed.u8() < 16);
                next.head.stamp =
                    Stamp { epoch: Epoch { counter, ..epoch }, version: Version(version.0 + 1) };
                let Ok(encoded) = next.encode() else { continue };
                assert!(history.push(encoded.clone()));
                committed.push(encoded);
                object = next;
            }
            3..=5 => {
                let (Some(base), Some(newest)) = (held.stamp(), history.newest()) else { continue };
                if let Some(delta) = history.delta(base, newest.stamp()) {
                    sent.push(delta.to_bytes());
                }
            }
            6 => {
                let Some(encoded) = committed.get(feed.below(committed.len())) else { continue };
                let before = held.stamp();
                let taken = held.take_whole(encoded.clone()).is_ok();
                assert_eq!(taken, before.is_none_or(|before| encoded.stamp() > before));
            }
            _ => {
                let Some(mut bytes) = sent.get(feed.below(sent.len())).cloned() else { continue };
                if feed.u8() < 32 {
                    let at = feed.below(bytes.len());
                    bytes[at] ^= feed.u8();
                }
                if let Ok(delta) = Delta::from_bytes(&bytes) {
                    let _ = held.take_delta(&delta);
                }
            }
        }
        let Some(encoded) = held.encoded() else { continue };
        assert!(committed.contains(encoded), "{encoded:?} was never committed");
        assert!(encoded.stamp() >= highest);
        highest = encoded.stamp();
        assert!(Object::decode(encoded).is_ok());
    }
}

/// Two programs say operations, in one piece or several, each of which puts one number under two keys; a third says noise.
fn socket(bytes: &[u8]) {
    let mut feed = Feed(bytes);
    let object = Object::new(SessionId(1), "s".parse().unwrap());
    let mut state = StateSession::new(object, Epoch::default(), None);
    let (mut held, mut safe, mut now) = (Held::default(), Stamp::default(), Instant::ZERO);
    let programs = [0, 1, 2].map(Program);
    // What was asked for, and when the last operation was begun.
    let (mut asked, mut operation, mut begun) = (Vec::new(), 0, None::<Stamp>);
    assert!(programs.into_iter().all(|program| state.open(program)));
    for number in 0..200_u32 {
        if feed.is_empty() {
            break;
        }
        let pair = ["left", "right"].map(|key| format!("put pool=global key={key} text={number}\n"));
        let program = programs[feed.below(2)];
        let said = match feed.u8() % 10 {
            0 | 1 => format!("begin name=pair\n{}{}commit\n", pair[0], pair[1]),
            2 => format!("begin name=pair\n{}remove pool=global key=gone\n{}commit\n", pair[0], pair[1]),
            3 => "begin name=idle\n".to_owned(),
            4 => "abort\n".to_owned(),
            5 => "get pool=global key=left\nlist pool=global\nstatus\nwatch\n".to_owned(),
            8 => format!("begin name=pair\n{}effect do=begin\n{}commit\n", pair[0], pair[1]),
            9 => {
                if let Some(ticket) = asked.pop() {
                    let answer = if feed.u8() < 128 { Answer::Begun } else { Answer::Pong };
                    state.answered(now, WallTime::default(), ticket, Ok(answer));
                }
                String::new()
            }
            6 => {
                now += Duration::from_secs(20);
                let noise = feed.bytes();
                state.heard(now, WallTime::default(), programs[2], noise);
                String::new()
            }
            _ => {
                let stamp = state.object().head.stamp;
                safe = safe.max(stamp);
                state.safe(now, WallTime::default(), stamp);
                String::new()
            }
        };
        state.heard(now, WallTime::default(), program, said.as_bytes());
        for effect in state.take_effects() {
            match effect {
                StateEffect::Say { bytes, .. } => all_safe(&bytes, safe),
                StateEffect::Close(program) => assert!(program == programs[2] || !state.reads(program)),
                StateEffect::Call { .. } | StateEffect::Reply { .. } => {}
                StateEffect::Ask { ticket, .. } => {
                    assert!(begun.is_some_and(|begun| begun <= safe), "that it was begun is safe");
                    asked.push(ticket);
                }
                StateEffect::Committed(version) => {
                    match held.encoded() {
                        Some(base) => held.take_delta(&Delta::between(base, &version)).unwrap(),
                        None => held.take_whole(version.clone()).unwrap(),
                    }
                    assert_eq!(held.encoded(), Some(&version));
                    let object = Object::decode(&version).unwrap();
                    if object.head.operation.as_ref().is_some_and(|last| last.number > operation) {
                        operation += 1;
                        begun = Some(version.stamp());
                    }
                    let value = |key: &str| object.get(&Place::Global, &key.parse().unwrap()).cloned();
                    assert_eq!(value("left"), value("right"), "an operation is all or nothing");
                }
            }
        }
    }
}

/// What is said is whole lines, and no stamp in it is above what is safe.
fn all_safe(bytes: &[u8], safe: Stamp) {
    let mut stream = Stream::default();
    stream.push(bytes);
    while let Some(packet) = stream.next_packet().unwrap() {
        let line = packet.unwrap().line;
        assert!(line.lenient::<Stamp>("stamp").is_none_or(|stamp| stamp <= safe), "{line} is not safe");
    }
    assert!(stream.is_empty());
}
