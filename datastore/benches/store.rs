//! Writes a second that are acknowledged after fsync, beside what the disk does with a bare write and fdatasync in
//! the same run: `cargo bench -p datastore`.
//!
//! The bare rate is measured before and after every row, since disks and neighbours change their mind; the
//! ratio is to the mean of the two.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement, not a product"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastore::client::Patience;
use datastore::io::{Engine as _, Remote, Server, SledEngine, SledStore, Store, Target};
use datastore::{Key, Revision, Value};
use proto::io::KeyDir;

const TIME: Duration = Duration::from_secs(2);
const BARE_TIME: Duration = Duration::from_secs(1);
/// Of the file for bare writes; a multiple of a value.
const FILE_SIZE: usize = 8 << 20;
const VALUE: [u8; 128] = [b'v'; 128];

/// Writes into a file that has its size already, and fdatasyncs, one after another: a file that grows would wait for
/// the file system's journal, which the store's log does not either.
fn bare(dir: &Path) -> f64 {
    let path = dir.join("bare");
    let mut file = File::create(&path).unwrap();
    file.write_all(&vec![0; FILE_SIZE]).unwrap();
    file.sync_all().unwrap();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < BARE_TIME {
        let at = count as usize * VALUE.len() % FILE_SIZE;
        file.write_all_at(&VALUE, at as u64).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

/// What sled leaves possible: a writer on the thread that commits, without the way there and back.
fn engine(dir: &Path) -> f64 {
    let engine = SledEngine::open(dir).unwrap();
    let value = Value::new(&VALUE).unwrap();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        let key: Key = format!("bench/0/{}", count % 100).parse().unwrap();
        count += 1;
        engine.write(&mut std::iter::once((&key, Some(&value))), Revision(count)).unwrap();
        engine.make_safe().unwrap();
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// What many concurrent writers get acknowledged a second, and how long one write takes: the median and the
/// 99th percentile.
async fn store(store: &Arc<dyn Store>, writers: u32) -> (f64, Duration, Duration) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let value = Value::new(&VALUE).unwrap();
                let mut took = Vec::new();
                while start.elapsed() < TIME {
                    let key: Key = format!("bench/{writer}/{}", took.len() % 100).parse().unwrap();
                    let asked = Instant::now();
                    store.put(&key, value.clone()).await.unwrap();
                    took.push(asked.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    let rate = took.len() as f64 / start.elapsed().as_secs_f64();
    took.sort_unstable();
    (rate, took[took.len() / 2], took[took.len() * 99 / 100])
}

async fn rows(name: &str, dir: &Path, of: Arc<dyn Store>) {
    let mut before = bare(dir);
    for writers in [1, 16, 64] {
        let (rate, middle, p99) = store(&of, writers).await;
        let after = bare(dir);
        let base = f64::midpoint(before, after);
        println!(
            "{name:22} {writers:>7} {rate:>10.0} {base:>14.0} {:>7.2} {:>9.2} {:>9.2}",
            rate / base,
            middle.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        );
        before = after;
    }
}

#[tokio::main]
async fn main() {
    // On the disk the build is on: the system's temporary directory may be memory.
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = place.path();
    println!(
        "{:22} {:>7} {:>10} {:>14} {:>7} {:>9} {:>9}",
        "store", "writers", "writes/s", "bare fsyncs/s", "ratio", "p50 ms", "p99 ms"
    );
    let (before, alone, after) = (bare(dir), engine(&dir.join("alone")), bare(dir));
    let base = f64::midpoint(before, after);
    println!("{:22} {:>7} {alone:>10.0} {base:>14.0} {:>7.2}", "the engine alone", 1, alone / base);
    let embedded = Arc::new(SledStore::open(&dir.join("data")).unwrap());
    rows("in this process", dir, Arc::clone(&embedded) as Arc<dyn Store>).await;

    let keys = KeyDir::generate(&dir.join("keys")).unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &keys, embedded).await.unwrap();
    let addr = server.local_addr().unwrap();
    let serving = tokio::spawn(server.run(std::future::pending()));
    let target = Target::tcp(addr, &keys).unwrap();
    rows("over TCP and TLS", dir, Arc::new(Remote::connect(target, Patience::default()))).await;
    serving.abort();
}
