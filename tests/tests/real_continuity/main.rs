//! Sessions that outlive their host, on real hosts: a person types numbers into a program that keeps the last one with its
//! session, and the host under the desk is killed again and again. What was acknowledged is never lost, and nothing that
//! was typed is applied twice.
//!
//! `HOTDESK_KILLS=1000` kills a thousand times instead of twenty; `HOTDESK_SEED=7` draws other moments.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that drives real processes reads clocks, and stops when it cannot go on"
)]

#[path = "../real_network/apart.rs"]
mod apart;
mod ledger;
#[allow(dead_code, reason = "the other scenarios use the rest")]
#[path = "../real_network/scene.rs"]
mod scene;

const ALL: &[(&str, apart::Scenario)] = &[
    ("the_ledger_sees_what_it_is_there_for", ledger::sees_what_is_wrong),
    ("nothing_acknowledged_is_lost_and_nothing_typed_is_applied_twice", ledger::kills),
    ("a_drained_host_hands_its_sessions_over_and_nothing_typed_is_lost", ledger::drains),
];

fn main() -> std::process::ExitCode {
    apart::main(ALL, &[])
}
