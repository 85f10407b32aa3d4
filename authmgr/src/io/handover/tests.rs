use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datastore::decide::written_key;
use datastore::io::{Memory, Pending, SledStore, Store, Watch};
use datastore::{Quota, Request, Response};

use super::*;
use crate::registry::{Details, Named};

/// A store whose write number `fails_at` gets no answer; `is_done` says whether it is done all the same. Before write
/// number `rival_at`, somebody stores `newer` under `data/card.1/note`.
struct Shaky {
    inner: Memory,
    writes: AtomicUsize,
    fails_at: usize,
    is_done: bool,
    rival_at: usize,
}

impl Shaky {
    fn sound() -> Self {
        Self {
            inner: Memory::default(),
            writes: 0.into(),
            fails_at: usize::MAX,
            is_done: false,
            rival_at: usize::MAX,
        }
    }
}

impl Store for Shaky {
    fn call(&self, request: Request) -> Pending<'_, Response> {
        Box::pin(async move {
            if written_key(&request).is_none() {
                return self.inner.call(request).await;
            }
            let nth = self.writes.fetch_add(1, Ordering::SeqCst);
            if nth == self.rival_at {
                put(&self.inner, "data/card.1/note", b"newer").await;
            }
            if nth == self.fails_at {
                if self.is_done {
                    self.inner.call(request).await?;
                }
                return Err(StoreError::OutcomeUnknown { at: "?".into(), why: "it was cut off".into() });
            }
            self.inner.call(request).await
        })
    }

    fn watch(&self, prefix: Prefix) -> Pending<'_, Watch> {
        self.inner.watch(prefix)
    }
}

async fn put(store: &dyn Store, key: &str, value: &[u8]) {
    store.put(&key.parse().unwrap(), Value::new(value).unwrap()).await.unwrap();
}

/// What is stored under `data/`.
async fn data(store: &dyn Store) -> BTreeMap<String, String> {
    let entries = store.list(&"data/".parse().unwrap()).await.unwrap();
    let text = |value: &Value| String::from_utf8(value.as_bytes().to_vec()).unwrap();
    entries.iter().map(|(key, value)| (key.to_string(), text(value))).collect()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn token(text: &str) -> Token {
    text.parse().unwrap()
}

fn anns(card: &str) -> Record {
    Record { owner: Some(Owner::user("ann").unwrap()), ..Record::new(token(card)) }
}

async fn hand_over(store: &Arc<impl Store + 'static>, record: &Record) -> Result<HandedOver, StoreError> {
    let registry = StoredRegistry::new(Arc::clone(store) as Arc<dyn Store>, "root@a");
    registry.hand_over(record, |_| {}).await
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

#[test]
fn what_a_card_stored_before_it_had_a_user_is_the_users() {
    run(async {
        let store = Arc::new(Memory::default());
        put(&*store, "data/card.1/note", b"x").await;
        put(&*store, "data/card.1/a/b", b"y").await;
        put(&*store, "data/card.11/note", b"of another card").await;
        let registry = StoredRegistry::new(Arc::clone(&store) as Arc<dyn Store>, "root@a");
        let details = Details { owner: anns("card.1").owner, ..Details::default() };
        let changed = registry.register(&Named::Token(token("card.1")), &details).await.unwrap();
        let done = registry.hand_over(&changed.now.unwrap(), |_| {}).await.unwrap();
        assert_eq!(done, HandedOver { moved: 2, ..HandedOver::default() });
        let now =
            map(&[("data/ann/a/b", "y"), ("data/ann/note", "x"), ("data/card.11/note", "of another card")]);
        assert_eq!(data(&*store).await, now);
        assert_eq!(hand_over(&store, &anns("card.1")).await.unwrap(), HandedOver::default(), "said twice");
    });
}

#[test]
fn what_the_user_has_already_is_kept_and_the_cards_own_is_left_and_named() {
    run(async {
        let store = Arc::new(Memory::default());
        put(&*store, "data/card.1/note", b"the card's").await;
        put(&*store, "data/card.1/more", b"x").await;
        put(&*store, "data/ann/note", b"ann's").await;
        let done = hand_over(&store, &anns("card.1")).await.unwrap();
        let named = vec![("data/card.1/note".parse().unwrap(), Left::Exists)];
        assert_eq!(done, HandedOver { moved: 1, left: 1, named, running: vec![] });
        let now = [("data/ann/more", "x"), ("data/ann/note", "ann's"), ("data/card.1/note", "the card's")];
        assert_eq!(data(&*store).await, map(&now));
    });
}

#[test]
fn a_handing_over_that_is_interrupted_anywhere_loses_nothing_and_is_completed_by_the_next() {
    run(async {
        let values = [("a", "1"), ("b", "2"), ("note", "3")];
        for (fails_at, is_done) in (0..2 * values.len()).flat_map(|n| [(n, false), (n, true)]) {
            let store = Arc::new(Shaky { fails_at, is_done, ..Shaky::sound() });
            for (name, value) in values {
                put(&store.inner, &format!("data/card.1/{name}"), value.as_bytes()).await;
            }
            let broken = hand_over(&store, &anns("card.1")).await;
            assert!(broken.is_err(), "write {fails_at}");
            let there = data(&*store).await;
            for (name, value) in values {
                let found = ["ann", "card.1"].map(|owner| there.get(&format!("data/{owner}/{name}")));
                assert!(found.contains(&Some(&value.to_owned())), "write {fails_at}: {there:?}");
            }
            let done = hand_over(&store, &anns("card.1")).await.unwrap();
            assert_eq!(done.left, 0, "write {fails_at}: its own copy is no value of somebody else");
            let now = map(&[("data/ann/a", "1"), ("data/ann/b", "2"), ("data/ann/note", "3")]);
            assert_eq!(data(&*store).await, now, "write {fails_at}");
        }
    });
}

#[test]
fn what_is_written_while_it_is_handed_over_is_handed_over_as_it_was_last() {
    run(async {
        let store = Arc::new(Shaky { rival_at: 1, ..Shaky::sound() });
        put(&store.inner, "data/card.1/note", b"old").await;
        assert_eq!(hand_over(&store, &anns("card.1")).await.unwrap().moved, 1);
        assert_eq!(data(&*store).await, map(&[("data/ann/note", "newer")]));
    });
}

#[test]
fn a_session_that_runs_keeps_its_data_and_the_user_gets_a_copy() {
    run(async {
        let store = Arc::new(Memory::default());
        put(&*store, "data/card.1/note", b"x").await;
        put(&*store, "claim/card.1", b"claim").await;
        let done = hand_over(&store, &anns("card.1")).await.unwrap();
        assert_eq!((done.moved, done.running), (1, vec![token("card.1")]));
        assert_eq!(data(&*store).await, map(&[("data/ann/note", "x"), ("data/card.1/note", "x")]));

        put(&*store, "data/card.1/later", b"y").await;
        store.delete(&"claim/card.1".parse().unwrap()).await.unwrap();
        assert_eq!(hand_over(&store, &anns("card.1")).await.unwrap().moved, 2);
        assert_eq!(data(&*store).await, map(&[("data/ann/later", "y"), ("data/ann/note", "x")]));
    });
}

#[test]
fn what_is_beyond_the_users_quota_or_too_long_for_their_name_is_left_and_the_rest_goes_on() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open_with(dir.path(), Quota { owner: 2000, tokens: 1 << 20 }).unwrap();
        let store = Arc::new(store);
        put(&*store, "data/ann/full", &[b'a'; 1000]).await;
        put(&*store, "data/card.1/large", &[b'x'; 1000]).await;
        put(&*store, "data/card.1/small", b"y").await;
        let done = hand_over(&store, &anns("card.1")).await.unwrap();
        assert!(
            matches!(&done.named[..], [(key, Left::NoRoom(_))] if key.as_str() == "data/card.1/large"),
            "{done:?}"
        );
        assert_eq!((done.moved, done.left), (1, 1));

        put(&*store, &format!("data/card.1/{}", "k".repeat(244)), b"y").await;
        let owner = Owner::user("somebody-with-a-long-name").unwrap();
        let of_long_name = Record { owner: Some(owner), ..Record::new(token("card.1")) };
        let done = hand_over(&store, &of_long_name).await.unwrap();
        assert_eq!((done.moved, done.left), (1, 1));
        assert_eq!(done.named[0].1, Left::KeyTooLong);
    });
}

#[test]
fn many_values_go_page_by_page_with_progress_and_few_of_those_left_are_named() {
    run(async {
        let store = Arc::new(Memory::default());
        let many = 2 * usize::from(Page::ENTRIES_MAX) + 1;
        for n in 0..many {
            put(&*store, &format!("data/card.1/{n}"), b"x").await;
            put(&*store, &format!("data/ann/{n}"), if n % 2 == 0 { b"y" } else { b"x" }).await;
        }
        let registry = StoredRegistry::new(Arc::clone(&store) as Arc<dyn Store>, "root@a");
        let mut pages = Vec::new();
        let done =
            registry.hand_over(&anns("card.1"), |done| pages.push(done.moved + done.left)).await.unwrap();
        assert_eq!(pages, [1000, 2000]);
        assert_eq!((done.moved, done.left, done.named.len()), (1000, 1001, NAMED_MAX));
    });
}

#[test]
fn a_replacement_has_what_either_card_stored() {
    run(async {
        let store = Arc::new(Memory::default());
        put(&*store, "data/card.1/old", b"x").await;
        put(&*store, "data/card.2/new", b"y").await;
        let registry = StoredRegistry::new(Arc::clone(&store) as Arc<dyn Store>, "root@a");
        let (done, _) = registry.replace(&token("card.1"), &Named::Token(token("card.2"))).await.unwrap();
        assert_eq!(hand_over(&store, &done.new).await.unwrap().moved, 1);
        assert_eq!(data(&*store).await, map(&[("data/card.1/new", "y"), ("data/card.1/old", "x")]));

        let details = Details { owner: anns("card.2").owner, ..Details::default() };
        let changed = registry.register(&Named::Token(token("card.2")), &details).await.unwrap();
        assert_eq!(hand_over(&store, &changed.now.unwrap()).await.unwrap().moved, 2);
        assert_eq!(data(&*store).await, map(&[("data/ann/new", "y"), ("data/ann/old", "x")]));
    });
}

#[test]
fn a_card_without_a_user_keeps_its_data() {
    run(async {
        let store = Arc::new(Memory::default());
        put(&*store, "data/card.1/note", b"x").await;
        assert_eq!(hand_over(&store, &Record::new(token("card.1"))).await.unwrap(), HandedOver::default());
        assert_eq!(data(&*store).await, map(&[("data/card.1/note", "x")]));
    });
}
