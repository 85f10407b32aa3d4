//! The store's promise against `kill -9` of the real server in the middle of writes, 200 times: every
//! acknowledged write is there, and nothing that anybody saw is undone, swaps above all.
//!
//! (A killed process leaves the page cache behind, so this tests everything but the disk's own part; that an
//! answer waits for fsync is tested on an engine that holds it back, beside the group commit.)

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{Place, ServerProcess, key, text, value};
use datastore::io::{Remote, Store};
use datastore::{Answer, Key, Prefix, Request, Response, Revision, Value, WatchEvent};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const ROUNDS: u32 = 200;
const WRITERS: u64 = 8;
const SWAPPERS: u64 = 6;
/// Keys each writer uses in turn, and swappers compete for.
const SLOTS: u64 = 8;
const CLAIMS: u64 = 2;

/// What everybody knows together. A key's values only ever rise, each is written by one writer or won by one
/// swap, and so any two observations can be compared.
#[derive(Default)]
struct Known {
    /// Of the writers' keys: the highest value acknowledged to its writer or seen by anybody.
    floor: BTreeMap<Key, u64>,
    /// The highest value that was ever sent for the key.
    sent: BTreeMap<Key, u64>,
    /// Keys whose deletion was acknowledged: never to be seen again.
    deleted: BTreeMap<Key, ()>,
    /// Of the swappers' keys: the value with this number that was seen first, by the winner or anybody.
    history: BTreeMap<(Key, u64), String>,
    revision: Revision,
}

#[derive(Default)]
struct World {
    known: Mutex<Known>,
    acknowledged: AtomicU64,
    seen: AtomicU64,
    progress: Notify,
    next: AtomicU64,
}

impl World {
    fn fresh(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.progress.notify_waiters();
    }

    /// Whether anybody has seen a value of this claim.
    fn has_seen(&self, claim: &Key) -> bool {
        self.known.lock().unwrap().history.keys().any(|(key, _)| key == claim)
    }

    /// Somebody saw this value of this key.
    fn see(&self, key: &Key, found: &Value) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known.lock().unwrap();
        let found = text(found);
        assert!(!known.deleted.contains_key(key), "{key} was deleted and is back");
        let number = number_of(&found);
        if key.as_str().starts_with("claim/") {
            let first = known.history.entry((key.clone(), number)).or_insert_with(|| found.clone());
            assert_eq!(*first, found, "two swaps of {key} were seen to make the same step");
        } else if key.as_str().starts_with("put/") {
            assert!(number <= known.sent[key], "{key} holds {number}, which nobody wrote");
            let floor = known.floor.entry(key.clone()).or_default();
            *floor = (*floor).max(number);
        }
    }

    fn see_revision(&self, response: &Response) {
        let mut known = self.known.lock().unwrap();
        known.revision = known.revision.max(response.revision);
    }

    /// What the restarted store holds, against all that was known before it was killed. Nobody else is at work.
    async fn check(&self, store: &Remote) {
        let response = store.call(Request::Ping).await.unwrap();
        let all: BTreeMap<_, _> = store.list(&Prefix::default()).await.unwrap().into_iter().collect();
        {
            let known = self.known.lock().unwrap();
            let (is, was) = (response.revision, known.revision);
            assert!(is >= was, "the revision went back from {was} to {is}");
            for (key, floor) in &known.floor {
                let found = all.get(key).unwrap_or_else(|| panic!("{key} was at {floor} and is gone"));
                let number = number_of(&text(found));
                assert!(number >= *floor, "{key} went back from {floor} to {number}");
            }
            for claim in 0..CLAIMS {
                let claim = key(&format!("claim/{claim}"));
                let range = (claim.clone(), 0)..=(claim.clone(), u64::MAX);
                if let Some(((_, newest), _)) = known.history.range(range).next_back() {
                    let found = all.get(&claim).unwrap_or_else(|| panic!("{claim} is gone"));
                    let number = number_of(&text(found));
                    assert!(
                        number >= *newest,
                        "{claim} went back from {newest} to {number}: a swap is undone"
                    );
                }
            }
        }
        for (key, value) in &all {
            self.see(key, value);
        }
    }
}

/// Values are a number, or a number and who made it.
fn number_of(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Puts to its own keys, and makes and deletes others, until the store is gone.
async fn write(world: Arc<World>, store: Arc<Remote>, writer: u64) -> Option<()> {
    loop {
        let number = world.fresh();
        let put = key(&format!("put/{writer}/{}", number % SLOTS));
        world.known.lock().unwrap().sent.insert(put.clone(), number);
        store.put(&put, value(&number.to_string())).await.ok()?;
        world.known.lock().unwrap().floor.insert(put, number);
        world.acknowledge();
        if number.is_multiple_of(4) {
            let passing = key(&format!("passing/{writer}/{number}"));
            store.put(&passing, value(&number.to_string())).await.ok()?;
            assert!(store.delete(&passing).await.ok()?, "{passing} was acknowledged and is not there");
            world.known.lock().unwrap().deleted.insert(passing, ());
            world.acknowledge();
        }
    }
}

/// Competes for the next step of a claim.
async fn swap(world: Arc<World>, store: Arc<Remote>, swapper: u64) -> Option<()> {
    let claim = key(&format!("claim/{}", swapper % CLAIMS));
    // Somebody else may see the first one while our answer is on its way.
    let was_there = world.has_seen(&claim);
    let mut found = store.get(&claim).await.ok()?;
    assert!(found.is_some() || !was_there, "{claim} was there and is gone");
    loop {
        found.iter().for_each(|found| world.see(&claim, found));
        let number = found.as_ref().map_or(0, |v| number_of(&text(v)) + 1);
        // Unlike any other attempt at this step, so that an undone and repeated swap shows.
        let wanted = value(&format!("{number} by {swapper} {}", world.fresh()));
        match store.swap(&claim, found.into(), Some(wanted.clone())).await.ok()? {
            Ok(()) => {
                world.see(&claim, &wanted);
                world.acknowledge();
                found = Some(wanted);
            }
            Err(current) => found = current,
        }
    }
}

/// Reads whatever there is.
async fn read(world: Arc<World>, store: Arc<Remote>) -> Option<()> {
    loop {
        for prefix in ["put/", "claim/"] {
            let response = store.call(Request::scan(prefix.parse().unwrap())).await.ok()?;
            world.see_revision(&response);
            let Answer::Page(page) = response.answer else { panic!() };
            for (key, value) in &page.entries {
                world.see(key, value);
            }
        }
    }
}

/// Is told whatever happens.
async fn watch(world: Arc<World>, store: Arc<Remote>) -> Option<()> {
    let mut watch = store.watch(Prefix::default()).await.ok()?;
    loop {
        if let WatchEvent::Changed(event) = watch.next().await? {
            let change = event.change;
            if let Some(value) = &change.value
                && !change.key.as_str().starts_with("passing/")
            {
                world.see(&change.key, value);
            }
        }
    }
}

async fn until_acknowledged(world: &World, wanted: u64) {
    loop {
        let progress = world.progress.notified();
        if world.acknowledged.load(Ordering::Relaxed) >= wanted {
            return;
        }
        progress.await;
    }
}

/// Waits for all of them, none of which may have found anything wrong.
async fn until_ended(tasks: &mut JoinSet<Option<()>>, round: u32) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            assert!(error.is_cancelled(), "round {round}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_nothing_acknowledged_and_undo_nothing_seen() {
    let place = Place::new();
    let data = place.path("data");
    let world = Arc::new(World::default());
    for round in 0..ROUNDS {
        let server = ServerProcess::start(&place, &data);
        let [writers, swappers, observers] = [(); 3].map(|()| Arc::new(place.remote(server.addr)));
        world.check(&observers).await;

        let (mut workers, mut onlookers) = (JoinSet::new(), JoinSet::new());
        for n in 0..WRITERS {
            workers.spawn(write(Arc::clone(&world), Arc::clone(&writers), n));
        }
        for n in 0..SWAPPERS {
            workers.spawn(swap(Arc::clone(&world), Arc::clone(&swappers), n));
        }
        onlookers.spawn(read(Arc::clone(&world), Arc::clone(&observers)));
        onlookers.spawn(watch(Arc::clone(&world), Arc::clone(&observers)));

        // Somewhere between the first few writes and a few hundred: another place each round, the same each run.
        let enough = u64::from(round * 37 % 200) + 20;
        let wanted = world.acknowledged.load(Ordering::Relaxed) + enough;
        // On a machine that does not answer in time they end before that, with writes whose outcome nobody knows.
        tokio::select! {
            () = until_acknowledged(&world, wanted) => {}
            () = until_ended(&mut workers, round) => {}
        }
        tokio::task::block_in_place(|| server.kill());
        for mut tasks in [workers, onlookers] {
            tasks.abort_all();
            until_ended(&mut tasks, round).await;
        }
    }
    let server = ServerProcess::start(&place, &data);
    world.check(&place.remote(server.addr)).await;
    let known = world.known.lock().unwrap();
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    println!(
        "{ROUNDS} kills: {} writes acknowledged, {} steps of claims, {} values seen",
        count(&world.acknowledged),
        known.history.len(),
        count(&world.seen)
    );
    assert!(count(&world.acknowledged) > u64::from(ROUNDS) * 20 && known.history.len() > 1000);
}
