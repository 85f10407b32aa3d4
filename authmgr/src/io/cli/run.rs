//! What each command does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datastore::client::Patience;
use datastore::io::{Remote, Target};
use proto::card::{Card, CardSecret};
use proto::exit::Exit;
use proto::io::card_file::{self, CardFileError};
use proto::io::cli::Failure;
use proto::io::{KeyDir, local, random};
use proto::{Token, hex};
use serde_json::Value;

use super::{At, CardCommand, DtuCommand, NewCard, PolicyCommand, follow, show};
use crate::admission::Record;
use crate::io::handover::HandedOver;
use crate::io::named::named;
use crate::io::store::{StoredRegistry, Written};
use crate::registry::Details;

/// A person waits for a restarting data store rather than reading that it is away.
const PATIENCE: Patience = Patience { connect: Duration::from_secs(3), answer: Duration::from_secs(10) };

/// Must be called within a runtime.
fn registry(at: &At) -> Result<StoredRegistry, Failure> {
    let target = Target::tcp(at.store, &KeyDir::open(&at.keys)?)?;
    Ok(StoredRegistry::new(Arc::new(Remote::connect(target, PATIENCE)), &local::author()))
}

pub(super) fn new_card(args: NewCard) -> Result<Exit, Failure> {
    let path = args.file.or(args.output).unwrap_or_else(|| PathBuf::from("card"));
    let id = args.id.unwrap_or_else(|| hex::encode(&random::<16>()));
    if id.bytes().all(|b| b == b'0') {
        return Err(Failure::usage("an id of nothing but zeros stands for a card that cannot be read"));
    }
    let token = Token::new(&args.kind, &id).map_err(Failure::usage)?;
    if token.kind() == "invalid" {
        return Err(Failure::usage("type invalid stands for a card that cannot be read"));
    }
    let secret = args.keyed.then(|| CardSecret::new(random()));
    let card = Card::new(token, secret).map_err(Failure::usage)?;
    card_file::write_new(&path, &card).map_err(|error| match error {
        CardFileError::Write { .. } => Failure::machine(error),
        _ => Failure::usage(error),
    })?;
    show::new_card(&path, &card, args.json)?;
    Ok(Exit::Done)
}

pub(super) async fn card(command: CardCommand) -> Result<Exit, Failure> {
    match command {
        CardCommand::New(new) => new_card(new),
        CardCommand::Register { card, user, template, account, at } => {
            let details = Details { owner: user, template, account };
            let named = named(&card)?;
            let registry = registry(&at)?;
            let done = registry.register(&named, &details).await?;
            let said = show::registered(named.token(), &done);
            hand_over(&at, &registry, done.now.as_ref(), &done.written, said).await
        }
        CardCommand::List { at } => {
            show::list(&registry(&at)?.list().await?, at.json)?;
            Ok(Exit::Done)
        }
        CardCommand::Show { card, at } => {
            show::record(&registry(&at)?.show(named(&card)?.token()).await?, at.json)?;
            Ok(Exit::Done)
        }
        CardCommand::Rm { card, force, at } => {
            let named = named(&card)?;
            let written = registry(&at)?.remove(named.token(), force).await?;
            let (object, text) = show::removed(named.token());
            follow::finish(&at, &written, object, &text)
        }
        CardCommand::Alias { old, new, at } => {
            let (old, new) = (named(&old)?, named(&new)?);
            let registry = registry(&at)?;
            let (done, written) = registry.replace(old.token(), &new).await?;
            hand_over(&at, &registry, Some(&done.new), &written, show::replaced(&done)).await
        }
        CardCommand::Disable { card, at } => {
            let card = named(&card)?;
            let done = registry(&at)?.disable(card.token()).await?;
            let (object, text) = show::disabled(card.token(), &done);
            follow::finish(&at, &done.written, object, &text)
        }
        CardCommand::Enable { card, at } => {
            let card = named(&card)?;
            let done = registry(&at)?.enable(card.token()).await?;
            let (object, text) = show::disabled(card.token(), &done);
            follow::finish(&at, &done.written, object, &text)
        }
    }
}

/// Hands the card's data over when all hosts know the registration, and prints both.
async fn hand_over(
    at: &At,
    registry: &StoredRegistry,
    record: Option<&Record>,
    written: &Written,
    (mut object, mut text): (Value, String),
) -> Result<Exit, Failure> {
    let followed = follow::follow(at, written);
    let outcome = match record {
        Some(record) => {
            let progress = |done: &HandedOver| eprintln!("authmgr: {}", show::progress(done));
            registry.hand_over(record, progress).await.map(|done| {
                show::handed_over(record, &done, &mut object, &mut text);
            })
        }
        None => Ok(()),
    };
    let exit = follow::report(at, followed, object, &text)?;
    // The registration is stored, so not a code that says that nothing was changed.
    outcome.map_err(|error| {
        let what = "it is registered, but not all of the card's data was handed over; run this again";
        Failure::new(Exit::Unknown, format!("{what}: {error}"))
    })?;
    Ok(exit)
}

pub(super) async fn dtu(command: DtuCommand) -> Result<Exit, Failure> {
    match command {
        DtuCommand::List { at } => {
            show::pins(&registry(&at)?.pins().await?, at.json)?;
            Ok(Exit::Done)
        }
        DtuCommand::Forget { serial, at } => {
            let written = registry(&at)?.forget_dtu(&serial).await?;
            let (object, text) = show::forgotten(&serial);
            follow::finish(&at, &written, object, &text)
        }
    }
}

pub(super) async fn policy(command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Show { at } => {
            let (policy, is_set) = registry(&at)?.policy().await?;
            let (object, text) = show::policy(policy, is_set);
            show::print_as(at.json, &object, &text)?;
            Ok(Exit::Done)
        }
        PolicyCommand::Set { rules, at } => {
            let change = |policy| rules.iter().fold(policy, |policy, rule| rule.apply(policy));
            let (policy, written) = registry(&at)?.set_policy(change).await?;
            let (object, text) = show::policy(policy, true);
            follow::finish(&at, &written, object, &text)
        }
    }
}
