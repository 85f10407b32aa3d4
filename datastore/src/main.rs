//! The data store's program: see [`datastore::io::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    datastore::io::cli::run(std::env::args_os())
}
