//! Waiting until a change holds at every host: a daemon of this machine asks them all to read the changed key.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a command waits for other machines, which tell it nothing when they have followed"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto::exit::Exit;
use proto::io::cli::Failure;
use proto::io::local::{Daemon, run_base};
use serde_json::{Value, json};

use super::{At, show};
use crate::io::store::Written;

/// After this long the hosts that have not followed are named.
const FOLLOW_WITHIN: Duration = Duration::from_secs(2);
/// Pause before hosts that have not followed are asked again.
const AGAIN: Duration = Duration::from_millis(100);
/// A daemon waits for its group a little longer than this command does.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Longest answer of a daemon.
const ANSWER_MAX: u64 = 4 << 20;

/// Which hosts have followed a change: by name, why not for those that have not.
pub(super) type Followed = BTreeMap<String, Result<(), String>>;

/// Prints what was changed when it holds everywhere, or the time is over.
pub(super) fn finish(at: &At, written: &Written, object: Value, text: &str) -> Result<Exit, Failure> {
    report(at, follow(at, written), object, text)
}

/// Prints what was changed, and where it does not hold.
pub(super) fn report(
    at: &At,
    followed: Result<Followed, String>,
    mut object: Value,
    text: &str,
) -> Result<Exit, Failure> {
    if let Ok(followed) = &followed {
        let holds = followed.iter().filter(|(_, held)| held.is_ok());
        object["hosts"] = holds.map(|(host, _)| host.as_str()).collect();
        let missing = followed.iter().filter_map(|(host, held)| Some((host, held.as_ref().err()?)));
        object["missing"] = missing.map(|(host, why)| json!({"host": host, "why": why})).collect();
    }
    // Who does not follow is told, and is in the exit code, also when nobody reads the rest.
    let printed = show::print_as(at.json, &object, text);
    let exit = match followed {
        Ok(followed) => {
            let mut exit = Exit::Done;
            for (host, why) in followed.iter().filter_map(|(host, held)| Some((host, held.as_ref().err()?))) {
                eprintln!("authmgr: it is stored, and {host} does not follow it yet: {why}");
                exit = Exit::NotEverywhere;
            }
            exit
        }
        Err(why) => {
            eprintln!(
                "authmgr: it is stored; whether every host follows it within a second was not asked: {why}"
            );
            Exit::Done
        }
    };
    printed.map(|()| exit)
}

/// Asks until all hosts that are up have followed, or the time is over. `Err` when nobody can be asked.
pub(super) fn follow(at: &At, written: &Written) -> Result<Followed, String> {
    let base = at.run_dir.clone().unwrap_or_else(run_base);
    let daemons = Daemon::connect_all(&base, None).map_err(|error| error.to_string())?;
    let mut daemon = daemons.into_iter().next().ok_or("no daemon runs here")?;
    daemon.set_patience(ANSWER_WITHIN).map_err(|error| error.to_string())?;
    let until = Instant::now() + FOLLOW_WITHIN;
    let mut followed = Followed::new();
    let mut target = json!("up");
    loop {
        let request = json!({"target": target, "ask": {"host": {"follow": {"key": written.key}}}});
        let answer = daemon.exchange(request.to_string().as_bytes(), ANSWER_MAX);
        let answer =
            answer.map_err(|error| format!("the daemon of {} does not answer: {error}", daemon.host))?;
        read(&answer, written, &mut followed).ok_or("the daemon here is of another version; restart it")?;
        let missing: Vec<&String> =
            followed.iter().filter(|(_, held)| held.is_err()).map(|(host, _)| host).collect();
        if missing.is_empty() || Instant::now() + AGAIN >= until {
            return Ok(followed);
        }
        target = match missing[..] {
            [one] => json!({"host": one}),
            _ => json!("up"),
        };
        std::thread::sleep(AGAIN);
    }
}

/// Reads what hosts answered. `None` for an answer that is none.
fn read(answer: &[u8], written: &Written, followed: &mut Followed) -> Option<()> {
    let answers: Value = serde_json::from_slice(answer).ok()?;
    for answer in answers.as_array()? {
        let host = answer["host"].as_str()?.to_owned();
        let reply = &answer["answer"]["host"];
        let held = if let Some(follows) = reply.get("follows") {
            let holds = follows["generation"].as_u64() == Some(written.generation.0.into())
                && follows["revision"].as_u64() >= Some(written.revision.0);
            let store = follows["store"].as_str().unwrap_or("-");
            if holds { Ok(()) } else { Err(format!("its data store {store} does not have it")) }
        } else if let Some(why) = reply["refused"].as_str().or_else(|| answer["unreachable"].as_str()) {
            Err(why.to_owned())
        } else if answer.get("stopped").is_some() || answer == "stopped" {
            continue;
        } else if host == "-" {
            return None;
        } else {
            Err("it runs another version of this program".to_owned())
        };
        followed.insert(host, held);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datastore::{Generation, Revision};

    #[test]
    fn a_host_follows_when_it_has_read_the_same_generation_at_or_after_the_change() {
        let written = Written {
            key: "policy/login".parse().unwrap(),
            generation: Generation(2),
            revision: Revision(7),
        };
        let answer = json!([
            {"host": "a", "answer": {"host": {"follows": {"generation": 2, "revision": 7, "store": "s"}}}},
            {"host": "b", "answer": {"host": {"follows": {"generation": 2, "revision": 6, "store": "s"}}}},
            {"host": "c", "answer": {"host": {"follows": {"generation": 1, "revision": 9, "store": "s"}}}},
            {"host": "d", "unreachable": "no answer in time"},
            {"host": "e", "answer": {"host": {"refused": "its data store is away"}}},
        ]);
        let mut followed = Followed::new();
        read(answer.to_string().as_bytes(), &written, &mut followed).unwrap();
        let holds: Vec<bool> = followed.values().map(Result::is_ok).collect();
        assert_eq!(holds, [true, false, false, false, false]);
        assert_eq!(
            read(br#"[{"host":"-","answer":{"refused":"not a request"}}]"#, &written, &mut followed),
            None
        );
    }
}
