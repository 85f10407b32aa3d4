//! Effects: what an operation changes outside of the object happens once, whatever becomes of the session's home.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod common;

use common::object;
use continuity::session::{Effect, Program, StateSession, Ticket};
use continuity::stream::Stream;
use continuity::{Encoded, Object, Restored};
use datastore::{Guard, Key, MemoryStore, Request, StoreError, Value};
use proto::Epoch;
use proto::time::{Instant, WallTime};

const ANN: Program = Program(1);

fn epoch(counter: u32) -> Epoch {
    Epoch { generation: 1, counter }
}

fn record() -> Key {
    "session/7".parse().unwrap()
}

/// The record says that the session's home is in this epoch.
fn move_to(store: &mut MemoryStore, counter: u32) {
    let value = Value::new(format!("session epoch=1.{counter}").as_bytes()).unwrap();
    store.apply(Request::Put { key: record(), value }, &mut Vec::new());
}

/// One home of the session, at which one program speaks.
struct Home {
    state: StateSession,
    epoch: Epoch,
    /// Whether a version is safe as soon as it is committed, and whether the store is asked.
    is_safe: bool,
    is_cut_off: bool,
    kept: Option<Encoded>,
    asked: Vec<Ticket>,
}

impl Home {
    fn new(counter: u32, kept: Option<&Encoded>) -> Self {
        let at = |object, restored| StateSession::new(object, epoch(counter), restored);
        let mut state = match kept {
            Some(kept) => at(Object::decode(kept).unwrap(), Some(&Restored::default())),
            None => at(object(), None),
        };
        assert!(state.open(ANN));
        let (epoch, kept) = (epoch(counter), state.object().encode().ok());
        Self { state, epoch, is_safe: true, is_cut_off: false, kept, asked: Vec::new() }
    }

    /// What was said, and what it was answered.
    fn say(&mut self, store: &mut MemoryStore, text: &str) -> Vec<String> {
        self.state.heard(Instant::ZERO, WallTime::default(), ANN, format!("{text}\n").as_bytes());
        self.settle(store)
    }

    fn settle(&mut self, store: &mut MemoryStore) -> Vec<String> {
        let (mut heard, mut said) = (Stream::default(), Vec::new());
        loop {
            let effects = self.state.take_effects();
            if effects.is_empty() {
                while let Some(packet) = heard.next_packet().unwrap() {
                    said.push(packet.unwrap().line.to_string());
                }
                return said;
            }
            for effect in effects {
                match effect {
                    Effect::Say { bytes, .. } => heard.push(&bytes),
                    other @ (Effect::Close(_) | Effect::Call { .. } | Effect::Reply { .. }) => {
                        unreachable!("{other:?}")
                    }
                    Effect::Committed(version) if self.is_safe => {
                        self.kept = Some(version.clone());
                        self.state.safe(Instant::ZERO, WallTime::default(), version.stamp());
                    }
                    Effect::Committed(_) => {}
                    Effect::Ask { ticket, .. } if self.is_cut_off => self.asked.push(ticket),
                    Effect::Ask { ticket, request } => {
                        let guarded = request.guarded(Guard::new(record(), self.epoch));
                        let answer = store.apply(guarded, &mut Vec::new()).answer;
                        self.state.answered(Instant::ZERO, WallTime::default(), ticket, Ok(answer));
                    }
                }
            }
        }
    }
}

fn stored(store: &MemoryStore, key: &str) -> Option<String> {
    let value = store.get(&key.parse().unwrap())?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    move_to(&mut store, 3);
    store
}

#[test]
fn an_effect_whose_home_has_died_before_the_commit_has_happened_once_and_its_answer_is_told_again() {
    let mut store = store();
    let mut home = Home::new(3, None);
    let order = "effect do=put key=order text=ten\neffect step=2 do=delete key=offer\neffect step=3 do=begin";
    let said =
        home.say(&mut store, &format!("begin name=order\n{order}\neffect step=3 do=done text=receipt-5"));
    assert_eq!(
        said,
        [
            "ok stamp=1.3/1 operation=1",
            "ok stamp=1.3/1 operation=1 happened=now answer=stored",
            "ok stamp=1.3/1 operation=1 happened=now answer=absent",
            "ok stamp=1.3/1 operation=1 happened=now answer=begun",
            "ok stamp=1.3/1 operation=1 happened=now answer=done",
        ]
    );
    // Somebody else has eaten the order meanwhile.
    let key = "order".parse().unwrap();
    store.apply(Request::Delete { key }, &mut Vec::new());
    move_to(&mut store, 4);
    let mut next = Home::new(4, home.kept.as_ref());
    let said =
        next.say(&mut store, &format!("begin name=order again=true\n{order}\nput pool=global key=a text=1"));
    assert_eq!(
        said,
        [
            "ok stamp=1.4/1 operation=1",
            "ok stamp=1.4/1 operation=1 happened=before answer=stored",
            "ok stamp=1.4/1 operation=1 happened=before answer=absent",
            "ok stamp=1.4/1 operation=1 happened=before answer=done text=receipt-5",
            "ok stamp=1.4/1 operation=1",
        ]
    );
    assert_eq!(stored(&store, "order"), None, "it was not done again");
    assert_eq!(next.say(&mut store, "commit"), ["ok stamp=1.4/2 operation=1"]);
    // The next operation is another one, also by name.
    let said = next.say(&mut store, "begin name=order again=true\neffect do=put key=order text=more\ncommit");
    assert!(said[1].ends_with(" operation=2 happened=now answer=stored"), "{said:?}");
    assert_eq!(stored(&store, "order").as_deref(), Some("more"));
}

#[test]
fn a_home_of_an_earlier_epoch_does_nothing_more() {
    let mut store = store();
    let mut home = Home::new(3, None);
    home.say(&mut store, "begin name=order");
    move_to(&mut store, 4);
    let said = home.say(&mut store, "effect do=put key=order text=ten\neffect step=2 do=begin\ncommit");
    assert!(said[0].starts_with("error code=fenced") && said[1].starts_with("error code=fenced"), "{said:?}");
    assert!(said[2].starts_with("error code=aborted"), "what was refused is not committed: {said:?}");
    assert_eq!(stored(&store, "order"), None);
}

/// What a host has lost of its last epoch may have had the numbers that its heir gives out anew.
#[test]
fn an_operation_of_a_later_epoch_is_another_one_whatever_its_number() {
    let mut store = store();
    let mut home = Home::new(3, None);
    home.say(&mut store, "put pool=global key=a text=1");
    let kept = home.kept.clone();
    home.say(&mut store, "begin name=order\neffect do=put key=order text=old");
    move_to(&mut store, 4);
    let mut next = Home::new(4, kept.as_ref());
    let said = next.say(&mut store, "begin name=order\neffect do=put key=order text=new");
    assert!(said[1].ends_with("operation=1 happened=now answer=stored"), "{said:?}");
    assert_eq!(stored(&store, "order").as_deref(), Some("new"));
    // And of one that goes on, the epoch in which it was begun stays, over any number of homes.
    for counter in 5..8 {
        move_to(&mut store, counter);
        next = Home::new(counter, next.kept.as_ref());
        let said = next.say(&mut store, "begin name=order again=true\neffect do=put key=order text=again");
        assert!(said[1].ends_with("operation=1 happened=before answer=stored"), "{said:?}");
    }
    let said = next.say(&mut store, "abort\nbegin name=order again=true\neffect do=put key=order text=newer");
    assert!(said[2].ends_with("operation=2 happened=now answer=stored"), "{said:?}");
}

#[test]
fn nothing_is_done_before_it_is_safe_that_the_operation_was_begun() {
    let mut store = store();
    let mut home = Home::new(3, None);
    home.is_safe = false;
    assert!(home.say(&mut store, "begin name=order\neffect do=put key=order text=ten").is_empty());
    assert_eq!(stored(&store, "order"), None);
    home.state.safe(Instant::ZERO, WallTime::default(), "1.3/1".parse().unwrap());
    assert_eq!(home.settle(&mut store).len(), 2);
    assert_eq!(stored(&store, "order").as_deref(), Some("ten"));
    // Nor when the operation is given up meanwhile.
    assert!(home.say(&mut store, "abort\nbegin name=order\neffect do=put key=order text=more").is_empty());
    let late = Instant::ZERO + proto::time::Duration::from_secs(60);
    assert!(home.state.open(Program(2)));
    home.state.heard(late, WallTime::default(), Program(2), b"begin name=other\n");
    home.state.safe(late, WallTime::default(), "1.3/9".parse().unwrap());
    let said = home.settle(&mut store);
    assert!(said.iter().any(|line| line.starts_with("error code=aborted")), "{said:?}");
    assert_eq!(stored(&store, "order").as_deref(), Some("ten"));
}

#[test]
fn what_is_not_known_to_have_happened_is_not_committed_and_may_be_said_again() {
    let mut store = store();
    let mut home = Home::new(3, None);
    home.is_cut_off = true;
    let said = home.say(&mut store, "begin name=order\neffect do=put key=order text=ten\ncommit");
    assert_eq!(said.len(), 1, "nothing overtakes it: {said:?}");
    let away = StoreError::Unreachable { at: "-".into(), why: "cut".into() };
    let ticket = home.asked.remove(0);
    home.state.answered(Instant::ZERO, WallTime::default(), ticket, Err(away));
    let said = home.settle(&mut store);
    assert!(said[0].starts_with("error code=unavailable"), "{said:?}");
    assert!(said[1].starts_with("error code=aborted"), "{said:?}");
    home.is_cut_off = false;
    let said = home.say(&mut store, "begin name=order\neffect do=put key=order text=ten\ncommit");
    assert_eq!(said[2], "ok stamp=1.3/4 operation=2");
}

#[test]
fn what_is_no_effect_is_refused() {
    let mut store = store();
    let mut home = Home::new(3, None);
    let mut code = |text: &str| {
        let said = home.say(&mut store, text);
        let code = said[0].split(' ').nth(1).unwrap_or_default().to_owned();
        if said[0].starts_with("error ") { code } else { said[0].clone() }
    };
    assert_eq!(code("effect do=begin"), "code=noOperation");
    code("begin name=order");
    for (text, expected) in [
        ("effect", "code=unreadable"),
        ("effect do=dance", "code=unreadable"),
        ("effect do=put key=a", "code=unreadable"),
        ("effect do=put key=../a text=b", "code=unreadable"),
        ("effect do=begin step=0", "code=unreadable"),
        ("effect do=begin step=17", "code=unreadable"),
        ("effect do=begin step=x", "code=unreadable"),
        (&format!("effect do=done text={}", "x".repeat(257)), "code=tooLarge"),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
}
