//! What the kernel of the DTU watches for us: whether the other machine still acknowledges what is sent on a connection.
//!
//! A host that is heard may be cut off from one of its connections all the same: a firewall that lost its state, a way
//! that is broken in one direction. Beacons say nothing about that, and to ask the host itself would cost it work for
//! every idle desk. Its kernel answers for free:
//!
//! - Bytes that are not acknowledged for [`UNACKED_MAX`] end the connection, so that whoever types notices within half
//!   a second. A host that is stopped or busy acknowledges all the same; that it does not answer is for the DTU to judge.
//! - A control connection on which nothing comes is asked after [`IDLE`] by TCP keep-alive, and ends when two questions
//!   got no answer. Displays are asked by the DTU itself often enough.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// For so long sent bytes may stay without an acknowledgement of the other machine's kernel: time for two
/// retransmissions (Linux sends again after a few milliseconds, and after 200).
const UNACKED_MAX: Duration = Duration::from_millis(300);
/// After so long without a sign of the other machine its kernel is asked.
const IDLE: Duration = Duration::from_secs(2);
/// And asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Questions without an answer that end the connection: one may be lost.
const QUESTIONS: u32 = 2;
/// When the newest bytes were sent this long ago, all are acknowledged or the connection has ended.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// A TCP connection whose kernel watches the way. [`UNACKED_MAX`] holds only while something is on the way: the option
/// would otherwise replace the count of keep-alive questions (tcp(7)), and the first lost one would end the connection.
/// And only once the host's program has answered: a machine whose queue of new connections is full acknowledges nothing
/// that is sent on them, and is only busy.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    is_opened: bool,
    /// When something was last sent, while the limit holds.
    sent: Option<Instant>,
}

impl Watched {
    /// Sets the timers of `stream`; `idle` also those for when nothing is sent.
    pub(super) fn new(stream: TcpStream, idle: bool) -> io::Result<Self> {
        if idle {
            let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(AGAIN).with_retries(QUESTIONS);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        }
        Ok(Self { stream, is_opened: false, sent: None })
    }

    /// The host's program has answered: from now on the kernel watches what is sent.
    pub(super) const fn set_opened(&mut self) {
        self.is_opened = true;
    }

    /// The same for one that is open without an answer.
    pub(super) const fn opened(mut self) -> Self {
        self.set_opened();
        self
    }

    fn limit(&self, limit: Option<Duration>) {
        // A socket that refuses the option has ended, which reading tells.
        let _ = SockRef::from(&self.stream).set_tcp_user_timeout(limit);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_opened && self.sent.replace(Instant::now()).is_none() {
            self.limit(Some(UNACKED_MAX));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// To be called again [`SETTLED`] after the last write, which lifts the limit.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sent.take_if(|sent| sent.elapsed() >= SETTLED).is_some() {
            self.limit(None);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
