//! Every program of the system is in the one binary.
#![allow(clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

const HOTDESK: &str = env!("CARGO_BIN_EXE_hotdesk");

fn run(program: impl AsRef<std::ffi::OsStr>, words: &[&str]) -> Output {
    Command::new(program).args(words).output().expect("it can be started")
}

fn link(dir: &Path, name: &str) -> std::path::PathBuf {
    let link = dir.join(name);
    std::os::unix::fs::symlink(HOTDESK, &link).expect("a link");
    link
}

#[test]
fn every_program_is_reached_by_a_word_or_by_a_link() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["authmgr", "datastore", "dtu-emu", "groupmgr", "sessiond"] {
        let by_word = run(HOTDESK, &[name, "--version"]);
        let by_link = run(link(dir.path(), name), &["--version"]);
        assert!(by_word.stdout.starts_with(format!("{name} ").as_bytes()), "{by_word:?}");
        assert_eq!(by_word.stdout, by_link.stdout);
    }
    // A session finds `groupmgr` in its PATH, and a daemon starts its spawner by a word.
    let by_both = run(dir.path().join("groupmgr"), &["sessiond", "--version"]);
    assert!(by_both.stdout.starts_with(b"sessiond "), "{by_both:?}");
}

#[test]
fn the_help_names_all_programs_and_other_words_are_a_usage_error() {
    let help = run(HOTDESK, &["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for name in ["authmgr", "datastore", "dtu-emu", "groupmgr", "sessiond", "lab", "3  nobody answered"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    for words in [&[][..], &["nonsense"], &["lab", "--hosts", "0"]] {
        assert_eq!(run(HOTDESK, words).status.code(), Some(2), "{words:?}");
    }
}
