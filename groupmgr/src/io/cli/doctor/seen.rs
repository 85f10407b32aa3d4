//! What `doctor` judges: the answers of the daemon and of the hosts it reaches, gathered before any check runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::args::At;
use super::super::ask::{Daemon, Gathered};
use crate::host::admin::{Command, Reply, Status};
use crate::io::admin::wire::{Answer, Ask, Facts, Outcome, Target, TemplateAsk};
use crate::topology::RowView;
use proto::HostName;
use proto::exit::Exit;
use proto::io::cli::{Failure, KEYS};

/// Templates that are looked at.
const TEMPLATES_MAX: usize = 256;

/// What the checks look at.
pub(super) struct Seen {
    /// The key directory to check.
    pub(super) keys: PathBuf,
    /// The running group, or why no daemon answered.
    pub(super) group: Result<Group, String>,
}

/// What a running group answered.
pub(super) struct Group {
    /// What the daemon that was asked knows of its own process.
    pub(super) facts: Facts,
    /// The status of every host that answered.
    pub(super) hosts: Vec<Status>,
    /// Hosts that did not answer, and why.
    pub(super) unreachable: Vec<(HostName, String)>,
    /// The topology table of the daemon that was asked.
    pub(super) rows: Vec<RowView>,
    /// The topology table of every host that answered, the asked one's among them.
    pub(super) tables: BTreeMap<HostName, Vec<RowView>>,
    /// The stored templates, with their texts; none where whoever asks may not see them.
    pub(super) templates: Vec<(String, String)>,
}

impl Seen {
    /// Asks the daemon `at` means.
    ///
    /// # Errors
    /// For a wrong command line; a daemon that cannot be asked is something to report, not an error.
    pub(super) fn gather(at: &At, keys: Option<&Path>) -> Result<Self, Failure> {
        let group = match Group::ask(at) {
            Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
            answered => answered.map_err(|error| error.to_string()),
        };
        let of_daemon = group.as_ref().ok().map(|group| PathBuf::from(&group.facts.keys));
        let keys = keys.map(Path::to_owned).or(of_daemon).unwrap_or_else(|| KEYS.into());
        Ok(Self { keys, group })
    }

    pub(super) fn group(&self) -> Option<&Group> {
        self.group.as_ref().ok()
    }
}

impl Group {
    fn ask(at: &At) -> Result<Self, Failure> {
        let mut daemon = Daemon::connect(at)?;
        let facts =
            daemon.ask(Target::Local, Ask::Facts)?.into_iter().find_map(|answer| match answer.outcome {
                Outcome::Answer(Answer::Facts(facts)) => Some(*facts),
                _ => None,
            });
        let facts = facts.ok_or_else(|| Failure::no("the daemon does not tell its facts; restart it"))?;
        let gathered = daemon.command(Target::All, Command::Status)?;
        let hosts = gathered.replies.into_iter().filter_map(|(_, reply)| match reply {
            Reply::Status(status) => Some(*status),
            _ => None,
        });
        let hosts = hosts.collect();
        let tables = |gathered: Gathered| {
            gathered.replies.into_iter().filter_map(|(host, reply)| match reply {
                Reply::Topology(rows) => Some((host, rows)),
                _ => None,
            })
        };
        let own = tables(daemon.command(Target::Local, Command::Topology)?).next();
        let rows = own.map(|(_, rows)| rows).unwrap_or_default();
        let tables = tables(daemon.command(Target::All, Command::Topology)?).collect();
        let templates = templates(&mut daemon)?;
        Ok(Self { facts, hosts, unreachable: gathered.unreachable, rows, tables, templates })
    }

    /// The status of the host that was asked.
    pub(super) fn own(&self) -> Option<&Status> {
        let own = self.rows.iter().find(|row| row.own)?;
        self.hosts.iter().find(|status| status.host == own.host)
    }

    /// The rows of hosts with the group's key, the asked host's own included.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &RowView> {
        self.rows.iter().filter(|row| row.trusted)
    }
}

/// All stored templates, as far as the daemon and its data store tell them.
fn templates(daemon: &mut Daemon) -> Result<Vec<(String, String)>, Failure> {
    let mut one = |ask| -> Result<Option<Answer>, Failure> {
        let answers = daemon.ask(Target::Local, Ask::Template(ask))?;
        Ok(answers.into_iter().find_map(|answer| match answer.outcome {
            Outcome::Answer(answer) => Some(answer),
            _ => None,
        }))
    };
    let Some(Answer::Templates(names)) = one(TemplateAsk::List)? else { return Ok(Vec::new()) };
    let mut templates = Vec::new();
    for name in names.into_iter().take(TEMPLATES_MAX) {
        if let Some(Answer::Template(text)) = one(TemplateAsk::Show(name.clone()))? {
            templates.push((name, text));
        }
    }
    Ok(templates)
}
