//! The world around real processes of a stand-in program, which says and does what each test needs.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// What all stand-ins have in common: keys, cards, a data store, and a host that leaves a child behind. Files in
/// its directory steer it and show what it was told.
const COMMON: &str = r#"#!/bin/sh
here=$(dirname "$0")
value() { while [ $# -gt 1 ]; do [ "$1" = "$want" ] && { echo "$2"; return; }; shift; done; }
case "$1 $2" in
"keygen "*) mkdir -p "$2" && : > "$2/ca.pem" ;;
"authmgr card") echo "card type=card id=77" > "$4" ;;
"datastore serve") echo '{"event":"ready"}'; exec sleep 1000 ;;
"run --name") setsid sleep 1000 & echo noise >&2; echo ready; wait ;;
"template put") cat "$4" > "$here/template" ;;
"topology --"*) cat "$here/topology" ;;
"dtu-emu boot") echo '{"event":"booted"}'; echo '{"event":"host_found","host":"host-a"}'; exec sleep 1000 ;;
"dtu-emu screen") cat "$here/screen" ;;
"dtu-emu "*) echo "$@" >> "$here/told" ;;
esac
"#;

struct StandIn {
    directory: TempDir,
}

impl StandIn {
    fn new(program: &str) -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap() };
        this.write("program", program);
        std::fs::set_permissions(this.path("program"), PermissionsExt::from_mode(0o755)).unwrap();
        // A process forked by another test meanwhile may hold the file open for writing until it execs.
        let busy = |e: &io::Error| e.kind() == io::ErrorKind::ExecutableFileBusy;
        let probe = || std::process::Command::new(this.path("program")).arg("probe").output();
        while probe().is_err_and(|e| busy(&e)) {}
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        // Replaced as a whole: a process may be reading it.
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn world(&self, hosts: usize, desks: usize) -> World {
        World::new(Plan::simple(hosts, desks), Ground::Loopback, self.path("program")).unwrap()
    }
}

fn topology(standings: &[(&str, &str)]) -> String {
    let row = |&(host, standing): &(&str, &str)| serde_json::json!({"host": host, "standing": standing});
    serde_json::Value::from(standings.iter().map(row).collect::<Vec<_>>()).to_string()
}

#[test]
fn everything_is_started_in_order_and_ended_without_a_trace() {
    let stand_in = StandIn::new(COMMON);
    stand_in.write("topology", &topology(&[("host-a", "up"), ("host-b", "up")]));
    let mut world = stand_in.world(2, 1);
    world.start_all().unwrap();
    let events = world.timeline().since(&mut Cursor::default());
    let names: Vec<_> = events.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(names[..3], ["store_up", "host_up", "host_up"]);
    assert!(names.contains(&"booted"));
    assert!(std::fs::read_to_string(stand_in.path("template")).unwrap().contains("/home\""));
    let files = world.files().to_owned();
    assert_eq!(world.end().unwrap(), 0);
    drop(world);
    assert!(!files.exists());
}

#[test]
fn a_process_that_ends_before_it_is_ready_is_reported_with_the_end_of_its_log() {
    let refuses = COMMON
        .replace("\"run --name\")", "\"run --name\") echo port 7009 is taken >&2; exit 3 ;;\n\"never \")");
    let stand_in = StandIn::new(&refuses);
    let error = stand_in.world(1, 0).start_hosts().unwrap_err().to_string();
    assert!(error.contains("host-a ended") && error.contains("port 7009 is taken"), "{error}");
}

#[test]
fn a_key_generator_that_fails_is_quoted() {
    let stand_in = StandIn::new("#!/bin/sh\necho no room >&2; exit 1\n");
    let error = World::new(Plan::simple(1, 0), Ground::Loopback, stand_in.path("program")).err().unwrap();
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
    assert_eq!(world.backend().belonging("host-a").unwrap().processes().len(), 1, "its child is left");
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
    stand_in.write("topology", &topology(&[("host-a", "up"), ("host-b", "silent")]));
    let mut world = stand_in.world(2, 0);
    world.start_hosts().unwrap();
    let error = world.wait_for_group(Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("host-a, host-b"), "{error}");
    stand_in.write("topology", &topology(&[("host-a", "up"), ("host-b", "up"), ("stranger", "down")]));
    world.wait_for_group(SOON).unwrap();
    world.kill("host-b").unwrap();
    stand_in.write("topology", &topology(&[("host-a", "up"), ("host-b", "down")]));
    world.wait_for_group(SOON).unwrap();
}

#[test]
fn a_desk_is_told_what_a_person_does_and_a_screen_that_stays_wrong_is_quoted() {
    let stand_in = StandIn::new(COMMON);
    stand_in.write("screen", "$ echo done\n");
    let mut world = stand_in.world(0, 1);
    world.start_desk("desk-1").unwrap();
    let card = world.new_card("alice").unwrap();
    assert_eq!(card.token, "card.77");
    world.insert("desk-1", &card).unwrap();
    world.type_text("desk-1", "echo done\n").unwrap();
    world.remove("desk-1").unwrap();
    let told = std::fs::read_to_string(stand_in.path("told")).unwrap();
    let words: Vec<_> = told.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(words[..2], ["insert", "type"]);
    assert!(told.contains("remove --dtu desk-1"), "{told}");

    let shows = |screen: &Screen| screen.has_line("done");
    let error = world.wait_for_screen("desk-1", "the word", Duration::from_millis(50), shows).unwrap_err();
    assert!(error.to_string().contains("$ echo done"), "{error}");
    stand_in.write("screen", "$ echo done\ndone\n$\n");
    world.wait_for_screen("desk-1", "the word", SOON, shows).unwrap();
}

#[test]
fn a_mark_on_a_screen_is_found_in_output_and_not_in_what_was_typed() {
    let screen = Screen("$ sh -c 'echo id=$PPID'\nid=1\n$ sh -c 'echo id=$PPID'\n  id=42  \n$".to_owned());
    assert_eq!(screen.after("id="), Some("42"));
    assert!(screen.has_line("id=1") && !screen.has_line("id="));
}
