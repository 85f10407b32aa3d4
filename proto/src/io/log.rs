//! What the programs log: one environment variable says it for all of them.

use std::io::IsTerminal as _;

/// The environment variable, with directives such as `info`, `debug,hyper=warn` or `groupmgr=debug`.
pub const LOG: &str = "HOTDESK_LOG";

/// The directives to filter the log by: those of [`LOG`], else `default`. Records of `always`, a target, are kept
/// whatever the directives say, unless they name it themselves.
#[must_use]
pub fn directives(default: &str, always: Option<&str>) -> String {
    let said = std::env::var(LOG).ok().filter(|said| !said.trim().is_empty());
    join(said.as_deref().unwrap_or(default), always)
}

/// Logs to the standard error from `warn` on, unless [`LOG`] says otherwise. A log that was started before stays: a program
/// may be part of another one.
pub fn to_stderr() {
    let filter = tracing_subscriber::EnvFilter::new(directives("warn", None));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    drop(log.with_ansi(std::io::stderr().is_terminal()).try_init());
}

fn join(said: &str, always: Option<&str>) -> String {
    let names = |target: &str| said.split(',').any(|directive| directive.split('=').next() == Some(target));
    match always {
        Some(target) if !names(target) => format!("{said},{target}=info"),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_records_are_kept_unless_they_are_named() {
        assert_eq!(join("warn", Some("audit")), "warn,audit=info");
        assert_eq!(join("warn,audit=off", Some("audit")), "warn,audit=off");
        assert_eq!(join("debug", None), "debug");
    }
}
