//! The command line: `dtu-emu boot | insert | remove | flip | type | screen | attach | wait | list | fleet |
//! completions`.
//!
//! The exit codes are those of [`proto::exit`].

mod args;
mod ask;
mod boot;
pub(super) mod error;

use std::ffi::OsString;
use std::process::ExitCode;

use proto::exit::Exit;
use proto::io::cli::{Failure, print_completions};
use tokio::runtime::Builder;

use args::{Cli, Command};

/// Runs the program on a command line whose first word is the program's name, and says how to exit. Starts a
/// runtime of its own: not to be called within one.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    proto::io::cli::run(args, dispatch)
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Boot(args) => on_one_thread(boot::run(args)),
        Command::Fleet(args) => {
            let workers = Builder::new_multi_thread().enable_all().build()?;
            let done = on_one_thread(boot::fleet(args, workers.handle().clone()));
            workers.shutdown_background();
            done
        }
        Command::Completions { shell } => return print_completions::<Cli>(shell),
        command => on_one_thread(ask::run(command)),
    }?;
    Ok(Exit::Done)
}

fn on_one_thread(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(task);
    // A thread that waits for keys cannot be called off.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
