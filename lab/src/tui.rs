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

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use crossterm::event::{self, Event as Input, KeyEventKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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
    // Before anything is started: whoever has no terminal is told so, and nothing is left behind.
    let tty = terminal_of_this_program().map_err(doing("show the lab without a terminal (see --demo)"))?;
    let world = World::new(Plan::simple(hosts, desks), ground, binary)?;
    ending.on_signal(world.files().to_owned(), ratatui::restore);
    end_with(tty);
    let timeline = world.timeline().clone();
    let shared = Shared::new(View::new(&world));
    watch::start(&world, &shared);
    let (orders, inbox) = channel();
    let worker = worker::start(world, shared.clone(), inbox);
    let result = match ratatui::try_init() {
        Ok(mut terminal) => {
            let result = follow_keys(&mut terminal, &shared, &timeline, &orders);
            ratatui::restore();
            result.map_err(doing("draw on this terminal"))
        }
        Err(error) => Err(doing("use this terminal")(error)),
    };
    // The worker ends with its orders, and the lab with the worker.
    drop(orders);
    let _ = worker.join();
    result
}

/// The terminal that keys are read from.
fn terminal_of_this_program() -> std::io::Result<File> {
    let stdin = std::io::stdin();
    match stdin.is_terminal() {
        true => Ok(File::from(stdin.as_fd().try_clone_to_owned()?)),
        false => File::open("/dev/tty"),
    }
}

/// Ends the lab as SIGHUP does when its terminal is gone: nobody can press a key any more. Whoever reads keys cannot
/// tell, since crossterm reads a terminal that has hung up over and over and does not return.
fn end_with(tty: File) {
    std::thread::spawn(move || {
        // What is not asked for here is told in any case: POLLHUP, POLLERR and POLLNVAL.
        let mut fds = [PollFd::new(tty.as_fd(), PollFlags::empty())];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let _ = kill(Pid::this(), Signal::SIGHUP);
    });
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
