//! The encoding: the same whatever made the object, read back as it was, and refused if it could be written otherwise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod common;

use common::{at, edits, object, objects, put, query, raw, stamp, with};
use continuity::limits::{OBJECT_MAX, STACK_MAX, STATES_MAX, STEPS_MAX, VALUE_MAX, VALUES_MAX};
use continuity::{DecodeError, Edit, Encoded, NotEncoded, Object, Refusal, SeriesName, Value};
use proptest::prelude::*;

proptest! {
    #[test]
    fn an_object_reads_back(object in objects()) {
        let encoded = object.encode().unwrap();
        prop_assert_eq!(encoded.stamp(), object.head.stamp);
        let opened = Encoded::open(encoded.as_bytes()).unwrap();
        prop_assert_eq!(&opened, &encoded);
        let read = Object::decode(&opened).unwrap();
        prop_assert_eq!(&read, &object);
        for (key, value) in object.pool(&continuity::Place::Application).unwrap().sorted() {
            prop_assert_eq!(read.get(&continuity::Place::Application, key), Some(value));
        }
    }

    #[test]
    fn the_encoding_does_not_depend_on_the_order_of_what_made_it(
        entries in proptest::collection::btree_map("[a-z]{1,6}", any::<u8>(), 0..40), order: u64,
    ) {
        let edits: Vec<Edit> = entries.iter().map(|(key, value)| put("global", key, raw(&[*value]))).collect();
        let mut shuffled: Vec<Edit> = Vec::new();
        for (n, edit) in edits.iter().enumerate() {
            let place = (order.rotate_left(u32::try_from(n).unwrap()) as usize) % (shuffled.len() + 1);
            shuffled.insert(place, edit.clone());
        }
        // What was there for a while leaves no trace.
        let noise = [put("global", "0", raw(b"x")), put("step:s", "0", raw(b"x")), Edit::Push("s".parse().unwrap())];
        let gone = [
            put("step:s", "0", raw(b"x")),
            Edit::Remove { place: "step:s".parse().unwrap(), key: "0".parse().unwrap() },
            Edit::Mark(SeriesName::Composite),
            Edit::Pop,
            Edit::Remove { place: "global".parse().unwrap(), key: "0".parse().unwrap() },
        ];
        let one = with(object(), edits);
        let other = with(object(), noise.into_iter().chain(shuffled).chain(gone));
        prop_assert_eq!(one.encode().unwrap(), other.encode().unwrap());
    }

    #[test]
    fn whatever_is_changed_in_it_it_is_refused_or_says_something_else(
        object in objects(), at: prop::sample::Index, to: u8, cut: bool,
    ) {
        let encoded = object.encode().unwrap();
        let mut bytes = encoded.as_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = to }
        if let Ok(other) = Encoded::open(&bytes)
            && let Ok(read) = Object::decode(&other)
        {
            let again = read.encode().unwrap();
            prop_assert_eq!(again.as_bytes(), &bytes[..], "there is one encoding");
            prop_assert_eq!(read == object, bytes == encoded.as_bytes());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), stamped: bool) {
        let mut all = if stamped { at(object(), stamp(1, 1)).as_bytes()[..20].to_vec() } else { Vec::new() };
        all.extend(bytes);
        if let Ok(encoded) = Encoded::open(&all) {
            let _ = Object::decode(&encoded);
        }
    }

    #[test]
    fn values_are_counted(edits in edits()) {
        let object = with(object(), edits);
        let steps = || object.stack().iter().flat_map(|composite| composite.states().states());
        let simple = steps().flat_map(|step| step.simple().values());
        let states = object.interactive().states().chain(object.application().states());
        let all = states.chain(steps().map(continuity::Step::values)).chain(simple);
        let global = object.pool(&continuity::Place::Global).unwrap().len();
        prop_assert_eq!(object.values(), all.map(continuity::Pool::len).sum::<usize>() + global);
    }
}

/// The bytes of an encoding after its header.
fn decode(header: &Encoded, body: &[u8]) -> Result<Object, DecodeError> {
    let mut bytes = header.as_bytes()[..20].to_vec();
    bytes.extend_from_slice(body);
    Object::decode(&Encoded::open(&bytes).unwrap())
}

#[test]
fn what_is_not_canonical_is_refused() {
    let made = with(object(), [put("global", "a", raw(b"1")), put("global", "b", raw(b"2"))]);
    let encoded = at(made, stamp(1, 1));
    let body = encoded.as_bytes()[20..].to_vec();
    assert!(decode(&encoded, &body).is_ok());
    let entries = b"\x02\x01a\x01\x011\x01b\x01\x012";
    let start = body.windows(entries.len()).position(|window| window == entries).unwrap();
    let other = |entries: &[u8]| {
        let mut other = body.clone();
        other.splice(start..start + 11, entries.iter().copied());
        decode(&encoded, &other).unwrap_err()
    };
    assert_eq!(other(b"\x02\x01b\x01\x012\x01a\x01\x011"), DecodeError::NotCanonical, "in another order");
    assert_eq!(other(b"\x02\x01a\x01\x011\x01a\x01\x012"), DecodeError::NotCanonical, "a key twice");
    assert_eq!(other(b"\x82\x00\x01a\x01\x011\x01b\x01\x012"), DecodeError::NotCanonical, "a longer number");
    assert_eq!(other(b"\x02\x01a\x01\x011\x01b\x00"), DecodeError::Malformed, "the same as nothing");
    assert_eq!(other(b"\x03\x01a\x01\x011\x01b\x01\x012"), DecodeError::Malformed, "more than there is");
    let mut longer = body.clone();
    longer.push(0);
    assert_eq!(decode(&encoded, &longer), Err(DecodeError::Malformed), "more than an object");
    let mut later = encoded.as_bytes().to_vec();
    later[3] = 2;
    let later = Encoded::open(&later).expect("a host keeps what it cannot read");
    assert_eq!(Object::decode(&later), Err(DecodeError::Format(2)));
    assert_eq!(Encoded::open(b"HDO\x01"), Err(NotEncoded::NoObject));
    assert_eq!(Encoded::open(&[b'H'; OBJECT_MAX + 1]), Err(NotEncoded::TooLong(OBJECT_MAX + 1)));
}

#[test]
fn a_value_that_stays_is_written_once_for_all_states() {
    let mut object = with(object(), [put("application", "big", raw(&[7; 16_384]))]);
    for n in 0..STATES_MAX as u8 {
        object = with(object, [Edit::Mark(SeriesName::Application), put("application", "page", raw(&[n]))]);
    }
    assert_eq!(object.application().count(), STATES_MAX);
    let encoded = object.encode().unwrap();
    assert!(encoded.as_bytes().len() < 16_384 + 400, "{encoded:?}");
    // To write it again would be another way to say the same.
    let (mut bytes, same) = (encoded.as_bytes().to_vec(), b"\x03big\x00\x04page");
    let at = bytes.windows(same.len()).position(|window| window == same).unwrap();
    let mut again = b"\x01\x80\x80\x01".to_vec();
    again.extend_from_slice(&[7; 16_384]);
    bytes.splice(at + 4..at + 5, again);
    assert_eq!(Object::decode(&Encoded::open(&bytes).unwrap()), Err(DecodeError::NotCanonical));
}

#[test]
fn forty_hits_are_kept_as_a_query_a_page_size_and_a_page() {
    let hits: Vec<Edit> = (0..40).map(|n| put("composite", &format!("hit{n}"), raw(&[n; 1_000]))).collect();
    let raw_size: usize = hits.len() * 1_000;
    let search = "select * from product where description like '%Router%' order by name";
    let composite = Edit::Push("search".parse().unwrap());
    let kept = with(object(), [composite, put("composite", "hits", query(search, 10, 2))]);
    let kept = kept.encode().unwrap().as_bytes().len();
    assert!(kept * 100 < raw_size, "{kept} of {raw_size} bytes");
    println!("{kept} bytes are kept of {raw_size}");
}

#[test]
fn what_breaks_a_bound_is_refused_and_the_rest_stays() {
    assert_eq!(Value::raw(&[0; VALUE_MAX + 1]), None);
    let mut full = object();
    for n in 0..VALUES_MAX {
        full.apply(put("global", &n.to_string(), raw(b""))).unwrap();
    }
    assert_eq!(full.clone().apply(put("interactive", "one-more", raw(b""))), Err(Refusal::TooManyValues));
    full.apply(put("global", "0", raw(b"another"))).unwrap();

    let mut deep = object();
    for _ in 0..STACK_MAX {
        deep.apply(Edit::Push("s".parse().unwrap())).unwrap();
    }
    assert_eq!(deep.apply(Edit::Push("s".parse().unwrap())), Err(Refusal::TooDeep));
    for n in 0..STEPS_MAX {
        deep.apply(put(&format!("step:{n}"), "k", raw(b""))).unwrap();
    }
    assert_eq!(deep.apply(put("step:one-more", "k", raw(b""))), Err(Refusal::TooManySteps));

    let mut large = with(object(), [put("global", "a", raw(&[0; VALUE_MAX]))]);
    large.encode().unwrap();
    large.apply(put("global", "b", raw(&[0; VALUE_MAX]))).unwrap();
    let error = large.encode().unwrap_err();
    assert!(error.0 > OBJECT_MAX, "{error}");

    let mut empty = object();
    let key: continuity::Key = "k".parse().unwrap();
    for place in ["composite", "step:x"] {
        assert_eq!(empty.apply(put(place, "k", raw(b""))), Err(Refusal::NoComposite));
    }
    let remove = Edit::Remove { place: "global".parse().unwrap(), key };
    assert_eq!(empty.apply(remove), Err(Refusal::NoSuchKey));
    assert_eq!(empty.apply(Edit::Back(SeriesName::Application)), Err(Refusal::NoSuchState));
    assert_eq!(empty.apply(Edit::Pop), Err(Refusal::NoComposite));
}

#[test]
fn old_states_make_room_for_new_ones() {
    let mut object = object();
    for n in 0..VALUES_MAX / 4 {
        object.apply(put("application", &n.to_string(), raw(b""))).unwrap();
    }
    for _ in 0..STATES_MAX {
        object.apply(Edit::Mark(SeriesName::Application)).unwrap();
    }
    assert_eq!((object.application().count(), object.values()), (4, VALUES_MAX));
}
