//! Whatever is wrong with a command line, a key, a port or a template is said in one line with its remedy.
#![allow(clippy::expect_used, reason = "tests")]

mod common;

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use common::{Site, complaint, run};

#[test]
fn keys_are_never_overwritten() {
    let site = Site::new();
    let keys = site.path("keys").display().to_string();
    let (text, code) = complaint(&run(&["keygen", &keys]));
    assert!(
        text.contains("group.keys: exists already") && text.contains("choose another directory"),
        "{text}"
    );
    assert_eq!(code, 2);
}

#[test]
fn keys_that_are_missing_or_open_to_others_keep_a_host_from_starting() {
    let site = Site::new();
    let start = |keys: &str| site.command(keys, "a", "127.11.250.1").output().expect("it can be started");
    let (text, code) = complaint(&start("nowhere"));
    assert!(text.contains("nowhere/group.keys") && text.contains("groupmgr keygen"), "{text}");
    assert_eq!(code, 2);
    let ring = site.path("keys").join("group.keys");
    std::fs::set_permissions(&ring, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let (text, code) = complaint(&start("keys"));
    assert!(text.contains("mode 0644") && text.contains("chmod 0600"), "{text}");
    assert_eq!(code, 2);
}

#[test]
fn an_address_that_is_not_here_is_refused_with_those_that_are() {
    let site = Site::new();
    let output = site.command("keys", "a", "198.51.100.77").output().expect("it can be started");
    let (text, code) = complaint(&output);
    assert!(text.contains("--bind 198.51.100.77") && text.contains("127.0.0.1"), "{text}");
    assert_eq!(code, 6);
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_to_find_who_has_it() {
    let site = Site::new();
    let _taken = UdpSocket::bind("127.11.251.1:7009").expect("nobody else uses this address");
    let output = site.command("keys", "a", "127.11.251.1").output().expect("it can be started");
    let (text, code) = complaint(&output);
    assert!(text.contains("UDP port 7009 on 127.11.251.1 is taken") && text.contains("ss -ulpn"), "{text}");
    assert_eq!(code, 6);
}

#[test]
fn without_a_daemon_the_commands_say_how_to_start_one() {
    let site = Site::new();
    for words in [&["status"][..], &["session", "list"], &["drain"], &["stop"]] {
        let output = common::groupmgr().args(words).arg("--run-dir").arg(site.path("run")).output();
        let (text, code) = complaint(&output.expect("it can be started"));
        assert!(text.contains("no daemon runs here") && text.contains("groupmgr run"), "{text}");
        assert_eq!(code, 3);
    }
}

#[test]
fn whoever_may_not_ask_a_daemon_is_told_so() {
    let site = Site::new();
    let _a = site.start("keys", "a", "127.11.42.1");
    let mut command = common::groupmgr();
    command.args(["status", "--host", "a"]).arg("--run-dir").arg(site.path("run"));
    if sessiond::io::root::is_root() {
        command.uid(65_534).gid(65_534);
    } else {
        let socket = site.path("run/a/admin.sock");
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o000)).expect("it is ours");
    }
    let (text, code) = complaint(&command.output().expect("it can be started"));
    assert!(text.contains("you may not ask the daemons there") && code == 4, "{code}: {text}");
}

#[test]
fn a_run_directory_too_deep_for_a_socket_is_refused() {
    let site = Site::new();
    let deep = site.path(&"x".repeat(100));
    let mut command = site.command("keys", "a", "127.11.252.1");
    let output = command.arg("--run-dir").arg(&deep).output().expect("it can be started");
    assert_eq!(output.status.code(), Some(2), "an option may be given once: {output:?}");
    let output = common::groupmgr()
        .args(["run", "--name", "a", "--bind", "127.11.252.1"])
        .args(groupmgr::io::accounts::trial())
        .arg("--keys")
        .arg(site.path("keys"))
        .arg("--run-dir")
        .arg(&deep)
        .output();
    let (text, code) = complaint(&output.expect("it can be started"));
    assert!(text.contains("too long for a socket's path") && text.contains("--run-dir"), "{text}");
    assert_eq!(code, 6);
}

#[test]
fn words_that_mean_nothing_are_a_usage_error() {
    for words in [
        &["run", "--bind", "0.0.0.0"][..],
        &["run", "--multicast", "10.0.0.1"],
        &["run", "--name", "all"],
        &["run", "--name", "a b"],
        &["run", "--name", ".."],
        &["run", "--name=-x"],
        &["explain", "no-token"],
        &["explain", "missing.card"],
        &["session", "new", "ann.crd"],
        &["nonsense"],
    ] {
        assert_eq!(run(words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn the_help_tells_the_exit_codes_and_completions_can_be_printed() {
    let help = run(&["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("3  nobody answered"), "{help:?}");
    let script = run(&["completions", "bash"]);
    assert!(script.status.success() && script.stdout.len() > 1000);
}

#[test]
fn other_programs_are_reached_by_a_word_or_by_a_link() {
    let site = Site::new();
    let by_word = run(&["datastore", "--version"]);
    let link = site.path("datastore");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_groupmgr"), &link).expect("a link");
    let by_link = std::process::Command::new(&link).arg("--version").output().expect("it can be started");
    assert_eq!(by_word.stdout, by_link.stdout);
    assert!(by_word.stdout.starts_with(b"datastore "), "{by_word:?}");
}

#[test]
fn a_daemon_without_a_safe_account_for_its_sessions_does_not_start() {
    use sessiond::io::root;
    let site = Site::new();
    let start = |account: &[&str]| {
        let mut command = common::groupmgr();
        command.args(["run", "--name", "a", "--bind", "127.11.40.1"]).args(account);
        command.arg("--keys").arg(site.path("keys")).arg("--run-dir").arg(site.path("run"));
        command.arg("--state-dir").arg(site.path("state"));
        complaint(&command.output().expect("the program can be started"))
    };
    let (text, code) = start(&["--account", "no-such-user"]);
    assert!(text.contains("no account no-such-user") && code == 2, "{text}");
    if root::is_root() {
        let (text, code) = start(&[]);
        assert!(text.contains("--account USER") && code == 2, "{text}");
        let (text, code) = start(&["--account", "root"]);
        assert!(text.contains("every stranger") && code == 2, "{text}");
    } else {
        let (text, code) = start(&["--account", "daemon"]);
        assert!(text.contains("leave --account out") && code == 2, "{text}");
    }
    assert!(!site.path("run").join("a/admin.sock").exists(), "nothing was begun");
}

#[test]
fn doctor_says_as_whom_sessions_run() {
    let site = Site::new();
    let daemon = site.start("keys", "a", "127.11.41.1");
    let rows = site.ask_json("a", &["doctor"]);
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["what"] == "accounts"));
    let row = row.unwrap_or_else(|| panic!("{rows}"));
    let found = row["found"].as_str().unwrap_or_default();
    if sessiond::io::root::is_root() {
        assert!(row["verdict"] == "ok" && found.contains("nobody"), "{row}");
    } else {
        assert!(row["verdict"] == "warn" && found.contains("owns the group"), "{row}");
        daemon.wait_for(&["WARN", "SESSIONS OWN THIS GROUP"]);
    }
}

#[test]
fn a_host_hears_its_own_broadcasts_and_doctor_is_content_with_them() {
    let site = Site::new();
    let _daemon = site.start("keys", "a", "127.11.42.1");
    let is_heard = || {
        let rows = site.ask_json("a", &["topology"]);
        let own = rows.as_array().and_then(|rows| rows.iter().find(|row| row["own"] == true)).cloned();
        let view = own.unwrap_or_else(|| panic!("{rows}"))["interfaces"][0].clone();
        view["beacon_age_ms"].is_u64() && view["audible"] == "up"
    };
    // Each question takes its time; a beacon comes every 100 ms.
    assert!((0..100).any(|_| is_heard()));
    let rows = site.ask_json("a", &["doctor"]);
    let failed = |row: &&serde_json::Value| row["what"] == "hearing" && row["verdict"] != "ok";
    assert_eq!(rows.as_array().and_then(|rows| rows.iter().find(failed)), None);
    let status = site.ask_json("a", &["status"]);
    assert!(!status.to_string().contains("\"own\":"), "what came back counts as dropped: {status}");
}
