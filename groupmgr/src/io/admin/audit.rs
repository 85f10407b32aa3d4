//! The audit records of a host: one line for each admission, refusal, change of the login policy or the registry, and
//! order of an operator, on the host where it happens.
//!
//! Every one holds the word `audit` followed by `what=`, and orders and changes also `by=`: the account that gave the
//! order, with `@` and the machine or host where it was given if that is another one. They are written whatever the log
//! filter says, unless it names the target `audit`.

use crate::host::admin::{Command, Reply, SessionAct};

use super::wire::{Answer, Ask, TemplateAsk};

/// The target of audit records, by which a log filter may name them.
pub(crate) const AUDIT: &str = "audit";
/// Who did something when that is not known.
pub(crate) const UNKNOWN: &str = "-";

/// Writes a record of an operator's order; at level DEBUG for a mere question.
pub(super) fn order(ask: &Ask, by: &str, answer: &Answer) {
    let (what, about) = describe(ask);
    let outcome = match answer {
        Answer::Refused(why) | Answer::Host(Reply::Refused(why)) => format!("refused: {why}"),
        _ => "done".to_owned(),
    };
    match is_question(ask) {
        true => tracing::debug!(target: AUDIT, what, about, by, outcome, "audit"),
        false => tracing::info!(target: AUDIT, what, about, by, outcome, "audit"),
    }
}

/// Whether something is only looked at.
const fn is_question(ask: &Ask) -> bool {
    match ask {
        Ask::Host(command) => matches!(
            command,
            Command::Status
                | Command::Topology
                | Command::Sessions
                | Command::Dtus
                | Command::Explain(_)
                | Command::Follow { .. }
                | Command::Session { act: SessionAct::Services | SessionAct::Outcome(_), .. }
        ),
        Ask::Template(ask) => matches!(ask, TemplateAsk::List | TemplateAsk::Show(_)),
        Ask::Facts => true,
    }
}

/// An order in one word, and what it is about.
fn describe(ask: &Ask) -> (&'static str, String) {
    let none = String::new;
    match ask {
        Ask::Host(command) => match command {
            Command::Status => ("status", none()),
            Command::Topology => ("topology", none()),
            Command::Sessions => ("sessions", none()),
            Command::Dtus => ("dtus", none()),
            Command::Copies => ("copies", none()),
            Command::Explain(token) => ("explain", token.to_string()),
            Command::Drain(true) => ("drain", none()),
            Command::Drain(false) => ("undrain", none()),
            Command::Forget(host) => ("forget", host.to_string()),
            Command::Session { session, act } => describe_act(session, act),
            Command::NewSession { token, template } => {
                let of = template.as_ref().map_or_else(none, |name| format!(" template {name}"));
                ("session-new", format!("{token}{of}"))
            }
            Command::PresentAgain(token) => ("present-again", token.to_string()),
            Command::Message { serial, .. } => {
                ("message", serial.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string))
            }
            Command::Follow { key } => ("follow", key.to_string()),
            Command::Stop => ("stop", none()),
        },
        Ask::Template(TemplateAsk::List) => ("templates", none()),
        Ask::Template(TemplateAsk::Show(name)) => ("template-show", name.clone()),
        Ask::Template(TemplateAsk::Put { name, .. }) => ("template-put", name.clone()),
        Ask::Template(TemplateAsk::Remove(name)) => ("template-rm", name.clone()),
        Ask::Facts => ("facts", none()),
    }
}

fn describe_act(session: &proto::SessionId, act: &SessionAct) -> (&'static str, String) {
    match act {
        SessionAct::Detach => ("session-detach", session.to_string()),
        SessionAct::End => ("session-end", session.to_string()),
        SessionAct::Prefer { .. } => ("session-switch", session.to_string()),
        SessionAct::Protect { .. } => ("session-protect", session.to_string()),
        SessionAct::Services => ("services", session.to_string()),
        // The command itself may hold what is nobody else's business.
        SessionAct::Start(start) => ("service-start", format!("{session} {}", start.service)),
        SessionAct::Stop(service) => ("service-stop", format!("{session} {service}")),
        SessionAct::Outcome(service) => ("service-outcome", format!("{session} {service}")),
    }
}
