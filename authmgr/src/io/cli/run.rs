//! What each command does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datastore::client::Patience;
use datastore::io::{Remote, Target};
use proto::card::{Card, CardSecret};
use proto::io::{KeyDir, random};
use proto::{Token, hex};

use super::{At, CardCommand, CliError, NewCard, PolicyCommand, file_or_token, show};
use crate::io::card_file;
use crate::io::store::StoredRegistry;
use crate::registry::{Details, Named};

/// A person waits for a restarting data store rather than reading that it is away.
const PATIENCE: Patience = Patience { connect: Duration::from_secs(3), answer: Duration::from_secs(10) };

/// Must be called within a runtime.
fn registry(at: &At) -> Result<StoredRegistry, CliError> {
    let target = Target::tcp(at.store, &KeyDir::open(&at.keys)?)?;
    Ok(StoredRegistry::new(Arc::new(Remote::connect(target, PATIENCE))))
}

pub(super) fn new_card(args: NewCard) -> Result<(), CliError> {
    let path = args.file.or(args.output).unwrap_or_else(|| PathBuf::from("card"));
    let id = args.id.unwrap_or_else(|| hex::encode(&random::<16>()));
    if id.bytes().all(|b| b == b'0') {
        return Err(CliError::Card(
            "an id of nothing but zeros stands for a card that cannot be read".into(),
        ));
    }
    let token = Token::new(&args.kind, &id).map_err(|error| CliError::Card(error.to_string()))?;
    if token.kind() == "invalid" {
        return Err(CliError::Card("type invalid stands for a card that cannot be read".into()));
    }
    let secret = args.keyed.then(|| CardSecret::new(random()));
    let card = Card::new(token, secret).map_err(|error| CliError::Card(error.to_string()))?;
    card_file::write_new(&path, &card)?;
    show::new_card(&path, &card, args.json)
}

/// The card at hand: from its file, or by its token alone.
fn named(text: OsString) -> Result<Named, CliError> {
    Ok(match file_or_token(text)? {
        Err(token) => Named::Token(token),
        Ok(path) => {
            let card = card_file::read(&path)?;
            Named::Card(card.token().clone(), card.secret().cloned())
        }
    })
}

pub(super) async fn card(command: CardCommand) -> Result<(), CliError> {
    match command {
        CardCommand::New(new) => new_card(new),
        CardCommand::Register { card, user, template, account, at } => {
            let named = named(card)?;
            let details = Details { owner: user, template, account };
            let changed = registry(&at)?.register(&named, &details).await?;
            show::registered(&changed, at.json)
        }
        CardCommand::List { at } => {
            let listed = registry(&at)?.list().await?;
            show::list(&listed, at.json)
        }
        CardCommand::Alias { old, new, at } => {
            let (old, new) = (named(old)?, named(new)?);
            let done = registry(&at)?.replace(old.token(), &new).await?;
            show::replaced(&done, at.json)
        }
        CardCommand::Disable { card, at } => {
            let changed = registry(&at)?.disable(named(card)?.token()).await?;
            show::disabled(&changed, at.json)
        }
        CardCommand::Enable { card, at } => {
            let changed = registry(&at)?.enable(named(card)?.token()).await?;
            show::disabled(&changed, at.json)
        }
    }
}

pub(super) async fn policy(command: PolicyCommand) -> Result<(), CliError> {
    match command {
        PolicyCommand::Show { at } => {
            let (policy, is_set) = registry(&at)?.policy().await?;
            show::policy(policy, is_set, at.json)
        }
        PolicyCommand::Set { rules, at } => {
            let change = |policy| rules.iter().fold(policy, |policy, rule| rule.apply(policy));
            let policy = registry(&at)?.set_policy(change).await?;
            show::policy(policy, true, at.json)
        }
    }
}
