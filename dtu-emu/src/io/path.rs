//! What the kernels of both machines tell of the way between them: whether the other one still acknowledges what is sent
//! on a connection.
//!
//! A host that is heard may be cut off from one of its connections all the same: a firewall that lost its state, a way
//! that is broken in one direction. Beacons say nothing about that, and to ask the host itself would cost it work for
//! every idle desk. Its kernel answers for free:
//!
//! - Bytes that are not acknowledged for [`UNACKED_MAX`] end the connection, so that whoever types notices within half
//!   a second. A host that is stopped or busy acknowledges all the same; that it does not answer is for the DTU to judge.
//!   `TCP_USER_TIMEOUT` would do the same, and much later: it is looked at only when a retransmission has timed out twice.
//! - A control connection on which nothing comes is asked after [`IDLE`] by TCP keep-alive, and ends when two questions
//!   got no answer. Displays are asked by the DTU itself often enough.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// For so long sent bytes may stay without an acknowledgement of the other machine's kernel: time for one
/// retransmission, which Linux makes after 200 ms.
const UNACKED_MAX: Duration = Duration::from_millis(250);
/// How often that is looked at while it may be so.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(70);

/// After so long without a sign of the other machine its kernel is asked.
const IDLE: Duration = Duration::from_secs(2);
/// And asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Questions without an answer that end the connection: one may be lost.
const QUESTIONS: u32 = 2;

/// A TCP connection that fails with [`io::ErrorKind::TimedOut`] when a flush finds bytes that were sent for too long and
/// not acknowledged. Only once the host's program has answered: a machine whose queue of new connections is full
/// acknowledges nothing that is sent on them, and is only busy.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    is_opened: bool,
    /// Bytes given to the kernel.
    sent: u64,
    /// When how many had been given to it, the oldest first; what was acknowledged is forgotten.
    marks: VecDeque<(Instant, u64)>,
    owes: Owes,
}

/// Whether the other machine owes acknowledgements, as far as is known: then a flush looks again. For whoever cannot ask
/// the stream itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Owes(Arc<AtomicBool>);

impl Owes {
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, any: bool) {
        self.0.store(any, Ordering::Relaxed);
    }
}

impl Watched {
    /// Watches `stream`; `idle` also while nothing is sent.
    pub(super) fn new(stream: TcpStream, idle: bool) -> io::Result<Self> {
        if idle {
            let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(AGAIN).with_retries(QUESTIONS);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        }
        Ok(Self { stream, is_opened: false, sent: 0, marks: VecDeque::new(), owes: Owes::default() })
    }

    /// Whether the other machine owes acknowledgements, for whoever cannot reach this.
    pub(super) fn owes(&self) -> Owes {
        self.owes.clone()
    }

    /// The host's program has answered: from now on what is sent is watched.
    pub(super) const fn set_opened(&mut self) {
        self.is_opened = true;
    }

    /// The same for one that is open without an answer.
    pub(super) const fn opened(mut self) -> Self {
        self.set_opened();
        self
    }

    fn mark(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.owes.set(true);
        let now = Instant::now();
        match self.marks.back_mut() {
            // Bytes that follow closely are judged with the first of them.
            Some((at, sent)) if now.duration_since(*at) < LOOK_AGAIN / 2 => *sent = self.sent,
            _ => self.marks.push_back((now, self.sent)),
        }
    }

    /// Forgets what is acknowledged by now.
    ///
    /// # Errors
    /// Something has not been for too long.
    fn look(&mut self) -> io::Result<()> {
        if self.marks.is_empty() {
            return Ok(());
        }
        let acknowledged = self.sent.saturating_sub(unacknowledged(&self.stream)?);
        while self.marks.front().is_some_and(|(_, sent)| *sent <= acknowledged) {
            self.marks.pop_front();
        }
        self.owes.set(!self.marks.is_empty());
        match self.marks.front() {
            Some((at, _)) if at.elapsed() >= UNACKED_MAX => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

nix::ioctl_read_bad!(
    /// Bytes in the send queue that the other end has not acknowledged (tcp(7), `SIOCOUTQ`).
    siocoutq,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
);

fn unacknowledged(stream: &TcpStream) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the descriptor is open while the stream is borrowed, and the kernel writes one int, to which it is pointed.
    unsafe { siocoutq(stream.as_raw_fd(), &raw mut bytes) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
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
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(len)) = written {
            self.mark(len);
        }
        written
    }

    /// The end of a handshake is several records: written one by one, each would go out, and wake the host, by itself.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(len)) = written {
            self.mark(len);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_opened {
            self.look()?;
        } else {
            self.marks.clear();
            self.owes.set(false);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
