//! The group manager's program. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    groupmgr::io::cli::main(std::env::args_os())
}
