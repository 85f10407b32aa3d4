//! What is left to do when somebody ends a lab by a signal: its processes go with it in any case, its files would
//! stay, and the terminal would keep the state that the terminal UI has put it into.

use std::io;
use std::path::PathBuf;

use nix::sys::signal::{SigSet, Signal};

/// The signals by which a lab is ended, held back from the whole program.
#[derive(Debug)]
pub(super) struct Ending(SigSet);

impl Ending {
    /// Holds them back. To be called before any thread is started, since each inherits what it holds back. So
    /// would the processes that are started; the launcher undoes it for them.
    pub(super) fn hold() -> io::Result<Self> {
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Waits for one of them in the background; then runs `last`, removes the directory and ends the program with
    /// the shell's code for the signal.
    pub(super) fn on_signal(self, directory: PathBuf, last: impl FnOnce() + Send + 'static) {
        std::thread::spawn(move || {
            if let Ok(signal) = self.0.wait() {
                last();
                // Who is still writing into it is about to die; a second try takes what came meanwhile.
                let _ = std::fs::remove_dir_all(&directory).or_else(|_| std::fs::remove_dir_all(&directory));
                std::process::exit(128 + signal as i32);
            }
        });
    }
}
