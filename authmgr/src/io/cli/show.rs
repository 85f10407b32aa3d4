//! What is printed: lines for a person, or one JSON object a line.

use std::io::Write as _;
use std::path::Path;

use proto::card::Card;
use serde_json::{Value, json};

use super::CliError;
use crate::admission::{Policy, Pseudo, Record};
use crate::io::store::{Changed, Listed};
use crate::registry::Replacement;

pub(super) fn write(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // A reader that has seen enough is no error: `authmgr card list | head`.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn say(as_json: bool, object: &Value, text: &str) -> Result<(), CliError> {
    let line = if as_json { format!("{object}\n") } else { format!("{text}\n") };
    write(line.as_bytes())
}

pub(super) fn new_card(path: &Path, card: &Card, as_json: bool) -> Result<(), CliError> {
    let (file, token, keyed) = (path.display().to_string(), card.token().as_str(), card.secret().is_some());
    let hint = if keyed { format!("; register it: authmgr card register {file}") } else { String::new() };
    let kind = if keyed { " (keyed)" } else { "" };
    say(
        as_json,
        &json!({"file": file, "token": token, "keyed": keyed}),
        &format!("{file}: {token}{kind}{hint}"),
    )
}

/// A record without its secret.
fn object(record: &Record) -> Value {
    json!({
        "token": record.token.as_str(),
        "user": record.owner.as_ref().map(|owner| owner.as_str()),
        "keyed": record.secret.is_some(),
        "alias": record.alias.as_ref().map(|token| token.as_str()),
        "template": record.template.as_ref().map(|name| name.as_str()),
        "account": record.account.as_ref().map(|name| name.as_str()),
        "disabled": record.disabled,
    })
}

fn details(record: &Record) -> String {
    let mut words = Vec::new();
    if let Some(owner) = &record.owner {
        words.push(format!("user {owner}"));
    }
    if record.secret.is_some() {
        words.push("keyed".into());
    }
    if let Some(alias) = &record.alias {
        words.push(format!("sessions of {alias}"));
    }
    if let Some(template) = &record.template {
        words.push(format!("template {template}"));
    }
    if let Some(account) = &record.account {
        words.push(format!("account {account}"));
    }
    if record.disabled {
        words.push("disabled".into());
    }
    words.join(", ")
}

fn line(record: &Record) -> String {
    match details(record) {
        words if words.is_empty() => record.token.to_string(),
        words => format!("{}: {words}", record.token),
    }
}

pub(super) fn registered(changed: &Changed, as_json: bool) -> Result<(), CliError> {
    let mut object = object(&changed.now);
    object["was_registered"] = changed.before.is_some().into();
    let done = match &changed.before {
        None => "registered",
        Some(before) if *before == changed.now => "unchanged",
        Some(_) => "changed",
    };
    say(as_json, &object, &format!("{done} {}", line(&changed.now)))
}

pub(super) fn disabled(changed: &Changed, as_json: bool) -> Result<(), CliError> {
    let record = &changed.now;
    let text = if record.disabled {
        format!(
            "{} is refused from now on; what it is shown already stays: groupmgr session detach",
            record.token
        )
    } else {
        format!("{} is admitted", record.token)
    };
    say(as_json, &object(record), &text)
}

pub(super) fn replaced(done: &Replacement, as_json: bool) -> Result<(), CliError> {
    let (old, new) = (&done.old, &done.new);
    let text = format!(
        "{} has the sessions of {} from its next insert on; {} is disabled",
        new.token,
        new.session_token(),
        old.token
    );
    say(as_json, &json!({"old": object(old), "new": object(new)}), &text)
}

pub(super) fn list(listed: &[Listed], as_json: bool) -> Result<(), CliError> {
    let width = listed.iter().map(|entry| entry.token.as_str().len()).max().unwrap_or(0);
    let mut text = String::new();
    for Listed { token, record } in listed {
        let line = match (record, as_json) {
            (Ok(record), true) => object(record).to_string(),
            (Err(error), true) => json!({"token": token.as_str(), "damaged": error.to_string()}).to_string(),
            (Ok(record), false) => format!("{token:width$}  {}", details(record)).trim_end().to_owned(),
            (Err(error), false) => format!("{token:width$}  damaged: {error}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    if listed.is_empty() && !as_json {
        eprintln!("no token is registered");
    }
    write(text.as_bytes())
}

pub(super) fn policy(policy: Policy, is_set: bool, as_json: bool) -> Result<(), CliError> {
    let default = if is_set { "" } else { " (the default: none was set)" };
    let without = match policy.pseudo {
        Pseudo::Allow => "get a session of their own",
        Pseudo::Deny => "ask for a card",
    };
    let Policy { pseudo, cards } = policy;
    say(
        as_json,
        &json!({"pseudo": pseudo.to_string(), "cards": cards.to_string(), "set": is_set}),
        &format!(
            "pseudo={pseudo} cards={cards}{default}: DTUs without a card {without}; admitted cards: {cards}"
        ),
    )
}
