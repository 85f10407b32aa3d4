//! A connection that remembers what the host said first: one that takes no more connections says so in plain text
//! where TLS was expected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use proto::Line;
use proto::alp::FromHost;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::path::{Owes, Watched};
use crate::dtu::Fault;

/// More than a busyInf needs.
const KEPT_MAX: usize = 128;

/// A connection, and the first bytes that the host sent on it.
#[derive(Debug)]
pub(super) struct FirstWord {
    stream: Watched,
    /// What came first; `None` once it does not matter.
    kept: Option<Vec<u8>>,
}

impl FirstWord {
    pub(super) const fn new(stream: Watched) -> Self {
        Self { stream, kept: Some(Vec::new()) }
    }

    /// TLS it is, and the host's program has answered.
    pub(super) fn forget(&mut self) {
        self.kept = None;
        self.stream.set_opened();
    }

    /// Whether the host's machine owes acknowledgements, for whoever sends on this connection.
    pub(super) fn owes(&self) -> Owes {
        self.stream.owes()
    }

    /// Whether the host said that it takes no more connections.
    pub(super) fn busy(&self) -> Option<Fault> {
        let text = self.kept.as_ref()?.split(|byte| *byte == b'\n').next()?;
        match FromHost::from_line(&Line::parse(text).ok()?) {
            Ok(FromHost::BusyInf { reason }) => Some(Fault::Busy(reason)),
            _ => None,
        }
    }
}

impl AsyncRead for FirstWord {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(kept) = &mut self.kept {
            let came = &buf.filled()[before..];
            kept.extend(came.iter().take(KEPT_MAX - kept.len().min(KEPT_MAX)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FirstWord {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
