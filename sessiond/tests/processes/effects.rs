//! What shells of a session do outside of it happens once, though their host dies half-way.

use std::path::Path;

use continuity::{Edit, Held, Object, PagedQuery, Reference, Status, Value as Kept};
use datastore::wire::{self, Call, FromStore};
use datastore::{Guard, Key, MemoryStore, Request, Value};
use proto::SessionId;
use sessiond::control::{Bytes, FromSession, Kind, Protection, SessionSpec, ToSession};
use sessiond::template::Continuity;

use crate::kept::{Keeper, begin, begin_as, part};
use crate::support::{Daemon, Pipe, service, spec};
use crate::{Rule, run_dir};

pub const RULES: &[Rule] = &[
    ("an_effect_whose_host_has_died_before_the_commit_has_happened_once", true, once),
    ("a_home_of_an_earlier_epoch_has_no_effect_any_more", true, fenced),
];

/// What the host of a session does for its programs: it carries what they say to a keeper and to the data store.
struct Host {
    daemon: Daemon,
    epoch: u32,
}

fn record() -> Key {
    "session/1".parse().unwrap()
}

/// The record says that the session's home is in this epoch.
fn move_to(store: &mut MemoryStore, counter: u32) {
    let value = Value::new(format!("session epoch=1.{counter}").as_bytes()).unwrap();
    store.apply(Request::Put { key: record(), value }, &mut Vec::new());
}

impl Host {
    /// Runs the session with what `keeper` has of it, in this epoch.
    fn start(run_dir: &Path, keeper: &Keeper, epoch: u32, script: &str) -> Self {
        let mut daemon = Daemon::start(run_dir, false);
        begin(&mut daemon, vec![service(script)], keeper, Protection::Each);
        Self { daemon, epoch }
    }

    /// Carries on until the store was asked so many times more. Returns how many keys that has changed.
    fn serve(&mut self, keeper: &mut Keeper, store: &mut MemoryStore, mut questions: usize) -> usize {
        let mut changed = Vec::new();
        while questions > 0 {
            let said = self.daemon.said("something for the keeper or the store", |said| {
                matches!(said, FromSession::Committed { .. } | FromSession::Data { .. }).then(|| said.clone())
            });
            match said {
                FromSession::Committed { part, update } => {
                    keeper.hear(&part, update);
                    keeper.acknowledge(&self.daemon, &part);
                }
                FromSession::Data { client, request } => {
                    let Call { id, request } = wire::decode(&request.0).unwrap();
                    let guard = Guard { key: record(), generation: 1, counter: self.epoch };
                    let response = store.apply(request.guarded(guard), &mut changed);
                    let mut frame = Vec::new();
                    wire::encode(&FromStore::Reply { id, response }, &mut frame).unwrap();
                    let reply = Bytes(frame.split_off(wire::HEADER_LEN));
                    self.daemon.tell(1, ToSession::DataReply { client, reply });
                    questions -= 1;
                }
                _ => {}
            }
        }
        changed.len()
    }

    /// Carries on until an operation is committed.
    fn commits(&mut self, keeper: &mut Keeper) {
        let state = part(Kind::State);
        let is_committed = |keeper: &Keeper| {
            let operation = keeper.object(&state).and_then(|object| object.head.operation);
            operation.is_some_and(|operation| operation.status == Status::Committed)
        };
        while !is_committed(keeper) {
            let part = keeper.take(&mut self.daemon);
            keeper.acknowledge(&self.daemon, &part);
        }
    }
}

fn order(again: &str, pipe: &Pipe) -> String {
    format!(
        "HOTDESK_OPERATION=$(sessiond state begin order {again}); export HOTDESK_OPERATION; \
         echo \"$(sessiond state effect put order ten)\" > {0}; \
         echo \"$(sessiond state effect begin --step 2 --json)\" > {0}; \
         echo \"$(sessiond state effect done receipt-5 --step 2)\" > {0}; \
         read -r go < {0}.go; sessiond state commit; echo \"committed $?\" > {0}; exec cat",
        pipe.path.display()
    )
}

fn once(dir: &Path) {
    let (mut store, mut keeper) = (MemoryStore::default(), Keeper::default());
    let pipe = Pipe::from_session(dir, "said");
    let (_, mut go) = crate::pipe_to_session(dir, "said.go");
    move_to(&mut store, 1);
    {
        let mut host = Host::start(&run_dir(dir), &keeper, 1, &order("", &pipe));
        for (changed, said) in
            [(2, "now stored"), (1, r#"{"answer":"begun","happened":"now","text":null}"#), (1, "now done")]
        {
            assert_eq!(host.serve(&mut keeper, &mut store, 1), changed);
            assert_eq!(pipe.line("the answer"), said);
        }
        // The host is gone before the commit.
    }
    move_to(&mut store, 2);
    let mut host = Host::start(&dir.join("run2"), &keeper, 2, &order("--again", &pipe));
    for said in [
        "before stored",
        r#"{"answer":"done","happened":"before","text":"receipt-5"}"#,
        "before done receipt-5",
    ] {
        assert_eq!(host.serve(&mut keeper, &mut store, 1), 0, "nothing is done again");
        assert_eq!(pipe.line("the answer"), said);
    }
    std::io::Write::write_all(&mut go, b"\n").unwrap();
    host.commits(&mut keeper);
    assert_eq!(pipe.line("the commit"), "committed 0");
}

fn fenced(dir: &Path) {
    let (mut store, mut keeper) = (MemoryStore::default(), Keeper::default());
    let pipe = Pipe::from_session(dir, "said");
    let script = format!(
        "HOTDESK_OPERATION=$(sessiond state begin order); export HOTDESK_OPERATION; \
         sessiond state effect put order ten 2> {0}; echo \"exit $?\" > {0}; exec cat",
        pipe.path.display()
    );
    move_to(&mut store, 2);
    let mut host = Host::start(&run_dir(dir), &keeper, 1, &script);
    assert_eq!(host.serve(&mut keeper, &mut store, 1), 0, "nothing is done");
    assert!(pipe.line("the refusal").contains("the session has moved to another host"));
    assert_eq!(pipe.line("the answer"), "exit 1");
}

/// What was kept of a session whose programs refer to these.
fn referring(references: &[(&str, Reference)]) -> Keeper {
    let mut object = Object::new(SessionId(1), "terminal".parse().unwrap());
    for (key, reference) in references {
        let (key, value) = (key.parse().unwrap(), Kept::Reference(reference.clone()));
        object.apply(Edit::Put { place: "global".parse().unwrap(), key, value }).unwrap();
    }
    let (mut keeper, mut held) = (Keeper::default(), Held::default());
    held.take_whole(object.encode().unwrap()).unwrap();
    keeper.held.insert(part(Kind::State), held);
    keeper
}

/// By the session's process, which is one of `nobody`'s; what finds nothing is said, and the rest is restored.
pub fn references(dir: &Path) {
    let path = |name: &str| dir.join(name).display().to_string();
    for name in ["open", "closed"] {
        std::fs::write(path(name), "x").unwrap();
    }
    std::fs::create_dir(path("shut")).unwrap();
    let modes = [("open", "644"), ("closed", "600"), ("shut", "700")];
    for (name, mode) in modes {
        std::process::Command::new("chmod").args([mode, &path(name)]).status().unwrap();
    }
    let file = |name: &str| Reference::File(path(name).parse().unwrap());
    let query = |text: &str, page_size, position| {
        Reference::Query(PagedQuery { text: text.parse().unwrap(), page_size, position })
    };
    let mut keeper = referring(&[
        ("beyond", query("keys product/", 5, 3)),
        ("closed", file("closed")),
        ("gone", file("gone")),
        ("large", query("keys product/", 500, 2)),
        ("open", file("open")),
        ("other", query("a question of the program's own", 5, 0)),
        ("page", query("keys product/", 5, 0)),
        ("product", Reference::Store("product/a".parse().unwrap())),
        ("shut", Reference::Directory(path("shut").parse().unwrap())),
        ("sold", Reference::Store("product/b".parse().unwrap())),
    ]);
    let mut store = MemoryStore::default();
    let put = Request::Put { key: "product/a".parse().unwrap(), value: Value::new(b"a").unwrap() };
    store.apply(put, &mut Vec::new());
    let pipe = Pipe::from_session(dir, "said");
    let script = format!("exec sessiond state watch > {}", pipe.path.display());
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let spec = SessionSpec {
        continuity: Continuity::Replicated,
        account: Some("nobody".into()),
        ..spec(1, vec![service(&script)])
    };
    begin_as(&mut daemon, spec, &keeper, Protection::Alone);
    let mut host = Host { daemon, epoch: 2 };
    assert_eq!(pipe.line_within(std::time::Duration::from_millis(300)), None, "not before all is known");
    host.serve(&mut keeper, &mut store, 4);
    let missing =
        [("beyond", "gone"), ("closed", "denied"), ("gone", "gone"), ("shut", "denied"), ("sold", "gone")];
    let first = pipe.line("what was restored");
    assert!(first.contains(&format!(" missing={}", missing.len())), "{first}");
    let mut said: Vec<String> = missing.iter().map(|_| pipe.line("what is missing")).collect();
    said.sort();
    let line =
        |(key, why): &(&str, &str)| format!("event is=missing depth=0 pool=global key={key} why={why}");
    assert_eq!(said, missing.iter().map(line).collect::<Vec<_>>());
}
