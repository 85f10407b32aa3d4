//! What many scenarios begin with.

use groupmgr::host::SessionRecord;
use groupmgr::host::admin::{Command, CopiesView, Reply, SessionAct, Status};
use proto::SessionId;

use crate::world::{DeskId, DeskPlan, World, ms, secs};

/// A new desk whose card has its session on this host, made there for it.
///
/// # Panics
/// When that cannot be had.
pub fn desk_with_session(w: &mut World, host: &str, card: &str) -> DeskId {
    let lan = w.lan();
    let others: Vec<String> = w.host_names().filter(|name| *name != host).map(str::to_owned).collect();
    drain(w, &others, true);
    let plan = DeskPlan::named(&format!("desk-{card}"), lan).server(host).card(card);
    let desk = w.add_desk(plan);
    w.expect(desk).attached_to(host).within(secs(2));
    drain(w, &others, false);
    desk
}

/// Each of these desks had a card for a moment, so that their hosts know it; its session has ended since.
pub fn know_the_card(w: &mut World, desks: &[DeskId], card: &str) {
    for desk in desks {
        w.insert(*desk, card);
        w.run_for(ms(20));
        w.remove(*desk);
    }
    w.run_for(secs(1));
    for seen in w.sessions_of(card) {
        w.ask(&seen.host, end(seen.session));
    }
    w.run_for(secs(2));
}

/// Drains hosts, or ends that, and waits until the others know.
pub fn drain(w: &mut World, hosts: &[String], drain: bool) {
    let alive: Vec<&String> = hosts.iter().filter(|host| w.host(host).is_some()).collect();
    for host in alive {
        w.ask(host, Command::Drain(drain));
    }
    w.run_for(ms(450));
}

/// What an operator asks a session's host to end it.
#[must_use]
pub const fn end(session: SessionId) -> Command {
    Command::Session { session, act: SessionAct::End }
}

/// And to take it off its DTU.
#[must_use]
pub const fn detach(session: SessionId) -> Command {
    Command::Session { session, act: SessionAct::Detach }
}

/// How a host is, as its operator sees it.
///
/// # Panics
/// When the host does not say.
pub fn status(w: &mut World, host: &str) -> Status {
    match w.ask(host, Command::Status) {
        Reply::Status(status) => *status,
        other => w.fail(&format!("{host} says {other:?} when asked how it is")),
    }
}

/// What a desk's shell says its process is.
///
/// # Panics
/// When it says nothing.
pub fn pid_on(w: &mut World, desk: DeskId) -> u32 {
    w.type_line(desk, "pid");
    w.expect(desk).reading("pid=").within(ms(500));
    let line = w.screen(desk).into_iter().rev().find_map(|line| line.strip_prefix("pid=")?.parse().ok());
    match line {
        Some(pid) => pid,
        None => w.fail("a pid that is no number"),
    }
}

/// Registers a token: `record` is what is said about it beside its name.
pub fn registry(w: &mut World, token: &str, record: &str) {
    w.store_put(&format!("token/{token}"), &format!("token name={token} {record}"));
}

/// Sets the login policy, and waits until it holds.
pub fn policy(w: &mut World, line: &str) {
    w.store_put(authmgr::admission::policy_key().as_str(), line);
    w.run_for(ms(900));
}

/// Sessions that are made from now on are replicated; `policy` has further lines of their template.
pub fn replicate(w: &mut World, policy: &str) {
    let text = format!("continuity = \"replicated\"\n{policy}[[service]]\nname = \"terminal\"\n");
    w.store_put("template/default", &text);
    w.run_for(secs(11));
}

/// A new desk that shows ann's session on `h1`, replicated by a template with `policy`, which has kept `page-3`.
///
/// # Panics
/// When that cannot be had.
pub fn desk_with_kept_page(w: &mut World, policy: &str) -> (DeskId, SessionId) {
    replicate(w, policy);
    let desk = desk_with_session(w, "h1", "card.ann");
    let Some(session) = w.shows(desk) else { w.fail("the desk shows no session") };
    w.run_for(secs(3));
    w.type_line(desk, "keep page-3");
    w.expect(desk).reading("kept=page-3").within(secs(1));
    (desk, session)
}

/// Who keeps the sessions of a host, and what it keeps for others.
///
/// # Panics
/// When it answers something else.
pub fn copies(w: &mut World, host: &str) -> CopiesView {
    match w.ask(host, Command::Copies) {
        Reply::Copies(copies) => copies,
        other => w.fail(&format!("{host} says {other:?} when asked about copies")),
    }
}

/// The record of a token's session, as the data store has it.
#[must_use]
pub fn record_of(w: &World, token: &str) -> Option<SessionRecord> {
    let claim = groupmgr::host::ClaimRecord::parse(w.stored(&format!("claim/{token}"))?.as_bytes()).ok()?;
    SessionRecord::parse(w.stored(&format!("session/{}", claim.session))?.as_bytes()).ok()
}
