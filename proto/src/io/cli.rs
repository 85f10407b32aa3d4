//! What the command lines of all programs share: how words are read, results printed, and failures told.

use core::fmt::{self, Display};
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
pub use clap_complete::Shell;

use crate::exit::Exit;

/// Where a group's keys are unless said otherwise, relative to where the program is started.
pub const KEYS: &str = "hotdesk-keys";

/// Why a command was not done: one line that says what, where and what would help, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// A command that ends with `exit`, and says why.
    #[must_use]
    pub fn new(exit: Exit, why: impl Display) -> Self {
        Self { exit, text: why.to_string() }
    }

    /// It was refused, or cannot be done.
    #[must_use]
    pub fn no(why: impl Display) -> Self {
        Self::new(Exit::No, why)
    }

    /// What was given is wrong.
    #[must_use]
    pub fn usage(why: impl Display) -> Self {
        Self::new(Exit::Usage, why)
    }

    /// Nobody can be asked.
    #[must_use]
    pub fn nobody(why: impl Display) -> Self {
        Self::new(Exit::Nobody, why)
    }

    /// This user may not ask.
    #[must_use]
    pub fn not_allowed(why: impl Display) -> Self {
        Self::new(Exit::NotAllowed, why)
    }

    /// This machine is in the way.
    #[must_use]
    pub fn machine(why: impl Display) -> Self {
        Self::new(Exit::Machine, why)
    }

    /// A command that is over without a word: whoever read its output has seen enough, as `head` has.
    const fn quiet() -> Self {
        Self { exit: Exit::Done, text: String::new() }
    }

    /// How the program exits.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::quiet() } else { Self::machine(error) }
    }
}

impl From<super::KeyDirError> for Failure {
    fn from(error: super::KeyDirError) -> Self {
        Self::usage(error)
    }
}

/// Runs a program on a command line whose first word is its name, and says how to exit. What went wrong is told on the
/// standard error.
pub fn run<C: Parser>(
    args: impl IntoIterator<Item = OsString>,
    command: impl FnOnce(C) -> Result<Exit, Failure>,
) -> ExitCode {
    let cli = match C::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let exit = command(cli).unwrap_or_else(|failure| {
        if !failure.text.is_empty() {
            drop(writeln!(io::stderr(), "{}: {failure}", C::command().get_name()));
        }
        failure.exit
    });
    exit.code().into()
}

/// Prints text, or whatever bytes these are, as they are.
///
/// # Errors
/// When the standard output cannot be written; one that tells nothing when nobody reads it any more.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(text.as_ref()).and_then(|()| out.flush())?)
}

/// Prints a shell's completion script for a program.
///
/// # Errors
/// See [`print()`].
pub fn print_completions<C: CommandFactory>(shell: Shell) -> Result<Exit, Failure> {
    let (mut command, mut script) = (C::command(), Vec::new());
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(script)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "tool")]
    struct Tool {
        word: String,
    }

    fn run_with(words: &[&str], command: impl FnOnce(Tool) -> Result<Exit, Failure>) -> ExitCode {
        run(words.iter().map(OsString::from), command)
    }

    #[test]
    fn a_program_exits_as_its_command_says_and_with_2_when_its_words_mean_nothing() {
        assert_eq!(run_with(&["tool", "x"], |_| Ok(Exit::NotEverywhere)), ExitCode::from(7));
        assert_eq!(run_with(&["tool", "x"], |tool| Err(Failure::no(tool.word))), ExitCode::from(1));
        assert_eq!(run_with(&["tool"], |_| Ok(Exit::Done)), ExitCode::from(2));
        assert_eq!(run_with(&["tool", "--help"], |_| Ok(Exit::No)), ExitCode::SUCCESS);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_disk_that_is_full_is_one_of_this_machine() {
        let exit = |kind: io::ErrorKind| Failure::from(io::Error::from(kind)).exit();
        assert_eq!(exit(io::ErrorKind::BrokenPipe), Exit::Done);
        assert_eq!(exit(io::ErrorKind::StorageFull), Exit::Machine);
    }
}
