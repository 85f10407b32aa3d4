//! The text form of a template (TOML), and what is wrong with one.

use std::collections::{BTreeMap, BTreeSet};

use proto::frame::Size;
use proto::time::Duration;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::continuity::{Ack, Continuity, Promote, Protect, Replication};
use super::{
    Command, Display, Flaw, SERVICES_MAX, Service, TEXT_MAX, Template, TemplateError, check_account,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continuity: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<Spanned<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Spanned<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protect: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promote: Option<Spanned<String>>,
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
    /// class for which there are no hosts, and services on other hosts.
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
    /// let text = "continuity = \"carried\"\n[[service]]\nname = \"terminal\"\n";
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
        let mut raw: Text = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', ", ");
            Flaw::new(
                message,
                "a template is TOML: user, continuity, size and one [[service]] for each service",
            )
            .at(text, offset)
        })?;
        let account = match raw.user.take() {
            Some(user) => {
                check_account(user.get_ref()).map_err(|flaw| flaw.at(text, user.span().start))?;
                Some(user.into_inner())
            }
            None => None,
        };
        let mut ignored = Vec::new();
        let mut continuity = one_of(text, raw.continuity.as_ref(), "continuity class", &Continuity::ALL)?;
        if let Some(class) = raw.continuity.as_ref().filter(|_| !continuity.is_implemented()) {
            let problem = format!("no host can make a session of the class {continuity} yet");
            let remedy = "leave continuity out, or say restart or replicated";
            ignored.push(Flaw::new(problem, remedy).at(text, class.span().start));
            continuity = Continuity::Restart;
        }
        let replication = read_replication(text, &raw, continuity, &mut ignored)?;
        let size = read_size(text, raw.size.as_ref())?;
        let services = read_services(text, raw.service, &mut ignored)?;
        Ok((Self { account, continuity, replication, size, services }, ignored))
    }

    /// The text that reads back as this template.
    #[must_use]
    pub fn to_text(&self) -> String {
        let spanned = |text: String| Spanned::new(0..0, text);
        let is_replicated = self.continuity == Continuity::Replicated;
        let Replication { ack, protect, promote } = self.replication;
        let batch = match ack {
            Ack::Batch { every, versions } if is_replicated => {
                Some((u32::try_from(every.as_secs()).unwrap_or(u32::MAX), versions))
            }
            _ => None,
        };
        let number = |number: u32| Spanned::new(0..0, number);
        let ack = if batch.is_some() { "batch" } else { "each" };
        let text = Text {
            user: self.account.clone().map(spanned),
            continuity: Some(spanned(self.continuity.to_string())),
            ack: is_replicated.then(|| spanned(ack.to_owned())),
            every: batch.map(|(every, _)| number(every)),
            versions: batch.map(|(_, versions)| number(versions)),
            protect: is_replicated.then(|| spanned(protect.as_str().to_owned())),
            // A host of the version before reads no template that has the word.
            promote: (is_replicated && promote != Promote::Card)
                .then(|| spanned(promote.as_str().to_owned())),
            size: Some(spanned(format!("{}x{}", self.size.cols, self.size.rows))),
            service: Some(self.services.iter().map(|s| Spanned::new(0..0, ServiceText::of(s))).collect()),
        };
        toml::to_string(&text).unwrap_or_default()
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

/// What a replicated session waits for. In a session of another class these words mean nothing, and are a flaw.
fn read_replication(
    text: &str,
    raw: &Text,
    class: Continuity,
    ignored: &mut Vec<TemplateError>,
) -> Result<Replication, TemplateError> {
    let acks = [("each", false), ("batch", true)];
    let is_batch = one_of(text, raw.ack.as_ref(), "way to acknowledge", &acks)?;
    let protect = one_of(text, raw.protect.as_ref(), "way to protect", &Protect::ALL)?;
    let promote = one_of(text, raw.promote.as_ref(), "way to promote", &Promote::ALL)?;
    let secs_max = u32::try_from(Ack::EVERY_MAX.as_secs()).unwrap_or(u32::MAX);
    let secs = within(text, raw.every.as_ref(), "every", secs_max)?;
    let versions = within(text, raw.versions.as_ref(), "versions", Ack::VERSIONS_MAX)?;
    let start = |spanned: &Spanned<u32>| spanned.span().start;
    let batch_only = raw.every.as_ref().map(start).or_else(|| raw.versions.as_ref().map(start));
    let words = [&raw.ack, &raw.protect, &raw.promote].into_iter().flatten().map(|word| word.span().start);
    if let Some(at) = words.chain(batch_only).min().filter(|_| class != Continuity::Replicated) {
        let problem = format!("a session of the class {class} waits for no secondary");
        let remedy =
            "leave ack, every, versions, protect and promote out, or say continuity = \"replicated\"";
        ignored.push(Flaw::new(problem, remedy).at(text, at));
        return Ok(Replication::default());
    }
    if let Some(at) = batch_only.filter(|_| !is_batch) {
        let problem = "every and versions say how long versions wait for each other";
        return Err(Flaw::new(problem, "leave them out, or say ack = \"batch\"").at(text, at));
    }
    let ack = if is_batch {
        let every = secs.map_or(Ack::EVERY, |secs| Duration::from_secs(secs.into()));
        Ack::Batch { every, versions: versions.unwrap_or(Ack::VERSIONS) }
    } else {
        Ack::Each
    };
    Ok(Replication { ack, protect, promote })
}

fn within(
    text: &str,
    value: Option<&Spanned<u32>>,
    what: &str,
    max: u32,
) -> Result<Option<u32>, TemplateError> {
    match value {
        Some(value) if !(1..=max).contains(value.get_ref()) => {
            let problem = format!("{what} is {}", value.get_ref());
            Err(Flaw::new(problem, format!("write a number from 1 to {max}")).at(text, value.span().start))
        }
        value => Ok(value.map(|value| *value.get_ref())),
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
