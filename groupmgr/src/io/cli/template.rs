//! `template put | list | show | rm`.

use std::io::{Read as _, Write as _};
use std::path::Path;

use proto::exit::Exit;
use proto::io::cli::{Failure, print};
use serde_json::json;
use sessiond::template::{Continuity, TEXT_MAX, Template};

use super::args::{At, TemplateCommand};
use super::ask::Daemon;
use super::show::print_json;
use crate::host::admin::{Command, Reply};
use crate::io::admin::wire::{Answer, Ask, Outcome, Target, TemplateAsk};

pub(super) fn run(at: &At, command: TemplateCommand) -> Result<Exit, Failure> {
    let ask = match command {
        TemplateCommand::List => TemplateAsk::List,
        TemplateCommand::Show { name } => TemplateAsk::Show(name),
        TemplateCommand::Rm { name } => TemplateAsk::Remove(name),
        TemplateCommand::Put { name, file } => TemplateAsk::Put { name, text: read(&file)? },
    };
    let class = class_of(&ask);
    let mut daemon = Daemon::connect(at)?;
    let answers = daemon.ask(Target::Local, Ask::Template(ask))?;
    for answer in answers {
        match answer.outcome {
            Outcome::Answer(Answer::Templates(names)) if at.json => print_json(&names)?,
            Outcome::Answer(Answer::Templates(names)) => {
                print(names.into_iter().map(|name| name + "\n").collect::<String>())?;
            }
            Outcome::Answer(Answer::Template(text)) if at.json => print_json(&json!({"text": text}))?,
            Outcome::Answer(Answer::Template(text)) => print(&text)?,
            Outcome::Answer(Answer::Done) if at.json => print_json(&json!({"done": true}))?,
            Outcome::Answer(Answer::Done) => {}
            Outcome::Answer(Answer::Refused(why)) => return Err(Failure::no(why)),
            other => return Err(Failure::no(format!("an answer to something else: {other:?}"))),
        }
    }
    if let Some(class) = class {
        warn(&mut daemon, &class.to_string())?;
    }
    Ok(Exit::Done)
}

/// The class of the template that is to be stored.
fn class_of(ask: &TemplateAsk) -> Option<Continuity> {
    match ask {
        TemplateAsk::Put { text, .. } => Template::parse(text).ok().map(|template| template.continuity),
        _ => None,
    }
}

/// Says that sessions of a class are not kept now, where that is so.
fn warn(daemon: &mut Daemon, class: &str) -> Result<(), Failure> {
    for (host, reply) in daemon.command(Target::Local, Command::Status)?.replies {
        if matches!(reply, Reply::Status(status) if status.cannot_keep.iter().any(|cannot| cannot == class)) {
            let why = format!("{host} has no other host to keep sessions of the class {class}");
            drop(writeln!(std::io::stderr().lock(), "groupmgr: stored, but {why}; start another one"));
        }
    }
    Ok(())
}

/// Reads and checks a template before anybody is asked to store it.
fn read(file: &Path) -> Result<String, Failure> {
    let at = file.display();
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(TEXT_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|error| Failure::usage(format!("{at}: {error}; name a file with a template (TOML)")))?;
    Template::parse(&text).map_err(|error| Failure::usage(format!("{at}: {error}")))?;
    Ok(text)
}
