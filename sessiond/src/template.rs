//! The template a session is made from: its services, their commands, where and as whom they run, and how far
//! the session's state is to outlive its host.
//!
//! See `docs/operations.md`, "Commands". Owns the text form (TOML) and its bounds.
//! Refuses to look at the machine: whether an account exists or a command can run is found out by the process
//! that needs it.

mod continuity;
mod text;

use std::collections::BTreeMap;

use proto::frame::Size;
use proto::{HostName, ServiceName};
use serde::{Deserialize, Serialize};

pub use continuity::{Ack, Continuity, Promote, Protect, Replication};

/// Longest accepted template text, in bytes.
pub const TEXT_MAX: usize = 16 * 1024;
/// Most services of a session.
pub const SERVICES_MAX: usize = 8;
/// Most words of a command, and most variables of a service.
pub const WORDS_MAX: usize = 64;
/// Most bytes of a command, of a service's variables, or of a directory's name.
pub const WORDS_LEN_MAX: usize = 8 * 1024;
/// Longest account name, in bytes; what Linux allows.
pub const ACCOUNT_LEN_MAX: usize = 32;

/// What a session is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The account its services run as; without one, the account that belongs to the token.
    pub account: Option<String>,
    /// How far its state outlives its host.
    pub continuity: Continuity,
    /// What a session of the class [`Continuity::Replicated`] waits for.
    pub replication: Replication,
    /// The screen it starts with, until a DTU says what it has.
    pub size: Size,
    /// Its services, each with a name of its own; at most [`SERVICES_MAX`]. Without any the session has no process
    /// either: its token is admitted and has its place, and costs its host next to nothing.
    pub services: Vec<Service>,
}

/// One program of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name within the session.
    pub name: ServiceName,
    /// What is run.
    pub command: Command,
    /// Whether the session has it running whenever a DTU connects. Others start when asked to. A session ends
    /// when all its required services have ended by themselves.
    pub required: bool,
    /// What a DTU sees of it.
    pub display: Display,
    /// Where it runs; without one, at the session's home.
    pub host: Option<HostName>,
    /// The directory it starts in; without one, the account's home.
    pub cwd: Option<String>,
    /// Variables added to its environment. Names that begin with `HOTDESK_` are ours.
    pub env: BTreeMap<String, String>,
}

/// What a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The account's shell, or the one that the service's variables name as `SHELL`, as a login shell.
    LoginShell,
    /// A program and its arguments.
    Words(Vec<String>),
}

/// What a DTU sees of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Display {
    /// A screen of characters.
    #[default]
    Terminal,
    /// Nothing; it runs in the background.
    None,
}

impl Default for Template {
    /// One required service `terminal`: the login shell.
    fn default() -> Self {
        Self {
            account: None,
            continuity: Continuity::Restart,
            replication: Replication::default(),
            size: Size::default(),
            services: vec![Service::terminal(Command::LoginShell)],
        }
    }
}

impl Template {
    /// Whether another host is to keep what a session of it needs to go on.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.continuity == Continuity::Replicated && !self.services.is_empty()
    }

    /// The services `host` runs: those named for it, and those without a host if it is the session's home.
    pub fn services_at<'a>(
        &'a self,
        host: &'a HostName,
        home: &HostName,
    ) -> impl Iterator<Item = &'a Service> {
        let is_home = host == home;
        self.services.iter().filter(move |s| s.host.as_ref().map_or(is_home, |named| named == host))
    }
}

impl Service {
    /// A required service `terminal` at the session's home.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "the constant is a name; a test says so"
    )]
    pub fn terminal(command: Command) -> Self {
        Self {
            name: "terminal".parse().expect("a service name"),
            command,
            required: true,
            display: Display::Terminal,
            host: None,
            cwd: None,
            env: BTreeMap::new(),
        }
    }

    /// Whether it is within the bounds every process relies on.
    ///
    /// # Errors
    /// What is wrong and how to mend it.
    pub fn check(&self) -> Result<(), Flaw> {
        if let Command::Words(words) = &self.command {
            if words.first().is_none_or(String::is_empty) {
                return Err(Flaw::new("the command is empty", "name a program, or leave the command out"));
            }
            check_words("command", words.iter().map(String::as_str))?;
        }
        if let Some(cwd) = &self.cwd {
            check_words("directory", [cwd.as_str()])?;
            if !cwd.starts_with('/') {
                return Err(Flaw::new(format!("the directory {cwd:?} is relative"), "begin it with '/'"));
            }
        }
        for name in self.env.keys() {
            if name.is_empty() || name.contains('=') {
                return Err(Flaw::new(format!("{name:?} cannot name a variable"), "leave out '='"));
            }
            if name.starts_with("HOTDESK_") {
                return Err(Flaw::new(format!("{name} is set by Hotdesk"), "choose another name"));
            }
        }
        check_words("environment", self.env.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]))
    }
}

fn check_words<'a>(what: &str, words: impl IntoIterator<Item = &'a str>) -> Result<(), Flaw> {
    let (mut count, mut len) = (0, 0);
    for word in words {
        if word.contains('\0') {
            return Err(Flaw::new(format!("the {what} holds a zero byte"), "take it out"));
        }
        count += 1;
        len += word.len();
    }
    if count > 2 * WORDS_MAX || len > WORDS_LEN_MAX {
        return Err(Flaw::new(
            format!("the {what} is too long"),
            format!("keep it to {WORDS_MAX} words and {WORDS_LEN_MAX} bytes"),
        ));
    }
    Ok(())
}

/// Whether `account` can be a user's name. Nothing is looked up.
///
/// # Errors
/// What is wrong and how to mend it.
pub fn check_account(account: &str) -> Result<(), Flaw> {
    let fits = !account.is_empty()
        && account.len() <= ACCOUNT_LEN_MAX
        && !account.starts_with('-')
        && account.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@$".contains(&b));
    if fits {
        return Ok(());
    }
    Err(Flaw::new(format!("{account:?} is not a user's name"), "use the name `id -un` prints for the user"))
}

/// Something wrong with a template and the way to mend it. The author of the template is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}: {remedy}")]
pub struct Flaw {
    /// What is wrong, for its author to read.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Flaw {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    fn at(self, text: &str, offset: usize) -> TemplateError {
        let before = text.get(..offset).unwrap_or(text);
        TemplateError { line: before.matches('\n').count() + 1, flaw: self }
    }
}

/// A text that is no template: where, what and how to mend it. The author of the template is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {flaw}")]
pub struct TemplateError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub flaw: Flaw,
}

#[cfg(test)]
mod tests;
