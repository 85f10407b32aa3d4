//! Processes that only compute.

use std::process::{Child, Command, Stdio};

use super::{Outcome, cannot};

/// Busy loops, ended by their ids when dropped.
pub(crate) struct Spinning(Vec<Child>);

impl Spinning {
    pub(crate) fn start(count: usize) -> Outcome<Self> {
        let mut spinning = Self(Vec::new());
        for _ in 0..count {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            spinning.0.push(command.spawn().map_err(cannot("start a busy loop"))?);
        }
        Ok(spinning)
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already needs no end.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
