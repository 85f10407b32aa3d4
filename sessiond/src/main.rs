//! The spawner and the session process as a program of their own. `groupmgr sessiond` is the same.

use std::io::IsTerminal as _;
use std::process::exit;

fn main() {
    let filter = tracing_subscriber::EnvFilter::new(proto::io::log::directives("warn", None));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    exit(sessiond::io::cli::run(std::env::args_os()));
}
