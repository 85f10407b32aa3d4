//! How the login shell of a session is started so that it finds the session's commands.
//!
//! `/etc/profile` and its like set `PATH` anew, and with it the directory that holds `datastore` and its like would be
//! gone. No variable survives every profile, so each family of shells is given something that it reads last:
//!
//! | Shell | How |
//! |---|---|
//! | bash | started with `--posix`, in which a shell reads `$ENV` alone; that file leaves the mode and reads the start-up files |
//! | sh, dash, ash, ksh, mksh | `$ENV`, which an interactive one reads after the profiles |
//! | zsh | `$ZDOTDIR` with a `.zshenv` that reads the user's, and a function that runs before the first prompt |
//! | fish | a command after its start-up files (`--init-command`) |
//!
//! Any other shell finds the commands where its profile looks: install the programs in `/usr/local/bin`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// The files, by name and text.
const FILES: [(&str, &str); 2] =
    [("rc.sh", include_str!("login/rc.sh")), (".zshenv", include_str!("login/zshenv"))];

/// The files as they lie in a session's directory.
#[derive(Clone, Debug)]
pub(super) struct Hooks(PathBuf);

/// What makes a program a login shell.
#[derive(Debug)]
pub(super) struct LoginShell {
    /// Its name as it sees it: the dash says that it is one.
    pub(super) name: OsString,
    /// The arguments it is started with.
    pub(super) arguments: Vec<&'static str>,
    /// Variables it is given beside all others.
    pub(super) variables: Vec<(&'static str, OsString)>,
}

impl Hooks {
    /// The files in `dir`, not yet written.
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Writes the files that are not there into their directory, which is made.
    pub(super) fn write(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).create(&self.0)?;
        for (name, text) in FILES.iter().filter(|(name, _)| !self.0.join(name).exists()) {
            std::fs::write(self.0.join(name), text)?;
        }
        Ok(())
    }

    /// Removes the files that it made.
    pub(super) fn clear(&self) {
        for (name, _) in FILES {
            let _ = std::fs::remove_file(self.0.join(name));
        }
        let _ = std::fs::remove_dir(&self.0);
    }

    /// How `shell` is started as a login shell. `zdotdir` is where its zsh would look without us.
    pub(super) fn login(&self, shell: &Path, zdotdir: Option<&OsStr>) -> LoginShell {
        let file_name = shell.file_name().unwrap_or(shell.as_os_str());
        let mut name = OsString::from("-");
        name.push(file_name);
        let rc = || OsString::from(self.0.join("rc.sh"));
        let (arguments, variables) = match file_name.to_str().unwrap_or_default() {
            "bash" => (vec!["--posix"], vec![("ENV", rc()), ("HOTDESK_LOGIN", "bash".into())]),
            "zsh" => {
                let own = zdotdir.map(|dir| ("HOTDESK_ZDOTDIR", dir.to_owned()));
                (vec![], [("ZDOTDIR", self.0.clone().into())].into_iter().chain(own).collect())
            }
            "fish" => (
                vec!["--init-command", "set -gx PATH $HOTDESK_BIN (string match -v -- $HOTDESK_BIN $PATH)"],
                vec![],
            ),
            _ => (vec![], vec![("ENV", rc())]),
        };
        LoginShell { name, arguments, variables }
    }
}
