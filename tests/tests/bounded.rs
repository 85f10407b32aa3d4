//! Every table of a host has a bound. Found by reading the sources for fields that can grow, so that a new one cannot be
//! forgotten: each is measured by `Host::tables`, or stands here with what bounds it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what cannot be read ends the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::world::World;

/// What keeps a field from growing without end.
#[derive(Clone, Copy, Debug)]
enum By {
    /// `Host::tables` measures it under this name.
    Table(&'static str),
    /// Something else does: what.
    Else(&'static str),
}
use By::{Else, Table};

/// Where the machines of a host are.
const CORES: [&str; 8] = [
    "groupmgr/src/announce.rs",
    "groupmgr/src/digest",
    "groupmgr/src/directory",
    "groupmgr/src/host",
    "groupmgr/src/keep",
    "groupmgr/src/placement",
    "groupmgr/src/topology",
    "sessiond/src/manager",
];

/// Every field that can grow, as `file field`; that of a tuple is named like its type.
const GROW: &[(&str, By)] = &[
    ("groupmgr/src/announce.rs bytes", Else("one datagram")),
    ("groupmgr/src/announce.rs interfaces", Else("as many as the kernel has")),
    ("groupmgr/src/announce.rs sent", Else("one for each interface")),
    ("groupmgr/src/digest/others.rs digests", Else("one for each host of the topology table")),
    ("groupmgr/src/digest/others.rs due", Else("one for each digest")),
    ("groupmgr/src/digest/others.rs lens", Else("PARTS_MAX")),
    ("groupmgr/src/digest/others.rs parts", Else("PARTS_ASKED_MAX")),
    ("groupmgr/src/digest/others.rs tags", Else("HELD_MAX, of all digests together")),
    ("groupmgr/src/digest/own.rs due", Else("PARTS_MAX")),
    ("groupmgr/src/digest/own.rs list", Else("TOKENS_MAX, then it is given up")),
    ("groupmgr/src/digest/own.rs tokens", Else("one for each token with sessions here")),
    ("groupmgr/src/directory.rs answers", Else("one for each host that was asked")),
    ("groupmgr/src/directory.rs asks", Else("borrowed from the call")),
    ("groupmgr/src/directory.rs bytes", Else("one datagram")),
    ("groupmgr/src/directory.rs due", Table("lookups")),
    ("groupmgr/src/directory.rs found", Else("borrowed from the call")),
    ("groupmgr/src/directory.rs gone", Else("one for each host that was asked")),
    ("groupmgr/src/directory.rs lookups", Table("lookups")),
    ("groupmgr/src/directory.rs mute", Else("one for each address of a host of the topology table")),
    ("groupmgr/src/directory.rs nonces", Table("lookups")),
    ("groupmgr/src/directory.rs paces", Else("one for each host of the topology table")),
    ("groupmgr/src/directory.rs sessions", Else("SESSIONS_PER_TOKEN_MAX, by the parser")),
    ("groupmgr/src/directory.rs waiting", Else("one for each host that was asked")),
    ("groupmgr/src/directory/grants.rs ends", Table("grants")),
    ("groupmgr/src/directory/grants.rs until", Table("grants")),
    ("groupmgr/src/host/admission/entrants.rs Entrants", Table("tokens to admit")),
    ("groupmgr/src/host/admission/registry.rs by_revision", Table("registry changes")),
    ("groupmgr/src/host/admission/registry.rs changes", Table("registry changes")),
    ("groupmgr/src/host/admission/templates.rs Templates", Table("templates")),
    (
        "groupmgr/src/host/admission/templates.rs ignored",
        Else("a few for each service of a template of bounded size"),
    ),
    ("groupmgr/src/host/askers.rs Askers", Table("askers")),
    (
        "groupmgr/src/host/attachments/announce.rs fresh",
        Else("one for each session that is attached within GATHER"),
    ),
    ("groupmgr/src/host/attachments/announce.rs repeats", Table("repeats")),
    ("groupmgr/src/host/attachments/mod.rs at", Else("one for each session that is shown")),
    ("groupmgr/src/host/attachments/heard.rs lasts", Table("announced elsewhere")),
    ("groupmgr/src/host/attachments/heard.rs oldest", Table("announced elsewhere")),
    ("groupmgr/src/host/attachments/mod.rs shown", Else("one for each session that is shown")),
    (
        "groupmgr/src/host/attachments/mod.rs tell_again",
        Else("one for each host of the table, for half a second"),
    ),
    ("groupmgr/src/host/claims/mod.rs own", Else("one for each session")),
    ("groupmgr/src/host/claims/queue.rs releases", Table("releases")),
    ("groupmgr/src/host/claims/queue.rs strays", Else("one page of the data store")),
    ("groupmgr/src/host/claims/queue.rs tasks", Else("one for each session")),
    ("groupmgr/src/host/claims/queue.rs unreleased", Table("unreleased claims")),
    ("groupmgr/src/host/connections.rs due", Else("one for each connection")),
    ("groupmgr/src/host/connections.rs early", Else("EARLY_MAX")),
    ("groupmgr/src/host/connections.rs map", Else("connections are bounded before they are accepted")),
    ("groupmgr/src/host/counters.rs done", Else("one for each word of the source")),
    ("groupmgr/src/host/counters.rs refused", Else("one for each word of the source")),
    ("groupmgr/src/host/directory.rs asking", Table("lookups")),
    ("groupmgr/src/host/driver.rs bytes", Else("one datagram")),
    ("groupmgr/src/host/guests.rs by_address", Else("one for each session of a guest here")),
    ("groupmgr/src/host/membership/answered.rs Answered", Table("answered")),
    ("groupmgr/src/host/mod.rs queue", Else("empty between two inputs")),
    ("groupmgr/src/host/keeping/cookie.rs sessions", Else("one for each session here")),
    ("groupmgr/src/host/keeping/fetches.rs got", Else("PARTS_MAX")),
    ("groupmgr/src/host/keeping/fetches.rs sessions", Table("fetches")),
    ("groupmgr/src/host/keeping/fetches.rs waiting", Else("FETCHES_MAX")),
    ("groupmgr/src/host/keeping/handed.rs sessions", Table("sessions handed over")),
    ("groupmgr/src/host/keeping/phase.rs sent", Else("PARTS_MAX")),
    ("groupmgr/src/host/keeping/watched.rs attempts", Table("homes in doubt")),
    (
        "groupmgr/src/host/keeping/kept.rs tags",
        Else("one for each kept token and key of the ring, and a few that were"),
    ),
    ("groupmgr/src/host/keeping/primaries.rs distances", Else("one for each host of the topology table")),
    ("groupmgr/src/host/keeping/primaries.rs due", Else("one for each session here")),
    ("groupmgr/src/host/keeping/primaries.rs sessions", Else("one for each session here")),
    ("groupmgr/src/host/keeping/primaries.rs shunned", Else("one for each host of the topology table")),
    ("groupmgr/src/host/keeping/primary.rs listed", Else("PARTS_MAX")),
    ("groupmgr/src/host/keeping/primary.rs parts", Else("PARTS_MAX")),
    ("groupmgr/src/host/operations/failures.rs Failures", Else("FAILURES_MAX")),
    (
        "groupmgr/src/host/operations/mod.rs pending",
        Else("one for each operator's request, which ends when the data store has answered or does not"),
    ),
    ("groupmgr/src/host/operations/outcomes.rs Outcomes", Else("WAITING_MAX")),
    ("groupmgr/src/host/out.rs effects", Else("borrowed from the call")),
    ("groupmgr/src/host/out.rs queue", Else("borrowed from the host")),
    ("groupmgr/src/host/port.rs late", Table("store requests")),
    ("groupmgr/src/host/port.rs pending", Table("store requests")),
    ("groupmgr/src/host/presentations/mod.rs decisions", Else("one for each connection")),
    ("groupmgr/src/host/presentations/mod.rs due", Else("one for each connection")),
    ("groupmgr/src/host/presentations/mod.rs heirs", Else("one for each decision")),
    ("groupmgr/src/host/presentations/mod.rs waiting", Else("one for each connection")),
    ("groupmgr/src/host/records/mod.rs checking", Else("one for each session here")),
    ("groupmgr/src/host/records/mod.rs checks", Else("one for each session here")),
    ("groupmgr/src/host/records/mod.rs due", Else("two for each session here, and those left behind")),
    ("groupmgr/src/host/records/mod.rs moved", Else("one for each session here, until it has ended")),
    ("groupmgr/src/host/records/mod.rs slots", Table("records left behind")),
    ("groupmgr/src/host/records/orphans.rs found", Else("one page of the data store")),
    ("groupmgr/src/host/records/orphans.rs kept", Table("kept sessions")),
    ("groupmgr/src/host/records/orphans.rs since", Table("orphaned records")),
    (
        "groupmgr/src/host/sessions/table.rs tags",
        Else("one for each token with sessions here and key of the ring"),
    ),
    ("groupmgr/src/host/sweep.rs forgotten", Else("FORGOTTEN_MAX")),
    ("groupmgr/src/host/sweep.rs were_down", Else("one for each host of the topology table")),
    ("groupmgr/src/keep/channel.rs heard", Else("the window of one channel")),
    ("groupmgr/src/keep/channel.rs other", Else("PAYLOAD_MAX: the beginning of one message")),
    ("groupmgr/src/keep/channel.rs waiting", Else("WAITING_MAX and one message")),
    ("groupmgr/src/keep/copies.rs parts", Else("PARTS_MAX, and Limits::bytes of all sessions together")),
    ("groupmgr/src/keep/copies.rs sessions", Table("sessions of others")),
    ("groupmgr/src/keep/copies.rs shares", Else("one for each host of which sessions are kept")),
    ("groupmgr/src/keep/copies.rs tokens", Else("one for each kept session")),
    ("groupmgr/src/placement.rs placed", Else("PLACED_MAX for each host that answered of late")),
    ("groupmgr/src/placement/arrivals.rs ends", Table("sent here")),
    ("groupmgr/src/placement/arrivals.rs until", Table("being made")),
    ("groupmgr/src/placement/notices.rs again", Table("notices")),
    (
        "groupmgr/src/topology/hearing.rs down",
        Else("one for each interface that a host announces, INTERFACES_MAX"),
    ),
    ("groupmgr/src/topology/hearing.rs from", Else("INTERFACES_MAX")),
    ("groupmgr/src/topology/hearing.rs on", Else("HEARD_ON_MAX")),
    ("groupmgr/src/topology/mod.rs changes", Else("taken out after every call")),
    ("groupmgr/src/topology/mod.rs rows", Table("hosts")),
    ("groupmgr/src/topology/print.rs heard_on", Else("printed once")),
    ("groupmgr/src/topology/print.rs interfaces", Else("a view, for one answer")),
    ("groupmgr/src/topology/print.rs lacks", Else("printed once")),
    ("groupmgr/src/topology/proof.rs Candidates", Table("hosts")),
    ("groupmgr/src/topology/proof.rs beacons", Else("INTERFACES_MAX")),
    ("groupmgr/src/topology/proof.rs messages", Else("one for each interface")),
    ("groupmgr/src/topology/proof.rs runs", Else("RUNS_MAX of each name")),
    (
        "groupmgr/src/topology/rivals.rs Rivals",
        Else("one for each host of the topology table, and one of this host's name"),
    ),
    ("groupmgr/src/topology/row.rs ended", Else("ENDED_MAX")),
    ("groupmgr/src/topology/row.rs interfaces", Else("as many as fit a host message")),
    ("groupmgr/src/topology/row.rs passed", Else("one for each interface")),
    ("groupmgr/src/topology/strangers.rs Strangers", Table("strangers")),
    ("sessiond/src/manager.rs by_token", Else("one for each session")),
    ("sessiond/src/manager.rs due", Else("one for each session")),
    ("sessiond/src/manager.rs objects", Else("what one keeper may send: PARTS_MAX")),
    (
        "sessiond/src/manager.rs table",
        Else("sessions are bounded by the host's configuration and its memory"),
    ),
    ("sessiond/src/manager/start_queue.rs starting", Else("STARTING_MAX")),
    ("sessiond/src/manager/start_queue.rs waiting", Table("start queue")),
    ("sessiond/src/manager/session.rs displays", Else("SERVICES_MAX")),
    ("sessiond/src/manager/session.rs services", Else("SERVICES_MAX")),
    ("sessiond/src/manager/session.rs unsettled", Else("one for each service of the session")),
];

fn sources(of: &str, root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        [root.join(of), root.join(format!("{of}.rs"))].into_iter().filter(|path| path.is_file()).collect();
    for entry in fs::read_dir(root.join(of)).into_iter().flatten().flatten() {
        let name = entry.path().strip_prefix(root).unwrap().with_extension("").to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(sources(&name, root));
        } else if entry.path().extension().is_some_and(|e| e == "rs") {
            found.push(entry.path());
        }
    }
    found
}

/// The fields of structs in `text` whose type can grow.
fn growing(text: &str) -> Vec<String> {
    let can_grow = |ty: &str| ["Vec<", "VecDeque<", "Map<", "Set<", "Heap<"].iter().any(|t| ty.contains(t));
    let (mut found, mut inside) = (Vec::new(), false);
    for line in text.lines().take_while(|line| !line.starts_with("mod tests {")) {
        let words = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(super) ");
        let words = words.trim_start_matches("pub(in crate::host) ").trim_start_matches("pub(crate) ");
        if let Some(rest) = words.strip_prefix("struct ") {
            inside = line.ends_with('{');
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if rest.contains('(') && can_grow(rest) {
                found.push(name);
            }
        } else if line.starts_with('}') {
            inside = false;
        } else if inside
            && let Some((name, ty)) = words.split_once(": ")
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
            && can_grow(ty)
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// What only views for operators hold, for the time of one answer.
fn is_view(file: &str) -> bool {
    file.ends_with("/tests.rs") || file == "groupmgr/src/host/admin.rs"
}

#[test]
fn every_field_that_can_grow_has_a_bound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files: BTreeSet<PathBuf> = CORES.iter().flat_map(|core| sources(core, root)).collect();
    let mut found = BTreeSet::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        if !is_view(&name) {
            let fields = growing(&fs::read_to_string(&path).unwrap());
            found.extend(fields.into_iter().map(|field| format!("{name} {field}")));
        }
    }
    let known: BTreeSet<String> = GROW.iter().map(|(field, _)| (*field).to_owned()).collect();
    let unbounded: Vec<_> = found.difference(&known).collect();
    assert!(unbounded.is_empty(), "say what bounds them: {unbounded:#?}");
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "there are none: {gone:#?}");
}

#[test]
fn the_tables_that_bound_them_are_measured() {
    let w = World::of(1);
    let measured: BTreeSet<&str> = w.host("h1").unwrap().tables().iter().map(|fill| fill.table).collect();
    for (field, by) in GROW {
        match by {
            Table(table) => assert!(measured.contains(table), "{field}: nobody measures {table}"),
            Else(what) => assert!(!what.is_empty(), "{field}"),
        }
    }
}

#[test]
fn a_field_that_can_grow_is_found_wherever_it_stands() {
    let text = "struct A {\n    a: u32,\n    pub b: Vec<u8>,\n}\npub struct B(BTreeMap<u8, u8>);\n\
                fn f(\n    c: Vec<u8>,\n) {}\npub(super) struct C {\n    pub(super) d: Option<HashSet<u8>>,\n}\n";
    assert_eq!(growing(text), ["b", "B", "d"]);
}
