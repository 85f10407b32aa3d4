//! The messages and their bounds.

use super::*;
use crate::template::{Command, Template};
use continuity::limits::{DELTA_MAX, OBJECT_MAX};
use proptest::prelude::*;
use proto::Epoch;
use proto::time::Duration;

pub(crate) fn spec() -> SessionSpec {
    SessionSpec {
        session: SessionId(7),
        token: "card.1".parse().unwrap(),
        host: "a".parse().unwrap(),
        account: None,
        named_by_registry: false,
        services: Template::default().services,
        size: Size::default(),
        continuity: Continuity::Restart,
        tools: Some(Tools { exe: "/bin/groupmgr".into(), names: vec!["datastore".into()] }),
        meta: Bytes(vec![1, 2, 3]),
    }
}

fn part() -> Part {
    Part { service: "s".parse().unwrap(), kind: Kind::State }
}

#[test]
fn a_message_reads_back_as_it_was_written() {
    let to = ToSpawner::Spawn(Box::new(spec()));
    assert_eq!(ToSpawner::decode(&to.encode().unwrap()), Ok(to));
    let attach = ToSession::Attach {
        ticket: Nonce(9),
        serial: "080020abcdef".parse().unwrap(),
        size: Size::default(),
    };
    assert_eq!(ToSession::decode(&attach.encode().unwrap()), Ok(attach));
    let ready = FromSession::Ready(Box::new(Description {
        spec: spec(),
        pid: 12,
        fingerprint: Fingerprint([3; 32]),
        services: vec![("terminal".parse().unwrap(), ServiceState::Running { pid: 13 })],
        attached: None,
    }));
    assert_eq!(FromSession::decode(&ready.encode().unwrap()), Ok(ready));
    let stamp = "1.7/41".parse().unwrap();
    for to in [
        ToSession::Protected { part: part(), stamp },
        ToSession::Begin(Box::new(Beginning {
            epoch: Epoch { generation: 1, counter: 7 },
            lost: None,
            protection: Protection::Batch { every: Duration::from_millis(1500), versions: 3 },
        })),
        ToSession::Protect { how: Protection::Each, why: String::new() },
    ] {
        assert_eq!(ToSession::decode(&to.encode().unwrap()), Ok(to));
    }
    let screen = Part { kind: Kind::Screen, ..part() };
    let whole = FromSession::Committed { part: screen, update: Update::Whole(Bytes(vec![7; OBJECT_MAX])) };
    assert_eq!(FromSession::decode(&whole.encode().unwrap()), Ok(whole));
    let spawned = FromSpawner::Spawned(SessionId(7));
    assert!(spawned.has_fd());
    assert_eq!(FromSpawner::decode(&spawned.encode().unwrap()), Ok(spawned));
}

#[test]
fn the_bytes_of_a_message_stay_what_they_are_within_a_version() {
    let hex = |packet: Result<Vec<u8>, ControlError>| proto::hex::encode(&packet.unwrap());
    assert_eq!(hex(ToSession::Detach.encode()), "0101");
    assert_eq!(hex(ToSession::Notice("hi".into()).encode()), "0109026869");
    assert_eq!(hex(ToSpawner::Keep(true).encode()), "010201");
    assert_eq!(hex(FromSpawner::Hello { keep: true, sessions: 2 }.encode()), "01000102");
    assert_eq!(hex(FromSession::Data { client: 1, request: Bytes(vec![255]) }.encode()), "01080101ff");
    assert_eq!(hex(FromSession::Ended(EndReason::Finished(Exit::Status(1))).encode()), "0109010002");
    let (part, stamp) = (part(), "1.7/41".parse().unwrap());
    let begin = Beginning {
        epoch: Epoch { generation: 1, counter: 7 },
        lost: Some("b".parse().unwrap()),
        protection: Protection::Batch { every: Duration::from_secs(10), versions: 100 },
    };
    let restore = ToSession::Restore { part: part.clone(), object: Bytes(vec![255]) };
    assert_eq!(hex(restore.encode()), "010c01730001ff");
    assert_eq!(hex(ToSession::Begin(Box::new(begin)).encode()), "010d03312e3701016203904e64");
    assert_eq!(hex(ToSession::Whole(part.clone()).encode()), "010e017300");
    let protected = ToSession::Protected { part: part.clone(), stamp };
    assert_eq!(hex(protected.encode()), "010f01730000000001000000070000000000000029");
    let protect = ToSession::Protect { how: Protection::Held, why: "b".into() };
    assert_eq!(hex(protect.encode()), "0110040162");
    let committed = FromSession::Committed { part: part.clone(), update: Update::Delta(Bytes(vec![255])) };
    assert_eq!(hex(committed.encode()), "010a0173000101ff");
    assert_eq!(hex(FromSession::Parts(vec![part]).encode()), "010b01017300");
}

#[test]
fn a_long_reply_of_the_store_travels_in_parts() {
    let bytes: Vec<u8> = (0..=250).cycle().take(REPLY_MAX).collect();
    let parts = ToSession::DataReply { client: 4, reply: Bytes(bytes.clone()) }.in_parts();
    let mut joined: Vec<u8> = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        assert!(part.encode().is_ok());
        match part {
            ToSession::DataPart { client: 4, part } if n + 1 < parts.len() => joined.extend(&part.0),
            ToSession::DataReply { client: 4, reply } if n + 1 == parts.len() => joined.extend(&reply.0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(joined, bytes);
    assert_eq!(ToSession::Detach.in_parts(), [ToSession::Detach]);
}

#[test]
fn another_version_is_named_not_misread() {
    assert_eq!(ToSession::decode(&[2, 1]), Err(ControlError::Version(2)));
    assert_eq!(ToSession::decode(&[]), Err(ControlError::Malformed));
}

#[test]
fn what_is_out_of_bounds_is_neither_sent_nor_taken() {
    let long = ToSession::SetMeta(Bytes(vec![0; META_MAX + 1]));
    assert_eq!(long.encode(), Err(ControlError::Bounds));
    let forged = postcard::to_extend(&long, vec![VERSION]).unwrap();
    assert_eq!(ToSession::decode(&forged), Err(ControlError::Bounds));
    for (kept, is_allowed) in [(OBJECT_MAX, true), (OBJECT_MAX + 1, false)] {
        let (bytes, part) = (Bytes(vec![0; kept]), part());
        let restore = ToSession::Restore { part: part.clone(), object: bytes.clone() };
        let update = Update::Whole(bytes);
        let committed = FromSession::Committed { part, update };
        assert_eq!((restore.encode().is_ok(), committed.encode().is_ok()), (is_allowed, is_allowed));
    }
    let delta = Update::Delta(Bytes(vec![0; DELTA_MAX + 1]));
    assert!(FromSession::Committed { part: part(), update: delta }.encode().is_err());
    assert!(FromSession::Parts(vec![part(); PARTS_MAX + 1]).encode().is_err());
    let why = "x".repeat(TEXT_MAX + 1);
    assert!(ToSession::Protect { how: Protection::Held, why }.encode().is_err());
    for broken in [
        SessionSpec { account: Some("-rf".into()), ..spec() },
        SessionSpec { tools: Some(Tools { exe: "bin".into(), names: vec![] }), ..spec() },
        SessionSpec { tools: Some(Tools { exe: "/bin".into(), names: vec!["../x".into()] }), ..spec() },
        SessionSpec { services: vec![Service::terminal(Command::Words(vec![]))], ..spec() },
        SessionSpec { services: vec![Service::terminal(Command::LoginShell); 9], ..spec() },
    ] {
        assert_eq!(broken.check(), Err(ControlError::Bounds), "{broken:?}");
    }
}

#[test]
fn a_reason_is_cut_at_a_characters_end() {
    assert_eq!(short("ä".repeat(TEXT_MAX)).len(), TEXT_MAX);
    assert_eq!(short(format!("x{}", "ä".repeat(TEXT_MAX))).len(), TEXT_MAX - 1);
}

proptest! {
    #[test]
    fn reading_a_message_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0_u8..20) {
        let packet: Vec<u8> = [VERSION, kind].into_iter().chain(bytes).collect();
        let _ = ToSpawner::decode(&packet);
        let _ = FromSpawner::decode(&packet);
        let _ = ToSession::decode(&packet);
        let _ = FromSession::decode(&packet);
    }
}
