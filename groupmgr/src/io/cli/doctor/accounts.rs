//! As whom sessions run.

use super::checks::Checks;
use super::seen::Seen;

pub(super) fn check_accounts(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let facts = &group.facts;
    match (facts.own_accounts, &facts.account, &facts.runs_as) {
        (true, Some(account), _) => {
            checks.ok("accounts", format!("sessions run as {account} where nothing else names an account"));
        }
        (true, None, _) => checks.warn(
            "accounts",
            "a token for which neither registry nor template names an account gets no session",
            "start the daemon with --account USER",
        ),
        (false, _, runs_as) => {
            let own = runs_as.as_deref().unwrap_or("the daemon's account");
            checks.warn(
                "accounts",
                format!("sessions run as {own}, as the daemon does: whoever has one owns the group"),
                "for people you do not trust run it as root with --account USER (docs/operations.md: Accounts)",
            );
        }
    }
}
