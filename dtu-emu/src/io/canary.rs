//! Whether this process keeps up: before a DTU holds somebody's silence against him, a canary is sent through the
//! same machinery as his answer would have come (a socket, the poller, a task, the queue of notes). When it is back,
//! everything that arrived before it was sent has been handed in; and when it is late, so are we.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::conn::{Note, Notes};

/// See the module's text.
pub(super) struct Canary {
    start: mpsc::Sender<()>,
}

impl Canary {
    /// A canary that comes back as [`Note::Canary`].
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn new(notes: Notes) -> io::Result<Self> {
        let (mut here, mut there) = UnixStream::pair()?;
        let (start, mut started) = mpsc::channel(1);
        tokio::spawn(async move {
            while started.recv().await.is_some() {
                if here.write_all(&[0]).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut byte = [0];
            while there.read_exact(&mut byte).await.is_ok() {
                if !notes.say(Note::Canary).await {
                    return;
                }
            }
        });
        Ok(Self { start })
    }

    /// Sends it. False when it is not flying any more.
    pub(super) fn send(&self) -> bool {
        self.start.try_send(()).is_ok()
    }
}
