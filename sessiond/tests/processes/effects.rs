//! What shells of a session do outside of it happens once, though their host dies half-way.

use std::path::Path;

use continuity::Status;
use datastore::wire::{self, Call, FromStore};
use datastore::{Guard, Key, MemoryStore, Request, Value};
use sessiond::control::{Bytes, FromSession, Kind, Protection, ToSession};

use crate::kept::{Keeper, begin, part};
use crate::support::{Daemon, Pipe, service};
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
