use std::path::Path;

use super::*;
use crate::backup::Backup;
use crate::io::Store as _;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn backup(generation: u32, entries: &[(&str, &str)]) -> Backup {
    let entries = entries.iter().map(|(k, v)| (key(k), Value::new(v.as_bytes()).unwrap())).collect();
    Backup { generation: Generation(generation), entries }
}

fn open_error(dir: &Path) -> String {
    let text = SledEngine::open(dir).unwrap_err().to_string();
    assert!(text.contains(&dir.display().to_string()), "names the directory: {text}");
    assert!(!text.contains('\n'), "is one line: {text}");
    text
}

#[tokio::test]
async fn a_store_opens_again_where_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let value = Value::new(b"1").unwrap();
    let written = {
        let store = SledStore::open(&path).unwrap();
        store.put(&key("a"), value.clone()).await.unwrap();
        store.call(crate::Request::Ping).await.unwrap()
    };
    let store = SledStore::open(&path).unwrap();
    assert_eq!(store.get(&key("a")).await, Ok(Some(value)));
    assert_eq!(
        store.call(crate::Request::Ping).await,
        Ok(written),
        "the revision goes on, the generation stays"
    );
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let _store = SledStore::open(dir.path()).unwrap();
    let text = open_error(dir.path());
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains("--dir"), "{text}");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "").unwrap();
    assert!(open_error(dir.path()).contains("holds something else"));
    assert!(SledEngine::restore(dir.path(), &backup(1, &[]), true).is_err(), "even by force");
}

#[test]
fn a_path_that_is_no_directory_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(open_error(&file).contains("--dir"));
}

#[test]
fn a_store_of_another_layout_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::open(dir.path()).unwrap());
    fs::write(dir.path().join("store"), "hotdesk data store, layout 9\ngeneration 1\n").unwrap();
    assert!(open_error(dir.path()).contains("layout 9"));
}

#[test]
fn a_damaged_log_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::open(dir.path()).unwrap());
    let conf = dir.path().join("g1/conf");
    fs::write(&conf, [0xff; 64]).unwrap();
    let text = SledEngine::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("restore a backup"), "{text}");
}

#[test]
fn a_restore_raises_the_generation_above_all_and_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    for (of, wanted) in [(4, 5), (2, 6), (6, 7)] {
        let (generation, kept) = SledEngine::restore(dir.path(), &backup(of, &[("a", "1")]), true).unwrap();
        assert_eq!(generation, Generation(wanted));
        assert_eq!(kept.is_some(), wanted > 5);
        assert!(kept.is_none_or(|path| path.join("db").exists()));
        assert_eq!(SledStore::open(dir.path()).unwrap().generation(), generation);
    }
    let unforced = SledEngine::restore(dir.path(), &backup(1, &[]), false).unwrap_err();
    assert!(unforced.to_string().contains("--force"), "{unforced}");
}

#[test]
fn a_restore_that_was_interrupted_leaves_the_old_store_in_use_and_its_generation_unused() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::open(dir.path()).unwrap());
    fs::create_dir(dir.path().join("g2")).unwrap();
    assert_eq!(SledStore::open(dir.path()).unwrap().generation(), Generation(1));
    let (generation, _) = SledEngine::restore(dir.path(), &backup(1, &[]), true).unwrap();
    assert_eq!(generation, Generation(3));
}

#[test]
fn an_interrupted_restore_into_an_empty_directory_is_not_taken_for_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("g2")).unwrap();
    assert!(open_error(dir.path()).contains("restore"));
    let (generation, _) = SledEngine::restore(dir.path(), &backup(1, &[]), false).unwrap();
    assert_eq!(generation, Generation(3));
}

#[tokio::test]
async fn values_of_the_largest_size_stay_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    let puts = (0..200_u8).map(|n| (key(&format!("k{n}")), Value::new(&[n; Value::LEN_MAX]).unwrap()));
    for (key, value) in puts.clone().chain(puts.clone()) {
        store.put(&key, value).await.unwrap();
    }
    assert_eq!(fs::read_dir(dir.path().join("g1/blobs")).unwrap().count(), 0);
    drop(store);
    let store = SledStore::open(dir.path()).unwrap();
    for (key, value) in puts {
        assert_eq!(store.get(&key).await, Ok(Some(value)));
    }
}

#[test]
fn a_file_for_a_large_page_is_made_safe_once_and_forgotten_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("db"), "").unwrap();
    fs::create_dir(dir.path().join("blobs")).unwrap();
    let files = Files::open(dir.path()).unwrap();
    let safe = || files.safe_blobs.lock().unwrap().iter().cloned().collect::<Vec<_>>();
    fs::write(dir.path().join("blobs/17"), "x").unwrap();
    files.sync().unwrap();
    assert_eq!(safe(), ["17"]);
    fs::remove_file(dir.path().join("blobs/17")).unwrap();
    fs::write(dir.path().join("blobs/18"), "x").unwrap();
    files.sync().unwrap();
    assert_eq!(safe(), ["18"]);
}

#[test]
fn a_store_made_before_stores_had_ids_is_given_one_for_good_and_a_damaged_id_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::open(dir.path()).unwrap());
    fs::remove_file(dir.path().join("id")).unwrap();
    let given = SledEngine::open(dir.path()).unwrap().id();
    assert_eq!(SledEngine::open(dir.path()).unwrap().id(), given);
    let (_, _) = SledEngine::restore(dir.path(), &backup(4, &[]), true).unwrap();
    assert_eq!(SledEngine::open(dir.path()).unwrap().id(), given, "a restored backup is in the same store");
    fs::write(dir.path().join("id"), "nonsense").unwrap();
    assert!(open_error(dir.path()).contains("nonsense"));
}

/// After a power cut the beginning of the log is found.
#[test]
fn of_a_write_that_was_cut_short_no_value_is_found_without_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    let keys: Vec<Key> = (1..=5).map(|n| key(&format!("k{n}"))).collect();
    let value = Value::new(&[7; 40]).unwrap();
    let engine = SledEngine::open(&whole).unwrap();
    for (n, key) in keys.iter().enumerate() {
        engine.write(&mut [(key, Some(&value))].into_iter(), Revision(n as u64 + 1)).unwrap();
        engine.make_safe().unwrap();
    }
    drop(engine);
    let log = fs::read(whole.join("g1/db")).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut found = BTreeSet::new();
    for len in (end - 500..=end).step_by(5) {
        fs::create_dir_all(cut.join("g1/blobs")).unwrap();
        fs::copy(whole.join("store"), cut.join("store")).unwrap();
        fs::copy(whole.join("g1/conf"), cut.join("g1/conf")).unwrap();
        fs::write(cut.join("g1/db"), &log[..len]).unwrap();
        File::options().write(true).open(cut.join("g1/db")).unwrap().set_len(log.len() as u64).unwrap();
        let engine = SledEngine::open(&cut).unwrap();
        let values = keys.iter().filter(|key| engine.get(key).unwrap().is_some()).count() as u64;
        assert!(values <= engine.revision().0, "{values} values of revision {}", engine.revision().0);
        found.insert((engine.revision().0, values));
        drop(engine);
        fs::remove_dir_all(&cut).unwrap();
    }
    assert!(found.len() > 3 && found.contains(&(5, 5)), "{found:?}");
}
