//! `doctor`: whether this machine and its group have what they need, and the remedy where not.
//!
//! Works without a daemon too: then it says whether one could start. [`Seen`] is gathered first; then every function
//! of [`CHECKS`] looks at one thing and adds rows to [`Checks`]. To check something new, write such a function and
//! name it there; what it needs from other hosts belongs into their [`Status`](crate::host::admin::Status), and what
//! it needs from the daemon's process into [`Facts`](crate::io::admin::wire::Facts).

mod accounts;
mod checks;
mod daemon;
mod fitness;
mod hearing;
mod hosts;
mod keys;
mod machine;
mod seen;
mod store;
mod templates;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::checks::{Check, Checks, Rating};
use self::seen::Seen;
use super::args::At;
use super::show::print_json;
use super::table::Table;
use proto::exit::Exit;
use proto::io::cli::{Failure, print};

/// Everything that is checked, in the order of the rows.
const CHECKS: &[fn(&Seen, &mut Checks)] = &[
    daemon::check_daemon,
    daemon::check_hooks,
    keys::check_keys,
    daemon::check_interfaces,
    accounts::check_accounts,
    hosts::check_answers,
    hosts::check_heard,
    hosts::check_pairs,
    hosts::check_classes,
    hosts::check_strangers,
    hosts::check_clocks,
    hearing::check_own,
    hearing::check_others,
    fitness::check_names,
    fitness::check_fitness,
    store::check_reached,
    store::check_same,
    store::check_templates,
    machine::check_terminals,
    machine::check_buffers,
    machine::check_descriptors,
    machine::check_homes,
];

pub(super) fn run(at: &At, keys: Option<&Path>) -> Result<Exit, Failure> {
    let seen = Seen::gather(at, keys)?;
    let mut checks = Checks::default();
    for check in CHECKS {
        check(&seen, &mut checks);
    }
    report(at, &checks.0)
}

fn report(at: &At, checks: &[Check]) -> Result<Exit, Failure> {
    if at.json {
        print_json(&checks)?;
    } else {
        let mut table = Table::new(&["", "WHAT", "FOUND"]);
        for check in checks {
            let remedy = if check.remedy.is_empty() { String::new() } else { format!("; {}", check.remedy) };
            let verdict = check.verdict.word().to_owned();
            table.row([verdict, check.what.to_owned(), check.found.clone() + &remedy]);
        }
        print(table.to_string())?;
    }
    let failed = checks.iter().any(|check| check.verdict == Rating::Fail);
    Ok(if failed { Exit::No } else { Exit::Done })
}
