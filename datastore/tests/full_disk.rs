//! A store on a disk that fills up, for real: refused meanwhile, nothing lost, and at work again without a restart.
//!
//! The first part needs a small file system of its own, which takes a mount namespace; where the kernel allows none to us
//! it is ignored, visibly. A program of its own, since limits and namespaces are those of a whole process.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that waits for a disk"
)]

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use datastore::io::{SledStore, Store};
use datastore::{Key, Prefix, Refusal, StoreError, Value};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const PATIENCE: Duration = Duration::from_secs(20);
const INSIDE: &str = "HOTDESK_TEST_INSIDE";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(dir) = std::env::var_os(INSIDE) {
        runtime.block_on(a_full_disk(Path::new(&dir)));
        return ExitCode::SUCCESS;
    }
    let dir = tempfile::tempdir().unwrap();
    println!("test a_file_that_may_not_grow_is_mended_without_a_restart ... {}", {
        runtime.block_on(a_file_that_may_not_grow(&dir.path().join("limited")));
        "ok"
    });
    let mount = dir.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", "mount -t tmpfs -o size=64m tmpfs \"$1\" && exec \"$2\"", "sh"]);
    command.arg(&mount).arg(std::env::current_exe().unwrap()).env(INSIDE, &mount).arg0("unshare");
    let allowed = Command::new("unshare").args(["-Urm", "true"]).output().is_ok_and(|o| o.status.success());
    let outcome = match allowed {
        false => "ignored, no mount namespaces here",
        true if command.status().unwrap().success() => "ok",
        true => "FAILED",
    };
    println!("test a_store_on_a_full_disk_goes_on_when_there_is_room ... {outcome}");
    if outcome == "FAILED" { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn key(n: usize) -> Key {
    format!("notes/{n}").parse().unwrap()
}

fn value() -> Value {
    Value::new(&[b'x'; 60_000]).unwrap()
}

/// Writes until the store refuses; how many were acknowledged.
async fn fill(store: &SledStore, from: usize) -> (usize, StoreError) {
    for n in from..from + 5_000 {
        if let Err(error) = store.put(&key(n), value()).await {
            return (n, error);
        }
    }
    panic!("it never refuses")
}

/// Waits until a write is taken again.
async fn until_it_writes(store: &SledStore) {
    let give_up_at = Instant::now() + PATIENCE;
    while let Err(error) = store.put(&"again".parse().unwrap(), value()).await {
        assert!(Instant::now() < give_up_at, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn acknowledged_are_there(store: &SledStore, wanted: usize) {
    let found = store.list(&Prefix::default()).await.unwrap();
    let numbered = found.iter().filter(|(key, _)| key.as_str().starts_with("notes/")).count();
    assert!(numbered == wanted || numbered == wanted + 1, "{numbered} of {wanted}");
}

/// Other things fill the disk: the store stops before it is full, and nothing needs mending.
async fn a_full_disk(mount: &Path) {
    let dir = mount.join("store");
    let store = SledStore::open(&dir).unwrap();
    store.put(&key(0), value()).await.unwrap();
    let filler = mount.join("filler");
    let free = nix::sys::statvfs::statvfs(mount).unwrap();
    let len = (free.blocks_available() as u64) * (free.fragment_size() as u64) - 100_000;
    std::fs::write(&filler, vec![0; usize::try_from(len).unwrap()]).unwrap();
    assert_eq!(store.put(&key(1), value()).await, Err(Refusal::no_room().into()));
    assert_eq!(store.get(&key(0)).await, Ok(Some(value())));
    std::fs::remove_file(&filler).unwrap();
    until_it_writes(&store).await;
    // And it fills the disk by itself.
    let (written, error) = fill(&store, 1).await;
    println!("{written} values, then: {error}");
    assert!(matches!(&error, StoreError::Refused(refusal) if refusal.is_for_want_of_room()), "{error}");
    drop(store);
    let store = SledStore::open(&dir).unwrap();
    acknowledged_are_there(&store, written).await;
}

/// Room runs out in the middle of a write, which no look at the disk foretells.
async fn a_file_that_may_not_grow(dir: &Path) {
    // SAFETY: ignoring a signal has no handler that could do anything.
    unsafe {
        nix::sys::signal::signal(nix::sys::signal::Signal::SIGXFSZ, nix::sys::signal::SigHandler::SigIgn)
    }
    .unwrap();
    let store = SledStore::open(dir).unwrap();
    store.put(&key(0), value()).await.unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let size = std::fs::metadata(dir.join("g1/db")).unwrap().len();
    setrlimit(Resource::RLIMIT_FSIZE, size + 300_000, hard).unwrap();
    let (written, error) = fill(&store, 1).await;
    assert!(matches!(error, StoreError::OutcomeUnknown { .. }), "{error}");
    assert_eq!(store.put(&key(9_999), value()).await, Err(Refusal::no_room().into()));
    assert_eq!(store.get(&key(0)).await, Ok(Some(value())), "what was safe can be read meanwhile");
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
    until_it_writes(&store).await;
    acknowledged_are_there(&store, written).await;
    drop(store);
    let store = SledStore::open(dir).unwrap();
    acknowledged_are_there(&store, written).await;
}
