//! The exit codes of all programs: one table, so that a script reads `groupmgr`, `authmgr`, `datastore`, `dtu-emu` and
//! `sessiond` alike.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// It was refused, there is no such thing, a check failed, or what was waited for did not come.
    No = 1,
    /// The command line is wrong, or a file it names cannot be used: keys, CA, card, template.
    Usage = 2,
    /// Nobody answered: no daemon, DTU or data store can be reached. Nothing was changed.
    Nobody = 3,
    /// This user may not ask, or the two sides have no key in common. Nothing was changed.
    NotAllowed = 4,
    /// A change was sent and no answer came: it may have been done.
    Unknown = 5,
    /// This machine is in the way: a file that cannot be written, a port, a terminal, a limit.
    Machine = 6,
    /// It was done, but not at every host: those missing are named.
    NotEverywhere = 7,
}

impl Exit {
    /// The exit status of the process.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// The table as every `--help` ends with it.
pub const HELP: &str = "Exit codes of all Hotdesk programs:
  0  done
  1  no: refused, not found, a check failed, or what was waited for did not come
  2  wrong command line, or a file it names cannot be used (keys, CA, card, template)
  3  nobody answered: no daemon, DTU or data store can be reached; nothing was changed
  4  not allowed: this user may not ask, or the keys are of another group; nothing was changed
  5  a change was sent and its outcome is unknown
  6  this machine is in the way: a file, a port, a terminal, a limit
  7  done, but not at every host: those that have not answered or not applied it are named";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_tells_every_code_once_and_in_order() {
        let told: Vec<u8> = HELP.lines().skip(1).map(|line| line.trim_start().as_bytes()[0] - b'0').collect();
        let all = [
            Exit::Done,
            Exit::No,
            Exit::Usage,
            Exit::Nobody,
            Exit::NotAllowed,
            Exit::Unknown,
            Exit::Machine,
            Exit::NotEverywhere,
        ];
        assert_eq!(told, all.map(Exit::code));
    }
}
