//! A connection on which TLS begins.
//!
//! It remembers what the host said first: one that takes no more connections says so in plain text where TLS was
//! expected. And it keeps the end of our handshake until something is said: both then are one segment, for which the host
//! wakes up once.

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
    /// What came first; `None` once the handshake is over.
    kept: Option<Vec<u8>>,
    /// Our answer to the host's part of the handshake, which goes out with what is said next.
    answer: Vec<u8>,
}

impl FirstWord {
    pub(super) const fn new(stream: Watched) -> Self {
        Self { stream, kept: Some(Vec::new()), answer: Vec::new() }
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

    /// Whether the host has had its part of the handshake, and we are at ours.
    fn is_answering(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.is_empty())
    }

    /// Keeps what is written of an answer, or sends all that was kept with it. `None` when nothing is kept.
    fn keep(&mut self, cx: &mut Context<'_>, bytes: &[&[u8]]) -> Option<Poll<io::Result<usize>>> {
        let is_answering = self.is_answering();
        if !is_answering && self.answer.is_empty() {
            return None;
        }
        bytes.iter().for_each(|bytes| self.answer.extend_from_slice(bytes));
        let len = bytes.iter().map(|bytes| bytes.len()).sum();
        // What does not go out now does at the next flush.
        if !is_answering && let Poll::Ready(Err(error)) = self.poll_answer(cx) {
            return Some(Poll::Ready(Err(error)));
        }
        Some(Poll::Ready(Ok(len)))
    }

    /// Sends what was kept.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.answer.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.answer))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for FirstWord {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_answering() {
            // The handshake goes on: the host has asked for something else, and waits for it.
            ready!(self.poll_answer(cx))?;
        }
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
        match self.keep(cx, &[buf]) {
            Some(kept) => kept,
            None => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_answering() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<&[u8]> = bufs.iter().map(|buf| &**buf).collect();
        match self.keep(cx, &bytes) {
            Some(kept) => kept,
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Our end of a loopback connection, where what is sent is there at once, and the host's.
    async fn pair() -> (FirstWord, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        ours.set_nodelay(true).unwrap();
        let (host, _) = listener.accept().unwrap();
        host.set_nonblocking(true).unwrap();
        (FirstWord::new(Watched::new(ours, false).unwrap()), host)
    }

    async fn say(ours: &mut FirstWord, text: &[u8]) {
        ours.write_all(text).await.unwrap();
        ours.flush().await.unwrap();
    }

    async fn hear(ours: &mut FirstWord, host: &mut std::net::TcpStream) {
        host.write_all(b"your turn").unwrap();
        ours.read_exact(&mut [0; 9]).await.unwrap();
    }

    fn arrived(host: &mut std::net::TcpStream) -> String {
        let mut space = [0; 100];
        let len = host.read(&mut space).unwrap_or(0);
        String::from_utf8_lossy(&space[..len]).into_owned()
    }

    #[tokio::test]
    async fn the_end_of_a_handshake_goes_out_with_what_is_said_first() {
        let (mut ours, mut host) = pair().await;
        say(&mut ours, b"hello").await;
        assert_eq!(arrived(&mut host), "hello");
        hear(&mut ours, &mut host).await;
        say(&mut ours, b"done. ").await;
        ours.forget();
        assert_eq!(arrived(&mut host), "");
        ours.write_all(b"infoReq").await.unwrap();
        assert_eq!(arrived(&mut host), "done. infoReq");
        say(&mut ours, b"more").await;
        assert_eq!(arrived(&mut host), "more");
    }

    #[tokio::test]
    async fn a_host_that_wants_another_hello_gets_it() {
        let (mut ours, mut host) = pair().await;
        say(&mut ours, b"hello").await;
        assert_eq!(arrived(&mut host), "hello");
        hear(&mut ours, &mut host).await;
        say(&mut ours, b"again").await;
        tokio::select! {
            biased;
            _ = ours.read_u8() => panic!("nothing was said"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(arrived(&mut host), "again");
    }

    #[tokio::test]
    async fn the_end_of_a_handshake_goes_out_alone_where_nothing_is_said() {
        let (mut ours, mut host) = pair().await;
        hear(&mut ours, &mut host).await;
        say(&mut ours, b"done.").await;
        ours.forget();
        assert_eq!(arrived(&mut host), "");
        ours.flush().await.unwrap();
        assert_eq!(arrived(&mut host), "done.");
    }
}
