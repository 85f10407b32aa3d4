//! Scenarios with real processes, each in a process of its own.
//!
//! A namespace can only be entered by a program with one thread, so the test program starts itself again for every
//! scenario, told by an environment variable which one. Where the kernel allows no namespaces the scenarios are
//! reported as ignored, never as passed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use lab::net;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::scene::Played;

/// Plays with the program under test.
pub(crate) type Scenario = fn(PathBuf) -> Played;

/// A scenario, by name, and whether this machine has what it needs.
pub(crate) type Need = (&'static str, fn() -> bool);

const SCENARIO: &str = "HOTDESK_TEST_SCENARIO";
const BINARY: &str = "HOTDESK_TEST_BINARY";

/// Runs all scenarios as tests, or the one that this process was started for.
///
/// `needs` are scenarios with what this machine may not have; without it they are ignored.
pub(crate) fn main(all: &'static [(&'static str, Scenario)], needs: &[Need]) -> ExitCode {
    if let (Ok(name), Some(binary)) = (std::env::var(SCENARIO), std::env::var_os(BINARY)) {
        return play(all, &name, PathBuf::from(binary));
    }
    let mut arguments = Arguments::from_args();
    // Each scenario measures in hundreds of milliseconds and starts a dozen processes.
    arguments.test_threads = Some(1);
    let listed = arguments.list;
    let why_not = net::available().err();
    if let Some(why) = &why_not {
        eprintln!("real-network tests are ignored here: {why}");
    }
    let binary = if listed || why_not.is_some() { PathBuf::new() } else { binary() };
    let trials = all.iter().map(|(name, _)| {
        let binary = binary.clone();
        let missing = needs.iter().any(|(of, is_there)| of == name && !is_there());
        Trial::test(*name, move || run(name, &binary)).with_ignored_flag(why_not.is_some() || missing)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// The one binary, built like this test. Cargo does not build another package's programs for a test by itself.
fn binary() -> PathBuf {
    let this = std::env::current_exe().expect("this program's own file");
    let profile = this.ancestors().nth(2).expect("…/<target>/<profile>/deps/<this>");
    let target = profile.parent().expect("the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "hotdesk", "--bin", "hotdesk"])
        .arg("--target-dir")
        .arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let built = cargo.arg("--manifest-path").arg(manifest).status().expect("cargo runs");
    assert!(built.success(), "the program under test must build");
    profile.join("hotdesk")
}

/// Runs one scenario in a process of its own.
fn run(name: &str, binary: &Path) -> Result<(), Failed> {
    let this = std::env::current_exe()?;
    let output = Command::new(this).env(SCENARIO, name).env(BINARY, binary).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Err(format!("{}\n{}{}", output.status, said[0], said[1]).into())
}

/// The scenario's own process: enters namespaces and plays.
fn play(all: &[(&str, Scenario)], name: &str, binary: PathBuf) -> ExitCode {
    let Some((_, scenario)) = all.iter().find(|(other, _)| *other == name) else {
        eprintln!("there is no scenario {name}");
        return ExitCode::FAILURE;
    };
    let entered = net::available().and_then(net::enter);
    if let Err(why) = entered {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    match scenario(binary) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{name}: {why}");
            ExitCode::FAILURE
        }
    }
}
