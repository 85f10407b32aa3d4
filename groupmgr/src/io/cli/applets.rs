//! The other programs of the system, reached as hidden commands of this one or by a link with their name, so
//! that one file is all a host needs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use super::CliError;
use crate::lab::{self, LabArgs};

type Main = fn(Vec<OsString>) -> ExitCode;

/// Every program but this one.
const APPLETS: &[(&str, Main)] = &[
    ("authmgr", authmgr::io::cli::run),
    ("datastore", datastore::io::cli::run),
    ("dtu-emu", dtu_emu::io::cli::run),
    ("sessiond", |args| ExitCode::from(u8::try_from(sessiond::io::cli::run(args)).unwrap_or(1))),
];

/// Runs the program that the name of the file or the first word asks for, if it is one of the others.
pub(super) fn run(args: &[OsString]) -> Option<ExitCode> {
    let (main, args) = find(args)?;
    Some(main(args))
}

/// The program meant, and its command line.
fn find(args: &[OsString]) -> Option<(Main, Vec<OsString>)> {
    let by_name = |name: &OsStr| APPLETS.iter().find(|(applet, _)| *applet == name).map(|(_, main)| *main);
    let linked = by_name(Path::new(args.first()?).file_name()?);
    if let Some(main) = linked {
        return Some((main, args.to_vec()));
    }
    Some((by_name(args.get(1)?)?, args[1..].to_vec()))
}

/// Runs a lab.
pub(super) fn lab(args: &LabArgs) -> Result<ExitCode, CliError> {
    let binary = std::env::current_exe().map_err(|e| {
        CliError::No(format!("this program's own file cannot be found: {e}; start it by its path"))
    })?;
    lab::run(args, binary).map_err(|error| CliError::Machine(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_their_link_and_by_the_first_word() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let found = |text: &str| find(&words(text)).map(|(_, args)| args);
        assert_eq!(found("/usr/bin/datastore ls"), Some(words("/usr/bin/datastore ls")));
        assert_eq!(found("groupmgr datastore ls"), Some(words("datastore ls")));
        assert_eq!(found("groupmgr status"), None);
        assert_eq!(found("groupmgr"), None);
    }
}
