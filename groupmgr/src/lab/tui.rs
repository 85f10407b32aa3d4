//! The interactive lab in a terminal: the hosts and what they think of each other, the desks and their screens, and
//! what happens, with milliseconds.
//!
//! Three parties that share one [`View`]: this thread draws it and reads keys; a worker owns the [`World`] and does
//! what the keys order, since a kill or a restart takes longer than a person waits for a cursor; watchers ask hosts
//! and DTUs how they are. What is drawn and what a key means is decided without any of them, in [`draw`] and
//! [`keys`].

mod draw;
mod keys;
mod view;
mod watch;
mod worker;

use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use crossterm::event::{self, Event as Input, KeyEventKind};
use ratatui::DefaultTerminal;

use super::backend::Ground;
use super::ending::Ending;
use super::plan::Plan;
use super::timeline::{Cursor, Timeline};
use super::world::{LabError, World, doing};

use keys::{Act, Ui};
use view::{Shared, View};

/// How long a picture may be old.
const REDRAW: Duration = Duration::from_millis(50);

/// Runs the lab until the user quits.
///
/// # Errors
/// When there is no terminal, or no lab can be made.
pub(super) fn run(
    ground: Ground,
    binary: PathBuf,
    hosts: usize,
    desks: usize,
    ending: Ending,
) -> Result<(), LabError> {
    let world = World::new(Plan::simple(hosts, desks), ground, binary)?;
    ending.on_signal(world.files().to_owned(), ratatui::restore);
    let timeline = world.timeline().clone();
    let shared = Shared::new(View::new(&world));
    watch::start(&world, &shared);
    let (orders, inbox) = channel();
    let worker = worker::start(world, shared.clone(), inbox);
    let mut terminal = ratatui::try_init().map_err(doing("use this terminal"))?;
    let result = follow_keys(&mut terminal, &shared, &timeline, &orders);
    ratatui::restore();
    // The worker ends with its orders, and the lab with the worker.
    drop(orders);
    let _ = worker.join();
    result.map_err(doing("draw on this terminal"))
}

fn follow_keys(
    terminal: &mut DefaultTerminal,
    shared: &Shared,
    timeline: &Timeline,
    orders: &std::sync::mpsc::Sender<worker::Order>,
) -> std::io::Result<()> {
    let mut ui = Ui::default();
    let mut seen = Cursor::default();
    loop {
        let news = timeline.since(&mut seen);
        let view = shared.update(|view| {
            news.into_iter().for_each(|event| view.on_event(event));
            view.now_ms = timeline.now_ms();
            view.clone()
        });
        terminal.draw(|frame| draw::draw(frame, &view, &ui))?;
        if !event::poll(REDRAW)? {
            continue;
        }
        let Input::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match ui.on_key(key, &view) {
            Act::Nothing => {}
            Act::Quit => return Ok(()),
            Act::Do(order) => {
                if orders.send(order).is_err() {
                    return Ok(());
                }
            }
        }
    }
}
