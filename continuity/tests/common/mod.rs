//! Objects of all kinds, made by drawn changes.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part; one that cannot go on must stop")]

use std::net::{Ipv4Addr, SocketAddrV4};

use continuity::{
    Edit, Encoded, Endpoint, Key, Object, ObjectId, Operation, PagedQuery, Place, Reference, SeriesName,
    Stamp, Status, StepName, Value, Version,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proto::time::WallTime;
use proto::{Epoch, SessionId};

pub(crate) fn object() -> Object {
    Object::new(SessionId(7), "shop".parse().unwrap())
}

pub(crate) fn stamp(counter: u32, version: u64) -> Stamp {
    Stamp { epoch: Epoch { generation: 1, counter }, version: Version(version) }
}

pub(crate) fn put(place: &str, key: &str, value: Value) -> Edit {
    Edit::Put { place: place.parse().unwrap(), key: key.parse().unwrap(), value }
}

pub(crate) fn raw(bytes: &[u8]) -> Value {
    Value::raw(bytes).unwrap()
}

pub(crate) fn query(text: &str, page_size: u32, position: u64) -> Value {
    Value::Reference(Reference::Query(PagedQuery { text: text.parse().unwrap(), page_size, position }))
}

/// `object` with all of `edits` that are not refused.
pub(crate) fn with(mut object: Object, edits: impl IntoIterator<Item = Edit>) -> Object {
    for edit in edits {
        let before = object.clone();
        if object.apply(edit).is_err() {
            assert_eq!(object, before, "what is refused changes nothing");
        }
    }
    object
}

pub(crate) fn at(mut object: Object, stamp: Stamp) -> Encoded {
    object.head.stamp = stamp;
    object.encode().unwrap()
}

fn key() -> impl Strategy<Value = Key> {
    "[abc]|cart/[a-z]{1,8}|[a-zA-Z0-9._:/@-]{64}".prop_map(|text| text.parse().unwrap())
}

fn step() -> impl Strategy<Value = StepName> {
    "[xyz]|[a-z._-]{32}".prop_map(|text| text.parse().unwrap())
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Global),
        Just(Place::Composite),
        step().prop_map(Place::Step),
        Just(Place::Interactive),
        Just(Place::Application),
    ]
}

fn series() -> impl Strategy<Value = SeriesName> {
    prop_oneof![Just(SeriesName::Composite), Just(SeriesName::Interactive), Just(SeriesName::Application)]
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..200).prop_map(|bytes| raw(&bytes)),
        1 => "[a-z]{1,8}(/[a-z]{1,8}){0,3}".prop_map(|text| Value::Reference(Reference::Store(text.parse().unwrap()))),
        1 => ("[ -~ä]{1,40}", any::<u32>(), any::<u64>()).prop_map(|(text, size, at)| query(&text, size, at)),
        1 => "/[ -~ä]{0,20}".prop_map(|text| Value::Reference(Reference::Directory(text.parse().unwrap()))),
        1 => "/[ -~ä]{0,20}".prop_map(|text| Value::Reference(Reference::File(text.parse().unwrap()))),
    ]
}

pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        8 => (place(), key(), value()).prop_map(|(place, key, value)| Edit::Put { place, key, value }),
        2 => (place(), key()).prop_map(|(place, key)| Edit::Remove { place, key }),
        2 => step().prop_map(Edit::Push),
        1 => Just(Edit::Pop),
        3 => series().prop_map(Edit::Mark),
        2 => series().prop_map(Edit::Back),
        1 => series().prop_map(Edit::Forward),
        1 => series().prop_map(Edit::Forget),
    ];
    vec(edit, 0..40)
}

prop_compose! {
    pub(crate) fn objects()(
        edits in edits(), session: u128, service in "[a-z_-]{1,32}", scope in "/[a-z./]{0,20}", counter: u32, version: u64,
        endpoint in proptest::option::of(("[a-z]{1,20}", any::<u32>(), any::<u16>())), object: u64,
        operation in proptest::option::of((any::<u64>(), step(), 0..3_usize)), expiry: Option<u64>,
    ) -> Object {
        let mut made = Object::new(SessionId(session), service.parse().unwrap());
        made.head.scope = scope.parse().unwrap();
        made.head.stamp = stamp(counter, version);
        made.head.endpoint = endpoint.map(|(host, ip, port)| Endpoint {
            host: host.parse().unwrap(),
            addr: SocketAddrV4::new(Ipv4Addr::from_bits(ip), port),
        });
        made.head.object = ObjectId(object);
        made.head.operation = operation.map(|(number, name, status)| Operation {
            number,
            name,
            status: [Status::Begun, Status::Committed, Status::Aborted][status],
        });
        made.head.expiry = expiry.map(WallTime::from_micros);
        with(made, edits)
    }
}
