//! The program itself, against a data store on loopback.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use datastore::Value;
use datastore::io::{Memory, Server, Store as _};
use proto::card::Card;
use proto::io::KeyDir;
use serde_json::{Value as Json, json};

/// A data store with the group's keys in a directory of its own; stopped when dropped.
struct Group {
    dir: tempfile::TempDir,
    store: Arc<Memory>,
    addr: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Group {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyDir::generate(&dir.path().join("keys")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = Arc::new(Memory::default());
        let server = runtime
            .block_on(Server::bind("127.0.0.1:0".parse().unwrap(), &keys, Arc::clone(&store) as _))
            .unwrap();
        let addr = server.local_addr().unwrap();
        runtime.spawn(server.run(std::future::pending()));
        Self { dir, store, addr, _runtime: runtime }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `authmgr` in the directory, with the data store named.
    fn run(&self, words: &[&str]) -> Output {
        let store = self.addr.to_string();
        authmgr(
            self.dir.path(),
            &[words, &["--keys", "keys", "--store", &store, "--run-dir", "none"]].concat(),
        )
    }

    fn json(&self, words: &[&str]) -> Vec<Json> {
        let output = self.run(&[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn refused(&self, words: &[&str]) -> (Option<i32>, String) {
        refusal(&self.run(words))
    }
}

fn authmgr(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authmgr"));
    command.args(words).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The exit code and the one line that says why.
fn refusal(output: &Output) -> (Option<i32>, String) {
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert_eq!(text(&output.stdout), "");
    (output.status.code(), said)
}

#[test]
fn a_new_card_has_an_id_nobody_can_guess_and_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let made = |words: &[&str]| {
        let output = authmgr(dir.path(), words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_str::<Json>(&text(&output.stdout)).unwrap()
    };
    let a = made(&["card", "new", "a", "--json"]);
    let b = made(&["card", "new", "-o", "b", "--keyed", "--json"]);
    assert_ne!(a["token"], b["token"]);
    assert_eq!((a["keyed"].as_bool(), b["keyed"].as_bool()), (Some(false), Some(true)));
    let read =
        |name: &str| Card::from_file_text(&std::fs::read_to_string(dir.path().join(name)).unwrap()).unwrap();
    assert_eq!(a["token"], read("a").token().as_str());
    assert_eq!(read("a").token().id().len(), 32);
    assert!(read("b").secret().is_some());
    assert_eq!(
        made(&["card", "new", "c", "--id", "4711", "--type", "mondex", "--json"])["token"],
        "mondex.4711"
    );
    assert_eq!(a["file"], "./a", "as it has to be written from then on");
    let (code, said) = refusal(&authmgr(dir.path(), &["card", "new", "a"]));
    assert_eq!(code, Some(2));
    assert!(said.starts_with("authmgr: a: exists already"), "{said}");
}

#[test]
fn a_card_that_no_dtu_could_present_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    for words in
        [["--id", "000"], ["--id", "a/b"], ["--type", "user"], ["--type", "pseudo"], ["--type", "invalid"]]
    {
        let (code, _) = refusal(&authmgr(dir.path(), &[&["card", "new", "x"], &words[..]].concat()));
        assert_eq!(code, Some(2), "{words:?}");
        assert!(!dir.path().join("x").exists());
    }
}

#[test]
fn a_card_is_registered_lost_and_replaced() {
    let group = Group::start();
    for card in [
        &["card", "new", "ann.card", "--id", "1", "--keyed"][..],
        &["card", "new", "new.card", "--id", "2", "--keyed"],
    ] {
        assert!(authmgr(group.dir.path(), card).status.success());
    }
    let registered = group.json(&["card", "register", "ann.card", "--user", "ann", "--template", "kiosk"]);
    let record = json!({"token": "card.1", "user": "ann", "keyed": true, "alias": null, "template": "kiosk",
                        "account": null, "disabled": false, "registered": true});
    let mut said = record.clone();
    said["was_registered"] = false.into();
    assert_eq!(registered, [said]);
    let done = group.json(&["card", "alias", "card.1", "new.card"]);
    let mut lost = record.clone();
    lost["disabled"] = true.into();
    let mut new = record;
    (new["token"], new["alias"]) = ("card.2".into(), "card.1".into());
    assert_eq!(done, [json!({"old": lost.clone(), "new": new.clone()})]);
    assert_eq!(group.json(&["card", "list"]), [lost, new]);
    let listed = text(&group.run(&["card", "list"]).stdout);
    assert_eq!(
        listed,
        "card.1  user ann, keyed, template kiosk, disabled\n\
         card.2  user ann, keyed, sessions of card.1, template kiosk\n"
    );
}

#[test]
fn what_a_card_stored_before_its_registration_is_found_by_its_user_and_what_is_not_moved_is_named() {
    let group = Group::start();
    let put = |key: &str, value: &[u8]| {
        let value = Value::new(value).unwrap();
        group._runtime.block_on(group.store.put(&key.parse().unwrap(), value)).unwrap();
    };
    let get = |key: &str| group._runtime.block_on(group.store.get(&key.parse().unwrap())).unwrap();
    put("data/card.1/note", b"x");
    put("data/card.1/todo", b"the card's");
    put("data/ann/todo", b"ann's");
    let said = text(&group.run(&["card", "register", "card.1", "--user", "ann"]).stdout);
    assert_eq!(
        said,
        "registered card.1: user ann\n1 value of the card is now ann's; 1 value left with the card:\n  \
         data/card.1/todo: the user has another value under this key\n"
    );
    assert_eq!(get("data/ann/note"), Some(Value::new(b"x").unwrap()));
    assert_eq!((get("data/card.1/note"), get("data/ann/todo")), (None, Some(Value::new(b"ann's").unwrap())));

    put("data/card.2/note2", b"y");
    put("claim/card.2", b"a session runs");
    let replaced = group.json(&["card", "alias", "card.1", "card.2"]);
    assert_eq!(replaced[0]["data"]["moved"], 1, "{replaced:?}");
    assert_eq!(replaced[0]["data"]["running"], json!(["card.2"]));
    assert_eq!(get("data/ann/note2"), get("data/card.2/note2"));
}

#[test]
fn a_token_is_disabled_and_enabled_by_name() {
    let group = Group::start();
    assert_eq!(group.json(&["card", "register", "card.9"])[0]["disabled"], false);
    assert_eq!(group.json(&["card", "disable", "card.9"])[0]["disabled"], true);
    assert_eq!(group.json(&["card", "show", "card.9"])[0]["disabled"], true);
    assert_eq!(group.json(&["card", "enable", "card.9"])[0]["disabled"], false);
    let (code, said) = group.refused(&["card", "enable", "card.8"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("card.8 is not registered"), "{said}");
}

#[test]
fn a_file_that_is_missing_is_never_taken_for_a_token() {
    let group = Group::start();
    for words in [
        &["card", "disable", "ann.card"][..],
        &["card", "register", "./card.7"],
        &["card", "enable", "ann.card"],
        &["card", "alias", "card.1", "ann.card"],
        &["card", "show", "ann.card"],
        &["card", "rm", "ann.card"],
    ] {
        let (code, said) = group.refused(words);
        assert!(code == Some(2) && said.contains("No such file"), "{words:?}: {said}");
    }
    let (code, said) = group.refused(&["card", "disable", "ann.crd"]);
    assert!(code == Some(2) && said.contains("neither a card's file nor a token"), "{said}");
    assert_eq!(group.json(&["card", "list"]), [] as [Json; 0], "nothing was written");
}

#[test]
fn enabling_a_card_that_was_never_registered_does_not_register_it() {
    let group = Group::start();
    let disabled = &group.json(&["card", "disable", "card.9"])[0];
    assert_eq!((&disabled["disabled"], &disabled["registered"]), (&true.into(), &false.into()));
    let enabled = &group.json(&["card", "enable", "card.9"])[0];
    assert_eq!((&enabled["disabled"], &enabled["registered"]), (&false.into(), &false.into()));
    assert_eq!(group.json(&["card", "list"]), [] as [Json; 0]);
}

#[test]
fn a_card_that_was_disabled_as_lost_takes_nobodys_place_before_it_is_enabled() {
    let group = Group::start();
    group.json(&["card", "alias", "card.1", "card.2"]);
    let (code, said) = group.refused(&["card", "alias", "card.2", "card.1"]);
    assert!(code == Some(1) && said.contains("authmgr card enable card.1"), "{said}");
    let disabled = |token: &str| group.json(&["card", "show", token])[0]["disabled"].clone();
    assert_eq!((disabled("card.1"), disabled("card.2")), (true.into(), false.into()));
}

#[test]
fn a_record_is_deleted_and_one_that_keeps_a_card_out_only_by_force() {
    let group = Group::start();
    group.json(&["card", "register", "card.1", "--user", "ann"]);
    assert_eq!(group.json(&["card", "rm", "card.1"])[0]["registered"], false);
    let (code, said) = group.refused(&["card", "show", "card.1"]);
    assert!(code == Some(1) && said.contains("card.1 is not registered"), "{said}");
    assert_eq!(group.refused(&["card", "rm", "card.1"]).0, Some(1));
    group.json(&["card", "disable", "token:ann.card"]);
    let (code, said) = group.refused(&["card", "rm", "token:ann.card"]);
    assert!(code == Some(1) && said.contains("--force"), "{said}");
    group.json(&["card", "rm", "token:ann.card", "--force"]);
    assert_eq!(group.json(&["card", "list"]), [] as [Json; 0]);
}

#[test]
fn the_policy_is_shown_and_changed_rule_by_rule() {
    let group = Group::start();
    let shown = |pseudo: &str, cards: &str, set: bool| {
        [json!({"pseudo": pseudo, "cards": cards, "dtus": "any", "set": set})]
    };
    assert_eq!(group.json(&["policy", "show"]), shown("allow", "any", false));
    assert_eq!(group.json(&["policy", "set", "cards=registered"]), shown("allow", "registered", true));
    assert_eq!(group.json(&["policy", "set", "pseudo=deny", "cards=any"]), shown("deny", "any", true));
    assert_eq!(group.json(&["policy", "show"]), shown("deny", "any", true));
    assert_eq!(group.run(&["policy", "set", "cards=all"]).status.code(), Some(2));
    assert_eq!(group.json(&["policy", "set", "dtus=keyed"])[0]["dtus"], "keyed");
}

#[test]
fn pinned_keys_are_listed_and_one_of_a_replaced_dtu_is_forgotten() {
    let group = Group::start();
    let key = "0a".repeat(32);
    let pin = format!("dtu serial=080020000001 key={key} by=host-a");
    let put = group.store.put(&"dtu/080020000001".parse().unwrap(), Value::new(pin.as_bytes()).unwrap());
    group._runtime.block_on(put).unwrap();
    let pinned = json!({"dtu": "080020000001", "key": key, "by": "host-a"});
    assert_eq!(group.json(&["dtu", "list"]), [pinned]);
    assert!(text(&group.run(&["dtu", "list"]).stdout).contains("pinned by host-a"));
    assert_eq!(group.json(&["dtu", "forget", "080020000001"])[0]["pinned"], false);
    assert_eq!(group.json(&["dtu", "list"]), [] as [Json; 0]);
    let (code, said) = group.refused(&["dtu", "forget", "080020000001"]);
    assert!(code == Some(1) && said.contains("authmgr dtu list"), "{said}");
    assert_eq!(group.run(&["dtu", "forget", "a/b"]).status.code(), Some(2));
}

#[test]
fn what_goes_wrong_is_said_in_one_line_with_the_place_and_the_remedy() {
    let group = Group::start();
    let (code, said) = group.refused(&["card", "register", "nonesuch"]);
    assert!(code == Some(2) && said.contains("\"nonesuch\" is neither a card's file nor a token"), "{said}");
    std::fs::write(group.path("bad.card"), "# mine\ncard type=card\n").unwrap();
    let (code, said) = group.refused(&["card", "register", "bad.card"]);
    assert!(code == Some(2) && said.contains("bad.card:2: id is missing; make a card with"), "{said}");
    let put = group.store.put(&"token/card.7".parse().unwrap(), Value::new(b"token").unwrap());
    group._runtime.block_on(put).unwrap();
    let (code, said) = group.refused(&["card", "register", "card.7"]);
    assert!(code == Some(1) && said.contains("delete it with: authmgr card rm card.7"), "{said}");
    assert_eq!(group.json(&["card", "list"])[0]["damaged"], "name is missing");
}

#[test]
fn no_data_store_and_no_keys_are_told_apart() {
    let group = Group::start();
    let at = |store: &str, keys: &str| {
        refusal(&authmgr(group.dir.path(), &["card", "list", "--store", store, "--keys", keys]))
    };
    let (code, said) = at("127.0.0.1:1", "keys");
    assert!(code == Some(3) && said.contains("the data store at 127.0.0.1:1 cannot be reached"), "{said}");
    let (code, said) = at(&group.addr.to_string(), "none");
    assert!(code == Some(2) && said.contains("none/group.keys"), "{said}");
    KeyDir::generate(&group.path("others")).unwrap();
    let (code, said) = at(&group.addr.to_string(), "others");
    assert!(code == Some(4) && said.contains("no trust"), "{said}");
}

#[test]
fn completions_know_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&authmgr(dir.path(), &["completions", shell]).stdout);
        assert!(
            script.contains("register") && script.contains("policy") && script.contains("forget"),
            "{shell}"
        );
    }
}
