//! The spawner and the session process as a program of their own. `groupmgr sessiond` is the same.

use std::process::exit;

fn main() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOTDESK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    exit(sessiond::io::cli::run(std::env::args_os()));
}
