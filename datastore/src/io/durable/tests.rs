//! The group commit over an engine whose disk the test holds in its hand.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::message::{Expected, WatchEvent};

/// How the disk answers to one request to make things safe.
enum Sync {
    Done,
    Fails,
    Full,
    Panics,
}

/// An engine whose [`Engine::make_safe`] tells the test that it was entered, and returns when told so.
struct Held {
    written: Mutex<BTreeMap<Key, Value>>,
    entered: Mutex<Sender<usize>>,
    release: Mutex<Receiver<Sync>>,
    since_last: Mutex<usize>,
    has_room: AtomicBool,
    recovers: AtomicBool,
}

/// The test's end of it.
struct Disk {
    entered: Receiver<usize>,
    release: Sender<Sync>,
}

impl Disk {
    /// Waits until the engine syncs; says how many keys were written for it.
    fn await_sync(&self) -> usize {
        self.entered.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    fn end_sync(&self, how: Sync) {
        self.release.send(how).unwrap();
    }
}

fn held() -> (Durable<Held>, Disk) {
    let (entered_tx, entered) = channel();
    let (release, release_rx) = channel();
    let engine = Held {
        written: Mutex::default(),
        entered: Mutex::new(entered_tx),
        release: Mutex::new(release_rx),
        since_last: Mutex::default(),
        has_room: AtomicBool::new(true),
        recovers: AtomicBool::new(false),
    };
    (Durable::new(engine).unwrap(), Disk { entered, release })
}

impl Engine for Held {
    fn place(&self) -> String {
        "the test's disk".into()
    }

    fn id(&self) -> proto::StoreId {
        proto::StoreId(1)
    }

    fn generation(&self) -> Generation {
        Generation(1)
    }

    fn revision(&self) -> Revision {
        Revision(0)
    }

    fn get(&self, key: &Key) -> io::Result<Option<Value>> {
        Ok(self.written.lock().unwrap().get(key).cloned())
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&Key>,
    ) -> Box<dyn Iterator<Item = io::Result<(Key, Value)>> + 'a> {
        let all = self.written.lock().unwrap().clone();
        let after = after.cloned();
        Box::new(
            all.into_iter().filter(move |(key, _)| prefix.holds(key) && after.as_ref() < Some(key)).map(Ok),
        )
    }

    fn write(&self, writes: &mut dyn Iterator<Item = (&Key, Option<&Value>)>, _: Revision) -> io::Result<()> {
        let mut written = self.written.lock().unwrap();
        for (key, value) in writes {
            *self.since_last.lock().unwrap() += 1;
            match value {
                Some(value) => written.insert(key.clone(), value.clone()),
                None => written.remove(key),
            };
        }
        Ok(())
    }

    fn make_safe(&self) -> io::Result<()> {
        let count = std::mem::take(&mut *self.since_last.lock().unwrap());
        self.entered.lock().unwrap().send(count).unwrap();
        match self.release.lock().unwrap().recv().unwrap() {
            Sync::Done => Ok(()),
            Sync::Fails => Err(io::Error::other("no medium")),
            Sync::Full => Err(io::ErrorKind::StorageFull.into()),
            Sync::Panics => panic!("the engine has a bug"),
        }
    }

    fn has_room(&self) -> io::Result<()> {
        let full = || io::ErrorKind::StorageFull.into();
        self.has_room.load(Ordering::Relaxed).then_some(()).ok_or_else(full)
    }

    fn recover(&self) -> io::Result<Revision> {
        let away = || io::Error::other("not yet");
        self.recovers.load(Ordering::Relaxed).then_some(Revision(2)).ok_or_else(away)
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.as_bytes()).unwrap()
}

fn put(k: &str, v: &str) -> Request {
    Request::Put { key: key(k), value: value(v) }
}

/// Submits without waiting.
fn begin(store: &Durable<Held>, request: Request) -> Submitted {
    store.submit(request).unwrap()
}

fn answer_of(result: Result<Response, StoreError>) -> Answer {
    result.unwrap().answer
}

async fn listed(store: &Durable<Held>) -> Vec<String> {
    let entries = store.list(&Prefix::default()).await.unwrap();
    entries.into_iter().map(|(k, v)| format!("{k}={}", String::from_utf8_lossy(v.as_bytes()))).collect()
}

#[tokio::test]
async fn nobody_sees_a_write_before_it_is_safe() {
    let (store, disk) = held();
    let mut watch = store.watch(Prefix::default()).await.unwrap();
    let first = begin(&store, put("a", "1"));
    disk.await_sync();
    disk.end_sync(Sync::Done);
    first.await.unwrap().unwrap();
    assert!(matches!(watch.try_next(), Some(WatchEvent::Changed(_))));

    let mut overwrites = begin(&store, put("a", "2"));
    disk.await_sync();
    let mut adds = begin(&store, put("b", "1"));
    let engine = &store.shared.engine;
    assert_eq!(engine.get(&key("a")).unwrap(), Some(value("2")), "the engine has it already");
    assert_eq!(store.get(&key("a")).await, Ok(Some(value("1"))));
    assert_eq!(listed(&store).await, ["a=1"]);
    assert_eq!(watch.try_next(), None);
    assert!(overwrites.try_recv().is_err() && adds.try_recv().is_err());

    disk.end_sync(Sync::Done);
    assert_eq!(answer_of(overwrites.await.unwrap()), Answer::Stored);
    assert_eq!(store.get(&key("a")).await, Ok(Some(value("2"))));
    disk.await_sync();
    assert_eq!(listed(&store).await, ["a=2"], "the next write is hidden in turn");
    disk.end_sync(Sync::Done);
    assert_eq!(answer_of(adds.await.unwrap()), Answer::Stored);
    let told: Vec<_> = std::iter::from_fn(|| watch.try_next()).collect();
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn a_deleted_key_is_shown_until_its_deletion_is_safe() {
    let (store, disk) = held();
    for request in [put("a", "1"), put("b", "1")] {
        let stored = begin(&store, request);
        disk.await_sync();
        disk.end_sync(Sync::Done);
        stored.await.unwrap().unwrap();
    }
    let deleted = begin(&store, Request::Delete { key: key("a") });
    disk.await_sync();
    assert_eq!(listed(&store).await, ["a=1", "b=1"]);
    disk.end_sync(Sync::Done);
    assert_eq!(answer_of(deleted.await.unwrap()), Answer::Deleted { existed: true });
    assert_eq!(listed(&store).await, ["b=1"]);
}

#[tokio::test]
async fn a_swap_that_lost_against_an_unsafe_value_is_not_told_before_that_is_safe() {
    let (store, disk) = held();
    let first = begin(&store, put("x", "1"));
    disk.await_sync();
    let claim = |v| Request::Swap { key: key("c"), expected: Expected::Absent, new: Some(value(v)) };
    let (mut won, mut lost) = (begin(&store, claim("a")), begin(&store, claim("b")));
    disk.end_sync(Sync::Done);
    first.await.unwrap().unwrap();
    assert_eq!(disk.await_sync(), 1, "both swaps are in one batch, of which one writes");
    assert!(won.try_recv().is_err() && lost.try_recv().is_err());
    disk.end_sync(Sync::Done);
    assert_eq!(answer_of(won.await.unwrap()), Answer::Swapped);
    assert_eq!(answer_of(lost.await.unwrap()), Answer::Lost { current: Some(value("a")) });
}

#[tokio::test]
async fn all_who_wait_share_one_fsync() {
    let (store, disk) = held();
    let first = begin(&store, put("first", "1"));
    disk.await_sync();
    let others: Vec<_> = (0..100).map(|n| begin(&store, put(&format!("k{n}"), "1"))).collect();
    disk.end_sync(Sync::Done);
    first.await.unwrap().unwrap();
    assert_eq!(disk.await_sync(), 100);
    disk.end_sync(Sync::Done);
    for other in others {
        assert_eq!(answer_of(other.await.unwrap()), Answer::Stored);
    }
}

#[tokio::test]
async fn when_the_disk_fails_writers_learn_that_nobody_knows_and_readers_see_what_was_safe() {
    for how in [|| Sync::Fails, || Sync::Panics] {
        let (store, disk) = held();
        let safe = begin(&store, put("a", "safe"));
        disk.await_sync();
        disk.end_sync(Sync::Done);
        safe.await.unwrap().unwrap();

        let unsure = begin(&store, put("a", "unsure"));
        disk.await_sync();
        disk.end_sync(how());
        let error = unsure.await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::OutcomeUnknown { .. }), "{error}");

        assert_eq!(store.get(&key("a")).await, Ok(Some(value("safe"))));
        assert_eq!(listed(&store).await, ["a=safe"]);
        let refused = store.put(&key("b"), value("1")).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::Failed { .. })), "{refused}");
    }
}

#[tokio::test]
async fn what_changes_nothing_costs_no_fsync() {
    let (store, disk) = held();
    assert_eq!(store.delete(&key("absent")).await, Ok(false));
    let wanted = Expected::Exactly(value("1"));
    assert_eq!(store.swap(&key("absent"), wanted, None).await, Ok(Err(None)));
    assert!(disk.entered.try_recv().is_err());
}

#[tokio::test]
async fn a_ping_is_answered_while_the_disk_hangs() {
    let (store, disk) = held();
    let stuck = begin(&store, put("a", "1"));
    disk.await_sync();
    let mut pong = store.call(Request::Ping);
    let polled = pong.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(Response { answer: Answer::Pong, .. }))));
    disk.end_sync(Sync::Done);
    stuck.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_accepted_is_done_before_the_store_is_gone() {
    let (store, disk) = held();
    let (first, second) = (begin(&store, put("a", "1")), begin(&store, put("b", "1")));
    let dropping = std::thread::spawn(move || drop(store));
    for _ in 0..2 {
        if disk.entered.recv_timeout(Duration::from_secs(10)).is_ok() {
            disk.end_sync(Sync::Done);
        }
    }
    dropping.join().unwrap();
    assert_eq!(answer_of(first.await.unwrap()), Answer::Stored);
    assert_eq!(answer_of(second.await.unwrap()), Answer::Stored);
}

/// Sixteen writers, each with its next write as soon as the last is answered, on a disk that takes 5 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steady_writers_go_on_sharing_their_fsyncs() {
    const WRITERS: usize = 16;
    const EACH: usize = 20;
    let (store, disk) = held();
    let store = Arc::new(store);
    let disk = std::thread::spawn(move || {
        let mut syncs = 0;
        while disk.entered.recv().is_ok() {
            syncs += 1;
            std::thread::sleep(Duration::from_millis(5));
            disk.end_sync(Sync::Done);
        }
        syncs
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..EACH {
                    store.put(&key(&format!("k{n}")), value("v")).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    drop(store);
    // Twenty would be perfect; without gathering it is nearly twice that.
    let syncs = disk.join().unwrap();
    assert!((EACH..EACH * 3 / 2).contains(&syncs), "{syncs} fsyncs for {} writes", WRITERS * EACH);
}

fn refuses(store: &Durable<Held>, name: &str) -> bool {
    let Answer::Status(says) = store.shared.status().answer else { panic!() };
    says.iter().any(|(n, v)| n == name && *v == 1)
}

/// Waits until the store has looked for room again, which it does by itself.
async fn until(mut is_so: impl FnMut() -> bool) {
    let give_up_at = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < give_up_at);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_without_room_refuses_writes_changes_nothing_and_goes_on_when_there_is_some() {
    let (store, disk) = held();
    let safe = begin(&store, put("a", "1"));
    disk.await_sync();
    disk.end_sync(Sync::Done);
    safe.await.unwrap().unwrap();
    store.shared.engine.has_room.store(false, Ordering::Relaxed);
    let refused = store.put(&key("b"), value("1")).await.unwrap_err();
    assert_eq!(refused, Refusal::no_room().into());
    assert!(refused.to_string().contains("goes on by itself"), "{refused}");
    assert!(refuses(&store, REFUSES_FULL) && !refuses(&store, REFUSES_BROKEN));
    assert_eq!(listed(&store).await, ["a=1"]);
    store.shared.engine.has_room.store(true, Ordering::Relaxed);
    until(|| !refuses(&store, REFUSES_FULL)).await;
    let goes_on = begin(&store, put("b", "1"));
    disk.await_sync();
    disk.end_sync(Sync::Done);
    assert_eq!(answer_of(goes_on.await.unwrap()), Answer::Stored);
}

#[tokio::test]
async fn a_batch_that_found_no_room_is_hidden_until_the_engine_is_opened_anew_and_watchers_are_told() {
    let (store, disk) = held();
    let mut watch = store.watch(Prefix::default()).await.unwrap();
    let unsure = begin(&store, put("a", "1"));
    disk.await_sync();
    disk.end_sync(Sync::Full);
    let error = unsure.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown { .. }), "{error}");
    assert!(listed(&store).await.is_empty());
    assert_eq!(store.put(&key("b"), value("1")).await, Err(Refusal::no_room().into()));
    store.shared.engine.recovers.store(true, Ordering::Relaxed);
    until(|| !refuses(&store, REFUSES_FULL)).await;
    assert_eq!(listed(&store).await, ["a=1"], "it is found after all");
    assert_eq!(watch.try_next(), Some(WatchEvent::Lagged));
    let next = begin(&store, put("b", "1"));
    disk.await_sync();
    disk.end_sync(Sync::Done);
    assert_eq!(next.await.unwrap().unwrap().revision, Revision(3));
}

#[tokio::test]
async fn a_user_over_the_quota_is_refused_and_nobody_else_in_the_batch() {
    let (store, disk) = held();
    let first = begin(&store, put("first", "1"));
    disk.await_sync();
    let large = Value::new(&vec![b'x'; Value::LEN_MAX]).unwrap();
    let write = |n: usize| Request::Put { key: key(&format!("data/ann/{n}")), value: large.clone() };
    let many: Vec<_> = (0..400).map(|n| begin(&store, write(n))).collect();
    let other = begin(&store, put("data/bob/note", "1"));
    disk.end_sync(Sync::Done);
    first.await.unwrap().unwrap();
    let disk = std::thread::spawn(move || {
        while disk.entered.recv().is_ok() {
            disk.end_sync(Sync::Done);
        }
    });
    let (mut stored, mut refused) = (0, 0);
    for answer in many {
        match answer.await.unwrap() {
            Ok(_) => stored += 1,
            Err(StoreError::TooLarge { max, .. }) => {
                assert_eq!(u64::from(max), Quota::default().owner);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stored > 200 && refused > 100, "{stored} {refused}");
    assert_eq!(answer_of(other.await.unwrap()), Answer::Stored);
    drop(store);
    disk.join().unwrap();
}
