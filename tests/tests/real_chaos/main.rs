//! Faults at random on real hosts and desks: killed, frozen whole or in part, cut either way, starved of processor
//! time, with frames lost, late, twice and out of order. What the desks saw is judged by rules.
//!
//! Real time repeats nothing, but the plan of faults is drawn from a seed that is printed. `HOTDESK_SEED=7` plays
//! that plan, `HOTDESK_SECONDS=600` goes on for ten minutes instead of one.
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
mod faults;
mod judge;
mod judge_tests;
mod play;
#[allow(dead_code, reason = "the other scenarios use the rest")]
#[path = "../real_network/scene.rs"]
mod scene;

const ALL: &[(&str, apart::Scenario)] = &[
    ("the_judge_sees_what_it_is_there_for", |_| judge_tests::all()),
    ("the_same_seed_plans_the_same_faults", |_| faults::same_seed_same_plan()),
    ("eight_busy_processes_make_no_desk_leave_its_host", play::busy),
    ("whatever_is_done_to_hosts_no_desk_sees_what_it_must_not", play::chaos),
];

fn main() -> std::process::ExitCode {
    apart::main(ALL, &[])
}
