//! What becomes of references: each is looked up by whoever looks up its kind, and one that finds nothing says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod common;

use common::{object, put, query, raw, with};
use continuity::restore::{DirectoryResolver, FileResolver, QueryResolver, StoreResolver};
use continuity::{
    Edit, Found, Missing, Object, PagedQuery, PathName, Reference, Resolvers, Restored, SeriesName, Value,
};

/// A world in which a few things are left.
struct World {
    asked: Vec<String>,
}

impl StoreResolver for World {
    fn value(&mut self, key: &datastore::Key) -> Result<Vec<u8>, Missing> {
        self.asked.push(key.to_string());
        if key.as_str() == "data/ann/note" { Ok(b"buy milk".to_vec()) } else { Err(Missing::Denied) }
    }
}

impl QueryResolver for World {
    fn page(&mut self, query: &PagedQuery) -> Result<Vec<u8>, Missing> {
        self.asked.push(format!("{} {}", query.text, query.position));
        let first = query.position * u64::from(query.page_size);
        Ok((first..first + u64::from(query.page_size)).map(|n| n as u8).collect())
    }
}

impl DirectoryResolver for World {
    fn directory(&mut self, path: &PathName) -> Result<(), Missing> {
        self.asked.push(path.to_string());
        if path.as_str() == "/home/ann" { Ok(()) } else { Err(Missing::Gone) }
    }
}

impl FileResolver for World {
    fn file(&mut self, path: &PathName) -> Result<(), Missing> {
        self.asked.push(path.to_string());
        Err(Missing::Unavailable)
    }
}

fn a_session() -> Object {
    let reference = |reference| Value::Reference(reference);
    with(
        object(),
        [
            put("global", "note", reference(Reference::Store("data/ann/note".parse().unwrap()))),
            put("global", "other", reference(Reference::Store("data/bob/note".parse().unwrap()))),
            Edit::Push("search".parse().unwrap()),
            put("composite", "hits", query("Router", 5, 0)),
            Edit::Mark(SeriesName::Composite),
            put("composite", "hits", query("Router", 5, 2)),
            Edit::Push("detail".parse().unwrap()),
            put("step:show", "file", reference(Reference::File("/mnt/1".parse().unwrap()))),
            put("interactive", "word", raw(b"Router")),
            put("application", "cwd", reference(Reference::Directory("/home/ann".parse().unwrap()))),
            put("application", "was", reference(Reference::Directory("/home/ann/gone".parse().unwrap()))),
        ],
    )
}

fn restore(object: &Object, mut worlds: [World; 4]) -> (Restored, Vec<String>) {
    let [store, query, directory, file] = &mut worlds;
    let restored = object.restore(&mut Resolvers {
        store: Some(store),
        query: Some(query),
        directory: Some(directory),
        file: Some(file),
    });
    (restored, worlds.into_iter().flat_map(|world| world.asked).collect())
}

fn worlds() -> [World; 4] {
    [(); 4].map(|()| World { asked: Vec::new() })
}

#[test]
fn a_reference_that_finds_nothing_is_named_and_the_rest_is_restored() {
    let (restored, asked) = restore(&a_session(), worlds());
    assert!(!restored.is_whole());
    assert_eq!(restored.raw, 1);
    let found: Vec<(String, &Found)> =
        restored.found.iter().map(|it| (format!("{} {} {}", it.depth, it.place, it.key), &it.what)).collect();
    let page = Found::Bytes(vec![10, 11, 12, 13, 14]);
    assert_eq!(
        found,
        [
            ("0 global note".to_owned(), &Found::Bytes(b"buy milk".to_vec())),
            ("0 composite hits".to_owned(), &page),
            ("0 application cwd".to_owned(), &Found::Present),
        ]
    );
    let missing: Vec<String> = restored.missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        missing,
        [
            "global other: key data/bob/note of the data store may not be read",
            "step:show file: file /mnt/1 cannot be reached",
            "application was: directory /home/ann/gone is gone",
        ]
    );
    assert!(
        !asked.contains(&"Router 0".to_owned()),
        "a state to which nobody has gone back is not looked up"
    );
}

#[test]
fn what_nobody_looks_up_is_left_to_its_program() {
    let mut world = World { asked: Vec::new() };
    let restored =
        a_session().restore(&mut Resolvers { directory: Some(&mut world), ..Resolvers::default() });
    assert_eq!(
        (restored.raw, restored.found.len(), restored.missing.len(), restored.left.len()),
        (1, 1, 1, 4)
    );
}

#[test]
fn after_going_back_the_page_before_is_looked_up() {
    let object = with(a_session(), [Edit::Pop, Edit::Back(SeriesName::Composite)]);
    let (_, asked) = restore(&object, worlds());
    assert!(asked.contains(&"Router 0".to_owned()) && !asked.contains(&"Router 2".to_owned()));
}
