//! The rules of a data store, over every implementation: in memory, on sled, over TCP on sled, and a user's
//! part of each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{Place, key, text, value};
use datastore::client::Patience;
use datastore::confine::Confinement;
use datastore::io::{Confined, Memory, Remote, Server, SledStore, Store, back_up, restore};
use datastore::{
    Change, Expected, Generation, MemoryStore, Prefix, Refusal, Request, StoreError, Value, WatchEvent,
};

/// A store under test and what keeps it alive.
struct Fixture {
    store: Arc<dyn Store>,
    /// A second way to the same store, which shares no connection with the first.
    other: Arc<dyn Store>,
    _place: Option<Place>,
}

async fn memory() -> Fixture {
    let store: Arc<dyn Store> = Arc::new(Memory::new(MemoryStore::new(Generation(1))));
    Fixture { other: Arc::clone(&store), store, _place: None }
}

async fn sled() -> Fixture {
    let place = Place::new();
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&place.path("data")).unwrap());
    Fixture { other: Arc::clone(&store), store, _place: Some(place) }
}

async fn remote() -> Fixture {
    let place = Place::new();
    let store = Arc::new(SledStore::open(&place.path("data")).unwrap());
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &place.keys, store).await.unwrap();
    let addr = server.local_addr().unwrap();
    tokio::spawn(server.run(std::future::pending()));
    let [store, other]: [Arc<dyn Store>; 2] =
        [(); 2].map(|()| Arc::new(place.remote(addr)) as Arc<dyn Store>);
    Fixture { store, other, _place: Some(place) }
}

async fn confined() -> Fixture {
    let whole = remote().await;
    whole.store.put(&key("somebody/else"), value("x")).await.unwrap();
    let part = |store| -> Arc<dyn Store> {
        let confinement = Confinement::new("users/card.1/".parse().unwrap()).unwrap();
        Arc::new(Confined::new(store, confinement))
    };
    Fixture { store: part(whole.store), other: part(whole.other), _place: whole._place }
}

macro_rules! over_every_store {
    ($($rule:ident),* $(,)?) => {
        over_every_store!(@ memory: $($rule),*);
        over_every_store!(@ sled: $($rule),*);
        over_every_store!(@ remote: $($rule),*);
        over_every_store!(@ confined: $($rule),*);
    };
    (@ $kind:ident: $($rule:ident),*) => {
        mod $kind {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    super::$rule(super::$kind().await).await;
                }
            )*
        }
    };
}

over_every_store![
    what_is_put_is_got_until_it_is_deleted,
    a_swap_succeeds_exactly_when_the_key_is_as_expected,
    of_many_claims_at_once_one_wins_and_all_others_learn_whose_it_is,
    no_increment_by_swap_is_lost,
    a_listing_has_all_keys_in_order_however_it_is_paged,
    a_watcher_is_told_of_its_prefix_only_and_in_order,
    an_answer_never_overtakes_the_events_before_it,
    revisions_only_rise_and_every_answer_says_the_generation,
    a_watch_is_not_a_call,
    the_largest_value_and_the_longest_key_fit,
    a_backup_holds_one_moment_while_writes_go_on,
];

async fn what_is_put_is_got_until_it_is_deleted(Fixture { store, .. }: Fixture) {
    let k = key("notes/a");
    assert_eq!(store.get(&k).await, Ok(None));
    assert_eq!(store.delete(&k).await, Ok(false));
    for v in ["1", "", "2"] {
        store.put(&k, value(v)).await.unwrap();
        assert_eq!(store.get(&k).await, Ok(Some(value(v))));
    }
    assert_eq!(store.delete(&k).await, Ok(true));
    assert_eq!(store.get(&k).await, Ok(None));
}

async fn a_swap_succeeds_exactly_when_the_key_is_as_expected(Fixture { store, .. }: Fixture) {
    let k = key("claim");
    let exactly = |v| Expected::Exactly(value(v));
    assert_eq!(store.swap(&k, exactly("a"), Some(value("b"))).await, Ok(Err(None)));
    assert_eq!(store.swap(&k, Expected::Absent, Some(value("a"))).await, Ok(Ok(())));
    assert_eq!(store.swap(&k, Expected::Absent, Some(value("b"))).await, Ok(Err(Some(value("a")))));
    assert_eq!(store.swap(&k, exactly("a"), Some(value("b"))).await, Ok(Ok(())));
    assert_eq!(store.swap(&k, exactly("a"), None).await, Ok(Err(Some(value("b")))));
    assert_eq!(store.swap(&k, exactly("b"), None).await, Ok(Ok(())));
    assert_eq!(store.get(&k).await, Ok(None));
}

async fn of_many_claims_at_once_one_wins_and_all_others_learn_whose_it_is(fixture: Fixture) {
    let Fixture { store, other, .. } = &fixture;
    for round in 0..10 {
        let k = key(&format!("claim/{round}"));
        let claims: Vec<_> = (0..16)
            .map(|n| {
                let (store, k) = (Arc::clone(if n % 2 == 0 { store } else { other }), k.clone());
                let claim =
                    async move { store.swap(&k, Expected::Absent, Some(value(&n.to_string()))).await };
                tokio::spawn(claim)
            })
            .collect();
        let (mut winners, mut seen) = (Vec::new(), BTreeSet::new());
        for (n, claim) in claims.into_iter().enumerate() {
            match claim.await.unwrap().unwrap() {
                Ok(()) => winners.push(n.to_string()),
                Err(current) => drop(seen.insert(text(&current.unwrap()))),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), winners);
    }
}

async fn no_increment_by_swap_is_lost(fixture: Fixture) {
    let Fixture { store, other, .. } = &fixture;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let store = Arc::clone(if n % 2 == 0 { store } else { other });
            tokio::spawn(async move {
                for _ in 0..25 {
                    let mut found = store.get(&key("counter")).await.unwrap();
                    loop {
                        let count: u32 = found.as_ref().map_or(0, |v| text(v).parse().unwrap());
                        let next = Some(value(&(count + 1).to_string()));
                        match store.swap(&key("counter"), found.into(), next).await.unwrap() {
                            Ok(()) => break,
                            Err(current) => found = current,
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.get(&key("counter")).await, Ok(Some(value("200"))));
}

async fn a_listing_has_all_keys_in_order_however_it_is_paged(Fixture { store, .. }: Fixture) {
    let wanted: Vec<_> = (0..60).map(|n| format!("k/{n:02}")).collect();
    let puts: Vec<_> = wanted.iter().map(String::as_str).chain(["j/x", "k", "k0", "l"]).collect();
    for k in &puts {
        store.put(&key(k), value(k)).await.unwrap();
    }
    let prefix: Prefix = "k/".parse().unwrap();
    for limit in [1, 7, 59, 60, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.scan(&prefix, after.as_ref(), limit).await.unwrap();
            assert!(page.entries.len() <= usize::from(limit));
            after = page.entries.last().map(|(key, _)| key.clone());
            found.extend(page.entries.iter().map(|(key, value)| {
                assert_eq!(key.as_str(), text(value));
                key.to_string()
            }));
            if !page.more {
                break;
            }
        }
        assert_eq!(found, wanted, "limit {limit}");
    }
    assert_eq!(store.list(&Prefix::default()).await.unwrap().len(), puts.len());
    let beyond = store.scan(&prefix, Some(&key("z")), 10).await.unwrap();
    assert!(beyond.entries.is_empty() && !beyond.more);
}

async fn a_watcher_is_told_of_its_prefix_only_and_in_order(Fixture { store, other, .. }: Fixture) {
    store.put(&key("w/0"), value("before")).await.unwrap();
    let mut watch = store.watch("w/".parse().unwrap()).await.unwrap();
    let (mut last, mut told) = (watch.since(), Vec::new());
    for n in 1..=20 {
        other.put(&key("elsewhere"), value(&n.to_string())).await.unwrap();
        other.put(&key(&format!("w/{n}")), value(&n.to_string())).await.unwrap();
    }
    other.delete(&key("w/0")).await.unwrap();
    while told.len() < 21 {
        let Some(WatchEvent::Changed(event)) = watch.next().await else { panic!("missed something") };
        assert!(event.revision > last);
        last = event.revision;
        assert!(store.call(Request::Ping).await.unwrap().revision >= last);
        told.push(event.change);
    }
    let puts = (1..=20).map(|n| Change { key: key(&format!("w/{n}")), value: Some(value(&n.to_string())) });
    let wanted: Vec<_> = puts.chain([Change { key: key("w/0"), value: None }]).collect();
    assert_eq!(told, wanted);
}

async fn an_answer_never_overtakes_the_events_before_it(Fixture { store, other, .. }: Fixture) {
    let mut watch = store.watch(Prefix::default()).await.unwrap();
    let writer = tokio::spawn(async move {
        for n in 0..200 {
            other.put(&key("x"), value(&n.to_string())).await.unwrap();
        }
    });
    let mut told = watch.since();
    while !writer.is_finished() || told.0 < 1 {
        let response = store.call(Request::Get { key: key("x") }).await.unwrap();
        while let Some(event) = watch.try_next() {
            let WatchEvent::Changed(event) = event else { panic!("missed something") };
            told = event.revision;
        }
        assert!(told >= response.revision, "told up to {told}, answered at {}", response.revision);
    }
    writer.await.unwrap();
}

async fn revisions_only_rise_and_every_answer_says_the_generation(Fixture { store, .. }: Fixture) {
    let requests = [
        Request::Put { key: key("a"), value: value("1") },
        Request::Get { key: key("a") },
        Request::Swap { key: key("a"), expected: Expected::Absent, new: None },
        Request::Swap { key: key("a"), expected: Expected::Exactly(value("1")), new: Some(value("2")) },
        Request::scan(Prefix::default()),
        Request::Delete { key: key("a") },
        Request::Ping,
    ];
    let mut last = store.call(Request::Ping).await.unwrap().revision;
    let mut rises = Vec::new();
    for request in requests {
        let response = store.call(request).await.unwrap();
        assert_eq!(response.generation, Generation(1));
        rises.push(response.revision.0 - last.0);
        last = response.revision;
    }
    assert_eq!(rises, [1, 0, 0, 1, 0, 1, 0]);
}

async fn a_watch_is_not_a_call(Fixture { store, .. }: Fixture) {
    let refused = store.call(Request::Watch { prefix: Prefix::default() }).await;
    assert_eq!(refused, Err(StoreError::Refused(Refusal::NotHere)));
}

async fn the_largest_value_and_the_longest_key_fit(Fixture { store, .. }: Fixture) {
    let room = 256 - "users/card.1/".len();
    let keys: Vec<_> = (0..8).map(|n| key(&format!("{n}{}", "k".repeat(room - 1)))).collect();
    let largest = Value::new(&[7; Value::LEN_MAX]).unwrap();
    for k in &keys {
        store.put(k, largest.clone()).await.unwrap();
    }
    let all = store.list(&Prefix::default()).await.unwrap();
    assert_eq!(all.into_iter().map(|(k, _)| k).collect::<Vec<_>>(), keys);
}

/// Two keys, one always written after the other: any one moment shows them equal or one apart.
async fn a_backup_holds_one_moment_while_writes_go_on(Fixture { store, other, .. }: Fixture) {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..1500 {
        let fill = Request::Put { key: key(&format!("m/{n}")), value: value("fill") };
        if n % 100 == 0 {
            store.call(fill).await.unwrap();
        } else {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.call(fill).await.unwrap() });
        }
    }
    let writer = tokio::spawn(async move {
        for n in 0_u32.. {
            // z is in the last page of the listing, a in the first.
            other.put(&key("z"), value(&n.to_string())).await.unwrap();
            other.put(&key("a"), value(&n.to_string())).await.unwrap();
            // A store in memory never waits, and a task that never waits cannot be ended.
            tokio::task::yield_now().await;
        }
    });
    for round in 0..5 {
        let file = dir.path().join("backup");
        let saved = back_up(&*store, &file).await.unwrap();
        let data = dir.path().join(format!("data{round}"));
        let restored = tokio::task::spawn_blocking(move || restore(&file, &data, false).map(|r| (r, data)));
        let (restored, data) = restored.await.unwrap().unwrap();
        assert_eq!(restored.generation, saved.generation.next());
        let copy = SledStore::open(&data).unwrap();
        let mut read = Vec::new();
        for k in ["z", "a"] {
            read.push(copy.get(&key(k)).await.unwrap().map_or(-1, |v| text(&v).parse::<i64>().unwrap()));
        }
        assert!(read[0] == read[1] || read[0] == read[1] + 1, "z={} a={}", read[0], read[1]);
    }
    writer.abort();
}

/// Not over every store: it takes two to be out of reach.
#[tokio::test]
async fn a_remote_store_that_is_not_there_is_said_to_be_out_of_reach() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let remote: Remote = place.remote_with(nobody, Patience::default());
    let error = remote.put(&key("a"), value("1")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable { at, .. } if *at == nobody.to_string()), "{error}");
    assert!(!error.may_have_happened());
    assert!(!remote.link().borrow().up);
}
