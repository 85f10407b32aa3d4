//! The authentication manager's program: see [`authmgr::io::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    authmgr::io::cli::run(std::env::args_os())
}
