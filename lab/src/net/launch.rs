//! The thread that starts all processes of a lab.
//!
//! A parent-death signal fires when the *thread* that forked ends, not the process. So all children are forked
//! by one thread that lives as long as the lab: they die with it, and only with it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

use super::ns::Namespace;

type Answer = io::Result<Child>;

/// Starts processes; its drop ends the thread, and with it every process that is left.
#[derive(Debug)]
pub struct Launcher {
    orders: Option<Sender<(Command, Sender<Answer>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Launcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start() -> io::Result<Self> {
        let (orders, inbox) = channel();
        let thread = std::thread::Builder::new().name("lab-launch".into()).spawn(move || serve(&inbox))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Starts a process in a session of its own, so that neither the lab's terminal nor its signals reach it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        self.spawn_inside(command, None)
    }

    /// The same, inside a host's namespaces.
    pub(super) fn spawn_inside(
        &self,
        mut command: Command,
        namespace: Option<Namespace>,
    ) -> io::Result<Child> {
        let prepare = move || {
            if let Some(namespace) = &namespace {
                namespace.join()?;
            }
            nix::unistd::setsid()?;
            // What the lab holds back for itself (`Ending`) would be inherited, and the standard library leaves it so.
            SigSet::empty().thread_set_mask()?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: `prepare` makes system calls only and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let (answer, answered) = channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.orders.as_ref().ok_or_else(gone)?.send((command, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It only starts processes; a panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn serve(inbox: &Receiver<(Command, Sender<Answer>)>) {
    while let Ok((mut command, answer)) = inbox.recv() {
        // Who asked has given up waiting only if its thread is gone; then the child goes with the lab.
        let _ = answer.send(command.spawn());
    }
}
