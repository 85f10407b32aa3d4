//! The program as a person or a script meets it: what it prints, and how it exits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::sync::Arc;

use common::{Place, ServerProcess, key, value};
use datastore::confine::Confinement;
use datastore::io::{Confined, Memory, Store, serve_stream};
use nix::sys::signal::Signal;

struct Run<'a> {
    place: &'a Place,
    server: &'a ServerProcess,
}

impl Run<'_> {
    /// Runs a command against the server.
    fn at(&self, args: &[&str]) -> Output {
        let (addr, keys) = (self.server.addr.to_string(), self.place.keys.path.to_str().unwrap());
        self.place.program(args).args(["--store", &addr, "--keys", keys]).output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line of an error, its exit code checked.
fn complaint(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "not one line: {text}");
    text
}

#[test]
fn keys_are_put_got_listed_and_deleted_with_exit_codes_that_say_what_was() {
    let place = Place::new();
    let server = ServerProcess::start(&place, &place.path("data"));
    let run = Run { place: &place, server: &server };
    assert_eq!(server.generation, 1);
    assert!(complaint(&run.at(&["get", "notes/a"]), 1).contains("no such key: notes/a"));
    assert_eq!(stdout(&run.at(&["put", "notes/a", "hello"])), "");
    assert_eq!(stdout(&run.at(&["get", "notes/a"])), "hello");
    assert_eq!(
        stdout(&run.at(&["put", "notes/b", "x", "--json"])),
        "{\"key\":\"notes/b\",\"stored\":true}\n"
    );
    assert_eq!(stdout(&run.at(&["ls"])), "notes/a\nnotes/b\n");
    assert_eq!(stdout(&run.at(&["ls", "notes/b", "--json"])), "{\"key\":\"notes/b\",\"value\":\"x\"}\n");
    assert_eq!(stdout(&run.at(&["rm", "notes/a"])), "");
    complaint(&run.at(&["rm", "notes/a"]), 1);
    let status: serde_json::Value = serde_json::from_str(&stdout(&run.at(&["status", "--json"]))).unwrap();
    assert_eq!(status["generation"], 1);
    assert!(status["counted"]["connections_trusted"].as_u64().unwrap() > 5);
}

#[test]
fn a_value_is_taken_from_standard_input_as_it_is_and_bounded() {
    let place = Place::new();
    let server = ServerProcess::start(&place, &place.path("data"));
    let run = Run { place: &place, server: &server };
    let put = |bytes: &[u8]| {
        let (addr, keys) = (server.addr.to_string(), place.keys.path.to_str().unwrap());
        let mut command = place.program(&["put", "k", "-", "--store", &addr, "--keys", keys]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that refuses may close its end before all is written.
        drop(child.stdin.take().unwrap().write_all(bytes));
        child.wait_with_output().unwrap()
    };
    stdout(&put(b"\xff\x00line\n"));
    assert_eq!(run.at(&["get", "k"]).stdout, b"\xff\x00line\n");
    assert_eq!(
        stdout(&run.at(&["get", "k", "--json"])),
        "{\"key\":\"k\",\"value_hex\":\"ff006c696e650a\"}\n"
    );
    assert!(complaint(&put(&[0; 65537]), 2).contains("65536"));
}

#[test]
fn a_wrong_command_line_is_said_so() {
    let place = Place::new();
    for args in [&["get", "a//b"][..], &["put", "a"], &["launch"], &["ls", "--store", "nowhere"]] {
        let output = place.program(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    let help = place.program(&["--help"]).output().unwrap();
    assert!(stdout(&help).contains("Exit codes"));
}

#[test]
fn what_is_in_the_way_is_named_in_one_line_with_the_remedy() {
    let place = Place::new();
    let data = place.path("data");
    let server = ServerProcess::start(&place, &data);
    let keys = place.keys.path.to_str().unwrap();
    let serve = |listen: &str, dir: &str, keys: &str| {
        place.program(&["serve", "--listen", listen, "--dir", dir, "--keys", keys]).output().unwrap()
    };
    let in_use = complaint(&serve("127.0.0.1:0", data.to_str().unwrap(), keys), 6);
    assert!(in_use.contains(&server.child.id().to_string()) && in_use.contains("--dir"), "{in_use}");
    let taken = complaint(&serve(&server.addr.to_string(), "other", keys), 6);
    assert!(taken.contains(&server.addr.to_string()) && taken.contains("--listen"), "{taken}");
    let elsewhere = complaint(&serve("192.0.2.1:7010", "third", keys), 6);
    assert!(elsewhere.contains("--listen"), "{elsewhere}");
    let nowhere = complaint(&serve("127.0.0.1:0", "/proc/nowhere", keys), 6);
    assert!(nowhere.contains("/proc/nowhere") && nowhere.contains("--dir"), "{nowhere}");
    let no_keys = complaint(&serve("127.0.0.1:0", "fourth", "no-keys"), 2);
    assert!(no_keys.contains("no-keys") && no_keys.contains("keygen"), "{no_keys}");
}

#[test]
fn a_store_out_of_reach_and_a_stranger_s_store_have_exit_codes_of_their_own() {
    let place = Place::new();
    let server = ServerProcess::start(&place, &place.path("data"));
    let addr = server.addr.to_string();
    let strangers = Place::new();
    let keys = strangers.keys.path.to_str().unwrap();
    let stranger = strangers.program(&["put", "a", "1", "--store", &addr, "--keys", keys]).output().unwrap();
    assert!(complaint(&stranger, 4).contains("key directory"));
    server.kill();
    let keys = place.keys.path.to_str().unwrap();
    let away = place.program(&["put", "a", "1", "--store", &addr, "--keys", keys]).output().unwrap();
    assert!(complaint(&away, 3).contains("nothing was changed"));
}

#[test]
fn a_backup_is_restored_as_a_new_generation_and_only_by_force_over_a_store() {
    let place = Place::new();
    let data = place.path("data");
    let mut server = ServerProcess::start(&place, &data);
    let run = Run { place: &place, server: &server };
    stdout(&run.at(&["put", "a", "kept"]));
    let saved: serde_json::Value =
        serde_json::from_str(&stdout(&run.at(&["backup", "file", "--json"]))).unwrap();
    assert_eq!((saved["generation"].as_u64(), saved["revision"].as_u64()), (Some(1), Some(1)));
    stdout(&run.at(&["put", "a", "lost"]));

    let restore = |args: &[&str]| {
        let args = [&["restore", "file", "--dir", data.to_str().unwrap()], args].concat();
        place.program(&args).output().unwrap()
    };
    complaint(&restore(&["--force"]), 6);
    server.signal(Signal::SIGTERM);
    assert!(server.child.wait().unwrap().success());
    assert!(complaint(&restore(&[]), 6).contains("--force"));
    assert!(stdout(&restore(&["--force"])).contains("now generation 2"));

    let server = ServerProcess::start(&place, &data);
    assert_eq!(server.generation, 2);
    let run = Run { place: &place, server: &server };
    assert_eq!(stdout(&run.at(&["get", "a"])), "kept");

    let mut damaged = std::fs::read(place.path("file")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(place.path("file"), damaged).unwrap();
    assert!(complaint(&restore(&["--force"]), 2).contains("file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_a_session_the_commands_reach_the_user_s_own_data_without_any_option() {
    let place = Place::new();
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let confinement = Confinement::new("users/card.7/".parse().unwrap()).unwrap();
    let own: Arc<dyn Store> = Arc::new(Confined::new(Arc::clone(&store), confinement));
    let socket = place.path("socket");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let own = Arc::clone(&own);
            tokio::spawn(async move {
                let (_go, stop) = tokio::sync::watch::channel(false);
                serve_stream(stream, own, None, stop).await
            });
        }
    });
    let told_by = |variable: &str, args: &[&str]| {
        let mut command = place.program(args);
        command.env(variable, &socket);
        tokio::task::block_in_place(|| command.output().unwrap())
    };
    let inside = |args: &[&str]| told_by("HOTDESK_DATA", args);
    stdout(&inside(&["put", "notes/x", "mine"]));
    assert_eq!(
        stdout(&told_by("HOTDESK_SOCKET", &["get", "notes/x"])),
        "mine",
        "of a session of the version before"
    );
    assert_eq!(stdout(&inside(&["get", "notes/x"])), "mine");
    assert_eq!(stdout(&inside(&["ls"])), "notes/x\n");
    assert_eq!(store.get(&key("users/card.7/notes/x")).await, Ok(Some(value("mine"))));
    complaint(&inside(&["status"]), 4);
    stdout(&inside(&["rm", "notes/x"]));
    complaint(&inside(&["get", "notes/x"]), 1);
}
