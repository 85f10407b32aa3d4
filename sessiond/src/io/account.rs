//! The account a session runs as: found, checked against who asks, and taken on for good.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, geteuid, getresgid, getresuid, initgroups, setgid, setuid};

/// A daemon that is not root gets no session of an account below this one: those are the system's own, and who
/// takes over such a daemon must not have the machine with it.
const UID_MIN: u32 = 1000;

/// An account, as the passwd database has it.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) home: PathBuf,
    pub(super) shell: PathBuf,
}

impl Account {
    /// The account `wanted`, or this process's own when none is named, if a daemon of `daemon` may have it.
    ///
    /// The error says what to do about it.
    pub(super) fn resolve(wanted: Option<&str>, daemon: Uid) -> Result<Self, String> {
        let me = geteuid();
        let Some(name) = wanted else {
            if me.is_root() && !daemon.is_root() {
                return Err(
                    "the spawner is root and the daemon is not, so every session needs a user: name one \
                            in the template (user = \"...\") or give the token one"
                        .to_owned(),
                );
            }
            return Self::own(me);
        };
        let user = User::from_name(name)
            .map_err(|error| format!("the account {name} cannot be looked up: {error}"))?;
        let user = user
            .ok_or_else(|| format!("there is no account {name} on this host: create it or name another"))?;
        let account = Self::of(user);
        if me.is_root() && !daemon.is_root() && (account.uid.as_raw() < UID_MIN || account.uid == daemon) {
            return Err(format!(
                "a daemon that is not root gets no session of {name} (uid {}): name an ordinary user",
                account.uid
            ));
        }
        if !me.is_root() && account.uid != me {
            return Err(format!(
                "the spawner does not run as root, so it cannot make a session of {name}: run it as root, or \
                 leave the user out"
            ));
        }
        Ok(account)
    }

    fn own(me: Uid) -> Result<Self, String> {
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

    fn of(user: User) -> Self {
        let shell = if user.shell.as_os_str().is_empty() { PathBuf::from("/bin/sh") } else { user.shell };
        Self { name: user.name, uid: user.uid, gid: user.gid, home: user.dir, shell }
    }

    /// Makes this process that account's, whole and for good: groups, then group, then user, then a look at the
    /// result.
    pub(super) fn assume(&self) -> Result<(), String> {
        if self.uid == geteuid() {
            return Ok(());
        }
        let failed =
            |what: &str, error: Errno| format!("this process cannot become {}: {what}: {error}", self.name);
        let name =
            CString::new(self.name.as_str()).map_err(|_| "an account's name with a zero byte".to_owned())?;
        initgroups(&name, self.gid).map_err(|error| failed("initgroups", error))?;
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
        let error = Account::resolve(Some("no-such-user"), geteuid()).unwrap_err();
        assert!(error.contains("no-such-user") && error.contains("create it"), "{error}");
    }

    #[test]
    fn without_a_name_a_session_is_the_spawners_own() {
        let account = Account::resolve(None, geteuid()).unwrap();
        assert_eq!(account.uid, geteuid());
        assert!(account.shell.is_absolute());
    }

    #[test]
    fn a_daemon_that_is_not_root_gets_neither_root_nor_the_systems_accounts() {
        if !geteuid().is_root() {
            let error = Account::resolve(Some("root"), geteuid()).unwrap_err();
            assert!(error.contains("run it as root"), "{error}");
            return;
        }
        let daemon = Uid::from_raw(4_000_000);
        // Root's uid is the spawner's own here, which must not let it through.
        for wanted in [None, Some("daemon"), Some("root")] {
            let error = Account::resolve(wanted, daemon).unwrap_err();
            assert!(error.contains("user"), "{error}");
        }
    }
}
