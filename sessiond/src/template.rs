//! The template a session is made from: its services, their commands, where and as whom they run, and how far
//! the session's state is to outlive its host.
//!
//! See `docs/operations.md`, "Commands". Owns the text form (TOML) and its bounds.
//! Refuses to look at the machine: whether an account exists or a command can run is found out by the process
//! that needs it.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use proto::frame::Size;
use proto::{HostName, ServiceName};
use serde::{Deserialize, Serialize};
use toml::Spanned;

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
    /// The screen it starts with, until a DTU says what it has.
    pub size: Size,
    /// Its services, each with a name of its own; at most [`SERVICES_MAX`]. Without any the session has no process
    /// either: its token is admitted and has its place, and costs its host next to nothing.
    pub services: Vec<Service>,
}

/// Who keeps a session's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Continuity {
    /// The data store only: after its host's death the session starts afresh with its permanent data.
    #[default]
    Restart,
    /// A secondary host.
    Replicated,
    /// The DTU, a relay or several peers.
    Carried,
    /// Two or more hosts run the services at once.
    Continuous,
    /// Process images and an input log at a secondary.
    Checkpoint,
}

impl Continuity {
    const ALL: [(&'static str, Self); 5] = [
        ("restart", Self::Restart),
        ("replicated", Self::Replicated),
        ("carried", Self::Carried),
        ("continuous", Self::Continuous),
        ("checkpoint", Self::Checkpoint),
    ];

    /// Its name in a template.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Replicated => "replicated",
            Self::Carried => "carried",
            Self::Continuous => "continuous",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl fmt::Display for Continuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
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
            size: Size::default(),
            services: vec![Service::terminal(Command::LoginShell)],
        }
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continuity: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<Spanned<String>>,
    /// Left out by mistake and empty on purpose are not the same.
    service: Option<Vec<Spanned<ServiceText>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceText {
    name: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
}

const fn yes() -> bool {
    true
}

impl Template {
    /// Reads a template that is to be stored. What nothing implements is a flaw, so that nobody relies on it: a continuity
    /// class other than [`Continuity::Restart`], and services on other hosts.
    ///
    /// ```
    /// use sessiond::template::Template;
    ///
    /// let template = Template::parse("[[service]]\nname = \"terminal\"\n")?;
    /// assert!(template.services[0].required);
    /// let flaw = Template::parse("[[service]]\nname = \"no name\"\n").unwrap_err();
    /// assert!(flaw.to_string().contains("line 2"), "{flaw}");
    /// # Ok::<(), sessiond::template::TemplateError>(())
    /// ```
    ///
    /// # Errors
    /// The first flaw, with its line and its remedy.
    ///
    /// # Examples
    /// ```
    /// use sessiond::template::Template;
    ///
    /// let text = "continuity = \"replicated\"\n[[service]]\nname = \"terminal\"\n";
    /// assert_eq!(Template::parse(text).unwrap_err().line, 1);
    /// let (template, ignored) = Template::parse_stored(text)?;
    /// assert_eq!((template.continuity.as_str(), ignored.len()), ("restart", 1));
    /// # Ok::<(), sessiond::template::TemplateError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (template, ignored) = Self::parse_stored(text)?;
        ignored.into_iter().next().map_or(Ok(template), Err)
    }

    /// Reads a template that is in the data store, perhaps since a version that let everything pass. What nothing
    /// implements is told and has no effect: the session's continuity is [`Continuity::Restart`], and services run only on
    /// the host they are named for, if that is the session's home.
    ///
    /// # Errors
    /// The first flaw for which there can be no session, with its line and its remedy.
    pub fn parse_stored(text: &str) -> Result<(Self, Vec<TemplateError>), TemplateError> {
        if text.len() > TEXT_MAX {
            return Err(
                Flaw::new("the template is too long", format!("keep it to {TEXT_MAX} bytes")).at("", 0)
            );
        }
        let raw: Text = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', ", ");
            Flaw::new(
                message,
                "a template is TOML: user, continuity, size and one [[service]] for each service",
            )
            .at(text, offset)
        })?;
        let account = match raw.user {
            Some(user) => {
                check_account(user.get_ref()).map_err(|flaw| flaw.at(text, user.span().start))?;
                Some(user.into_inner())
            }
            None => None,
        };
        let mut ignored = Vec::new();
        let continuity = one_of(text, raw.continuity.as_ref(), "continuity class", &Continuity::ALL)?;
        if let Some(class) = raw.continuity.as_ref().filter(|_| continuity != Continuity::Restart) {
            let problem = format!("no host can make a session of the class {continuity} yet");
            ignored.push(
                Flaw::new(problem, "leave continuity out, or say restart").at(text, class.span().start),
            );
        }
        let size = read_size(text, raw.size.as_ref())?;
        let services = read_services(text, raw.service, &mut ignored)?;
        Ok((Self { account, continuity: Continuity::Restart, size, services }, ignored))
    }

    /// The text that reads back as this template.
    #[must_use]
    pub fn to_text(&self) -> String {
        let spanned = |text: String| Spanned::new(0..0, text);
        let text = Text {
            user: self.account.clone().map(spanned),
            continuity: Some(spanned(self.continuity.to_string())),
            size: Some(spanned(format!("{}x{}", self.size.cols, self.size.rows))),
            service: Some(self.services.iter().map(|s| Spanned::new(0..0, ServiceText::of(s))).collect()),
        };
        toml::to_string(&text).unwrap_or_default()
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

impl ServiceText {
    fn of(service: &Service) -> Self {
        let spanned = |text: String| Spanned::new(0..0, text);
        Self {
            name: spanned(service.name.to_string()),
            command: match &service.command {
                Command::LoginShell => None,
                Command::Words(words) => Some(words.clone()),
            },
            required: service.required,
            display: match service.display {
                Display::Terminal => None,
                Display::None => Some(spanned("none".to_owned())),
            },
            host: service.host.as_ref().map(|host| spanned(host.to_string())),
            cwd: service.cwd.clone(),
            env: service.env.clone(),
        }
    }
}

fn one_of<T: Copy + Default>(
    text: &str,
    value: Option<&Spanned<String>>,
    what: &str,
    known: &[(&str, T)],
) -> Result<T, TemplateError> {
    let Some(value) = value else { return Ok(T::default()) };
    if let Some((_, found)) = known.iter().find(|(name, _)| name == value.get_ref()) {
        return Ok(*found);
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Err(Flaw::new(
        format!("{:?} is not a {what}", value.get_ref()),
        format!("use one of {}", names.join(", ")),
    )
    .at(text, value.span().start))
}

fn read_size(text: &str, value: Option<&Spanned<String>>) -> Result<Size, TemplateError> {
    let Some(value) = value else { return Ok(Size::default()) };
    let parts = value.get_ref().split_once('x').and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
    match parts {
        Some((cols, rows)) if Size::clamped(cols, rows) == (Size { cols, rows }) => Ok(Size { cols, rows }),
        _ => Err(Flaw::new(
            format!("{:?} is not a screen's size", value.get_ref()),
            format!("write columns and rows as in \"80x24\", each from 1 to {}", Size::MAX),
        )
        .at(text, value.span().start)),
    }
}

fn read_services(
    text: &str,
    raw: Option<Vec<Spanned<ServiceText>>>,
    ignored: &mut Vec<TemplateError>,
) -> Result<Vec<Service>, TemplateError> {
    let Some(raw) = raw else {
        let remedy = "add a [[service]] with a name, or say `service = []` if nothing is to run";
        return Err(Flaw::new("the template has no service", remedy).at(text, 0));
    };
    if let Some(extra) = raw.get(SERVICES_MAX) {
        return Err(Flaw::new("too many services", format!("keep them to {SERVICES_MAX}"))
            .at(text, extra.span().start));
    }
    let mut names = BTreeSet::new();
    let mut services = Vec::with_capacity(raw.len());
    for spanned in raw {
        let start = spanned.span().start;
        let host_at = spanned.get_ref().host.as_ref().map_or(start, |host| host.span().start);
        let service = read_service(text, start, spanned.into_inner())?;
        if let Some(host) = &service.host {
            let problem =
                format!("service {} is to run on host {host}, and services run only at home", service.name);
            ignored.push(Flaw::new(problem, "leave host out").at(text, host_at));
        }
        if !names.insert(service.name.clone()) {
            return Err(Flaw::new(
                format!("a second service is called {}", service.name),
                "give each service a name of its own",
            )
            .at(text, start));
        }
        services.push(service);
    }
    Ok(services)
}

fn read_service(text: &str, start: usize, raw: ServiceText) -> Result<Service, TemplateError> {
    let name_at = raw.name.span().start;
    let name = raw.name.into_inner().parse().map_err(|error: proto::ids::BadName| {
        Flaw::new(format!("{:?} is not a service's name", error.text), error.rule).at(text, name_at)
    })?;
    let host = match raw.host {
        Some(host) => Some(host.get_ref().parse().map_err(|error: proto::ids::BadName| {
            Flaw::new(format!("{:?} is not a host's name", error.text), error.rule)
                .at(text, host.span().start)
        })?),
        None => None,
    };
    let displays = [("terminal", Display::Terminal), ("none", Display::None)];
    let service = Service {
        name,
        command: raw.command.map_or(Command::LoginShell, Command::Words),
        required: raw.required,
        display: one_of(text, raw.display.as_ref(), "display", &displays)?,
        host,
        cwd: raw.cwd,
        env: raw.env,
    };
    service.check().map_err(|flaw| flaw.at(text, start))?;
    Ok(service)
}

#[cfg(test)]
mod tests;
