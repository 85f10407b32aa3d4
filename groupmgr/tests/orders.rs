//! Orders that concern a whole group: what they wait for, whom they name, and what the hosts' audits say of them.
#![allow(clippy::disallowed_types, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Output, Stdio};

use common::{Daemon, Site};

/// A data store that hosts share.
struct Store {
    child: Child,
    addr: String,
}

impl Store {
    fn start(site: &Site) -> Self {
        let mut command = common::groupmgr();
        command.args(["datastore", "serve", "--listen", "127.0.0.1:0", "--json"]);
        command.arg("--keys").arg(site.path("keys")).arg("--dir").arg(site.path("store"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be started");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut ready).expect("it says when it is ready");
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("a line of JSON");
        Self { child, addr: ready["listen"].as_str().expect("an address").to_owned() }
    }

    fn host(&self, site: &Site, name: &str, bind: &str) -> Daemon {
        let mut command = site.command("keys", name, bind);
        command.args(["--store", &self.addr]);
        Daemon::start(command)
    }

    fn authmgr(&self, site: &Site, words: &[&str]) -> Output {
        let mut command = common::groupmgr();
        command.arg("authmgr").args(words).args(["--json", "--store", &self.addr]);
        command.arg("--keys").arg(site.path("keys")).arg("--run-dir").arg(site.path("run"));
        command.output().expect("the program can be started")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn this_user() -> String {
    proto::io::local::user_name(nix::unistd::Uid::current().as_raw())
}

#[test]
fn a_change_of_the_policy_returns_when_every_host_has_it_and_names_those_that_have_not() {
    let site = Site::new();
    let store = Store::start(&site);
    let a = store.host(&site, "a", "127.11.60.1");
    let b = store.host(&site, "b", "127.11.61.1");
    a.wait_for(&["host up", "host=b"]);
    b.wait_for(&["host up", "host=a"]);
    let set = store.authmgr(&site, &["policy", "set", "cards=registered"]);
    assert_eq!(set.status.code(), Some(0), "{set:?}");
    assert_eq!(json(&set)["hosts"], serde_json::json!(["a", "b"]));
    for host in [&a, &b] {
        host.wait_for(&["audit", "what=\"policy\"", "cards=registered", &format!("by=\"{}@", this_user())]);
    }
    for host in ["a", "b"] {
        let explained = site.ask_json(host, &["explain", "card.9"]);
        let admitted = |of: &serde_json::Value| of["explanation"]["admitted"] == false;
        let hosts = explained["hosts"].as_array().expect("hosts");
        assert!(hosts.len() == 2 && hosts.iter().all(admitted), "{explained}");
    }
    // One that has a data store of its own never gets it.
    let c = site.start("keys", "c", "127.11.62.1");
    a.wait_for(&["host up", "host=c"]);
    c.wait_for(&["host up", "host=a"]);
    let removed = store.authmgr(&site, &["card", "register", "card.9"]);
    assert_eq!(removed.status.code(), Some(7), "{removed:?}");
    assert!(
        String::from_utf8_lossy(&removed.stderr).contains("c does not follow it yet: its data store own-")
    );
    assert_eq!(json(&removed)["missing"][0]["host"], "c");
    let removed = store.authmgr(&site, &["card", "rm", "card.9"]);
    assert_eq!(json(&removed)["registered"], false);
    a.wait_for(&[
        "audit",
        "what=\"registry\"",
        "card.9",
        "record=\"deleted\"",
        &format!("by=\"{}@", this_user()),
    ]);
}

#[test]
fn an_order_leaves_one_record_with_the_account_that_gave_it_on_the_host_where_it_is_done() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.63.1");
    let b = site.start("keys", "b", "127.11.64.1");
    a.wait_for(&["host up", "host=b"]);
    b.wait_for(&["host up", "host=a"]);
    let user = this_user();
    assert!(site.ask("a", &["drain"]).status.success());
    let own = a.wait_for(&["audit", "what=\"drain\""]);
    assert!(own.contains(&format!("by=\"{user}\"")) && own.contains("outcome=\"done\""), "{own}");
    assert!(site.ask("a", &["drain", "--on", "b"]).status.success());
    let other = b.wait_for(&["audit", "what=\"drain\""]);
    assert!(other.contains(&format!("by=\"{user}@a\"")), "{other}");
    assert!(!site.ask("a", &["forget", "b"]).status.success());
    let refused = a.wait_for(&["audit", "what=\"forget\""]);
    assert!(refused.contains("outcome=\"refused: b is up"), "{refused}");
}

#[test]
fn a_message_without_text_is_refused() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.67.1");
    for empty in ["", "  "] {
        let refused = site.ask("a", &["dtu", "message", "all", empty]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("give it a text"), "{refused:?}");
    }
    assert!(site.ask("a", &["dtu", "message", "all", "Back soon."]).status.success());
    drop(a);
}

/// Where root runs the tests, and accounts can be others than the daemon's.
#[test]
fn explain_says_when_the_account_of_a_tokens_sessions_is_missing() {
    let site = Site::new();
    let store = Store::start(&site);
    let _a = store.host(&site, "a", "127.11.68.1");
    assert!(store.authmgr(&site, &["card", "register", "card.7", "--account", "no-such"]).status.success());
    let explained = site.ask_json("a", &["explain", "card.7"])["hosts"][0]["explanation"].clone();
    assert_eq!(explained["account"], "no-such", "{explained}");
    let wanted = "there is no account no-such here: no session can be made on this host";
    let is_said = explained["reasons"].as_array().is_some_and(|all| all.iter().any(|why| *why == wanted));
    assert_eq!(is_said, sessiond::io::root::is_root(), "{explained}");
}

#[test]
fn a_key_is_not_rotated_further_than_the_group_has_come() {
    let site = Site::new();
    let store = Store::start(&site);
    let a = store.host(&site, "a", "127.11.65.1");
    let keys = site.path("keys").display().to_string();
    let ring = || std::fs::read_to_string(site.path("keys/group.keys")).expect("a ring");
    assert_eq!(site.ask("a", &["key", "status"]).status.code(), Some(0));
    assert_eq!(
        site.ask("a", &["key", "rotate", &keys]).status.code(),
        Some(0),
        "all have what is on the disk"
    );
    let added = ring();
    let refused = site.ask("a", &["key", "rotate", &keys]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("a verifies") && said.contains(&format!("data store {} verifies", store.addr)),
        "{said}"
    );
    assert_eq!(ring(), added, "nothing was changed");
    assert_eq!(site.ask("a", &["key", "status"]).status.code(), Some(1));
    let doctor = site.ask_json("a", &["doctor"]);
    let rows = doctor.as_array().expect("checks");
    let warned = |row: &serde_json::Value| row["what"] == "keys" && row["verdict"] == "warn";
    assert!(rows.iter().any(warned), "{doctor}");
    drop(a);
    assert_eq!(site.ask("a", &["key", "rotate", &keys]).status.code(), Some(3), "nobody can be asked");
    assert_eq!(site.ask("a", &["key", "rotate", &keys, "--force"]).status.code(), Some(0));
}

#[test]
fn doctor_tells_keys_that_the_data_store_refuses_from_a_data_store_that_is_away() {
    let site = Site::new();
    let store = Store::start(&site);
    // The same certificates, and another group key.
    site.keygen("others");
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(site.path("keys").join(file), site.path("others").join(file)).expect("a copy");
    }
    let mut command = site.command("others", "x", "127.11.66.1");
    command.args(["--store", &store.addr]);
    let _x = Daemon::start(command);
    let found = |wanted: &str| {
        let doctor = site.ask_json("x", &["doctor"]);
        let rows = doctor.as_array().expect("checks");
        let text = |row: &serde_json::Value| format!("{} {}", row["found"], row["remedy"]);
        rows.iter()
            .any(|row| row["what"] == "data store" && row["verdict"] == "fail" && text(row).contains(wanted))
    };
    assert!(found("do not believe each other") && found("groupmgr key status"));
}
