//! The lab: a whole group on one machine, with its data store, its hosts and its DTUs as real processes.
//!
//! Owns the networks they live in ([`net`]) and everything that is done to them from outside: kill, freeze,
//! cut, heal, restart. It refuses to reach into a process: whatever the lab knows of hosts and DTUs it learns
//! from their own output, so that what it shows has really happened.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lab is a driver: it reads clocks, starts processes and waits for them"
)]

pub mod backend;
mod commands;
pub mod demo;
mod ending;
pub mod net;
pub mod plan;
mod running;
pub mod timeline;
mod tui;
pub mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use backend::Ground;
use demo::{Form, Subject};
use ending::Ending;
use world::LabError;

/// What `hotdesk lab` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct LabArgs {
    /// Run a demonstration unattended, print what happens, and end with 0 only if every step was observed
    #[arg(long, value_name = "WHICH", num_args = 0..=1, default_missing_value = "group")]
    pub demo: Option<Subject>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Use loopback addresses, also where network namespaces are allowed
    #[arg(long)]
    pub loopback: bool,
    /// How many hosts the interactive lab begins with
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=26))]
    pub hosts: u8,
    /// How many desks the interactive lab begins with
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=40))]
    pub desks: u8,
}

/// Runs a lab: the demonstration, or the terminal UI.
///
/// Must be called while the program has one thread only, best as the first thing in `main`: it moves the program
/// into namespaces of its own and returns in a child process. `binary` is the program that knows all commands.
///
/// # Errors
/// When there can be no lab here.
pub fn run(args: &LabArgs, binary: PathBuf) -> Result<ExitCode, LabError> {
    let ground = settle(args.loopback)?;
    let ending = Ending::hold().map_err(world::doing("hold signals back"))?;
    let held = if let Some(subject) = args.demo {
        let form = if args.json { Form::Json } else { Form::Text };
        demo::run(subject, ground, binary, form, ending)?
    } else {
        tui::run(ground, binary, usize::from(args.hosts), usize::from(args.desks), ending)?;
        true
    };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Moves the program to the best ground there is, and sees to it that no process outlives it.
fn settle(loopback: bool) -> Result<Ground, LabError> {
    let no_lab =
        |why: net::Why| LabError::Odd { what: "no lab can be set up".to_owned(), why: why.to_string() };
    if !loopback {
        match net::available() {
            Ok(isolation) => {
                net::enter(isolation).map_err(no_lab)?;
                return Ok(Ground::Namespaces);
            }
            Err(why) => eprintln!("hotdesk lab: {why}; using loopback addresses instead"),
        }
    }
    net::guard().map_err(no_lab)?;
    Ok(Ground::Loopback)
}
