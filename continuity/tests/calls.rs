//! Calls between two services of a session: answered once, and telling of nothing that is not safe.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod common;

use common::object;
use continuity::session::{Effect, Program, StateSession};
use continuity::stream::Stream;
use continuity::{NoReply, Object};
use proto::time::{Instant, WallTime};
use proto::{Epoch, SessionId};

const ANN: Program = Program(1);
const BOB: Program = Program(2);
const WALL: WallTime = WallTime::from_secs(0);

struct Service {
    state: StateSession,
    said: Vec<(Program, String)>,
    calls: Vec<Effect>,
}

impl Service {
    fn new(object: Object) -> Self {
        let mut state = StateSession::new(object, Epoch::default(), None);
        assert!(state.open(ANN) && state.open(BOB));
        Self { state, said: Vec::new(), calls: Vec::new() }
    }

    fn say(&mut self, program: Program, text: &str) -> Vec<String> {
        self.state.heard(Instant::ZERO, WALL, program, format!("{text}\n").as_bytes());
        self.told(program)
    }

    fn told(&mut self, program: Program) -> Vec<String> {
        for effect in self.state.take_effects() {
            match effect {
                Effect::Say { program, bytes } => {
                    let mut stream = Stream::default();
                    stream.push(&bytes);
                    while let Some(packet) = stream.next_packet().unwrap() {
                        let packet = packet.unwrap();
                        let payload = packet.payload.map(|bytes| format!(" [{}]", bytes.escape_ascii()));
                        self.said.push((program, format!("{}{}", packet.line, payload.unwrap_or_default())));
                    }
                }
                call @ (Effect::Call { .. } | Effect::Reply { .. }) => self.calls.push(call),
                _ => {}
            }
        }
        let (own, others) = self.said.drain(..).partition(|(to, _)| *to == program);
        self.said = others;
        let own: Vec<(Program, String)> = own;
        own.into_iter().map(|(_, text)| text).collect()
    }

    fn safe(&mut self) {
        let stamp = self.state.object().head.stamp;
        self.state.safe(Instant::ZERO, WALL, stamp);
    }
}

#[test]
fn a_call_is_told_to_whoever_serves_and_its_reply_to_whoever_called() {
    let mut shop = Service::new(object());
    let mut mail = Service::new(Object::new(SessionId(7), "mail".parse().unwrap()));
    assert!(!mail.state.called(1, &"shop".parse().unwrap(), None, b"?"), "nobody serves");
    assert!(mail.say(BOB, "serve")[0].starts_with("ok"));
    assert!(mail.say(ANN, "serve")[0].starts_with("error code=busy"));
    // What the caller has changed leaves with nothing before it is safe.
    assert!(shop.say(ANN, "begin name=order\ncall service=mail text=hello within=900\nstatus").is_empty());
    assert!(shop.calls.is_empty());
    shop.safe();
    assert_eq!(shop.told(ANN).len(), 1, "what comes after the call waits for it");
    let Effect::Call { ticket, service, within, operation, payload } = shop.calls.remove(0) else {
        unreachable!("a call")
    };
    assert_eq!(
        (service.as_str(), within.as_millis(), operation, &*payload),
        ("mail", 900, Some(1), &b"hello"[..])
    );
    assert!(mail.state.called(7, &"shop".parse().unwrap(), operation, &payload));
    assert_eq!(mail.told(BOB), ["event is=call call=7 from=shop operation=1 bytes=5 [hello]"]);
    let forged = mail.say(ANN, "reply call=7 text=forged");
    assert!(forged[0].starts_with("error code=noSuchCall"), "who does not serve does not reply: {forged:?}");
    // Nor does a reply.
    assert!(mail.say(BOB, "put pool=global key=a text=1\nreply call=7 text=hi").is_empty());
    assert!(mail.calls.is_empty());
    mail.safe();
    assert_eq!(mail.told(BOB).len(), 2);
    assert_eq!(mail.calls, [Effect::Reply { call: 7, payload: b"hi".to_vec() }]);
    shop.state.replied(Instant::ZERO, WALL, ticket, Ok(b"hi".to_vec()));
    let told = shop.told(ANN);
    assert!(told[0] == "reply bytes=2 [hi]" && told[1].starts_with("status "), "{told:?}");
    shop.state.replied(Instant::ZERO, WALL, ticket, Ok(b"again".to_vec()));
    assert!(shop.told(ANN).is_empty(), "once");
    for text in ["reply call=7 text=again", "reply call=8 text=x"] {
        assert!(mail.say(BOB, text)[0].starts_with("error code=noSuchCall"), "{text}");
    }
}

#[test]
fn a_call_that_nobody_answers_is_refused_and_a_late_reply_too() {
    let (mut shop, from) = (Service::new(object()), "mail".parse().unwrap());
    for (why, code) in [(NoReply::NotServed, "notServed"), (NoReply::Late, "late")] {
        assert!(shop.say(ANN, "call service=mail").is_empty());
        let Effect::Call { ticket, .. } = shop.calls.remove(0) else { unreachable!("a call") };
        shop.state.replied(Instant::ZERO, WALL, ticket, Err(why));
        assert!(shop.told(ANN)[0].starts_with(&format!("error code={code} ")));
    }
    shop.say(BOB, "serve");
    assert!(shop.state.called(1, &from, None, b""));
    shop.state.called_off(1);
    shop.told(BOB);
    assert!(shop.say(BOB, "reply call=1")[0].starts_with("error code=noSuchCall"));
    // However many are called, and with its program a service stops to serve.
    let heard = (2..200).filter(|call| shop.state.called(*call, &from, None, b"")).count();
    assert_eq!(heard, 64);
    shop.state.close(BOB);
    assert!(!shop.state.called(200, &from, None, b""));
}
