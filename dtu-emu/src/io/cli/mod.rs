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

use clap::{CommandFactory as _, Parser as _};
use tokio::runtime::Builder;

use args::{Cli, Command};
use error::{CliError, print};

/// Runs the program on a command line whose first word is the program's name, and says how to exit. Starts a
/// runtime of its own: not to be called within one.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dtu-emu: {error}");
            error.exit().code().into()
        }
    }
}

fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Boot(args) => on_one_thread(boot::run(args)),
        Command::Fleet(args) => {
            let workers = Builder::new_multi_thread().enable_all().build().map_err(CliError::Here)?;
            let done = on_one_thread(boot::fleet(args, workers.handle().clone()));
            workers.shutdown_background();
            done
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dtu-emu", &mut script);
            print(&script)
        }
        command => on_one_thread(ask::run(command)),
    }
}

fn on_one_thread(task: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(CliError::Here)?;
    let done = runtime.block_on(task);
    // A thread that waits for keys cannot be called off.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
