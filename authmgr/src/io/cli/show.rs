//! What is printed: lines for a person, or one JSON object a line.

use std::path::Path;

use proto::card::Card;
use proto::io::cli::{Failure, print};
use proto::{Serial, Token};
use serde_json::{Value, json};

use crate::admission::{Dtus, Policy, Pseudo, Record};
use crate::io::handover::HandedOver;
use crate::io::named::written_file;
use crate::io::pins::PinnedKey;
use crate::io::store::{Changed, Listed};
use crate::registry::Replacement;

/// Prints `object` or `text`.
pub(super) fn print_as(as_json: bool, object: &Value, text: &str) -> Result<(), Failure> {
    print(if as_json { format!("{object}\n") } else { format!("{text}\n") })
}

pub(super) fn new_card(path: &Path, card: &Card, as_json: bool) -> Result<(), Failure> {
    let (file, token, keyed) = (written_file(path), card.token().as_str(), card.secret().is_some());
    let hint = if keyed { format!("; register it: authmgr card register {file}") } else { String::new() };
    let kind = if keyed { " (keyed)" } else { "" };
    print_as(
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
        "registered": record.registered,
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
    if !record.registered {
        words.push("not registered".into());
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

/// What is known of `token`, whose record may be gone.
fn object_of(token: &Token, record: Option<&Record>) -> Value {
    record.map_or_else(|| json!({"token": token.as_str(), "registered": false, "disabled": false}), object)
}

pub(super) fn registered(token: &Token, changed: &Changed) -> (Value, String) {
    let mut object = object_of(token, changed.now.as_ref());
    object["was_registered"] = changed.before.as_ref().is_some_and(|before| before.registered).into();
    let done = match &changed.before {
        None => "registered",
        before if *before == changed.now => "unchanged",
        Some(_) => "changed",
    };
    (object, format!("{done} {}", changed.now.as_ref().map_or_else(|| token.to_string(), line)))
}

pub(super) fn disabled(token: &Token, changed: &Changed) -> (Value, String) {
    let text = match &changed.now {
        Some(record) if record.disabled => {
            format!("{token} is refused from now on; what it is shown already stays: groupmgr session detach")
        }
        Some(_) => format!("{token} is admitted"),
        None => {
            format!("{token} is no longer disabled; it is not registered, so the policy decides about it")
        }
    };
    (object_of(token, changed.now.as_ref()), text)
}

pub(super) fn removed(token: &Token) -> (Value, String) {
    let text = format!("{token} is no longer registered; the policy decides about it from now on");
    (object_of(token, None), text)
}

pub(super) fn replaced(done: &Replacement) -> (Value, String) {
    let (old, new) = (&done.old, &done.new);
    let text = format!(
        "{} has the sessions of {} from its next insert on; {} is disabled",
        new.token,
        new.session_token(),
        old.token
    );
    (json!({"old": object(old), "new": object(new)}), text)
}

/// What is said after each page of many values.
pub(super) fn progress(done: &HandedOver) -> String {
    format!("{} of the card's values looked at", done.moved + done.left)
}

/// Adds what became of the card's data, if there was any.
pub(super) fn handed_over(record: &Record, done: &HandedOver, object: &mut Value, text: &mut String) {
    if done.moved + done.left == 0 {
        return;
    }
    let left = done.named.iter().map(|(key, why)| json!({"key": key.as_str(), "why": why.to_string()}));
    object["data"] = json!({
        "moved": done.moved,
        "left": done.left,
        "left_named": left.collect::<Vec<_>>(),
        "running": done.running.iter().map(Token::as_str).collect::<Vec<_>>(),
    });
    let owner = record.session_owner();
    let values = |n: usize| if n == 1 { "1 value".to_owned() } else { format!("{n} values") };
    let verb = if done.moved == 1 { "is" } else { "are" };
    *text += &format!("\n{} of the card {verb} now {owner}'s", values(done.moved));
    if done.left > 0 {
        *text += &format!("; {} left with the card:", values(done.left));
    }
    for (key, why) in &done.named {
        *text += &format!("\n  {key}: {why}");
    }
    if done.left > done.named.len() {
        *text += &format!("\n  and {} more", done.left - done.named.len());
    }
    for token in &done.running {
        *text += &format!(
            "\na session of {token} runs: if it began before the card had a user, it goes on with the card's own data, \
             which was only copied; when it has ended, run this again to hand over what it stored meanwhile"
        );
    }
}

pub(super) fn record(record: &Record, as_json: bool) -> Result<(), Failure> {
    print_as(as_json, &object(record), &line(record))
}

pub(super) fn list(listed: &[Listed], as_json: bool) -> Result<(), Failure> {
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
    print(text)
}

pub(super) fn pins(pinned: &[PinnedKey], as_json: bool) -> Result<(), Failure> {
    let width = pinned.iter().map(|entry| entry.serial.as_str().len()).max().unwrap_or(0);
    let mut text = String::new();
    for PinnedKey { serial, pin, by } in pinned {
        let line = match (pin, as_json) {
            (Ok(pin), true) => json!({"dtu": serial, "key": pin.key, "by": by}).to_string(),
            (Err(error), true) => json!({"dtu": serial, "damaged": error.to_string()}).to_string(),
            (Ok(pin), false) => {
                format!("{serial:width$}  {}  pinned by {}", pin.key, by.as_deref().unwrap_or("-"))
            }
            (Err(error), false) => format!("{serial:width$}  damaged: {error}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    if pinned.is_empty() && !as_json {
        eprintln!("no key of a DTU is pinned");
    }
    print(text)
}

pub(super) fn forgotten(serial: &Serial) -> (Value, String) {
    let text =
        format!("the key of {serial} is forgotten; the next one that is proved with this serial is pinned");
    (json!({"dtu": serial, "pinned": false}), text)
}

pub(super) fn policy(policy: Policy, is_set: bool) -> (Value, String) {
    let default = if is_set { "" } else { " (the default: none was set)" };
    let without = match policy.pseudo {
        Pseudo::Allow => "get a session of their own",
        Pseudo::Deny => "ask for a card",
    };
    let keyless = match policy.dtus {
        Dtus::Any => "admitted",
        Dtus::Keyed => "refused",
    };
    let Policy { pseudo, cards, dtus } = policy;
    (
        json!({"pseudo": pseudo.to_string(), "cards": cards.to_string(), "dtus": dtus.to_string(), "set": is_set}),
        format!(
            "pseudo={pseudo} cards={cards} dtus={dtus}{default}: DTUs without a card {without}; admitted cards: {cards}; \
             DTUs without a key are {keyless}"
        ),
    )
}
