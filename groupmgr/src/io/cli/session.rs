//! `session list | detach | end`.

use std::process::ExitCode;

use proto::{SessionId, Token};
use serde_json::json;

use super::args::{At, SessionCommand};
use super::ask::{Daemon, Gathered};
use super::{CliError, say, say_json, show};
use crate::host::admin::{Command, Reply, SessionView};
use crate::io::admin::wire::Target;

pub(super) fn run(at: &At, command: SessionCommand) -> Result<ExitCode, CliError> {
    let mut daemon = Daemon::connect(at)?;
    match command {
        SessionCommand::List { token, on } => {
            let (mut sessions, gathered) = list(&mut daemon, on.or(Target::All))?;
            sessions.retain(|session| token.as_ref().is_none_or(|token| session.token == *token));
            if at.json {
                say_json(&json!({"sessions": sessions, "unreachable": gathered.missing()}))?;
            } else {
                say(&show::sessions(&sessions))?;
            }
            Ok(gathered.conclude())
        }
        SessionCommand::Detach { session } => change(at, &mut daemon, &session, Command::Detach),
        SessionCommand::End { session } => change(at, &mut daemon, &session, Command::End),
    }
}

/// The sessions of the hosts meant, by token and the newest first.
pub(super) fn list(daemon: &mut Daemon, target: Target) -> Result<(Vec<SessionView>, Gathered), CliError> {
    let mut gathered = daemon.command(target, Command::Sessions)?;
    let mut sessions = Vec::new();
    for (_, reply) in gathered.replies.drain(..) {
        if let Reply::Sessions(of_host) = reply {
            sessions.extend(of_host);
        }
    }
    sessions.sort_by(|a, b| (&a.token, b.last).cmp(&(&b.token, a.last)));
    Ok((sessions, gathered))
}

/// Does something to one session, wherever it is.
fn change(
    at: &At,
    daemon: &mut Daemon,
    text: &str,
    command: impl Fn(SessionId) -> Command,
) -> Result<ExitCode, CliError> {
    let (sessions, gathered) = list(daemon, Target::All)?;
    let meant = find(&sessions, text);
    let session = match meant[..] {
        [session] => session,
        [] => {
            gathered.conclude();
            return Err(CliError::No(format!("no session {text}; see: groupmgr session list")));
        }
        _ => {
            let ids: Vec<String> = meant.iter().map(|s| format!("{} on {}", s.session, s.host)).collect();
            return Err(CliError::Usage(format!(
                "{text} means several sessions; say which: {}",
                ids.join(", ")
            )));
        }
    };
    let done = daemon.command(Target::Host(session.host.clone()), command(session.session))?;
    if at.json {
        say_json(
            &json!({"session": session.session, "host": session.host, "done": done.refused.is_empty()}),
        )?;
    }
    Ok(done.conclude())
}

/// The sessions `text` can mean: the beginning of an id, or a whole token.
fn find<'a>(sessions: &'a [SessionView], text: &str) -> Vec<&'a SessionView> {
    let token: Option<Token> = text.parse().ok();
    let prefix = text.to_ascii_lowercase();
    let is_meant = |session: &&SessionView| match &token {
        Some(token) => session.token == *token,
        None => !prefix.is_empty() && session.session.to_string().starts_with(&prefix),
    };
    sessions.iter().filter(is_meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Epoch, Last};

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
