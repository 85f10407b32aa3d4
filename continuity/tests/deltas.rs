//! Deltas: from any version to any later one, refused by whoever holds another, and small.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod common;

use std::collections::BTreeSet;

use common::{at, edits, object, objects, put, raw, stamp, with};
use continuity::limits::{DELTA_MAX, HISTORY_BYTES_MAX, PINS_MAX, VERSIONS_MAX};
use continuity::{BadDelta, Delta, Encoded, Held, History, Object, Refused, Stamp};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_delta_makes_the_second_of_any_two_versions_from_the_first(one in objects(), other in objects()) {
        let (one, other) = (at(one, stamp(1, 4)), at(other, stamp(1, 9)));
        let delta = Delta::between(&one, &other);
        let bytes = delta.to_bytes();
        prop_assert!(bytes.len() <= other.as_bytes().len() + 64);
        prop_assert_eq!(Delta::from_bytes(&bytes).unwrap().apply(&one).unwrap(), other);
    }

    #[test]
    fn a_delta_between_versions_of_one_object_makes_the_second(first in edits(), more in edits()) {
        let one = with(object(), first);
        let other = with(one.clone(), more);
        let (one, other) = (at(one, stamp(1, 4)), at(other, stamp(1, 5)));
        prop_assert_eq!(Delta::between(&one, &other).apply(&one).unwrap(), other);
    }

    #[test]
    fn a_damaged_delta_makes_nothing_else(one in objects(), more in edits(), at_byte: prop::sample::Index, to: u8) {
        let other = with(one.clone(), more);
        let (one, other) = (at(one, stamp(1, 4)), at(other, stamp(1, 5)));
        let mut bytes = Delta::between(&one, &other).to_bytes();
        let at_byte = at_byte.index(bytes.len());
        bytes[at_byte] = to;
        match Delta::from_bytes(&bytes).map(|delta| (delta.hash(), delta.apply(&one))) {
            Ok((hash, Ok(made))) => prop_assert_eq!(made.hash(), hash),
            Ok((_, Err(Refused::Corrupt { .. } | Refused::Gap { .. } | Refused::Stale { .. })))
            | Err(BadDelta) => {}
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), object in objects()) {
        let object = at(object, stamp(1, 1));
        let mut delta = Delta::between(&object, &at(common::object(), stamp(1, 2))).to_bytes();
        delta.truncate(4 + 16 + 16 + 16);
        delta.extend(bytes);
        let _ = Delta::from_bytes(&delta).unwrap().apply(&object);
    }
}

fn versions(n: u64) -> Vec<Encoded> {
    (1..=n).map(|n| at(with(object(), [put("global", "n", raw(&n.to_be_bytes()))]), stamp(1, n))).collect()
}

#[test]
fn what_is_old_what_skips_one_and_what_makes_something_else_are_told_apart() {
    let v = versions(4);
    let mut held = Held::default();
    let delta = Delta::between(&v[0], &v[1]);
    assert_eq!(held.take_delta(&delta), Err(Refused::Gap { base: stamp(1, 1), held: None }));
    held.take_whole(v[1].clone()).unwrap();
    let stale = |result: u64| Err(Refused::Stale { result: stamp(1, result), held: stamp(1, 2) });
    assert_eq!(held.take_whole(v[0].clone()), stale(1));
    assert_eq!(held.take_whole(v[1].clone()), stale(2), "an equal one is not above");
    assert_eq!(held.take_delta(&delta), stale(2));
    let gap = Err(Refused::Gap { base: stamp(1, 3), held: Some(stamp(1, 2)) });
    assert_eq!(held.take_delta(&Delta::between(&v[2], &v[3])), gap);

    // The same version with something else in it, as after a drift: what the delta makes of it is an object, too.
    let of = |m: &[u8], n: &[u8], version: u64| {
        at(with(object(), [put("global", "m", raw(m)), put("global", "n", raw(n))]), stamp(1, version))
    };
    let corrupt = Err(Refused::Corrupt { result: stamp(1, 5), held: stamp(1, 4) });
    held.take_whole(of(b"more", b"2", 4)).unwrap();
    assert_eq!(held.take_delta(&Delta::between(&of(b"less", b"2", 4), &of(b"less", b"3", 5))), corrupt);
    assert_eq!(held.stamp(), Some(stamp(1, 4)), "what is refused changes nothing");
    held.take_delta(&Delta::between(&of(b"more", b"2", 4), &of(b"more", b"3", 5))).unwrap();
    assert_eq!(held.encoded(), Some(&of(b"more", b"3", 5)));
}

#[test]
fn a_later_epoch_is_above_and_an_earlier_one_is_stale_whatever_the_version() {
    let mut held = Held::default();
    held.take_whole(at(object(), stamp(3, 12))).unwrap();
    let earlier = at(object(), stamp(2, 99));
    assert!(matches!(held.take_whole(earlier.clone()), Err(Refused::Stale { .. })));
    let from_held = Delta::between(held.encoded().unwrap(), &earlier);
    assert!(matches!(held.take_delta(&from_held), Err(Refused::Stale { .. })));
    // Whoever took over had not seen version 12: another is committed under that number.
    held.take_whole(at(object(), stamp(4, 12))).unwrap();
    let old = at(object(), stamp(3, 12));
    let delta = Delta::between(&old, &at(object(), stamp(4, 13)));
    assert!(
        matches!(held.take_delta(&delta), Err(Refused::Gap { .. })),
        "a version is not the same in two epochs"
    );
}

/// Bytes without a pattern.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(next).collect()
}

#[test]
fn two_hundred_bytes_changed_in_sixteen_kibibytes_cost_at_most_four_hundred() {
    let value = noise(16 * 1024);
    let mut changed = value.clone();
    for byte in &mut changed[9_000..9_200] {
        *byte = !*byte;
    }
    let one =
        with(object(), [put("application", "doc", raw(&value)), put("application", "z", raw(&noise(900)))]);
    let mut other = with(one.clone(), [put("application", "doc", raw(&changed))]);
    // What changes with every operation is elsewhere.
    let operation = continuity::Operation {
        number: 300,
        name: "save".parse().unwrap(),
        status: continuity::Status::Committed,
    };
    other.head.operation = Some(operation);
    let delta = Delta::between(&at(one, stamp(1, 255)), &at(other, stamp(1, 256)));
    let len = delta.to_bytes().len();
    assert!(len <= 400, "{len} bytes");
    println!("{len} bytes for 200 changed in 16 KiB");
}

#[test]
fn the_longest_delta_is_within_its_bound() {
    let full = |seed: u8| {
        let noise: Vec<u8> = noise(24_200).iter().map(|byte| byte.wrapping_mul(seed | 1)).collect();
        with(object(), [put("global", "a", raw(&noise)), put("global", "b", raw(&noise[100..]))])
    };
    let (one, other) = (at(full(1), stamp(1, 1)), at(full(8), stamp(1, 2)));
    assert!(Delta::between(&one, &other).to_bytes().len() <= DELTA_MAX);
    assert_eq!(Delta::from_bytes(&vec![b'H'; DELTA_MAX + 1]), Err(BadDelta));
}

#[test]
fn a_history_is_bounded_and_gives_deltas_between_any_two_it_holds() {
    let all = versions(40);
    let mut history = History::default();
    for encoded in &all {
        assert!(history.push(encoded.clone()));
        history.pin(&BTreeSet::from([stamp(1, 3)]));
    }
    assert!(!history.push(all[39].clone()) && !history.push(all[2].clone()), "it only goes up");
    assert_eq!(history.versions(), VERSIONS_MAX);
    let held: Vec<&Encoded> = all.iter().filter(|encoded| history.get(encoded.stamp()).is_some()).collect();
    assert_eq!(held.len(), VERSIONS_MAX + 1, "and the pinned one");
    for (n, base) in held.iter().enumerate() {
        for result in &held[n + 1..] {
            let delta = history.delta(base.stamp(), result.stamp()).unwrap();
            assert_eq!(&delta.apply(base).unwrap(), *result);
        }
    }
    assert_eq!(history.delta(stamp(1, 4), stamp(1, 40)), None, "whoever holds that one gets the whole");
    let many: BTreeSet<Stamp> = (30..=40).map(|n| stamp(1, n)).collect();
    history.pin(&many);
    let newer = versions(80);
    assert!(newer[40..].iter().all(|encoded| history.push(encoded.clone())));
    let pinned = many.iter().filter(|stamp| history.get(**stamp).is_some());
    assert_eq!(pinned.count(), PINS_MAX);
}

#[test]
fn a_history_of_large_objects_is_bounded_in_bytes() {
    let mut history = History::default();
    for n in 1..20 {
        let large =
            with(object(), [put("global", "a", raw(&[n; 30_000])), put("global", "b", raw(&[n; 18_000]))]);
        assert!(history.push(at(large, stamp(1, u64::from(n)))));
        assert!(history.bytes() <= HISTORY_BYTES_MAX && history.versions() > 0);
    }
    let newest = history.newest().unwrap();
    assert_eq!(newest.stamp(), stamp(1, 19));
    assert!(Object::decode(newest).is_ok());
}
