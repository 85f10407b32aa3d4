//! Hosts and desks as processes in network namespaces of their own: killed, frozen, cut, drowned in loss, and lied
//! to by strangers.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that drives real processes reads clocks, and stops when it cannot go on"
)]

mod apart;
mod dtu_keys;
mod examples;
mod keys;
mod readme;
mod scenarios;
mod scene;
mod screens;
mod silent;

fn main() -> std::process::ExitCode {
    silent::run().unwrap_or_else(|| apart::main(scenarios::ALL, scenarios::NEEDS))
}
