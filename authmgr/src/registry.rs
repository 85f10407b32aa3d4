//! What an operator may do to the registry's records: pure, so that the rules can be read and tested apart
//! from the data store. Each function is told what is registered and says what shall be instead.

use proto::Token;
use proto::card::CardSecret;

use crate::admission::{AccountName, Owner, Record, TemplateName};

/// What to register about a token; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The user whose data the token's sessions work on.
    pub owner: Option<Owner>,
    /// From which template its sessions are made.
    pub template: Option<TemplateName>,
    /// The account they run as.
    pub account: Option<AccountName>,
}

/// How the operator named a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its token: its secret, if it has one, is not at hand.
    Token(Token),
    /// By its card file, which says whether it is a keyed one.
    Card(Token, Option<CardSecret>),
}

impl Named {
    /// The token that the command names, whichever way it names it.
    #[must_use]
    pub const fn token(&self) -> &Token {
        match self {
            Self::Token(token) | Self::Card(token, _) => token,
        }
    }
}

/// Why the registry stays as it is. The operator has to decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing is registered about the token.
    #[error("{0} is not registered; register it with: authmgr card register {0}")]
    NotRegistered(Token),
    /// The card that is to take another's place was itself disabled.
    #[error(
        "{0} is disabled, perhaps because it was lost; if it is to be used again, enable it first: authmgr card enable {0}"
    )]
    IsDisabled(Token),
    /// A disabled token would be admitted again when its record is gone.
    #[error(
        "{0} is disabled, and without its record it would be admitted where the policy admits any card; enable it first, \
         or say --force"
    )]
    WouldAdmit(Token),
    /// A plain card would take the place of a keyed one of the same token.
    #[error(
        "{0} is registered as a keyed card and this card file holds no secret: it may be a copy made from the id; \
         use the right card file, or another card"
    )]
    LostItsSecret(Token),
    /// Typed logins are no cards.
    #[error("{0} is not a card or DTU: a user token comes with a typed login")]
    UserToken(Token),
    /// A card cannot replace itself.
    #[error("a card cannot replace itself: {0}; name the lost card first and the new one second")]
    Itself(Token),
    /// The new card belongs to somebody.
    #[error("{token} is registered already, for {whose}; take a card that is free: authmgr card new FILE")]
    InUse {
        /// The new card.
        token: Token,
        /// Whose it is: a user's name, or the token whose sessions it gets.
        whose: String,
    },
    /// The token is registered for another user.
    #[error(
        "{token} is registered for {whose}, whose data and sessions it would take along; disable it and register another \
         card, or delete its record first: authmgr card rm {token}"
    )]
    AnothersCard {
        /// The token that was to be registered.
        token: Token,
        /// The user whose card it is.
        whose: Owner,
    },
}

/// Registers a token, or changes what is registered about it.
///
/// # Errors
/// See [`Refused`].
pub fn register(found: Option<Record>, named: &Named, details: Details) -> Result<Record, Refused> {
    let token = named.token();
    if token.is_user() {
        return Err(Refused::UserToken(token.clone()));
    }
    let mut record = found.unwrap_or_else(|| Record::new(token.clone()));
    record.registered = true;
    if let Named::Card(_, secret) = named {
        if secret.is_none() && record.secret.is_some() {
            return Err(Refused::LostItsSecret(token.clone()));
        }
        record.secret.clone_from(secret);
    }
    match (record.owner.take(), details.owner) {
        (Some(whose), Some(wanted)) if whose != wanted => {
            return Err(Refused::AnothersCard { token: token.clone(), whose });
        }
        (before, wanted) => record.owner = wanted.or(before),
    }
    record.template = details.template.or(record.template);
    record.account = details.account.or(record.account);
    Ok(record)
}

/// Refuses a token from now on, registered or not.
///
/// # Errors
/// For a user token.
pub fn disable(found: Option<Record>, token: &Token) -> Result<Record, Refused> {
    if token.is_user() {
        return Err(Refused::UserToken(token.clone()));
    }
    Ok(found.map_or_else(|| Record::block(token.clone()), |record| Record { disabled: true, ..record }))
}

/// Enables a disabled token. One that was never registered is not registered by it: its record goes, and the policy
/// decides about it as before.
///
/// # Errors
/// When nothing is registered about it.
pub fn enable(found: Option<Record>, token: &Token) -> Result<Option<Record>, Refused> {
    match found {
        Some(record) if record.registered => Ok(Some(Record { disabled: false, ..record })),
        Some(_) => Ok(None),
        None => Err(Refused::NotRegistered(token.clone())),
    }
}

/// Whether the record of `token` may be deleted. `found` is `Err` for one that cannot be read.
///
/// # Errors
/// When there is none; for a disabled token, unless the operator insists.
pub fn remove<E>(found: Result<Option<&Record>, E>, token: &Token, insists: bool) -> Result<(), Refused> {
    match found {
        Ok(None) => Err(Refused::NotRegistered(token.clone())),
        Ok(Some(record)) if record.disabled && !insists => Err(Refused::WouldAdmit(token.clone())),
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// Two records that are to be written one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The lost card's: disabled. To be written first, so that it is of no use even if the second fails.
    pub old: Record,
    /// The new card's: it gets the lost one's sessions, user, template and account, and keeps its own secret.
    pub new: Record,
}

/// Lets a card take the place of a lost one.
///
/// # Errors
/// See [`Refused`].
pub fn replace(old: (&Token, Option<Record>), new: (&Named, Option<Record>)) -> Result<Replacement, Refused> {
    let ((old_token, old_found), (named, new_found)) = (old, new);
    let new_token = named.token();
    if old_token == new_token {
        return Err(Refused::Itself(old_token.clone()));
    }
    if let Some(user) = [old_token, new_token].into_iter().find(|t| t.is_user()) {
        return Err(Refused::UserToken(user.clone()));
    }
    let old = disable(old_found, old_token)?;
    if new_found.as_ref().is_some_and(|found| found.disabled) {
        return Err(Refused::IsDisabled(new_token.clone()));
    }
    if let Some(found) = &new_found {
        let same_sessions = found.session_token() == old.session_token();
        let whose = match (&found.alias, &found.owner) {
            (Some(alias), _) if !same_sessions => Some(alias.to_string()),
            (_, Some(owner)) if old.owner.as_ref() != Some(owner) => Some(owner.to_string()),
            _ => None,
        };
        if let Some(whose) = whose {
            return Err(Refused::InUse { token: new_token.clone(), whose });
        }
    }
    let known = new_found.and_then(|found| found.secret);
    let secret = match named {
        Named::Token(_) => known,
        Named::Card(_, None) if known.is_some() => {
            return Err(Refused::LostItsSecret(new_token.clone()));
        }
        Named::Card(_, secret) => secret.clone(),
    };
    let new = old.replaced_by(new_token.clone(), secret);
    Ok(Replacement { old, new })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        text.parse().unwrap()
    }

    fn named(text: &str) -> Named {
        Named::Token(token(text))
    }

    fn of_ann() -> Details {
        Details { owner: Some(Owner::user("ann").unwrap()), ..Details::default() }
    }

    fn key(byte: u8) -> Option<CardSecret> {
        Some(CardSecret::new([byte; 16]))
    }

    #[test]
    fn registering_again_changes_only_what_is_said() {
        let first = register(None, &Named::Card(token("card.1"), key(1)), of_ann()).unwrap();
        let kiosk = Details { template: Some("kiosk".parse().unwrap()), ..Details::default() };
        let second = register(Some(first.clone()), &named("card.1"), kiosk).unwrap();
        assert_eq!(second, Record { template: Some("kiosk".parse().unwrap()), ..first });
    }

    #[test]
    fn registering_a_disabled_card_again_does_not_enable_it() {
        let record = disable(None, &token("card.1")).unwrap();
        assert!(register(Some(record.clone()), &named("card.1"), of_ann()).unwrap().disabled);
        let registered = register(Some(record), &named("card.1"), of_ann()).unwrap();
        assert_eq!(
            enable(Some(registered.clone()), &token("card.1")),
            Ok(Some(Record { disabled: false, ..registered }))
        );
        assert_eq!(enable(None, &token("card.1")), Err(Refused::NotRegistered(token("card.1"))));
    }

    #[test]
    fn enabling_a_token_that_was_never_registered_does_not_register_it() {
        let blocked = disable(None, &token("card.1")).unwrap();
        assert!(blocked.disabled && !blocked.registered);
        assert_eq!(disable(Some(blocked.clone()), &token("card.1")).as_ref(), Ok(&blocked));
        assert_eq!(enable(Some(blocked), &token("card.1")), Ok(None));
    }

    #[test]
    fn the_record_of_a_disabled_token_is_not_deleted_unless_the_operator_insists() {
        let card = token("card.1");
        let registered = register(None, &named("card.1"), of_ann()).unwrap();
        let readable = |record: Option<Record>, insists| remove(Ok::<_, ()>(record.as_ref()), &card, insists);
        assert_eq!(readable(Some(registered.clone()), false), Ok(()));
        let disabled = disable(Some(registered), &card).unwrap();
        assert_eq!(readable(Some(disabled.clone()), false), Err(Refused::WouldAdmit(card.clone())));
        assert_eq!(readable(Some(disabled), true), Ok(()));
        assert_eq!(readable(None, true), Err(Refused::NotRegistered(card.clone())));
        assert_eq!(remove(Err(()), &card, false), Ok(()), "what cannot be read can be deleted");
    }

    #[test]
    fn a_keyed_card_does_not_become_a_plain_one_by_a_copy_of_its_id() {
        let keyed = register(None, &Named::Card(token("card.1"), key(1)), of_ann()).unwrap();
        let plain = Named::Card(token("card.1"), None);
        let lost = Err(Refused::LostItsSecret(token("card.1")));
        assert_eq!(register(Some(keyed.clone()), &plain, Details::default()), lost);
        assert!(replace((&token("card.0"), None), (&plain, Some(keyed))).is_err());
    }

    #[test]
    fn a_card_does_not_change_hands_by_being_registered_for_another() {
        let anns = register(None, &named("card.1"), of_ann()).unwrap();
        let bob = Details { owner: Some(Owner::user("bob").unwrap()), ..Details::default() };
        let whose = Owner::user("ann").unwrap();
        let refused = Err(Refused::AnothersCard { token: token("card.1"), whose });
        assert_eq!(register(Some(anns), &named("card.1"), bob), refused);
    }

    #[test]
    fn a_new_card_takes_a_lost_ones_place_and_the_lost_one_is_of_no_use() {
        let lost = register(None, &Named::Card(token("card.1"), key(1)), of_ann()).unwrap();
        let new = Named::Card(token("card.2"), key(2));
        let Replacement { old, new } = replace((&token("card.1"), Some(lost.clone())), (&new, None)).unwrap();
        assert_eq!(old, Record { disabled: true, ..lost });
        assert_eq!((new.session_token(), new.session_owner().as_str()), (&token("card.1"), "ann"));
        assert_eq!((new.secret.clone(), new.disabled), (key(2), false));
        let again = replace((&token("card.1"), Some(old.clone())), (&named("card.2"), Some(new.clone())));
        assert_eq!(again, Ok(Replacement { old, new }), "said twice is said once");
    }

    #[test]
    fn a_lost_card_that_was_never_registered_is_disabled_by_its_replacement_and_keeps_its_data() {
        let Replacement { old, new } = replace((&token("card.1"), None), (&named("card.2"), None)).unwrap();
        assert!(old.disabled);
        assert_eq!(new.session_owner(), Owner::of_token(&token("card.1")));
    }

    #[test]
    fn a_card_that_was_found_takes_its_own_place_again() {
        let first = register(None, &named("card.1"), of_ann()).unwrap();
        let lost = replace((&token("card.1"), Some(first.clone())), (&named("card.2"), None)).unwrap();
        let back =
            replace((&token("card.2"), Some(lost.new.clone())), (&named("card.1"), Some(lost.old.clone())));
        assert_eq!(back, Err(Refused::IsDisabled(token("card.1"))), "a lost card is not admitted in passing");
        let enabled = enable(Some(lost.old), &token("card.1")).unwrap();
        let found = replace((&token("card.2"), Some(lost.new)), (&named("card.1"), enabled)).unwrap();
        assert_eq!(found.new, first);
        assert!(found.old.disabled);
    }

    #[test]
    fn nobodys_card_is_given_to_another() {
        let bobs = Details { owner: Some(Owner::user("bob").unwrap()), ..Details::default() };
        let bobs = register(None, &named("card.2"), bobs).unwrap();
        let lost = register(None, &named("card.1"), of_ann()).unwrap();
        let taken = |record: Record| match replace(
            (&token("card.1"), Some(lost.clone())),
            (&named("card.2"), Some(record)),
        ) {
            Err(Refused::InUse { whose, .. }) => whose,
            other => panic!("{other:?}"),
        };
        assert_eq!(taken(bobs), "bob");
        assert_eq!(taken(Record::new(token("card.7")).replaced_by(token("card.2"), None)), "card.7");
        let itself = replace((&token("card.1"), None), (&named("card.1"), None));
        assert_eq!(itself, Err(Refused::Itself(token("card.1"))));
    }

    #[test]
    fn a_user_token_is_no_card() {
        let user = token("user.ann");
        let refused = Refused::UserToken(user.clone());
        assert_eq!(register(None, &named("user.ann"), Details::default()), Err(refused.clone()));
        assert_eq!(disable(None, &user), Err(refused.clone()));
        assert_eq!(replace((&user, None), (&named("card.1"), None)), Err(refused.clone()));
        assert_eq!(replace((&token("card.1"), None), (&named("user.ann"), None)), Err(refused));
    }
}
