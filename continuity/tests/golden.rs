//! The bytes of an object with everything in it, and of a delta: a change here is a change of what hosts of two versions
//! say to each other, and of what a session finds that was kept by the version before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod common;

use common::{at, object, put, query, raw, stamp, with};
use continuity::{
    Delta, Edit, Encoded, Endpoint, Object, ObjectId, Operation, Reference, SeriesName, Status, Value,
};
use proto::time::WallTime;

/// The bytes of a file of hex digits, in lines of any length.
fn golden(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| proto::hex::decode::<1>(pair).unwrap()[0]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).map(proto::hex::encode).collect::<Vec<_>>().join("\n")
}

fn everything() -> Object {
    let reference = |reference| Value::Reference(reference);
    let mut all = with(
        object(),
        [
            put("global", "user", raw(b"ann")),
            put("global", "note", reference(Reference::Store("data/ann/note".parse().unwrap()))),
            Edit::Push("search".parse().unwrap()),
            put("composite", "hits", query("Router", 5, 0)),
            put("composite", "order", raw(b"name")),
            put("step:ask", "word", raw(b"Router")),
            Edit::Mark(SeriesName::Composite),
            put("composite", "hits", query("Router", 5, 1)),
            Edit::Mark(SeriesName::Composite),
            put("composite", "hits", query("Router", 5, 2)),
            Edit::Back(SeriesName::Composite),
            Edit::Push("buy".parse().unwrap()),
            put("interactive", "field", raw(b"amount")),
            put("application", "i", raw(b"10")),
            put("application", "s", raw(b"abc")),
            put("application", "cwd", reference(Reference::Directory("/home/ann".parse().unwrap()))),
            put("application", "log", reference(Reference::File("/home/ann/log".parse().unwrap()))),
            Edit::Mark(SeriesName::Application),
            put("application", "s", raw(b"def")),
        ],
    );
    all.head.scope = "/shop".parse().unwrap();
    let addr = "10.0.0.5:7009".parse().unwrap();
    all.head.endpoint = Some(Endpoint { host: "mud".parse().unwrap(), addr });
    all.head.object = ObjectId(300);
    let name = "order".parse().unwrap();
    all.head.operation = Some(Operation { number: 17, name, status: Status::Begun });
    all.head.expiry = Some(WallTime::from_secs(950_739_941));
    all
}

#[test]
fn an_object_has_the_bytes_that_the_other_version_reads() {
    let encoded = at(everything(), stamp(7, 41));
    assert_eq!(hex(encoded.as_bytes()), include_str!("golden/object.hex").trim_end());
    let read = Object::decode(&Encoded::open(&golden(include_str!("golden/object.hex"))).unwrap()).unwrap();
    assert_eq!(read.encode().unwrap(), encoded);
    assert_eq!((read.stack().len(), read.stack()[0].states().number()), (2, 2));
}

#[test]
fn a_delta_has_the_bytes_that_the_other_version_reads() {
    let mut after = with(everything(), [put("global", "user", raw(b"bob")), Edit::Pop]);
    after.head.operation.as_mut().unwrap().status = Status::Committed;
    let (before, after) = (at(everything(), stamp(7, 41)), at(after, stamp(7, 42)));
    let delta = Delta::between(&before, &after);
    assert_eq!(hex(&delta.to_bytes()), include_str!("golden/delta.hex").trim_end());
    let read = Delta::from_bytes(&golden(include_str!("golden/delta.hex"))).unwrap();
    assert_eq!(read.apply(&before).unwrap(), after);
}

#[test]
fn fields_of_a_later_version_are_kept_as_they_are() {
    let mut bytes = golden(include_str!("golden/object.hex"));
    assert_eq!(bytes.pop(), Some(0), "no such field");
    bytes.extend_from_slice(b"\x02\x03\x02hi\x09\x00");
    let encoded = Encoded::open(&bytes).unwrap();
    let mut object = Object::decode(&encoded).unwrap();
    assert_eq!(object.encode().unwrap(), encoded);
    object.apply(put("global", "user", raw(b"bob"))).unwrap();
    assert!(object.encode().unwrap().as_bytes().ends_with(b"\x02\x03\x02hi\x09\x00"));
}
