//! Daemons on loopback addresses: how they find, lose and administer each other.
#![allow(clippy::disallowed_types, clippy::expect_used, reason = "tests")]

mod common;

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};

use common::{Daemon, Site, complaint, read_to_end};
use nix::sys::signal::Signal;

#[test]
fn two_hosts_with_one_key_find_each_other_and_a_stop_says_goodbye() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.1.1");
    assert_eq!(a.ready, "ready host=a addr=127.11.1.1:7009");
    let b = site.start("keys", "b", "127.11.2.1");
    a.wait_for(&["host up", "host=b"]);
    b.wait_for(&["host up", "host=a"]);
    assert_eq!(site.standing("a", "b").as_deref(), Some("up"));
    assert!(site.ask("b", &["stop"]).status.success());
    assert_eq!(b.wait(), Some(0));
    a.wait_for(&["host stopped", "host=b"]);
    assert_eq!(site.standing("a", "b").as_deref(), Some("left"));
    assert!(!common::exists(&site.path("run/b/admin.sock")));
}

#[test]
fn a_host_that_is_killed_is_silent_and_its_restart_is_noticed() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.3.1");
    let b = site.start("keys", "b", "127.11.4.1");
    a.wait_for(&["host up", "host=b"]);
    b.kill();
    a.wait_for(&["host silent", "host=b"]);
    let _b = site.start("keys", "b", "127.11.4.1");
    a.wait_for(&["host up", "host=b"]);
}

#[test]
fn a_host_with_another_key_is_a_stranger_and_cannot_administer() {
    let site = Site::new();
    site.keygen("others");
    let _a = site.start("keys", "a", "127.11.5.1");
    let stranger = site.start("others", "x", "127.11.6.1");
    let friend = site.start("keys", "b", "127.11.7.1");
    // The friend started last: when it is up, the stranger's first message has been heard too.
    friend.wait_for(&["host up", "host=a"]);
    let rows = site.ask_json("b", &["topology"]);
    let row = rows.as_array().expect("a table").iter().find(|row| row["host"] == "x");
    assert!(row.is_none_or(|row| row["trusted"] == false), "{row:?}");
    assert_eq!(site.standing("a", "x"), None);
    let status = site.ask_json("x", &["status", "--on", "all"]);
    assert_eq!(status["hosts"].as_array().map(Vec::len), Some(1), "a stranger sees only itself: {status}");
    drop(stranger);
}

#[test]
fn any_host_answers_for_all_and_one_that_is_dead_is_listed() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.8.1");
    let b = site.start("keys", "b", "127.11.9.1");
    a.wait_for(&["host up", "host=b"]);
    b.wait_for(&["host up", "host=a"]);
    let status = site.ask_json("a", &["status"]);
    let names: Vec<_> =
        status["hosts"].as_array().expect("hosts").iter().map(|h| h["host"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(site.ask("a", &["drain", "--on", "b"]).status.success());
    assert_eq!(site.ask_json("b", &["status", "--on", "local"])["hosts"][0]["drain"], true);
    b.kill();
    let output = site.ask("a", &["status"]);
    let (text, code) = complaint(&output);
    assert!(text.contains("b does not answer") && text.contains("groupmgr forget b"), "{text}");
    assert_eq!(code, 0, "what the others answered is no failure");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\na "), "{output:?}");
    assert_eq!(site.ask("a", &["drain", "--on", "b"]).status.code(), Some(3), "nobody else was asked");
    assert_eq!(site.ask("a", &["undrain", "--on", "all"]).status.code(), Some(7), "done, but not by b");
    a.wait_for(&["host silent", "host=b"]);
    assert!(site.ask("a", &["forget", "b"]).status.success());
    assert!(site.ask("a", &["status"]).status.success());
}

#[test]
fn a_signal_ends_a_daemon_in_order() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.10.1");
    let b = site.start("keys", "b", "127.11.11.1");
    a.wait_for(&["host up", "host=b"]);
    b.signal(Signal::SIGTERM);
    assert_eq!(b.wait(), Some(0));
    a.wait_for(&["host stopped", "host=b"]);
}

#[test]
fn a_frozen_host_is_silent_and_when_it_goes_on_it_accuses_nobody() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.12.1");
    let b = site.start("keys", "b", "127.11.13.1");
    a.wait_for(&["host up", "host=b"]);
    b.wait_for(&["host up", "host=a"]);
    b.freeze();
    a.wait_for(&["host silent", "host=b"]);
    b.signal(Signal::SIGCONT);
    a.wait_for(&["host up", "host=b"]);
    b.wait_for(&["this host was not run"]);
    assert_eq!(site.standing("b", "a").as_deref(), Some("up"));
}

#[test]
fn one_name_runs_once_and_several_daemons_are_told_apart_by_name() {
    let site = Site::new();
    let _a = site.start("keys", "a", "127.11.14.1");
    let (text, code) =
        complaint(&site.command("keys", "a", "127.11.15.1").output().expect("it can be started"));
    assert!(text.contains("a host named a runs already"), "{text}");
    assert_eq!(code, 1);
    let _b = site.start("keys", "b", "127.11.15.1");
    let unnamed = common::groupmgr().args(["topology", "--run-dir"]).arg(site.path("run")).output();
    let (text, code) = complaint(&unnamed.expect("it can be started"));
    assert!(text.contains("--host: a, b"), "{text}");
    assert_eq!(code, 2);
}

#[test]
fn plain_text_is_refused_at_once_and_counted_unless_it_is_allowed() {
    let site = Site::new();
    let _a = site.start("keys", "a", "127.11.16.1");
    let mut stream = TcpStream::connect("127.11.16.1:7009").expect("it listens");
    stream.write_all(b"infoReq sn=1 event=insert").expect("it is connected");
    assert_eq!(read_to_end(&mut stream), "");
    let refused = &site.ask_json("a", &["status", "--on", "local"])["hosts"][0]["refused"];
    assert_eq!(refused["plain_refused"], 1, "{refused}");
    let mut command = site.command("keys", "p", "127.11.17.1");
    let _p = Daemon::start({
        command.arg("--plain");
        command
    });
    let mut stream = TcpStream::connect("127.11.17.1:7009").expect("it listens");
    stream.write_all(b"keepAliveReq\n").expect("it is connected");
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).expect("it answers");
    assert_eq!(&answer, b"keepAliveCnf");
}

#[test]
fn a_display_connection_of_no_session_is_closed() {
    let site = Site::new();
    let _a = site.start("keys", "a", "127.11.18.1");
    let mut stream = TcpStream::connect("127.11.18.1:7009").expect("it listens");
    stream.write_all(b"display session=000000000000000000000000000000ff\n").expect("it is connected");
    assert_eq!(read_to_end(&mut stream), "");
}

#[test]
fn rubbish_by_udp_is_counted_and_changes_nothing() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.19.1");
    let _b = site.start("keys", "b", "127.11.20.1");
    a.wait_for(&["host up", "host=b"]);
    let socket = UdpSocket::bind("127.11.19.9:0").expect("a socket");
    for rubbish in [&b"\xff\xfe"[..], b"", b"hello there", &[b'x'; 9000]] {
        socket.send_to(rubbish, "127.11.19.1:7009").expect("it can be sent");
    }
    // Another question over the same socket: when it is answered, all before it has been read.
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a limit");
    socket.send_to(b"serverQ sn=1 ip=7f0b1309", "127.11.19.1:7009").expect("it can be sent");
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).expect("it answers");
    assert!(
        answer[..len].starts_with(b"serverR host=a ip=7f0b1301"),
        "{:?}",
        String::from_utf8_lossy(&answer[..len])
    );
    let refused = &site.ask_json("a", &["status", "--on", "local"])["hosts"][0]["refused"];
    let counted: u64 = refused.as_object().expect("counters").values().filter_map(|n| n.as_u64()).sum();
    assert!(counted >= 3, "{refused}");
    assert_eq!(site.standing("a", "b").as_deref(), Some("up"));
}

#[test]
fn templates_are_checked_before_they_are_stored() {
    let site = Site::new();
    let _a = site.start("keys", "a", "127.11.21.1");
    let file = site.path("t.toml");
    let name = file.display().to_string();
    std::fs::write(&file, "[[service]]\nname = \"a b\"\n").expect("a file");
    let (text, code) = complaint(&site.ask("a", &["template", "put", "default", &name]));
    assert!(text.contains("t.toml: line 2:") && text.contains("service's name"), "{text}");
    assert_eq!(code, 2);
    std::fs::write(&file, "[[service]]\nname = \"shell\"\n").expect("a file");
    assert!(site.ask("a", &["template", "put", "default", &name]).status.success());
    assert_eq!(site.ask("a", &["template", "list"]).stdout, b"default\n");
    assert_eq!(site.ask("a", &["template", "show", "default"]).stdout, b"[[service]]\nname = \"shell\"\n");
    std::fs::write(&file, "continuity = \"replicated\"\n[[service]]\nname = \"shell\"\n").expect("a file");
    let put = site.ask("a", &["template", "put", "default", &name]);
    let said = String::from_utf8_lossy(&put.stderr).into_owned();
    assert!(put.status.success() && said.contains("stored, but a has no other host"), "{said}");
    assert!(site.ask("a", &["template", "rm", "default"]).status.success());
    let (text, code) = complaint(&site.ask("a", &["template", "rm", "default"]));
    assert!(text.contains("no template default"), "{text}");
    assert_eq!(code, 1);
}

#[test]
fn doctor_finds_what_is_wrong_and_what_is_right() {
    let site = Site::new();
    let _a = site.start("keys", "a", "127.11.22.1");
    let checks = site.ask_json("a", &["doctor"]);
    let verdict = |what: &str| {
        let checks = checks.as_array().expect("checks");
        checks.iter().find(|check| check["what"] == what).map(|check| check["verdict"].clone())
    };
    assert_eq!(verdict("keys"), Some("ok".into()), "{checks}");
    assert_eq!(verdict("data store"), Some("ok".into()));
    assert_eq!(verdict("classes"), Some("warn".into()), "it is alone");
    let b = site.start("keys", "b", "127.11.23.1");
    b.wait_for(&["host up", "host=a"]);
    let output = site.ask("b", &["doctor"]);
    assert_eq!(output.status.code(), Some(1), "two hosts with a data store each are no group");
    assert!(String::from_utf8_lossy(&output.stdout).contains("start every host with the same --store"));
}

#[test]
fn a_handshake_that_was_given_up_before_its_turn_is_not_done() {
    let site = Site::new();
    let a = site.start("keys", "a", "127.11.24.1");
    // Frozen, it accepts nothing; the kernel completes the connection and keeps what is sent.
    a.freeze();
    let mut stream = TcpStream::connect("127.11.24.1:7009").expect("it listens");
    stream.write_all(&[0x16, 3, 1, 0, 200]).expect("it is connected");
    stream.shutdown(std::net::Shutdown::Write).expect("it is connected");
    a.signal(Signal::SIGCONT);
    assert_eq!(read_to_end(&mut stream), "");
    let refused = &site.ask_json("a", &["status", "--on", "local"])["hosts"][0]["refused"];
    assert_eq!(refused["handshake_given_up"], 1, "{refused}");
}

#[test]
fn sessions_that_are_kept_are_taken_up_by_the_next_daemon_and_others_end_with_theirs() {
    let site = Site::new();
    let start = |more: &[&str]| {
        let mut command = site.command("keys", "a", "127.11.25.1");
        command.args(["--plain"]).args(more);
        Daemon::start(command)
    };
    let sessions = || site.ask_json("a", &["session", "list"])["sessions"].clone();
    let insert = |serial: &str| {
        let mut stream = TcpStream::connect("127.11.25.1:7009").expect("it listens");
        let line =
            format!("infoReq event=insert type=pseudo id={serial} tokenSeq=1 sn={serial} realIP=7f000001\n");
        stream.write_all(line.as_bytes()).expect("it is connected");
        let mut answer = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&stream), &mut answer).expect("it answers");
        assert!(answer.starts_with("connInf ") && answer.contains("access=allowed"), "{answer}");
        stream
    };
    let kept = start(&["--keep-sessions"]);
    // Not the login shell of an account that may have none.
    let template = site.path("template.toml");
    std::fs::write(&template, "[[service]]\nname = \"terminal\"\ncommand = [\"/bin/cat\"]\n")
        .expect("a file");
    let put = ["template", "put", "default", template.to_str().expect("a path")];
    assert!(site.ask("a", &put).status.success());
    let _desk = insert("aa0000000001");
    let before = sessions()[0]["session"].clone();
    kept.kill();
    let next = start(&["--keep-sessions"]);
    // It is taken up as soon as its process has said what it is, which may be after the ready line.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while sessions()[0]["session"] != before {
        assert!(std::time::Instant::now() < deadline, "{}", sessions());
    }
    assert!(site.ask("a", &["session", "end", before.as_str().expect("an id")]).status.success());
    drop(next);
}

#[test]
fn an_operators_commands_are_run_at_a_daemons_start_and_before_it_ends() {
    let site = Site::new();
    let (told, ready) = (site.path("told"), site.path("ready"));
    std::fs::write(&told, "").expect("a file");
    let says = format!("echo $HOTDESK_HOOK $HOTDESK_HOST >> {}", told.display());
    // Somebody who is left behind and could write on keeps nobody waiting.
    let starts = format!("{says}; sleep 300 & echo $! > {}", ready.display());
    let mut command = site.command("keys", "a", "127.11.72.1");
    command.args(["--on-start", &starts, "--on-stop", &says]);
    let a = Daemon::start(command);
    a.wait_for(&["hook done", "hook=\"start\""]);
    assert_eq!(std::fs::read_to_string(&told).expect("a file"), "start a\n");
    assert!(site.ask("a", &["stop"]).status.success());
    assert_eq!(a.wait(), Some(0));
    assert_eq!(std::fs::read_to_string(&told).expect("a file"), "start a\nstop a\n");
    let left = std::fs::read_to_string(&ready).expect("a file").trim().parse().expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), Signal::SIGKILL).expect("it was left alone");
}

#[test]
fn a_command_that_fails_or_takes_too_long_is_said_and_nothing_else_follows() {
    let site = Site::new();
    let pid = site.path("pid");
    let slow = format!("echo $$ > {}; sleep 600", pid.display());
    let cases = [
        ("127.11.73.1", "echo no such disk >&2; exit 3", "ended with 3: no such disk"),
        ("127.11.74.1", &slow, "took longer"),
    ];
    for (name, (bind, text, expected)) in ["a", "b"].into_iter().zip(cases) {
        let mut command = site.command("keys", name, bind);
        command.args(["--on-start", text]);
        let daemon = Daemon::start(command);
        assert!(site.ask(name, &["status"]).status.success(), "it serves all the while");
        daemon.wait_for(&["hook failed", expected]);
        let checks = site.ask_json(name, &["doctor"]);
        let mut rows = checks.as_array().expect("checks").iter();
        let row = rows.find(|row| row["what"] == "hooks").expect("a row");
        assert!(row["verdict"] == "warn" && row["found"].to_string().contains(expected), "{row}");
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.wait(), Some(0));
    }
    let killed = std::fs::read_to_string(&pid).expect("a file").trim().to_owned();
    assert!(
        !common::exists(std::path::Path::new(&format!("/proc/{killed}"))),
        "with all that it had started"
    );
}
