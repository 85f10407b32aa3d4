//! `session list | show | new | switch | detach | end`.

use std::collections::BTreeSet;

use proto::Token;
use proto::exit::Exit;
use proto::io::cli::{Failure, print};
use serde_json::json;

use super::args::{At, SessionCommand};
use super::ask::{Daemon, Gathered};
use super::secondary;
use super::show::{self, print_json};
use crate::host::admin::{Command, Reply, SessionAct, SessionView};
use crate::io::admin::wire::Target;

pub(super) fn run(at: &At, command: SessionCommand) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(at)?;
    match command {
        SessionCommand::List { token, on } => {
            let (mut sessions, gathered) = list(&mut daemon, on.or(Target::All))?;
            sessions.retain(|session| token.as_ref().is_none_or(|token| session.token == *token));
            if at.json {
                print_json(&json!({"sessions": sessions, "unreachable": gathered.missing()}))?;
            } else {
                print(show::sessions(&sessions))?;
            }
            Ok(gathered.conclude())
        }
        SessionCommand::Show { session } => {
            let (sessions, _) = list(&mut daemon, Target::All)?;
            secondary::show(at, &mut daemon, the_one(&sessions, &session)?)
        }
        SessionCommand::New { token, template, on } => {
            let target = on.map_or(Target::Local, Target::Host);
            new(at, &mut daemon, target, Command::NewSession { token, template })
        }
        SessionCommand::Switch { session } => switch(at, &mut daemon, &session),
        SessionCommand::Detach { session } => change(at, &mut daemon, &session, SessionAct::Detach),
        SessionCommand::Protect { session, ack, protect } => {
            change(at, &mut daemon, &session, SessionAct::Protect { ack, protect })
        }
        SessionCommand::End { session } => change(at, &mut daemon, &session, SessionAct::End),
    }
}

fn new(at: &At, daemon: &mut Daemon, target: Target, command: Command) -> Result<Exit, Failure> {
    let made = daemon.command(target, command)?;
    for (host, reply) in &made.replies {
        let Reply::Made(session) = reply else { continue };
        if at.json {
            print_json(&json!({"session": session, "host": host}))?;
        } else {
            print(format!("{session} on {host}\n"))?;
        }
    }
    Ok(made.conclude())
}

/// Makes a session the newest of its token and has the token presented again wherever it is.
fn switch(at: &At, daemon: &mut Daemon, text: &str) -> Result<Exit, Failure> {
    let (sessions, _) = list(daemon, Target::All)?;
    let meant = the_one(&sessions, text)?;
    let of_token = sessions.iter().filter(|s| s.token == meant.token);
    let act = SessionAct::Prefer { after: of_token.map(|s| s.last).max().unwrap_or_default() };
    let command = Command::Session { session: meant.session, act };
    let preferred = daemon.command(Target::Host(meant.host.clone()), command)?;
    if preferred.replies.is_empty() {
        return Ok(preferred.conclude());
    }
    let again = daemon.command(Target::All, Command::PresentAgain(meant.token.clone()))?;
    let at_desks = again.at();
    if at.json {
        print_json(&json!({"session": meant.session, "host": meant.host, "presented_again": at_desks}))?;
    } else if at_desks == 0 {
        print("no desk presents its token now; the next one that does will show it\n")?;
    }
    Ok(again.conclude_order())
}

/// The sessions of the hosts meant, by token and the newest first.
pub(super) fn list(daemon: &mut Daemon, target: Target) -> Result<(Vec<SessionView>, Gathered), Failure> {
    let mut gathered = daemon.command(target, Command::Sessions)?;
    let mut sessions = Vec::new();
    for (_, reply) in gathered.replies.drain(..) {
        if let Reply::Sessions(of_host) = reply {
            sessions.extend(of_host);
        }
    }
    forget_kept(&mut sessions);
    sessions.sort_by(|a, b| (&a.token, b.last).cmp(&(&b.token, a.last)));
    Ok((sessions, gathered))
}

/// Who found a session kept may not have heard yet that it has a home again.
fn forget_kept(sessions: &mut Vec<SessionView>) {
    let is_kept = |s: &SessionView| matches!(s.state.as_str(), "kept" | "lost with its host");
    let run: BTreeSet<_> = sessions.iter().filter(|s| !is_kept(s)).map(|s| s.session).collect();
    sessions.retain(|s| !is_kept(s) || !run.contains(&s.session));
}

/// Does something to one session, wherever it is.
fn change(at: &At, daemon: &mut Daemon, text: &str, act: SessionAct) -> Result<Exit, Failure> {
    let (session, done) = do_to(daemon, text, act)?;
    if at.json {
        print_json(
            &json!({"session": session.session, "host": session.host, "done": done.refused.is_empty()}),
        )?;
    }
    Ok(done.conclude())
}

/// Does something to the one session that `text` means, and returns what its host said.
pub(super) fn do_to(
    daemon: &mut Daemon,
    text: &str,
    act: SessionAct,
) -> Result<(SessionView, Gathered), Failure> {
    let (sessions, _) = list(daemon, Target::All)?;
    let meant = the_one(&sessions, text)?.clone();
    let command = Command::Session { session: meant.session, act };
    let done = daemon.command(Target::Host(meant.host.clone()), command)?;
    Ok((meant, done))
}

pub(super) fn the_one<'a>(sessions: &'a [SessionView], text: &str) -> Result<&'a SessionView, Failure> {
    match find(sessions, text)[..] {
        [session] => Ok(session),
        [] => Err(Failure::no(format!("no session {text}; see: groupmgr session list"))),
        ref several => {
            let ids: Vec<String> = several.iter().map(|s| format!("{} on {}", s.session, s.host)).collect();
            Err(Failure::usage(format!("{text} means several sessions; say which: {}", ids.join(", "))))
        }
    }
}

/// The sessions `text` can mean: the beginning of an id, or a whole token.
fn find<'a>(sessions: &'a [SessionView], text: &str) -> Vec<&'a SessionView> {
    let token: Option<Token> = text.parse().ok();
    let prefix = text.to_ascii_lowercase();
    let is_meant = |session: &&SessionView| match &token {
        Some(token) => session.token == *token,
        None => !prefix.is_empty() && session.session.to_string().starts_with(&prefix),
    };
    // One that could not be started is only told of.
    sessions.iter().filter(|s| !s.state.starts_with("failed")).filter(is_meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Epoch, Last, SessionId};

    fn session(id: u128, token: &str) -> SessionView {
        SessionView {
            host: "a".parse().unwrap(),
            session: SessionId(id << 100),
            token: token.parse().unwrap(),
            epoch: Epoch::default(),
            last: Last(0),
            claimed: true,
            state: "running".into(),
            shown: None,
        }
    }

    #[test]
    fn a_session_is_meant_by_the_beginning_of_its_id_or_by_its_token() {
        let sessions = [session(0x0123_4567, "card.1"), session(0x0129_9999, "card.2")];
        assert_eq!(find(&sessions, "123").len(), 1);
        assert_eq!(find(&sessions, "12").len(), 2);
        assert_eq!(find(&sessions, "card.2").len(), 1);
        assert!(find(&sessions, "").is_empty() && find(&sessions, "card.3").is_empty());
    }
}
