//! Commands about the hosts themselves.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use proto::exit::Exit;
use proto::io::cli::{Failure, print};
use proto::{HostName, SessionId, Token};
use serde_json::json;

use super::args::{At, DtuCommand, MessageTarget, On};
use super::ask::{Daemon, Gathered};
use super::secondary::{self, CopiesOf};
use super::session;
use super::show::{self, print_json};
use crate::host::admin::{Command, Explanation, ReplicaView, Reply, SessionView, Status};
use crate::io::admin::wire::Target;
use crate::topology::RowView;

/// How many of the sessions that stay on a drained host are named.
const STAYING_NAMED: usize = 10;
/// How often `status --watch` and `drain --wait` look again.
const AGAIN: Duration = Duration::from_secs(1);
/// Empties a terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[1;1H";

pub(super) fn stop(at: &At, on: On) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(at)?;
    let target = on.or(Target::Local);
    let is_elsewhere = matches!(target, Target::Host(_));
    let done = daemon.command(target, Command::Stop)?;
    if !is_elsewhere && done.refused.is_empty() {
        daemon.wait_for_end()?;
    }
    finish(at, &done)
}

pub(super) fn topology(at: &At, on: On, seed_format: bool) -> Result<Exit, Failure> {
    let gathered = Daemon::connect(at)?.command(on.or(Target::Local), Command::Topology)?;
    let tables: Vec<(&HostName, &Vec<RowView>)> = (gathered.replies.iter())
        .filter_map(|(host, reply)| match reply {
            Reply::Topology(rows) => Some((host, rows)),
            _ => None,
        })
        .collect();
    match tables[..] {
        [(_, rows)] if at.json => print_json(rows)?,
        _ if at.json => {
            let of_host = |(host, rows): &(&HostName, &Vec<RowView>)| json!({"host": host, "topology": rows});
            print_json(&tables.iter().map(of_host).collect::<Vec<_>>())?;
        }
        _ => {
            for (at, (host, rows)) in tables.iter().enumerate() {
                if tables.len() > 1 {
                    print(format!("{}as {host} sees it:\n", if at == 0 { "" } else { "\n" }))?;
                }
                let text = if seed_format {
                    rows.iter().map(RowView::seed_form).collect()
                } else {
                    show::topology(rows)
                };
                print(&text)?;
            }
        }
    }
    Ok(gathered.conclude())
}

pub(super) fn status(at: &At, on: On, watch: bool) -> Result<Exit, Failure> {
    let target = on.or(Target::All);
    let mut daemon = Daemon::connect(at)?;
    loop {
        let gathered = daemon.command(target.clone(), Command::Status)?;
        let hosts: Vec<&Status> = (gathered.replies.iter())
            .filter_map(|(_, reply)| match reply {
                Reply::Status(status) => Some(&**status),
                _ => None,
            })
            .collect();
        let whole = json!({"hosts": hosts, "unreachable": gathered.missing(), "stopped": gathered.stopped});
        match (at.json, watch) {
            (true, true) => print(format!("{whole}\n"))?,
            (true, false) => print_json(&whole)?,
            (false, _) => {
                if watch && io::stdout().is_terminal() {
                    print(CLEAR)?;
                }
                print(show::status(&hosts, &gathered.stopped))?;
            }
        }
        let code = gathered.conclude();
        if !watch {
            return Ok(code);
        }
        std::thread::sleep(AGAIN);
    }
}

pub(super) fn explain(at: &At, token: &Token) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(at)?;
    let gathered = daemon.command(Target::All, Command::Explain(token.clone()))?;
    let explained: Vec<(&HostName, &Explanation)> = (gathered.replies.iter())
        .filter_map(|(host, reply)| match reply {
            Reply::Explain(explanation) => Some((host, explanation)),
            _ => None,
        })
        .collect();
    let (copies, _) = secondary::copies(&mut daemon, Target::All)?;
    let sessions = explained.iter().flat_map(|(_, e)| e.here.iter().map(|s| s.session));
    let copies = CopiesOf::token(&copies, token, sessions);
    if at.json {
        let hosts: Vec<_> =
            explained.iter().map(|(host, e)| json!({"host": host, "explanation": e})).collect();
        let copies: Vec<_> = copies.iter().map(CopiesOf::json).collect();
        print_json(&json!({
            "token": token, "hosts": hosts, "copies": copies, "unreachable": gathered.missing(),
        }))?;
    } else {
        let copies: String = copies.iter().map(CopiesOf::text).collect();
        print(format!("{}\n{copies}", show::explanation(token, &explained)))?;
    }
    Ok(gathered.conclude())
}

pub(super) fn dtu(at: &At, command: DtuCommand) -> Result<Exit, Failure> {
    let (target, wanted) = match command {
        DtuCommand::List { on } => (on.or(Target::All), None),
        DtuCommand::Show { serial } => (Target::All, Some(serial)),
        DtuCommand::Message { to, text } => return message(at, to, text),
    };
    let mut gathered = Daemon::connect(at)?.command(target, Command::Dtus)?;
    let mut dtus = Vec::new();
    for (_, reply) in gathered.replies.drain(..) {
        if let Reply::Dtus(of_host) = reply {
            dtus.extend(of_host);
        }
    }
    if let Some(serial) = wanted {
        dtus.retain(|dtu| dtu.serial.as_ref() == Some(&serial));
        if dtus.is_empty() {
            gathered.conclude();
            return Err(Failure::no(format!("no DTU {serial} is connected; see: groupmgr dtu list")));
        }
    }
    if at.json {
        print_json(&json!({"dtus": dtus, "unreachable": gathered.missing()}))?;
    } else {
        print(show::dtus(&dtus))?;
    }
    Ok(gathered.conclude())
}

fn message(at: &At, to: MessageTarget, text: String) -> Result<Exit, Failure> {
    let serial = match to {
        MessageTarget::All => None,
        MessageTarget::One(serial) => Some(serial),
    };
    let told =
        Daemon::connect(at)?.command(Target::All, Command::Message { serial: serial.clone(), text })?;
    let at_desks = told.at();
    if let (Some(serial), 0) = (&serial, at_desks) {
        told.conclude();
        return Err(Failure::no(format!("no DTU {serial} is connected; see: groupmgr dtu list")));
    }
    if at.json {
        print_json(&json!({"told": at_desks, "unreachable": told.missing()}))?;
    } else {
        print(format!("told at {at_desks} {}\n", if at_desks == 1 { "DTU" } else { "DTUs" }))?;
    }
    Ok(told.conclude_order())
}

pub(super) fn drain(at: &At, on: On, drain: bool, wait: bool) -> Result<Exit, Failure> {
    let target = on.or(Target::Local);
    let mut daemon = Daemon::connect(at)?;
    let done = daemon.command(target.clone(), Command::Drain(drain))?;
    let left = if drain { Some(Left::on(&mut daemon, &target)?) } else { None };
    if let Some(left) = left.as_ref().filter(|left| !at.json && !left.is_empty()) {
        print(left.to_string())?;
    }
    if let (Some(left), true) = (&left, wait) {
        wait_until_empty(at, &mut daemon, &target, left)?;
    }
    if let (Some(left), true) = (left, at.json) {
        let counts = json!({"moving": left.moving, "staying": left.staying.len()});
        return finish_with(at, &done, counts);
    }
    finish(at, &done)
}

/// The sessions of a drained host.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    /// Those that another host keeps, and is to go on with.
    moving: usize,
    /// Those that nobody could go on with.
    staying: Vec<String>,
}

impl Left {
    fn on(daemon: &mut Daemon, target: &Target) -> Result<Self, Failure> {
        let (sessions, _) = session::list(daemon, target.clone())?;
        let (copies, _) = secondary::copies(daemon, target.clone())?;
        let is_kept = |replica: &&ReplicaView| replica.secondary.is_some();
        let own = copies.values().flat_map(|copies| &copies.own).filter(is_kept);
        let kept: BTreeSet<SessionId> = own.map(|replica| replica.session).collect();
        let (moving, staying): (Vec<_>, Vec<_>) =
            sessions.iter().partition(|view| kept.contains(&view.session));
        let name = |view: &SessionView| format!("{} of {}", view.session.short(), view.token);
        Ok(Self { moving: moving.len(), staying: staying.into_iter().map(name).collect() })
    }

    const fn is_empty(&self) -> bool {
        self.moving == 0 && self.staying.is_empty()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.moving > 0 {
            writeln!(f, "{} to be handed over", sessions(self.moving))?;
        }
        if self.staying.is_empty() {
            return Ok(());
        }
        let named: Vec<&str> = self.staying.iter().take(STAYING_NAMED).map(String::as_str).collect();
        let more = if self.staying.len() > named.len() { ", ..." } else { "" };
        writeln!(f, "{} until they end: {}{more}", sessions(self.staying.len()), named.join(", "))
    }
}

fn sessions(count: usize) -> String {
    format!("{count} session{}", if count == 1 { "" } else { "s" })
}

/// Waits until no host meant has a session, and tells a person how many are left.
fn wait_until_empty(at: &At, daemon: &mut Daemon, target: &Target, told: &Left) -> Result<(), Failure> {
    let mut last = None;
    loop {
        let left = Left::on(daemon, target)?;
        if left.is_empty() {
            return Ok(());
        }
        if *last.as_ref().unwrap_or(told) != left && !at.json {
            print(left.to_string())?;
        }
        last = Some(left);
        std::thread::sleep(AGAIN);
    }
}

pub(super) fn forget(at: &At, gone: HostName) -> Result<Exit, Failure> {
    let mut done = Daemon::connect(at)?.command(Target::All, Command::Forget(gone.clone()))?;
    // The one that is to be forgotten is asked too, and its silence is why.
    done.unreachable.retain(|(host, _)| *host != gone);
    finish(at, &done)
}

/// Prints who did what was asked, for a program; for a person, doing it is enough.
fn finish(at: &At, done: &Gathered) -> Result<Exit, Failure> {
    finish_with(at, done, json!({}))
}

/// The same, and something more.
fn finish_with(at: &At, done: &Gathered, mut answer: serde_json::Value) -> Result<Exit, Failure> {
    if at.json {
        let hosts: Vec<&HostName> = done.replies.iter().map(|(host, _)| host).collect();
        let refused: Vec<_> =
            done.refused.iter().map(|(host, why)| json!({"host": host, "why": why})).collect();
        (answer["done"], answer["refused"]) = (json!(hosts), json!(refused));
        answer["unreachable"] = json!(done.missing());
        print_json(&answer)?;
    }
    Ok(done.conclude_order())
}
