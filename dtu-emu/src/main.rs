//! The desk unit's program: see [`dtu_emu::io::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    dtu_emu::io::cli::run(std::env::args_os())
}
