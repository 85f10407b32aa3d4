//! The spawner and the session process as a program of their own. `groupmgr sessiond` is the same.

use std::process::ExitCode;

fn main() -> ExitCode {
    proto::io::log::to_stderr();
    sessiond::io::cli::run(std::env::args_os())
}
