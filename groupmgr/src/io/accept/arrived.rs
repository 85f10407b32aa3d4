//! A connection of which something was read to find out what it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The connection. What was read is read again.
#[derive(Debug)]
pub(super) struct Arrived {
    stream: TcpStream,
    again: Vec<u8>,
}

impl Arrived {
    /// A connection of which `again` was read.
    pub(super) const fn new(stream: TcpStream, again: Vec<u8>) -> Self {
        Self { stream, again }
    }

    /// The connection below: what was read of it is not there.
    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The same for whoever needs it alone.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Arrived {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.again.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let mut again = std::mem::take(&mut self.again);
        self.again = again.split_off(again.len().min(buf.remaining()));
        buf.put_slice(&again);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Arrived {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_was_read_comes_again_in_pieces_of_any_size_and_before_all_else() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        client.write_all(b" second").await.unwrap();
        drop(client);
        let mut arrived = Arrived::new(stream, b"first".to_vec());
        let mut some = [0; 2];
        arrived.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"fi");
        let mut text = String::new();
        arrived.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "rst second");
    }
}
