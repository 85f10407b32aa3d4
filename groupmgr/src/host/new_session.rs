//! What a new session is made from.

use authmgr::Admitted;
use authmgr::admission::AccountName;
use proto::{Epoch, SessionId};
use sessiond::manager::{Claim, NewSession};
use sessiond::template::Template;

use super::env::Env;

/// The name of the template of tokens for which the registry names none.
pub(super) const DEFAULT_TEMPLATE: &str = "default";

/// The name of the template of an admitted token's sessions.
pub(super) fn template_of(admitted: &Admitted) -> String {
    admitted.template.as_ref().map_or_else(|| DEFAULT_TEMPLATE.to_owned(), ToString::to_string)
}

/// A session for an admitted token.
pub(super) fn new_session(
    env: &Env<'_>,
    id: SessionId,
    admitted: &Admitted,
    (template_name, template): (String, Template),
    (claim, epoch): (Claim, Epoch),
) -> NewSession {
    let name = |account: &AccountName| account.to_string();
    NewSession {
        id,
        token: admitted.token.clone(),
        owner: admitted.owner.data().to_string(),
        epoch,
        claim,
        account: admitted.account.as_ref().map(name),
        machine_account: env.config.shared_machine_account.as_ref().map(name),
        size: template.size,
        guest: None,
        restore: None,
        name: template_name,
        template,
    }
}
