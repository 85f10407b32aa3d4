//! The account a session runs as: found, checked against who asks, and taken on for good.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, geteuid, getresgid, getresuid, initgroups, setgid, setuid};

use super::root::{is_root, is_root_uid};

/// A daemon that is not root gets no session of an account below this one: those are the system's own, and who
/// takes over such a daemon must not have the machine with it.
const UID_MIN: u32 = 1000;

/// An account, as the passwd database has it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The user id, which processes of the session get.
    pub uid: Uid,
    /// Its first group.
    pub gid: Gid,
    /// Its home directory, which need not be there.
    pub home: PathBuf,
    /// Its login shell.
    pub shell: PathBuf,
}

impl Account {
    /// The account of this name.
    ///
    /// # Errors
    /// There is none, or the passwd database cannot be read; what to do about it.
    pub fn find(name: &str) -> Result<Self, String> {
        let user = User::from_name(name)
            .map_err(|error| format!("the account {name} cannot be looked up: {error}"))?;
        user.map(Self::of)
            .ok_or_else(|| format!("there is no account {name} on this host: create it or name another"))
    }

    /// The account `wanted`, or this process's own when none is named, if a daemon of `daemon` may have it. `named` says
    /// that the registry names it for the session's own token: only then it may be root.
    ///
    /// The error says what to do about it.
    pub(super) fn resolve(wanted: Option<&str>, named: bool, daemon: Uid) -> Result<Self, String> {
        let (me, own_accounts) = (geteuid(), is_root());
        let Some(name) = wanted else {
            if own_accounts {
                return Err("the spawner is root, so every session needs an account: start the daemon with \
                            --account, name one in the template (user = \"...\") or give the token one"
                    .to_owned());
            }
            return Self::own(me);
        };
        let account = Self::find(name)?;
        let is_daemon_root = is_root_uid(daemon);
        if own_accounts && !is_daemon_root && (account.uid.as_raw() < UID_MIN || account.uid == daemon) {
            return Err(format!(
                "a daemon that is not root gets no session of {name} (uid {}): name an ordinary user",
                account.uid
            ));
        }
        if own_accounts && account.uid.is_root() && !named {
            return Err(format!(
                "no session runs as {name}, which is root, unless the registry names it for the very token: name \
                 another account, or: authmgr card register CARD --account {name}"
            ));
        }
        if !own_accounts && account.uid != me {
            return Err(format!(
                "the spawner does not run as root, so it cannot make a session of {name}: run it as root, or \
                 leave the user out"
            ));
        }
        Ok(account)
    }

    /// The account of this process's user.
    ///
    /// # Errors
    /// The passwd database cannot be read.
    pub fn own(me: Uid) -> Result<Self, String> {
        match User::from_uid(me) {
            Ok(Some(user)) => Ok(Self::of(user)),
            // A container's user often has no entry; what is needed is known all the same.
            Ok(None) => Ok(Self {
                name: me.to_string(),
                uid: me,
                gid: nix::unistd::getegid(),
                home: std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from),
                shell: PathBuf::from("/bin/sh"),
            }),
            Err(error) => Err(format!("the account with uid {me} cannot be looked up: {error}")),
        }
    }

    /// Whether somebody can work with its shell: not with `nologin` or `false`, by which an account is closed.
    #[must_use]
    pub fn has_shell(&self) -> bool {
        !self.shell.file_name().is_some_and(|name| name == "nologin" || name == "false")
    }

    fn of(user: User) -> Self {
        let shell = if user.shell.as_os_str().is_empty() { PathBuf::from("/bin/sh") } else { user.shell };
        Self { name: user.name, uid: user.uid, gid: user.gid, home: user.dir, shell }
    }

    /// Makes this process that account's, whole and for good: groups, then group, then user, then a look at the
    /// result.
    pub(super) fn assume(&self) -> Result<(), String> {
        let me = geteuid();
        if self.uid == me && !me.is_root() {
            return Ok(());
        }
        let failed =
            |what: &str, error: Errno| format!("this process cannot become {}: {what}: {error}", self.name);
        let name =
            CString::new(self.name.as_str()).map_err(|_| "an account's name with a zero byte".to_owned())?;
        // Root's own groups may have been given up by whoever started the daemon. In a user namespace of an ordinary
        // user the kernel lets nobody change them.
        match initgroups(&name, self.gid) {
            Err(Errno::EPERM) if self.uid == me => return Ok(()),
            result => result.map_err(|error| failed("initgroups", error))?,
        }
        setgid(self.gid).map_err(|error| failed("setgid", error))?;
        setuid(self.uid).map_err(|error| failed("setuid", error))?;
        let uids = getresuid().map_err(|error| failed("getresuid", error))?;
        let gids = getresgid().map_err(|error| failed("getresgid", error))?;
        let whole = [uids.real, uids.effective, uids.saved].iter().all(|uid| *uid == self.uid)
            && [gids.real, gids.effective, gids.saved].iter().all(|gid| *gid == self.gid);
        let for_good = self.uid.is_root() || setuid(Uid::from_raw(0)).is_err();
        if whole && for_good {
            Ok(())
        } else {
            Err(format!("this process did not wholly become {}", self.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_account_is_refused_with_its_name() {
        let error = Account::resolve(Some("no-such-user"), true, geteuid()).unwrap_err();
        assert!(error.contains("no-such-user") && error.contains("create it"), "{error}");
    }

    #[test]
    fn without_a_name_a_session_is_the_spawners_own_unless_that_is_root() {
        match Account::resolve(None, false, geteuid()) {
            Ok(account) => assert!(!is_root() && account.uid == geteuid() && account.shell.is_absolute()),
            Err(error) => assert!(is_root() && error.contains("--account"), "{error}"),
        }
    }

    #[test]
    fn only_the_registry_makes_a_session_roots_own() {
        if !is_root() {
            let error = Account::resolve(Some("daemon"), true, geteuid()).unwrap_err();
            assert!(error.contains("run it as root"), "{error}");
            return;
        }
        let error = Account::resolve(Some("root"), false, geteuid()).unwrap_err();
        assert!(error.contains("the very token"), "{error}");
        assert!(Account::resolve(Some("root"), true, geteuid()).unwrap().uid.is_root());
    }

    #[test]
    fn a_daemon_that_is_not_root_gets_neither_root_nor_the_systems_accounts() {
        if !is_root() {
            return;
        }
        let daemon = Uid::from_raw(4_000_000);
        for wanted in [None, Some("daemon"), Some("root")] {
            let error = Account::resolve(wanted, true, daemon).unwrap_err();
            assert!(error.contains("user"), "{error}");
        }
    }

    #[test]
    fn an_account_that_was_closed_has_no_shell() {
        let with = |shell: &str| Account { shell: shell.into(), ..Account::own(geteuid()).unwrap() };
        assert!(with("/bin/bash").has_shell() && with("/opt/false/sh").has_shell());
        assert!(!with("/usr/sbin/nologin").has_shell() && !with("/bin/false").has_shell());
    }
}
