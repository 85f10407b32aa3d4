//! The session's end of one service's display channel: what the DTU is sent and what is taken from it.
//!
//! A pure machine over [`proto::frame`]. Owns the service's last output, its screen and its input; refuses to
//! wait for anybody: a DTU that is too slow is repainted, a service that does not read stops its DTU.
//! See `docs/protocol.md`, "The display channel".
//!
//! ```text
//!   service ──output──▶ backlog ──────────────▶ Output frames ──▶ DTU
//!                          └──digest──▶ screen ─▶ Repaint
//!                                         └─ answers ─▶ input queue
//!   service ◀──────────── input queue ◀──────── Input frames ◀── DTU
//! ```
//!
//! Output goes to the DTU first and into the screen after ([`DisplayFeed::digest`]), since someone waits for it
//! there. What the service asks its terminal is answered here and nowhere else, whoever looks. The backlog is the only queue there is: a DTU's place in it is a number, and when the number falls out of
//! it the DTU is repainted.

mod backlog;
mod feed;
mod hold;
mod input;

use std::collections::VecDeque;

use proto::frame::{Frame, Hello, INPUT_WINDOW, Size};
use proto::{Instant, Nonce, time::Duration};

pub use backlog::{BACKLOG_MAX, Backlog};
pub use feed::{Extent, Feed, TerminalFeed};
pub use input::{InputFault, InputQueue};

use feed::UNDIGESTED_MAX;
use hold::{Hold, UNDIGESTED_HELD_MAX};

/// Largest piece of output in one frame: with its header it fills one TLS record.
pub const PIECE_MAX: usize = 16 * 1024 - 32;

/// An acknowledgement of input waits this long for output to travel with, since an echo is the usual answer.
const ACK_DELAY: Duration = Duration::from_millis(20);

/// Most answers to pings that wait to be sent: who asks more often than it reads needs only the newest.
const PONGS_MAX: usize = 8;

/// What a feed asks of its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEffect {
    /// Input waits for the service ([`DisplayFeed::input`]).
    Input,
    /// The service's display has this size now.
    Resize(Extent),
}

/// What a DTU must not do on the display channel. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtuFault {
    /// A frame that is the session's to send, or a second hello.
    #[error("a frame out of place")]
    OutOfPlace,
    /// It acknowledges what it was never sent.
    #[error("an acknowledgement of output that was not sent")]
    AckAhead,
    /// The input broke a rule of the display channel.
    #[error(transparent)]
    Input(#[from] InputFault),
}

/// Whether more will come on a display connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// The service runs.
    Open,
    /// The last frame was given out; close when it is sent.
    Finished,
}

/// Where a DTU is in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It was sent everything below.
    At(u64),
    /// It must be repainted.
    Lost,
}

#[derive(Debug)]
struct Viewer {
    run: Nonce,
    place: Place,
    welcome: bool,
    notices: VecDeque<String>,
    pongs: VecDeque<u64>,
    input_acked: u64,
    ack_at: Option<Instant>,
    exit_sent: bool,
}

/// One run of one service, as a DTU sees it. At most one DTU sees it at a time.
#[derive(Debug)]
pub struct DisplayFeed {
    stream: Nonce,
    feed: Feed,
    /// Answers of the terminal were put into the input since [`DisplayFeed::take_answered`].
    answered: bool,
    input: InputQueue,
    viewer: Option<Viewer>,
    ended: Option<i32>,
    hold: Option<Hold>,
    /// The service was shown elsewhere before, by a process of which only its screen is left.
    is_restored: bool,
}

impl DisplayFeed {
    /// A service that has written nothing yet. `stream` names this run of it and is never used again.
    #[must_use]
    pub fn new(stream: Nonce, extent: Extent) -> Self {
        Self {
            stream,
            feed: Feed::new(extent),
            answered: false,
            input: InputQueue::default(),
            viewer: None,
            ended: None,
            hold: None,
            is_restored: false,
        }
    }

    /// The feed of the service's next run: an empty screen of the same size, and the count of what each DTU typed.
    #[must_use]
    pub fn restarted(mut self, stream: Nonce) -> Self {
        self.input.lose();
        let hold = self.hold.map(|_| Hold::default());
        let is_restored = self.is_restored;
        Self { input: self.input, hold, is_restored, ..Self::new(stream, self.feed.extent()) }
    }

    /// Its present size.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.feed.extent()
    }

    /// The lines on its screen.
    #[must_use]
    pub fn lines(&mut self) -> Vec<String> {
        self.digest();
        self.feed.lines()
    }

    /// A DTU has opened the display; another one that had it open has no longer. It is sent what it lacks, or the
    /// whole screen.
    pub fn attach(&mut self, hello: &Hello, out: &mut Vec<FeedEffect>) {
        self.resize(Extent::Cells(hello.size), out);
        if self.is_restored && hello.stream != self.stream && hello.stream != Nonce(0) {
            self.input.drop_unless_known(hello.run);
        }
        let resumes = hello.stream == self.stream && self.feed.resumes(hello.have);
        self.viewer = Some(Viewer {
            run: hello.run,
            place: if resumes { Place::At(hello.have) } else { Place::Lost },
            welcome: true,
            notices: VecDeque::new(),
            pongs: VecDeque::new(),
            input_acked: self.input.applied(hello.run),
            ack_at: None,
            exit_sent: false,
        });
    }

    /// Nobody looks any more.
    pub fn detach(&mut self) {
        self.viewer = None;
    }

    /// Gives the screen another size, if it has not got it already.
    pub fn resize(&mut self, extent: Extent, out: &mut Vec<FeedEffect>) {
        let Extent::Cells(Size { cols, rows }) = extent;
        let extent = Extent::Cells(Size::clamped(cols, rows));
        if extent == self.feed.extent() {
            return;
        }
        // All of it, or what waits would be drawn at the new size.
        self.digest_to(u64::MAX);
        self.feed.resize(extent);
        if let Some(viewer) = &mut self.viewer {
            // The DTU breaks its lines by its own rules, so only a repaint shows it what is here.
            viewer.place = Place::Lost;
        }
        out.push(FeedEffect::Resize(extent));
    }

    /// The service wrote something.
    pub fn output(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(UNDIGESTED_MAX) {
            if !self.feed.has_room(piece.len()) {
                self.digest();
            }
            if self.feed.end() - self.feed.digested() > UNDIGESTED_HELD_MAX {
                // While it holds, a picture that is ahead of what may be shown is better than none.
                self.digest_to(u64::MAX);
            }
            self.feed.push(piece);
        }
        self.drop_behind();
    }

    /// Brings the picture up to date. To be called when the DTU has been sent what there is.
    pub fn digest(&mut self) {
        self.digest_to(self.hold.map_or(u64::MAX, |hold| hold.covered));
    }

    fn digest_to(&mut self, upto: u64) {
        let answers = self.feed.digest(upto);
        if self.ended.is_none() {
            self.answered |= self.input.answer(&answers);
        }
    }

    /// Whether the terminal has answered something since this was last asked: the service has input then.
    pub fn take_answered(&mut self) -> bool {
        core::mem::take(&mut self.answered)
    }

    /// The service ended with `status`; the DTU is told when it has all output.
    pub fn end(&mut self, status: i32) {
        self.input.lose();
        self.ended = Some(status);
    }

    /// A line for the person at the screen, if there is one.
    pub fn notice(&mut self, text: &str) {
        if let Some(viewer) = &mut self.viewer {
            if viewer.notices.len() == PONGS_MAX {
                viewer.notices.pop_front();
            }
            viewer.notices.push_back(text.to_owned());
        }
    }

    /// What the service should be given next; empty when nothing waits.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        self.input.front()
    }

    /// The same, but nothing beyond the line that the service has taken a part of.
    #[must_use]
    pub fn rest_of_line(&self) -> &[u8] {
        self.input.rest_of_line()
    }

    /// Whether what the service has taken ends with a whole line.
    #[must_use]
    pub const fn ends_line(&self) -> bool {
        self.input.ends_line()
    }

    /// The service took `count` bytes of [`DisplayFeed::input`].
    pub fn input_taken(&mut self, now: Instant, count: usize) {
        self.input.taken(count);
        let Some(viewer) = &mut self.viewer else { return };
        let unacked = self.input.applied(viewer.run) - viewer.input_acked;
        if unacked > 0 {
            let due = if unacked >= INPUT_WINDOW as u64 / 4 { now } else { now + ACK_DELAY };
            viewer.ack_at = Some(viewer.ack_at.map_or(due, |at| at.min(due)));
        }
    }

    /// The DTU sent a frame.
    ///
    /// # Errors
    /// See [`DtuFault`]. What came before the fault was taken.
    pub fn frame(&mut self, frame: Frame, out: &mut Vec<FeedEffect>) -> Result<(), DtuFault> {
        let Some(viewer) = &mut self.viewer else { return Ok(()) };
        match frame {
            Frame::Input { seq, bytes } => {
                // What is typed at a service that has ended has nobody to go to.
                if self.ended.is_none() {
                    self.input.receive(viewer.run, seq, &bytes)?;
                    out.push(FeedEffect::Input);
                }
            }
            Frame::Ack { output, .. } => match viewer.place {
                Place::At(sent) if output > sent => return Err(DtuFault::AckAhead),
                Place::At(_) => self.feed.trim(output),
                Place::Lost => {}
            },
            Frame::Resize(size) => self.resize(Extent::Cells(size), out),
            Frame::WantRepaint => viewer.place = Place::Lost,
            Frame::Ping(number) => {
                if viewer.pongs.len() == PONGS_MAX {
                    viewer.pongs.pop_front();
                }
                viewer.pongs.push_back(number);
            }
            Frame::Pong(_) | Frame::Other { .. } => {}
            Frame::Hello(_)
            | Frame::Welcome { .. }
            | Frame::Output { .. }
            | Frame::Repaint { .. }
            | Frame::Notice(_)
            | Frame::Exit(_) => return Err(DtuFault::OutOfPlace),
        }
        Ok(())
    }

    /// Appends to `out` what the DTU should be sent now: everything that is not output, and then output of about
    /// `room` bytes or one repaint. To be called when the connection has nothing unsent.
    pub fn pull(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> Pulled {
        self.drop_behind();
        if matches!(&self.viewer, Some(Viewer { place: Place::Lost, .. })) {
            self.digest();
        }
        let Some(viewer) = &mut self.viewer else { return Pulled::Finished };
        let before = out.len();
        let applied = self.input.applied(viewer.run);
        if core::mem::take(&mut viewer.welcome) {
            Frame::Welcome { input_applied: applied, stream: self.stream }.emit(out);
            viewer.input_acked = applied;
        }
        for number in viewer.pongs.drain(..) {
            Frame::Pong(number).emit(out);
        }
        for text in viewer.notices.drain(..) {
            Frame::Notice(text).emit(out);
        }
        let end = self.feed.end();
        let released = self.hold.map_or(end, |hold| hold.released);
        let drawn = self.feed.digested();
        if viewer.place == Place::Lost && drawn <= released {
            let Extent::Cells(size) = self.feed.extent();
            Frame::Repaint { offset: drawn, size, bytes: self.feed.repaint() }.emit(out);
            viewer.place = Place::At(drawn);
        }
        if let Place::At(offset) = &mut viewer.place {
            while *offset < released && out.len() - before < room {
                let left = usize::try_from(released - *offset).unwrap_or(usize::MAX);
                let piece = self.feed.replay(*offset, PIECE_MAX.min(left));
                let frame = Frame::Output { offset: *offset, bytes: piece.to_vec() };
                frame.emit(out);
                *offset += piece.len() as u64;
            }
        }
        let due = viewer.ack_at.is_some_and(|at| at <= now) || out.len() > before;
        if due && applied > viewer.input_acked {
            Frame::Ack { output: 0, input: applied }.emit(out);
            viewer.input_acked = applied;
        }
        if viewer.input_acked == applied {
            viewer.ack_at = None;
        }
        if let (Some(status), false, true) = (self.ended, viewer.exit_sent, viewer.place == Place::At(end)) {
            Frame::Exit(status).emit(out);
            viewer.exit_sent = true;
        }
        if viewer.exit_sent { Pulled::Finished } else { Pulled::Open }
    }

    /// When [`DisplayFeed::pull`] has something to send though nothing happens.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.viewer.as_ref().and_then(|viewer| viewer.ack_at)
    }

    /// A place that fell out of the backlog is lost.
    fn drop_behind(&mut self) {
        if let Some(viewer) = &mut self.viewer
            && matches!(viewer.place, Place::At(offset) if !self.feed.reaches(offset))
        {
            viewer.place = Place::Lost;
        }
    }
}

#[cfg(test)]
mod tests;
