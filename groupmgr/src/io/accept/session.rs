//! One session protocol connection after it was recognised: lines in, lines out, until either side ends it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use proto::Instant;
use proto::line::{Line, LineError, Splitter};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::mpsc;

use super::bounds::Place;
use crate::host::ConnId;
use crate::io::clock;
use crate::io::counters::{Counters, Reason};
use crate::io::inbox::{Event, Inbox};

/// Lines that may wait to be written to one connection. Whoever does not read them is closed. A DTU that sends all it
/// may at once reads the answers when it has written, so there is room for one to each line, and for what the host says
/// by itself.
pub(crate) const WRITE_QUEUE_MAX: usize = LINES_BURST as usize + 56;

/// How long one write, or the last words of a connection, may take.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// Lines are gathered up to so many bytes before they are written.
const WRITE_CHUNK: usize = 8 * 1024;

/// Bytes read at a time.
const READ_CHUNK: usize = 2048;

/// Lines a second a connection may send for long, and at once. A DTU at work sends a few a minute.
const LINES_PER_SEC: u64 = 50;
const LINES_BURST: u64 = 200;

/// One connection of the session protocol.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) conn: ConnId,
    /// Where in a line the bytes read so far end.
    pub(super) splitter: Splitter,
    pub(super) outgoing: mpsc::Receiver<Box<str>>,
    pub(super) inbox: Inbox,
    pub(super) counters: Counters,
    pub(super) _place: Place,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Serves until the connection ends, and says so.
    pub(super) async fn serve(mut self) {
        self.exchange().await;
        self.inbox.send(Event::Closed(self.conn)).await;
        drop(tokio::time::timeout(WRITE_WITHIN, self.stream.shutdown()).await);
    }

    async fn exchange(&mut self) {
        let mut allowance = Lines::new(clock::now());
        let mut lines = Vec::new();
        loop {
            tokio::select! {
                biased;
                next = self.outgoing.recv() => {
                    let Some(next) = next else { return };
                    if !self.write(next).await {
                        return;
                    }
                }
                read = read_lines(&mut self.stream, &mut self.splitter, &mut lines) => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    for line in lines.drain(..) {
                        if !allowance.take(clock::now()) {
                            self.counters.count(Reason::LineRate);
                            return;
                        }
                        self.inbox.send(Event::Line(self.conn, line)).await;
                    }
                }
            }
        }
    }

    /// Writes `next` and what waits behind it. Returns whether all of it went out.
    async fn write(&mut self, next: Box<str>) -> bool {
        let mut text = String::from(next);
        while text.len() < WRITE_CHUNK
            && let Ok(more) = self.outgoing.try_recv()
        {
            text.push_str(&more);
        }
        let written = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(WRITE_WITHIN, written).await {
            Ok(written) => written.is_ok(),
            Err(_late) => {
                self.counters.count(Reason::WriteQueue);
                false
            }
        }
    }
}

/// Reads once and cuts what came into lines. Returns how many bytes came.
pub(super) async fn read_lines(
    stream: &mut (impl AsyncRead + Unpin),
    splitter: &mut Splitter,
    lines: &mut Vec<Result<Line, LineError>>,
) -> io::Result<usize> {
    read_once::<READ_CHUNK>(stream, |bytes| splitter.push(bytes, |line| lines.push(line))).await
}

/// Reads once, at most `MAX` bytes, and hands over what came. Returns how many bytes that were. The space lives on the
/// stack of the poll, so that an idle connection holds none.
pub(crate) async fn read_once<const MAX: usize>(
    stream: &mut (impl AsyncRead + Unpin),
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut space = [MaybeUninit::uninit(); MAX];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
        take(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    })
    .await
}

/// How many lines a connection may still send, in millionths.
struct Lines {
    left: u64,
    at: Instant,
}

impl Lines {
    const FULL: u64 = LINES_BURST * 1_000_000;

    fn new(now: Instant) -> Self {
        Self { left: Self::FULL, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let micros = now.as_micros().saturating_sub(self.at.as_micros());
        self.left = self.left.saturating_add(micros.saturating_mul(LINES_PER_SEC)).min(Self::FULL);
        self.at = now;
        let left = self.left.checked_sub(1_000_000);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_lines_is_allowed_and_a_stream_of_them_is_not() {
        let now = Instant::from_micros(1);
        let mut lines = Lines::new(now);
        assert_eq!((0..1000).filter(|_| lines.take(now)).count() as u64, LINES_BURST);
        let later = Instant::from_micros(1_000_001);
        assert_eq!((0..1000).filter(|_| lines.take(later)).count() as u64, LINES_PER_SEC);
    }

    #[tokio::test]
    async fn bytes_become_lines_wherever_they_are_cut() {
        let mut stream = tokio_test_stream(&[b"keepAl", b"iveReq\ninfoReq a=1\n\n"]);
        let (mut splitter, mut lines) = (Splitter::new(), Vec::new());
        while read_lines(&mut stream, &mut splitter, &mut lines).await.unwrap() > 0 {}
        let commands: Vec<_> = lines.iter().flatten().map(Line::command).collect();
        assert_eq!(commands, ["keepAliveReq", "infoReq"]);
    }

    fn tokio_test_stream(parts: &[&'static [u8]]) -> impl AsyncRead + Unpin {
        use tokio::io::AsyncReadExt as _;
        parts[0].chain(parts[1])
    }
}
