//! The program, as a person or a script uses it, against a small host over loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use crate::support::Group;
use dtu_emu::dtu::Phase;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dtu-emu");

/// A DTU that runs headless, and the way to it.
struct Desk {
    child: Child,
    events: BufReader<ChildStdout>,
    dir: PathBuf,
    serial: &'static str,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn boot_command(group: &Group, dir: &std::path::Path, serial: &str, ip: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["boot", "--headless", "--json", "--serial", serial, "--bind", ip]);
    command.arg("--ca").arg(group.keys.path().join("ca.pem")).arg("--control").arg(dir.join("dtu"));
    command.arg("--state").arg(dir.join("state"));
    command.args(["--port", &group.port.to_string()]);
    command
}

impl Desk {
    fn boot(group: &Group, dir: &std::path::Path, serial: &'static str, ip: &str) -> Self {
        let mut child = boot_command(group, dir, serial, ip).stdout(Stdio::piped()).spawn().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap());
        Self { child, events, dir: dir.join("dtu"), serial }
    }

    fn event(&mut self, name: &str) -> Value {
        let mut line = String::new();
        while self.events.read_line(&mut line).unwrap() > 0 {
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
            line.clear();
        }
        panic!("the DTU ended without {name}");
    }

    fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--control").arg(&self.dir);
        if words[0] != "list" {
            command.args(["--dtu", self.serial]);
        }
        command.output().unwrap()
    }

    fn done(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{words:?}: {:?} {out} {err}", output.status);
        out
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The test is a program that waits for other programs, so its host runs on threads of its own.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[test]
fn a_desk_is_switched_on_and_worked_at_by_command() {
    let runtime = runtime();
    let group = Group::new(27_201);
    let host = runtime.block_on(group.host("a", 31));
    let dir = tempfile::tempdir().unwrap();
    let mut desk = Desk::boot(&group, dir.path(), "0200000000c1", "127.0.211.31");
    assert_eq!(desk.event("booted")["dtu"], "0200000000c1");
    let attached = desk.event("attached");
    assert_eq!((&attached["host"], &attached["token"]), (&"a".into(), &"pseudo.0200000000c1".into()));

    let card = dir.path().join("ann.card");
    std::fs::write(&card, "card type=card id=ann\n").unwrap();
    desk.done(&["insert", card.to_str().unwrap()]);
    assert_eq!(desk.event("attached")["token"], "card.ann");
    desk.done(&["wait", "--for", "a$", "--timeout", "20"]);
    desk.done(&["type", "date\\n"]);
    desk.done(&["type", "--enter", "-x"]);
    desk.done(&["type", "--raw", "a\\nb\n"]);
    desk.done(&["wait", "--for", "a\\nb", "--timeout", "20"]);
    assert_eq!(desk.done(&["screen"]), "a$ date\n-x\na\\nb\n");

    let json: Value = serde_json::from_str(&desk.done(&["screen", "--json"])).unwrap();
    assert_eq!((&json["state"], &json["lines"][1]), (&"attached".into(), &"-x".into()));
    let png = dir.path().join("screen.png");
    desk.done(&["screen", "--png", png.to_str().unwrap()]);
    assert!(std::fs::read(png).unwrap().starts_with(b"\x89PNG"));

    let list = desk.done(&["list"]);
    assert!(
        list.contains("0200000000c1") && list.contains("card.ann") && list.contains("attached"),
        "{list}"
    );
    let listed: Value = serde_json::from_str(&desk.done(&["list", "--json"])).unwrap();
    assert_eq!(listed["host"], "a");

    desk.done(&["remove"]);
    assert_eq!(desk.event("removed")["token"], "card.ann");
    drop(host);
}

#[test]
fn what_is_typed_right_after_a_card_was_put_in_arrives_and_without_a_session_it_fails() {
    let runtime = runtime();
    let group = Group::new(27_204);
    let dir = tempfile::tempdir().unwrap();
    let mut desk = Desk::boot(&group, dir.path(), "0200000000c4", "127.0.211.35");
    desk.event("booted");
    let output = desk.ask(&["type", "--timeout", "0.2", "--enter", "nobody listens"]);
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("not typed: the DTU is "), "{output:?}");
    assert!(err.contains("shows no session within 0.2 s"), "{err}");
    let host = runtime.block_on(group.host("a", 35));
    desk.event("shown");
    let card = dir.path().join("ann.card");
    std::fs::write(&card, "card type=card id=ann\n").unwrap();
    desk.done(&["insert", card.to_str().unwrap()]);
    desk.done(&["type", "--enter", "back to back"]);
    desk.done(&["wait", "--for", "back to back", "--timeout", "20"]);
    let screen = desk.done(&["screen"]);
    assert!(!screen.contains("nobody"), "what was refused is not typed later: {screen}");
    drop(host);
}

#[test]
fn who_waits_for_a_state_is_told_when_it_has_come_and_not_before() {
    let runtime = runtime();
    let group = Group::new(27_205);
    let dir = tempfile::tempdir().unwrap();
    let mut desk = Desk::boot(&group, dir.path(), "0200000000c5", "127.0.211.36");
    desk.event("booted");
    desk.done(&["wait", "--state", "searching", "--timeout", "20"]);
    let output = desk.ask(&["wait", "--state", "attached", "--timeout", "0.2"]);
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("no attached within 0.2 s"), "{output:?}");
    let host = runtime.block_on(group.host("a", 36));
    desk.done(&["wait", "--state", "attached", "--timeout", "20"]);
    assert!(desk.done(&["list"]).contains("attached"));
    drop(host);
}

#[test]
fn a_state_that_there_is_not_is_refused_with_those_that_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let wait = |state: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["wait", "--state", state, "--control"]).arg(dir.path()).output().unwrap()
    };
    let refused = wait("attched");
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(2), "{refused:?}");
    for phase in Phase::WORDS {
        assert!(said.contains(phase), "{phase} is not among: {said}");
        assert_eq!(wait(phase).status.code(), Some(3), "{phase}: it is understood, and there is no DTU");
    }
    let shown = [Phase::Off, Phase::Asking, Phase::Attached, Phase::Held, Phase::Denied, Phase::Detached];
    assert_eq!(
        shown.map(|phase| phase.to_string()),
        ["off", "asking", "attached", "held", "denied", "detached"]
    );
}

#[test]
fn a_screen_that_is_watched_shows_what_is_there_and_what_comes() {
    let runtime = runtime();
    let group = Group::new(27_202);
    let _host = runtime.block_on(group.host("a", 32));
    let dir = tempfile::tempdir().unwrap();
    let mut desk = Desk::boot(&group, dir.path(), "0200000000c2", "127.0.211.32");
    desk.event("shown");
    let mut stream = UnixStream::connect(desk.dir.join("0200000000c2.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let typed = proto::hex::encode(b"hi there");
    write!(stream, "{{\"do\":\"attach\"}}\n{{\"do\":\"type\",\"keys\":\"{typed}\"}}\n").unwrap();
    let mut seen = Vec::new();
    while !text(&seen).contains("hi there") {
        let mut bytes = [0; 4096];
        let len = stream.read(&mut bytes).unwrap();
        assert!(len > 0, "{}", text(&seen));
        seen.extend(&bytes[..len]);
    }
    assert!(text(&seen).starts_with("{\"ok\":true}\n") && text(&seen).contains("a$"), "{}", text(&seen));
    // Nonsense gets an answer and harms nobody.
    let mut stream = UnixStream::connect(desk.dir.join("0200000000c2.sock")).unwrap();
    stream.write_all(b"nonsense\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.contains("not a request"), "{line}");
}

#[test]
fn wrong_ways_get_one_clear_line_and_their_own_exit_code() {
    let group = Group::new(27_203);
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("dtu");
    let run = |words: &[&str]| {
        let output = Command::new(PROGRAM).env_remove("HOTDESK_CA").args(words).output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    };
    let control = control.to_str().unwrap();
    for (words, code, wanted) in [
        (vec!["screen", "--control", control], 3, "no DTU is running here"),
        (vec!["boot", "--headless"], 2, "--ca FILE"),
        (vec!["boot", "--headless", "--ca", "/nowhere/ca.pem"], 2, "/nowhere/ca.pem"),
        (vec!["boot", "--headless", "--plain", "--bind", "203.0.113.9"], 2, "not an address of this machine"),
        (vec!["boot", "--plain", "--control", control], 6, "--headless"),
        (vec!["insert", "/nowhere/x.card", "--control", control], 2, "authmgr card new"),
        (vec!["boot", "--headless", "--plain", "--server", "no such name"], 2, "--server no such name"),
        (vec!["fleet", "--count", "0", "--plain"], 2, "--count"),
    ] {
        let (exit, err) = run(&words);
        assert!(exit == code && err.contains(wanted), "{words:?}: {exit} {err}");
    }
    let mut desk = Desk::boot(&group, dir.path(), "0200000000c3", "127.0.211.33");
    desk.event("booted");
    let second = boot_command(&group, dir.path(), "0200000000c3", "127.0.211.34").output().unwrap();
    assert!(second.status.code() == Some(6) && text(&second.stderr).contains("running already"));
    let (exit, err) = run(&["wait", "--for", "never", "--timeout", "0.1", "--control", control]);
    assert!(exit == 1 && err.contains("no \"never\" on the screen within 0.1 s"), "{exit} {err}");
    let (exit, err) = run(&["screen", "--dtu", "ffff", "--control", control]);
    assert!(exit == 3 && err.contains("there is 0200000000c3"), "{exit} {err}");
    // Killed without a word, it leaves a socket behind, which is in nobody's way.
    drop(desk);
    let mut again = Desk::boot(&group, dir.path(), "0200000000c3", "127.0.211.33");
    again.event("booted");
}

#[test]
fn a_dtu_makes_its_key_at_its_first_boot_and_proves_it_at_every_one() {
    let runtime = runtime();
    let group = Group::new(27_204);
    let host = runtime.block_on(group.host("a", 34));
    let dir = tempfile::tempdir().unwrap();
    for serial in ["0200000000d1", "0200000000d1", "0200000000d2"] {
        Desk::boot(&group, dir.path(), serial, "127.0.211.35").event("attached");
    }
    let proved = host.proved();
    assert!(proved.len() >= 3 && proved.iter().all(Option::is_some), "{proved:?}");
    assert!(proved[0] == proved[1] && proved[0] != *proved.last().unwrap(), "{proved:?}");
    std::fs::write(dir.path().join("state/0200000000d1.key"), "dtu-key").unwrap();
    let refused = boot_command(&group, dir.path(), "0200000000d1", "127.0.211.35").output().unwrap();
    let err = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && err.contains("authmgr dtu forget"), "{err}");
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(PROGRAM).args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("dtu-emu"), "{shell}");
    }
}
