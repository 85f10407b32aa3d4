//! A small swarm of the simulator ([`tests::sim`]) with every test run; `.ci/run` and `.ci/nightly` run larger ones.

use proto::time::Duration;
use tests::sim::{Faults, Given, Options, run, swarm};

/// Seeds of a usual run: enough that each rule is put to the test, two hosts of one name and lost links among them.
const SEEDS: core::ops::Range<u64> = 0..64;

#[test]
fn whatever_happens_the_rules_hold_and_once_all_is_repaired_everybody_is_at_work_and_agrees() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let given = Given { replicated: true, ..Given::default() };
    let swarm = swarm(SEEDS, given, threads, &|| false, &|_, _| {});
    assert!(swarm.broken.is_empty(), "{:#?}", swarm.broken);
    assert!(swarm.good == SEEDS.end && swarm.faults > 100, "{} runs, {} faults", swarm.good, swarm.faults);
    let idle = swarm.hardly_tried();
    assert!(idle.is_empty(), "hardly put to the test: {idle:#?}");
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

#[test]
fn the_command_that_a_broken_run_prints_is_that_of_the_same_run() {
    for seed in 0..50 {
        let drawn = Options::draw(seed, Given { replicated: true, ..Given::default() });
        let text = drawn.command();
        let word =
            |name: &str| text.split(name).nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        let minutes: f64 = word("--minutes").parse().unwrap();
        let given = Given {
            hosts: word("--hosts").parse().ok(),
            dtus: word("--dtus").parse().ok(),
            time: Duration::try_from_secs_f64(minutes * 60.0).ok(),
            faults: word("--faults").parse().ok(),
            replicated: text.contains("--replicated"),
        };
        assert_eq!(Options::draw(word("--seed").parse().unwrap(), given), drawn, "{text}");
    }
}
