//! What a token gets that may come in.

use proto::Token;

use super::names::{AccountName, Owner, TemplateName};
use super::record::Record;

/// What an admitted token gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The token whose sessions it gets: another one than was presented when it replaces a lost card.
    /// Sessions are looked for, claimed and made under this one.
    pub token: Token,
    /// Whose permanent data they work on.
    pub owner: Owner,
    /// From which template they are made, when one is registered.
    pub template: Option<TemplateName>,
    /// The account they run as, when one is registered.
    pub account: Option<AccountName>,
    /// Whether the registry has a record of the presented token.
    pub registered: bool,
}

impl Admitted {
    /// What a token gets about which nothing is registered.
    #[must_use]
    pub fn unregistered(token: &Token) -> Self {
        Self {
            token: token.clone(),
            owner: Owner::of_token(token),
            template: None,
            account: None,
            registered: false,
        }
    }

    pub(super) fn registered(record: &Record) -> Self {
        Self {
            token: record.session_token().clone(),
            owner: record.session_owner(),
            template: record.template.clone(),
            account: record.account.clone(),
            registered: true,
        }
    }
}
