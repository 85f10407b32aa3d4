//! The style of this repository, as a test that ratchets: what is not as it should be today stands in a list of
//! exceptions, and the lists may only shrink.

#![allow(clippy::expect_used, reason = "what cannot be read ends the test")]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use source::graph::{self, Graph};
use source::{Function, Source};

/// Longest function, in lines, its head included.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest file, in lines, without its tests.
const FILE_LINES_MAX: usize = 500;

/// Files above [`FILE_LINES_MAX`], with their length: it may become less.
const LONG_FILES: [(&str, usize); 0] = [];
/// Functions above [`FUNCTION_LINES_MAX`], as `file name`, with their length: it may become less.
const LONG_FUNCTIONS: [(&str, usize); 0] = [];
/// Subcommands of which `docs/operations.md` does not speak, as `program command`.
const UNTOLD: [&str; 0] = [];

/// What each crate may use of ours.
const ARROWS: [(&str, &[&str]); 11] = [
    ("proto", &[]),
    ("terminal", &["proto"]),
    ("datastore", &["proto"]),
    ("continuity", &["proto", "datastore"]),
    ("authmgr", &["proto", "datastore"]),
    ("sessiond", &["proto", "terminal", "datastore", "continuity"]),
    ("dtu-emu", &["proto", "terminal"]),
    ("groupmgr", &["proto", "datastore", "continuity", "authmgr", "sessiond"]),
    ("lab", &["proto", "sessiond", "dtu-emu", "groupmgr"]),
    ("hotdesk", &["proto", "dtu-emu", "groupmgr", "lab"]),
    (
        "tests",
        &[
            "proto",
            "terminal",
            "datastore",
            "continuity",
            "authmgr",
            "sessiond",
            "dtu-emu",
            "groupmgr",
            "lab",
        ],
    ),
];

/// What a core must not touch: sockets, clocks, files, processes, and randomness that is not handed in. Wanted as
/// words of the source; the modules in which all that is allowed are [`is_core`]'s.
const NOT_IN_A_CORE: [&str; 15] = [
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixDatagram",
    "tokio::",
    "std::time::Instant",
    "SystemTime",
    "std::thread",
    "std::fs",
    "std::process",
    "std::env",
    "getrandom",
    "nix::",
    "libc::",
];

/// Files of each crate's largest import cycle: it may become less. A file that no other leads back to is in none.
const LARGEST_CYCLES: [(&str, usize); 11] = [
    ("continuity", 0),
    ("groupmgr", 0),
    ("lab", 4),
    ("hotdesk", 0),
    ("proto", 3),
    ("dtu-emu", 0),
    ("terminal", 5),
    ("tests", 2),
    ("datastore", 3),
    ("authmgr", 3),
    ("sessiond", 4),
];
/// The machines of a host: a file or a directory each.
const MACHINES: [&str; 14] = [
    "membership",
    "directory",
    "placing",
    "admission",
    "claims",
    "presentations",
    "attachments",
    "connections",
    "sessions",
    "records",
    "relay",
    "keeping",
    "store",
    "operations",
];
/// The tables of theirs that all may read.
const LENT: [&str; 4] = [
    "groupmgr/src/host/keeping/kept.rs",
    "groupmgr/src/host/membership/members.rs",
    "groupmgr/src/host/sessions/table.rs",
    "groupmgr/src/host/store/state.rs",
];
/// Types that are to be read in one file, with the number of files that have an `impl` of theirs: it may become less.
const SCATTERED: [(&str, &str, usize); 2] = [("groupmgr/src/", "Host", 1), ("dtu-emu/src/", "Dtu", 1)];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the workspace's directory").to_owned()
}

fn files_under(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        // In a second worktree `.git` is a file that names the first.
        if name == ".git" {
            continue;
        }
        if path.is_dir() {
            if name != "target" {
                files_under(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// The text files of the repository, by their names within it.
fn repository(extensions: &[&str]) -> BTreeMap<String, String> {
    let (root, mut paths) = (root(), Vec::new());
    files_under(&root, &mut paths);
    let wanted = |path: &PathBuf| {
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        extensions.contains(&extension.as_str())
    };
    paths
        .into_iter()
        .filter(wanted)
        .filter_map(|path| {
            let name = path.strip_prefix(&root).ok()?.to_string_lossy().into_owned();
            Some((name, fs::read_to_string(&path).ok()?))
        })
        .collect()
}

fn sources() -> BTreeMap<String, Source> {
    repository(&["rs"]).into_iter().map(|(name, text)| (name, Source::read(&text))).collect()
}

/// Whether a file holds nothing but unit tests.
fn is_unit_tests(name: &str) -> bool {
    name.contains("/src/") && (name.ends_with("/tests.rs") || name.contains("/tests/"))
}

/// Whether a file is of a crate's core: neither `io`, nor the lab, nor a thin program, nor tests.
fn is_core(name: &str) -> bool {
    let outside = ["/io/", "/io.rs", "/main.rs", "/tests/", "/benches/", "/bin/"];
    let is_driver = name.starts_with("tests/") || name.starts_with("lab/");
    name.contains("/src/") && !is_driver && outside.iter().all(|part| !name.contains(part))
}

fn assert_none(what: &str, found: &[String]) {
    let mut text = String::new();
    for line in found {
        let _ = writeln!(text, "  {line}");
    }
    assert!(found.is_empty(), "{what}:\n{text}");
}

/// Compares what is too long with the exceptions: nothing new, nothing longer, nothing listed without need.
fn ratchet(what: &str, max: usize, found: &BTreeMap<String, usize>, listed: &[(&str, usize)]) {
    let mut wrong = Vec::new();
    for (name, lines) in found {
        match listed.iter().find(|(known, _)| known == name) {
            None => wrong.push(format!("{name} has {lines} lines: split it (at most {max})")),
            Some((_, known)) if lines > known => {
                wrong.push(format!("{name} has grown from {known} to {lines} lines: split it"));
            }
            Some(_) => {}
        }
    }
    for (name, _) in listed.iter().filter(|(name, _)| !found.contains_key(*name)) {
        wrong.push(format!("{name} is no longer too long: take it off the list"));
    }
    assert_none(what, &wrong);
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    let sources = sources();
    let lengths = sources.iter().filter(|(name, _)| !is_unit_tests(name));
    let long = lengths.map(|(name, source)| (name.clone(), source.lines_without_tests()));
    let long = long.filter(|(_, lines)| *lines > FILE_LINES_MAX).collect();
    ratchet("files that are too long", FILE_LINES_MAX, &long, &LONG_FILES);
}

#[test]
fn functions_are_short_enough_to_be_understood_at_once() {
    let mut long = BTreeMap::new();
    for (name, source) in sources().iter().filter(|(name, _)| !is_unit_tests(name)) {
        for Function { name: function, lines } in source.functions() {
            if lines > FUNCTION_LINES_MAX {
                long.insert(format!("{name} {function}"), lines);
            }
        }
    }
    ratchet("functions that are too long", FUNCTION_LINES_MAX, &long, &LONG_FUNCTIONS);
}

#[test]
fn every_module_says_what_it_owns() {
    let silent = sources().into_iter().filter(|(name, _)| !is_unit_tests(name));
    let silent = silent.filter(|(_, source)| !source.opens_with_a_doc()).map(|(name, _)| name);
    assert_none("modules that do not open with //!", &silent.collect::<Vec<_>>());
}

#[test]
fn doc_comments_say_more_than_two_words() {
    let mut found = Vec::new();
    for (name, source) in sources() {
        let short = source.docs().into_iter().filter(|doc| doc.split_whitespace().count() <= 2);
        found.extend(short.map(|doc| format!("{name}: {doc}")));
    }
    assert_none("doc comments that help nobody: say the unit, the bound, the meaning or the source", &found);
}

#[test]
fn nothing_is_left_to_be_done() {
    let unfinished = ["todo!", "unimplemented!", "FIXME", "XXX", "dbg!("];
    let mut found = Vec::new();
    for (name, source) in sources().iter().filter(|(name, _)| !name.ends_with("/tidy.rs")) {
        for word in unfinished.iter().filter(|word| source.text().contains(**word)) {
            found.push(format!("{name}: {word}"));
        }
    }
    assert_none("unfinished work", &found);
}

#[test]
fn nothing_speaks_of_the_place_where_it_was_written() {
    // Put together here, or this file would break its own rule.
    let places = [concat!("/wo", "rk/"), concat!("/tmp/hot", "desk/")];
    let mut found = Vec::new();
    for (name, text) in repository(&["rs", "md", "toml", "sh", "yml", ""]) {
        for place in places.iter().filter(|place| text.contains(**place)) {
            found.push(format!("{name}: {place}"));
        }
    }
    assert_none("paths of one machine", &found);
}

#[test]
fn code_cites_only_documents_that_are_here() {
    // Put together here, or this file would break its own rule.
    let others = [
        concat!("DESI", "GN"),
        concat!("seed ", "00"),
        concat!("the se", "ed's"),
        concat!("protocol she", "et"),
    ];
    let mut found = Vec::new();
    for (name, text) in repository(&["rs", "toml", "sh", ""]) {
        found
            .extend(others.iter().filter(|word| text.contains(**word)).map(|word| format!("{name}: {word}")));
        for cited in text.split("docs/").skip(1) {
            let end = cited.find(".md").map_or(0, |at| at + 3);
            let file = &cited[..end];
            let is_path = file.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-');
            if end > 0 && is_path && !root().join("docs").join(file).exists() {
                found.push(format!("{name}: docs/{file} does not exist"));
            }
        }
    }
    assert_none("documents that nobody can look up here", &found);
}

#[test]
fn crates_use_each_other_in_one_direction() {
    let manifests = repository(&["toml"]);
    let mut wrong = Vec::new();
    for (name, may_use) in ARROWS {
        let manifest = manifests.get(&format!("{name}/Cargo.toml")).expect("a manifest");
        let dependencies = source::section(manifest, "[dependencies]");
        for (other, _) in ARROWS {
            let uses = dependencies.lines().any(|line| {
                let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
                key == other
            });
            if uses && !may_use.contains(&other) {
                wrong.push(format!("{name} must not use {other}"));
            }
        }
    }
    assert_none("arrows that point the wrong way", &wrong);
}

#[test]
fn the_daemon_depends_on_no_terminal_ui_no_netlink_and_no_dtu_emulator() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--package", "groupmgr", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .expect("cargo can be started");
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success() && text.contains("sessiond"), "{tree:?}");
    let names: std::collections::BTreeSet<&str> =
        text.lines().filter_map(|line| line.split(' ').next()).collect();
    let barred = |name: &&str| {
        ["dtu-emu", "lab", "crossterm"].contains(name)
            || name.starts_with("ratatui")
            || name.starts_with("pnet")
            || name.contains("netlink")
    };
    let found: Vec<String> = names.into_iter().filter(barred).map(str::to_owned).collect();
    assert_none("crates that a daemon on the network must not contain", &found);
}

#[test]
fn cores_touch_no_clock_no_socket_and_no_file() {
    let mut wrong = Vec::new();
    for (name, source) in sources().iter().filter(|(name, _)| is_core(name)) {
        for word in NOT_IN_A_CORE.iter().filter(|word| source.uses(word)) {
            wrong.push(format!("{name} uses {word}"));
        }
    }
    assert_none("cores that are not pure", &wrong);
}

#[test]
fn files_of_a_crate_use_each_other_in_one_direction() {
    let (sources, mut wrong) = (sources(), Vec::new());
    for (name, known) in LARGEST_CYCLES {
        let (files, way) = Graph::of(&format!("{name}/src/"), &sources).largest_cycle();
        match files.len() {
            found if found > known => wrong.push(format!(
                "{name}: {found} files use each other in a circle, {known} did: {files:?}; one way round: {}",
                way.join(" -> ")
            )),
            found if found < known => {
                wrong.push(format!("{name}: only {found} files now, not {known}: say so"));
            }
            _ => {}
        }
    }
    assert_none("import cycles between files", &wrong);
}

#[test]
fn no_machine_of_a_host_names_another() {
    let (sources, mut wrong) = (sources(), Vec::new());
    let machine = |name: &str| {
        let path = name.strip_prefix("groupmgr/src/host/")?;
        MACHINES.into_iter().find(|m| path == format!("{m}.rs") || path.starts_with(&format!("{m}/")))
    };
    let graph = Graph::of("groupmgr/src/", &sources);
    let found: BTreeSet<&str> = graph.edges().filter_map(|(from, _)| machine(from)).collect();
    assert_eq!(found.len(), MACHINES.len(), "there are others: {found:?}");
    for (from, to) in graph.edges().filter(|(_, to)| !LENT.contains(to)) {
        if let (Some(one), Some(other)) = (machine(from), machine(to))
            && one != other
        {
            wrong.push(format!("{from} names something of {to}"));
        }
    }
    assert_none("machines that know each other", &wrong);
}

/// Which machine tells which something, by the table of the host.
fn listed_edges(sources: &BTreeMap<String, Source>) -> BTreeSet<(String, String)> {
    let table = sources["groupmgr/src/host/edges.rs"].code();
    let table = &table[table.find("const EDGES").expect("a table")..];
    let table = &table[table.find("= [").expect("its entries")..table.find("];").expect("its end")];
    let (mut found, mut from) = (BTreeSet::new(), None);
    for token in graph::tokens(table) {
        match (token.as_str(), &from) {
            ("(", _) => from = Some(String::new()),
            (word, Some(machine)) if word.starts_with(char::is_alphanumeric) => {
                let word = word.to_lowercase();
                if machine.is_empty() {
                    from = Some(word);
                } else {
                    found.insert((machine.clone(), word));
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn who_tells_whom_among_the_machines_of_a_host_is_what_the_table_of_edges_says() {
    let sources = sources();
    let mut told = BTreeSet::new();
    for machine in MACHINES {
        for (name, source) in &sources {
            let path = name.strip_prefix("groupmgr/src/host/").unwrap_or_default();
            if is_unit_tests(name)
                || !(path == format!("{machine}.rs") || path.starts_with(&format!("{machine}/")))
            {
                continue;
            }
            let tells = |other: &str| {
                let step = format!("To{}{}::", other[..1].to_uppercase(), &other[1..]);
                // A machine that tells itself something queues it; else it is what it is told.
                match other == machine {
                    true => source.code().contains(&format!("step({step}")),
                    false => source.code().contains(&step),
                }
            };
            told.extend(MACHINES.into_iter().filter(|other| tells(other)).map(|other| (machine, other)));
            // A port tells that an answer is late.
            if source.uses("StorePort::new") {
                told.insert((machine, "store"));
            }
        }
    }
    let told: BTreeSet<_> = told.into_iter().map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
    let listed = listed_edges(&sources);
    let (new, gone) = (told.difference(&listed), listed.difference(&told));
    assert_none("edges that the table lacks", &new.map(|edge| format!("{edge:?}")).collect::<Vec<_>>());
    assert_none("edges that nobody uses", &gone.map(|edge| format!("{edge:?}")).collect::<Vec<_>>());
}

#[test]
fn what_composes_machines_is_read_in_one_file() {
    let (sources, mut wrong) = (sources(), Vec::new());
    for (src, composed, known) in SCATTERED {
        let has_impl = |(name, source): &(&String, &Source)| {
            name.starts_with(src) && !is_unit_tests(name) && source.implements(composed)
        };
        let found: Vec<&String> = sources.iter().filter(has_impl).map(|(name, _)| name).collect();
        if found.len() != known {
            wrong.push(format!("impl {composed} in {} files, {known} are listed: {found:?}", found.len()));
        }
    }
    assert_none("types that are scattered over files", &wrong);
}

#[test]
fn the_operators_manual_speaks_of_every_subcommand() {
    let manual = fs::read_to_string(root().join("docs/operations.md")).expect("the manual");
    let words: Vec<&str> = manual.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    let mut untold = Vec::new();
    for (name, source) in sources().iter().filter(|(name, _)| name.contains("/src/") && name.contains("cli"))
    {
        let program = name.split('/').next().unwrap_or_default();
        for command in source.subcommands() {
            if !words.contains(&command.as_str()) {
                untold.push(format!("{program} {command}"));
            }
        }
    }
    untold.sort();
    untold.dedup();
    let new: Vec<String> = untold.iter().filter(|c| !UNTOLD.contains(&c.as_str())).cloned().collect();
    assert_none("subcommands of which docs/operations.md does not speak", &new);
    let told: Vec<String> =
        UNTOLD.iter().filter(|c| !untold.contains(&(**c).to_owned())).map(|c| (*c).to_owned()).collect();
    assert_none("subcommands of which it does: take them off the list", &told);
}
