//! Which rows follow from what was seen. What it takes to see it is a matter of the admin socket and tested with it.

use proto::HostName;
use serde_json::{Value, json};

use super::checks::{Checks, Rating};
use super::seen::{Group, Seen};
use super::{hosts, machine};
use crate::host::admin::Status;
use crate::topology::RowView;

/// The status of a host that hears all others.
fn status(host: &str, more: &Value) -> Status {
    with(
        json!({
            "host": host, "boot": "00000000000000aa", "up_secs": 9, "key": "00000001", "store": "127.0.0.1:7010",
            "store_up": true, "drain": false, "keep": false, "hosts": {"up": 2}, "mute": [], "strangers": 0,
            "sessions": 0, "unclaimed": 0, "dtus": 0, "attached": 0, "refused": {}, "done": {},
        }),
        more,
    )
}

fn row(host: &str, more: &Value) -> RowView {
    with(
        json!({
            "host": host, "trusted": true, "own": host == "a", "standing": "up", "boot": "00000000000000aa",
            "addr": "10.0.0.1", "lastseen": 3, "beacon_age_ms": 40, "timeoff": 0, "numifs": 1, "load": 0,
            "mem_mib": 1, "sessions": 0, "cpus": 1, "clock": 1, "machine": null, "rack": "-", "site": "-",
            "drain": false, "keep": false, "store": "-", "interfaces": [],
        }),
        more,
    )
}

fn with<T: serde::de::DeserializeOwned>(mut value: Value, more: &Value) -> T {
    for (key, field) in more.as_object().into_iter().flatten() {
        value[key] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

/// What host a sees of a group of a and b.
fn seen(a: &Value, b: Option<&Value>, row_of_b: &Value, homes: &Value) -> Seen {
    let facts = json!({
        "pid": 1, "version": "0", "keys": "keys", "run_dir": "run", "state_dir": "state", "interfaces": [],
        "connections": 0, "fds": 1, "fds_max": 9, "own_accounts": true, "homes": homes,
    });
    let unreachable: Option<(HostName, String)> =
        b.is_none().then(|| ("b".parse().unwrap(), "connection timed out".to_owned()));
    let group = Group {
        facts: serde_json::from_value(facts).unwrap(),
        hosts: [status("a", a)].into_iter().chain(b.map(|b| status("b", b))).collect(),
        unreachable: unreachable.into_iter().collect(),
        rows: vec![row("a", &json!({"machine": "00000000000000a1"})), row("b", row_of_b)],
        tables: std::collections::BTreeMap::new(),
        templates: Vec::new(),
    };
    Seen { keys: "keys".into(), group: Ok(group) }
}

fn rows(check: fn(&Seen, &mut Checks), seen: &Seen) -> Vec<(Rating, String)> {
    let mut checks = Checks::default();
    check(seen, &mut checks);
    checks.0.into_iter().map(|check| (check.verdict, format!("{}; {}", check.found, check.remedy))).collect()
}

/// The one row of a check.
fn only(check: fn(&Seen, &mut Checks), seen: &Seen) -> (Rating, String) {
    let all = rows(check, seen);
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

#[test]
fn a_host_that_answers_by_tcp_and_is_not_heard_is_a_matter_of_udp() {
    let blocked =
        seen(&json!({"silent": ["b"]}), Some(&json!({})), &json!({"standing": "silent"}), &json!([]));
    let (verdict, text) = only(hosts::check_heard, &blocked);
    assert!(verdict == Rating::Fail && text.contains("a does not hear b, which answers by TCP"), "{text}");
    assert!(text.contains("let UDP port 7009 pass from b to a"), "{text}");
    assert_eq!(rows(hosts::check_answers, &blocked), []);
}

#[test]
fn a_host_that_is_heard_and_does_not_answer_is_a_matter_of_tcp() {
    let (verdict, text) = only(hosts::check_answers, &seen(&json!({}), None, &json!({}), &json!([])));
    assert!(verdict == Rating::Fail && text.contains("b is heard, and does not answer by TCP"), "{text}");
    assert!(text.contains("let TCP port 7009 pass to it"), "{text}");
    let gone = seen(&json!({"silent": ["b"]}), None, &json!({"standing": "silent"}), &json!([]));
    let (verdict, text) = only(hosts::check_answers, &gone);
    assert!(verdict == Rating::Fail && text.contains("neither heard nor does it answer"), "{text}");
    assert!(text.contains("start the daemon there") && text.contains("groupmgr forget b"), "{text}");
    assert_eq!(rows(hosts::check_heard, &gone), [], "of a host that is gone that is no news");
}

#[test]
fn a_host_that_is_heard_and_answers_no_question_is_named() {
    let mute = seen(&json!({"mute": ["b"]}), Some(&json!({})), &json!({}), &json!([]));
    let (verdict, text) = only(hosts::check_heard, &mute);
    assert!(verdict == Rating::Warn && text.contains("b does not answer the questions of a"), "{text}");
    assert_eq!(rows(hosts::check_heard, &seen(&json!({}), Some(&json!({})), &json!({}), &json!([]))), []);
}

#[test]
fn homes_on_a_disk_of_one_of_several_machines_are_a_warning_and_an_account_that_is_not_there_a_failure() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let homes = json!([{"account": "ann", "dir": dir.path()}]);
    let on = |machine: &str| seen(&json!({}), Some(&json!({})), &json!({"machine": machine}), &homes);
    let (verdict, text) = only(machine::check_homes, &on("00000000000000b2"));
    assert!(
        verdict == Rating::Warn && text.contains("ann's") && text.contains("on every host (NFS)"),
        "{text}"
    );
    let (verdict, text) = only(machine::check_homes, &on("00000000000000a1"));
    assert!(verdict == Rating::Ok && text.contains("the only one"), "{text}");
    for (homes, wanted) in [
        (json!([{"account": "eve", "dir": null}]), "there is no account eve"),
        (json!([{"account": "eve", "dir": "/no/such/home"}]), "eve's /no/such/home: No such file"),
    ] {
        let all = seen(&json!({}), Some(&json!({})), &json!({}), &homes);
        let (verdict, text) = only(machine::check_homes, &all);
        assert!(verdict == Rating::Fail && text.contains(wanted), "{text}");
    }
}
