//! A process of the lab whose output is read line by line, and kept in a file.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest line; a longer one is read in pieces, which will make no sense to anybody.
const LINE_MAX: u64 = 256 * 1024;

/// A started process.
#[derive(Debug)]
pub(super) struct Running {
    pid: Pid,
    ended: Arc<(Mutex<Option<i32>>, Condvar)>,
}

impl Running {
    /// Takes over a child whose standard output is a pipe: every line goes into the file `log` and to `on_line`,
    /// with the moment it was read; the end of the process goes to `on_end`, with its exit code (128 and the
    /// signal's number when it was killed).
    pub(super) fn new(
        mut child: Child,
        log: &Path,
        on_line: impl FnMut(Instant, &str) + Send + 'static,
        on_end: impl FnOnce(i32) + Send + 'static,
    ) -> io::Result<Self> {
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let log = append(log)?;
        std::thread::Builder::new().name("lab-read".into()).spawn(move || read(output, log, on_line))?;
        let ended = Arc::new((Mutex::new(None), Condvar::new()));
        let theirs = Arc::clone(&ended);
        // A thread of its own: children of the process may hold its output open for long after its end.
        std::thread::Builder::new().name("lab-wait".into()).spawn(move || {
            let code = wait(&mut child);
            *theirs.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
            theirs.1.notify_all();
            on_end(code);
        })?;
        Ok(Self { pid, ended })
    }

    /// Whether it runs still.
    pub(super) fn is_alive(&self) -> bool {
        self.ended.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Sends a signal, unless it has ended: then nothing happens, for its id may be another's by now.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let ended = self.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            kill(self.pid, signal)?;
        }
        Ok(())
    }

    /// Waits for its end; `None` when it did not come in time.
    pub(super) fn wait(&self, patience: Duration) -> Option<i32> {
        let ended = self.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.1.wait_timeout_while(ended, patience, |code| code.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Opens a log for appending: a restarted machine goes on in the same file.
pub(super) fn append(log: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(log)
}

/// The log as standard error of a process to be started.
pub(super) fn stderr_to(log: &Path) -> io::Result<Stdio> {
    append(log).map(Stdio::from)
}

fn wait(child: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    match child.wait() {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        // Somebody else has reaped it; all we know is that it has ended.
        Err(_) => -1,
    }
}

fn read(output: impl io::Read, mut log: File, mut on_line: impl FnMut(Instant, &str)) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match io::Read::take(&mut output, LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let at = Instant::now();
        // A log that cannot be written must not stop the lab.
        let _ = log.write_all(&line);
        if let Ok(text) = str::from_utf8(&line) {
            on_line(at, text.trim_end());
        }
    }
}
