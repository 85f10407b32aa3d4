//! As whom sessions run: decided when the daemon starts, so that nobody gets an account by accident.
//!
//! | The daemon | Sessions run as |
//! |---|---|
//! | root | the account that the registry names for the token, else the template's, else `--account`, which must be given |
//! | an ordinary user, its spawner started by root | the same, but no account below 1000 and not the daemon's own |
//! | an ordinary user | the daemon's own account: whoever has a session can do what the daemon can |
//!
//! Root itself is only had where the registry names it for the very token (`sessiond::io::account`). User 0 of a user
//! namespace is the ordinary user whom it stands for ([`root`]).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use authmgr::admission::AccountName;
use nix::unistd::geteuid;
use sessiond::io::account::Account;
use sessiond::io::root;

/// Why a daemon does not start with these accounts.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Every stranger would be root.
    #[error(
        "as root, name the account of sessions for which nothing else names one: groupmgr run --account USER \
         (make one: useradd --create-home --shell /bin/bash USER); or run as an ordinary user, see Accounts in \
         docs/operations.md"
    )]
    Unnamed,
    /// The same, asked for.
    #[error(
        "--account {0} is root: every stranger would be; name an ordinary account, and give root to single tokens: \
         authmgr card register CARD --account {0}"
    )]
    Root(AccountName),
    /// There is no such account, or it cannot be looked up.
    #[error("--account: {0}")]
    Unknown(String),
    /// Only root makes sessions of other accounts.
    #[error(
        "--account {wanted}: this daemon runs as {own} and cannot make sessions of another account; run it as root, or \
         start its spawner as root (sessiond spawner --daemon-uid {uid}), or leave --account out"
    )]
    Foreign {
        /// The account asked for.
        wanted: AccountName,
        /// The daemon's own.
        own: String,
        /// The daemon's user id.
        uid: u32,
    },
}

/// Checks what can be known before anything is started.
///
/// # Errors
/// See [`AccountError`].
pub fn check(wanted: Option<&AccountName>) -> Result<(), AccountError> {
    let Some(name) = wanted else {
        return if root::is_root() { Err(AccountError::Unnamed) } else { Ok(()) };
    };
    let account = Account::find(name.as_str()).map_err(AccountError::Unknown)?;
    if account.uid.is_root() && root::is_uid_0_root() {
        return Err(AccountError::Root(name.clone()));
    }
    Ok(())
}

/// Checks the rest once it is known whether the spawner is root (`own_accounts`).
///
/// # Errors
/// See [`AccountError`].
pub fn check_with_spawner(wanted: Option<&AccountName>, own_accounts: bool) -> Result<(), AccountError> {
    let named = wanted.and_then(|name| Some((name, Account::find(name.as_str()).ok()?)));
    let uid = geteuid();
    match named {
        Some((wanted, account)) if !own_accounts && account.uid != uid => {
            Err(AccountError::Foreign { wanted: wanted.clone(), own: own_name(), uid: uid.as_raw() })
        }
        _ => Ok(()),
    }
}

/// Says loudly what is not safe, or will not work. Sessions have their sockets below `run_dir`.
pub fn warn(wanted: Option<&AccountName>, own_accounts: bool, run_dir: &Path) {
    if !own_accounts {
        tracing::warn!(
            "SESSIONS OWN THIS GROUP: they run as {}, as this daemon does, so whoever has one can read the group's key \
             and everybody's data. Fit for a try among friends; else run as root with --account (docs/operations.md: Accounts)",
            own_name()
        );
    }
    if own_accounts && let Some(closed) = closed_to_others(run_dir) {
        tracing::warn!(
            "{} lets nobody else pass, so sessions may not reach their sockets: chmod o+x, or choose another --run-dir",
            closed.display()
        );
    }
    let named = wanted.and_then(|name| Account::find(name.as_str()).ok());
    if let Some(account) = named.filter(|account| !account.has_shell()) {
        tracing::warn!(
            "the shell of {} is {}: sessions without a command of their own end at once; see: groupmgr template put",
            account.name,
            account.shell.display()
        );
    }
}

/// The topmost directory on the way to `dir`, itself included, that accounts without a right of their own cannot pass.
fn closed_to_others(dir: &Path) -> Option<PathBuf> {
    let dir = std::fs::canonicalize(dir).ok()?;
    let is_closed = |path: &&Path| std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o001 == 0);
    dir.ancestors().filter(is_closed).last().map(Path::to_owned)
}

/// The name of the daemon's own account, as far as it has one.
#[must_use]
pub fn own_name() -> String {
    Account::own(geteuid()).map_or_else(|_| geteuid().to_string(), |account| account.name)
}

/// What a daemon that is started for a trial on this machine is given so that it can start whoever runs it: the lab,
/// tests and measurements. Their sessions run as `nobody` when that is root.
#[must_use]
pub fn trial() -> &'static [&'static str] {
    if root::is_root() { &["--account", TRIAL_ACCOUNT] } else { &[] }
}

/// The account of a trial's sessions when root runs it.
pub const TRIAL_ACCOUNT: &str = "nobody";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> AccountName {
        name.parse().unwrap()
    }

    #[test]
    fn root_starts_no_daemon_without_an_account_for_sessions_and_others_do() {
        let refused = check(None);
        assert_eq!(refused.is_err(), root::is_root());
        if let Err(error) = refused {
            assert!(error.to_string().contains("--account USER"), "{error}");
        }
    }

    #[test]
    fn an_account_that_is_not_there_or_is_root_is_refused_before_anything_is_started() {
        let unknown = check(Some(&name("no-such-user"))).unwrap_err().to_string();
        assert!(unknown.contains("no account no-such-user"), "{unknown}");
        let root_refused = check(Some(&name("root")));
        assert_eq!(root_refused.is_err(), root::is_uid_0_root(), "{root_refused:?}");
        assert!(check(Some(&name("nobody"))).is_ok());
    }

    #[test]
    fn a_daemon_whose_spawner_is_not_root_can_have_no_other_account() {
        let own = own_name();
        if own != "nobody" {
            let error = check_with_spawner(Some(&name("nobody")), false).unwrap_err().to_string();
            assert!(error.contains(&own) && error.contains("sessiond spawner"), "{error}");
        }
        assert!(check_with_spawner(Some(&name("nobody")), true).is_ok());
        assert!(check_with_spawner(None, false).is_ok());
    }

    #[test]
    fn a_directory_that_sessions_cannot_pass_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower) = (dir.path().join("upper"), dir.path().join("upper/lower"));
        std::fs::create_dir_all(&lower).unwrap();
        for (mode, closed) in [(0o711, false), (0o710, true)] {
            for path in [dir.path(), &lower] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)).unwrap();
            }
            std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = closed_to_others(&lower).is_some_and(|path| path.ends_with("upper"));
            assert_eq!(found, closed, "{mode:o}");
        }
    }
}
