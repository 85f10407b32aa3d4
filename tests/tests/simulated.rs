//! A small swarm of the simulator ([`tests::sim`]) with every test run; `.ci/run` and `.ci/nightly` run larger ones.

use tests::sim::{Faults, Given, Options, run, swarm};

/// Seeds of a usual run.
const SEEDS: core::ops::Range<u64> = 0..16;

#[test]
fn whatever_happens_the_rules_hold_and_once_all_is_repaired_everybody_is_at_work_and_agrees() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let swarm = swarm(SEEDS, Given::default(), threads, &|| false, &|_, _| {});
    assert!(swarm.broken.is_empty(), "{:#?}", swarm.broken);
    assert!(swarm.good == SEEDS.end && swarm.faults > 100, "{} runs, {} faults", swarm.good, swarm.faults);
    let idle: Vec<_> = swarm.looked.iter().filter(|(_, times)| **times == 0).collect();
    assert!(idle.is_empty(), "never put to the test: {idle:?}");
}

#[test]
fn the_same_seed_gives_the_same_digest_and_another_one_another() {
    let digest = |seed| {
        let given = Given { hosts: Some(3), dtus: Some(6), faults: Some(Faults::High), ..Given::default() };
        run(&Options::draw(seed, given), &mut |_, _| {}).unwrap().digest
    };
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
}
