//! One file for several programs: each is called by its name as the first word, or by a link with its name.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// A program, told its command line, whose first word is its name.
pub type Main = fn(Vec<OsString>) -> ExitCode;

/// The programs that a host needs beside `groupmgr`: the daemon starts its spawner from its own file, and sessions find
/// the others in their `PATH`.
pub const APPLETS: [(&str, Main); 3] = [
    ("authmgr", authmgr::io::cli::run),
    ("datastore", datastore::io::cli::run),
    ("sessiond", sessiond::io::cli::run),
];

/// The program of `applets` that the name of the file or the first word asks for, and its command line.
#[must_use]
pub fn find(applets: &[(&str, Main)], args: &[OsString]) -> Option<(Main, Vec<OsString>)> {
    let by_name = |name: &OsStr| applets.iter().find(|(applet, _)| *applet == name).map(|(_, main)| *main);
    let linked = by_name(Path::new(args.first()?).file_name()?);
    if let Some(main) = linked {
        return Some((main, args.to_vec()));
    }
    Some((by_name(args.get(1)?)?, args[1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_their_link_and_by_the_first_word() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let found = |text: &str| find(&APPLETS, &words(text)).map(|(_, args)| args);
        assert_eq!(found("/usr/bin/datastore ls"), Some(words("/usr/bin/datastore ls")));
        assert_eq!(found("groupmgr datastore ls"), Some(words("datastore ls")));
        assert_eq!(found("groupmgr status"), None);
        assert_eq!(found("groupmgr"), None);
    }
}
