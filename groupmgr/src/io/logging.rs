//! The log: records go to the standard error by way of a thread of their own.
//!
//! Whoever reads the log may stop reading it. The host machine must not stop with them, so a record that finds
//! the queue full is dropped, and how many were is said as soon as there is room again.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::admin::audit::AUDIT;

/// Records that may wait.
const QUEUE_MAX: usize = 4096;
/// Bytes that are written at once, and a record more.
const WRITE_MAX: usize = 16 * 1024;
/// How long the last records may take to be written at the end.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// Keeps the log going; its drop waits until what was logged is written.
#[derive(Debug)]
pub struct Log {
    records: SyncSender<Record>,
    written: Receiver<()>,
}

enum Record {
    Text(Vec<u8>),
    /// The last one.
    End,
}

/// Starts the log of this process, filtered by [`proto::io::log::LOG`], else from `info` on. Audit records are always kept.
#[must_use]
pub fn start(json: bool) -> Log {
    let (writer, log) = to(io::stderr());
    let filter = EnvFilter::new(proto::io::log::directives("info", Some(AUDIT)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    debug_assert!(started.is_ok(), "the log is started once");
    log
}

/// A log that ends up in `sink`.
fn to(sink: impl Write + Send + 'static) -> (Writer, Log) {
    let (records, queue) = sync_channel(QUEUE_MAX);
    let (done, written) = sync_channel(1);
    let dropped = Arc::new(AtomicU64::new(0));
    let writer = Writer { records: records.clone(), dropped: Arc::clone(&dropped) };
    let write = move || {
        write_all(sink, &queue, &dropped);
        let _ = done.send(());
    };
    if let Err(error) = std::thread::Builder::new().name("hotdesk-log".into()).spawn(write) {
        drop(writeln!(io::stderr(), "groupmgr: no thread for the log: {error}; nothing will be logged"));
    }
    (writer, Log { records, written })
}

fn write_all(mut sink: impl Write, queue: &Receiver<Record>, dropped: &AtomicU64) {
    while let Ok(first) = queue.recv() {
        let (mut text, mut next) = (Vec::new(), Some(first));
        // What waits is written at once: in a storm that is a system call for many records.
        while let Some(Record::Text(record)) = &next {
            text.extend_from_slice(record);
            next = if text.len() < WRITE_MAX { queue.try_recv().ok() } else { None };
        }
        // Nobody reads it any more: there is nobody to tell.
        drop(sink.write_all(&text));
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            drop(writeln!(
                sink,
                "groupmgr: {missing} log records were dropped, because nobody read them in time"
            ));
        }
        if let Some(Record::End) = next {
            break;
        }
    }
    drop(sink.flush());
}

impl Drop for Log {
    fn drop(&mut self) {
        // A full queue means that nobody reads.
        if self.records.try_send(Record::End).is_ok()
            && self.written.recv_timeout(FLUSH_WITHIN) == Err(RecvTimeoutError::Timeout)
        {
            tracing::trace!("the log's reader is slow");
        }
    }
}

/// Where records are handed in, each with one call.
#[derive(Clone, Debug)]
struct Writer {
    records: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
}

impl Write for Writer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.records.try_send(Record::Text(text.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stands_still_delays_nobody_and_learns_what_it_missed() {
        let record = b"record\n";
        // More than may wait and may be on their way to the reader, however soon it stood still.
        let said = QUEUE_MAX + WRITE_MAX / record.len() + 100;
        let sink = Sink::default();
        let reading = sink.0.lock().unwrap();
        let (mut writer, log) = to(sink.clone());
        for _ in 0..said {
            writer.write_all(record).unwrap();
        }
        drop(reading);
        log.records.send(Record::End).unwrap();
        log.written.recv().unwrap();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let records = text.lines().filter(|line| *line == "record").count();
        assert!((QUEUE_MAX..said).contains(&records), "{records} of {said}");
        assert!(
            text.contains(&format!("{} log records were dropped", said - records)),
            "{records} of {said}"
        );
    }

    #[test]
    fn what_was_logged_is_written_before_the_end() {
        let sink = Sink::default();
        let (mut writer, log) = to(sink.clone());
        writer.write_all(b"last words\n").unwrap();
        drop(log);
        assert_eq!(*sink.0.lock().unwrap(), b"last words\n");
    }
}
