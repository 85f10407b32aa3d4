//! The world around real processes of a stand-in program, and around hosts and DTUs that this test answers for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// What all stand-ins have in common: keys, cards, a data store, and a host that leaves a child behind.
const COMMON: &str = r#"#!/bin/sh
case "$1 $2" in
"groupmgr keygen") mkdir -p "$3" && : > "$3/ca.pem" ;;
"authmgr card") echo "card type=card id=77" > "$4" ;;
"datastore serve") echo '{"event":"ready"}'; exec sleep 1000 ;;
"groupmgr run") setsid sleep 1000 & echo noise >&2; echo ready host=x; wait ;;
"groupmgr template") cat "$5" > "$(dirname "$0")/template" ;;
"dtu-emu boot") echo '{"event":"booted"}'; echo '{"event":"host_found","host":"host-a"}'; exec sleep 1000 ;;
esac
"#;

struct StandIn {
    directory: TempDir,
}

impl StandIn {
    fn new(program: &str) -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(this.program(), program).unwrap();
        std::fs::set_permissions(this.program(), PermissionsExt::from_mode(0o755)).unwrap();
        // A process forked by another test meanwhile may hold the file open for writing until it execs.
        let busy = |e: &io::Error| e.kind() == io::ErrorKind::ExecutableFileBusy;
        let probe = || std::process::Command::new(this.program()).arg("probe").output();
        while probe().is_err_and(|e| busy(&e)) {}
        this
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("program")
    }

    fn world(&self, hosts: usize, desks: usize) -> World {
        World::new(Plan::simple(hosts, desks), Ground::Loopback, self.program()).unwrap()
    }
}

/// Answers every request on a socket with what `answer` holds then; collects the requests.
fn serve(socket: PathBuf, answer: &Arc<Mutex<Value>>) -> Arc<Mutex<Vec<Value>>> {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let (answer, asked) = (Arc::clone(answer), Arc::new(Mutex::new(Vec::new())));
    let requests = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            requests.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            writeln!(&stream, "{}", answer.lock().unwrap()).unwrap();
        }
    });
    asked
}

/// A host's topology table, with these hosts in it.
fn topology(standings: &[(&str, &str)]) -> Value {
    let row = |&(host, standing): &(&str, &str)| {
        json!({"host": host, "trusted": true, "own": false, "standing": standing, "boot": null,
            "addr": "127.0.0.1", "lastseen": 0, "beacon_age_ms": 0, "timeoff": 0, "numifs": 0, "load": 0,
            "mem_mib": 0, "sessions": 0, "cpus": 1, "clock": 0, "machine": null, "rack": "-", "site": "-",
            "drain": false, "keep": false, "store": "-", "interfaces": []})
    };
    json!([{"host": "host-a", "answer": {"host": {"topology": standings.iter().map(row).collect::<Vec<_>>()}}}])
}

/// Answers for every host of a world with one table, which can be changed.
fn serve_hosts(world: &World, table: Value) -> Arc<Mutex<Value>> {
    let table = Arc::new(Mutex::new(table));
    for host in world.hosts() {
        serve(world.files().join("run").join(host).join("admin.sock"), &table);
    }
    table
}

#[test]
fn everything_is_started_in_order_and_ended_without_a_trace() {
    let stand_in = StandIn::new(COMMON);
    let mut world = stand_in.world(2, 1);
    serve_hosts(&world, topology(&[("host-a", "up"), ("host-b", "up")]));
    world.start_all().unwrap();
    let events = world.timeline().since(&mut Cursor::default());
    let names: Vec<_> = events.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(names[..3], ["store_up", "host_up", "host_up"]);
    assert!(names.contains(&"booted"));
    let template = std::fs::read_to_string(stand_in.directory.path().join("template")).unwrap();
    assert!(template.contains("/home\""));
    assert!(sessiond::template::Template::parse(&template).is_ok());
    let files = world.files().to_owned();
    assert_eq!(world.end().unwrap(), 0);
    drop(world);
    assert!(!files.exists());
}

#[test]
fn a_process_that_ends_before_it_is_ready_is_reported_with_the_end_of_its_log() {
    let refuses = COMMON.replace(
        "\"groupmgr run\")",
        "\"groupmgr run\") echo port 7009 is taken >&2; exit 3 ;;\n\"never \")",
    );
    let stand_in = StandIn::new(&refuses);
    let error = stand_in.world(1, 0).start_hosts().unwrap_err().to_string();
    assert!(error.contains("host-a ended") && error.contains("port 7009 is taken"), "{error}");
}

#[test]
fn a_key_generator_that_fails_is_quoted() {
    let stand_in = StandIn::new("#!/bin/sh\necho no room >&2; exit 1\n");
    let error = World::new(Plan::simple(1, 0), Ground::Loopback, stand_in.program()).err().unwrap();
    assert!(error.to_string().contains("no room"), "{error}");
}

#[test]
fn a_killed_host_loses_its_children_too_and_can_be_started_again() {
    let stand_in = StandIn::new(COMMON);
    let mut world = stand_in.world(2, 0);
    world.start_hosts().unwrap();
    let processes = |world: &World| world.backend().belonging("host-a").unwrap().processes().len();
    assert!(processes(&world) >= 2);
    let from = world.timeline().end();
    world.kill("host-a").unwrap();
    assert_eq!((processes(&world), world.power("host-a"), world.is_alive("host-a")), (0, Power::Off, false));
    assert!(world.timeline().wait(from, SOON, |e| e.is("host_killed") && e.on("host-a")).is_some());
    assert!(world.is_alive("host-b"));

    let from = world.timeline().end();
    world.start_host("host-a").unwrap();
    assert!(world.timeline().wait(from, SOON, |e| e.is("host_up") && e.on("host-a")).is_some());
    assert!(world.start_host("host-a").is_err(), "it runs already");
}

#[test]
fn only_the_daemon_dies_when_only_the_daemon_is_killed() {
    let stand_in = StandIn::new(COMMON);
    let mut world = stand_in.world(1, 0);
    world.start_hosts().unwrap();
    world.kill_daemon("host-a").unwrap();
    assert!(!world.is_alive("host-a"));
    // A process is not recognised at the moment in which it becomes another program, as the child of one just started may.
    let left = || world.backend().belonging("host-a").unwrap().processes().len();
    assert!((0..10_000).any(|_| left() == 1), "its child is left: {}", left());
}

#[test]
fn on_loopback_a_cut_is_a_freeze_and_says_so() {
    let stand_in = StandIn::new(COMMON);
    let mut world = stand_in.world(1, 0);
    world.start_hosts().unwrap();
    let from = world.timeline().end();
    world.cut("host-a").unwrap();
    assert_eq!(world.power("host-a"), Power::Frozen);
    let event = world.timeline().wait(from, SOON, |e| e.is("host_cut")).unwrap();
    assert_eq!(event.more.get("by").and_then(Value::as_str), Some("freezing"));
    let states = |world: &World| -> String {
        world.backend().belonging("host-a").unwrap().processes().iter().map(|p| p.state).collect()
    };
    assert!(states(&world).chars().all(|state| state == 'T'));
    world.heal("host-a").unwrap();
    assert!(!states(&world).contains('T'));
}

#[test]
fn a_group_is_waited_for_until_every_host_sees_every_other() {
    let stand_in = StandIn::new(COMMON);
    let mut world = stand_in.world(2, 0);
    let table = serve_hosts(&world, topology(&[("host-a", "up"), ("host-b", "silent")]));
    world.start_hosts().unwrap();
    let error = world.wait_for_group(Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("host-a, host-b") && error.contains("Silent"), "{error}");
    *table.lock().unwrap() = topology(&[("host-a", "up"), ("host-b", "up"), ("host-z", "down")]);
    world.wait_for_group(SOON).unwrap();
    world.kill("host-b").unwrap();
    *table.lock().unwrap() = topology(&[("host-a", "up"), ("host-b", "down")]);
    world.wait_for_group(SOON).unwrap();
    *table.lock().unwrap() = json!([{"host": "host-a", "unreachable": "no"}]);
    assert!(world.standings("host-a").is_err());
}

#[test]
fn a_desk_is_told_what_a_person_does_and_a_screen_that_stays_wrong_is_quoted() {
    let look = |lines: &[&str]| {
        json!({"ok": true, "look": {"dtu": "desk-1", "state": "attached", "token": "card.77", "cols": 80,
            "rows": 24, "lines": lines, "redraw": ""}})
    };
    let stand_in = StandIn::new(COMMON);
    let mut world = stand_in.world(0, 1);
    let screen = Arc::new(Mutex::new(look(&["$ echo done"])));
    let told = serve(world.files().join("dtu/desk-1.sock"), &screen);
    world.start_desk("desk-1").unwrap();
    let card = world.new_card("alice").unwrap();
    assert_eq!(card.token, "card.77");
    world.insert("desk-1", &card).unwrap();
    world.type_text("desk-1", "ok\n").unwrap();
    world.remove("desk-1").unwrap();
    let wanted = [
        json!({"do": "insert", "card": "card type=card id=77"}),
        json!({"do": "type", "keys": "6f6b0d"}),
        json!({"do": "remove"}),
    ];
    assert_eq!(told.lock().unwrap()[..], wanted);

    let shows = |screen: &Screen| screen.has_line("done");
    let error = world.wait_for_screen("desk-1", "the word", Duration::from_millis(50), shows).unwrap_err();
    assert!(error.to_string().contains("$ echo done"), "{error}");
    *screen.lock().unwrap() = look(&["$ echo done", "done", "$"]);
    world.wait_for_screen("desk-1", "the word", SOON, shows).unwrap();
    *screen.lock().unwrap() = json!({"ok": false, "error": "not now"});
    assert!(world.insert("desk-1", &card).unwrap_err().to_string().contains("not now"));
}

#[test]
fn a_mark_on_a_screen_is_found_in_output_and_not_in_what_was_typed() {
    let screen = Screen("$ sh -c 'echo id=$PPID'\nid=1\n$ sh -c 'echo id=$PPID'\n  id=42  \n$".to_owned());
    assert_eq!(screen.after("id="), Some("42"));
    assert!(screen.has_line("id=1") && !screen.has_line("id="));
}
