//! One end of a channel: what waits to be sent, and what either end may still send.

use std::collections::VecDeque;

use proto::link::{ChannelId, DATA_MAX, Frame, WINDOW};

use super::loss::Fault;

/// Most bytes of a channel that wait to be sent.
pub const WAITING_MAX: usize = WINDOW;

/// What this end sends on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// There may be more.
    Open,
    /// Only what waits, and then the end.
    Ending,
    /// Nothing: the end was sent.
    Ended,
}

#[derive(Debug)]
pub(super) struct Channel {
    /// What it is for, until the other end was told.
    unannounced: Option<String>,
    waiting: VecDeque<u8>,
    sending: Sending,
    /// Bytes that may be sent.
    may_send: usize,
    /// Bytes that may come.
    may_come: usize,
    /// Bytes that were consumed here and not given back yet.
    owed: usize,
    /// Whether the other end has sent all.
    is_complete: bool,
}

impl Channel {
    /// A channel that the other end has opened, or, with its purpose, one that this end opens.
    pub(super) const fn new(unannounced: Option<String>) -> Self {
        Self {
            unannounced,
            waiting: VecDeque::new(),
            sending: Sending::Open,
            may_send: WINDOW,
            may_come: WINDOW,
            owed: 0,
            is_complete: false,
        }
    }

    pub(super) const fn is_announced(&self) -> bool {
        self.unannounced.is_none()
    }

    /// Whether both ends have sent all.
    pub(super) fn is_over(&self) -> bool {
        self.is_complete && self.sending == Sending::Ended
    }

    /// Takes in as much of `bytes` as may wait; returns how much.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        if self.sending != Sending::Open {
            return 0;
        }
        let taken = bytes.len().min(WAITING_MAX - self.waiting.len());
        self.waiting.extend(&bytes[..taken]);
        taken
    }

    pub(super) fn end(&mut self) {
        if self.sending == Sending::Open {
            self.sending = Sending::Ending;
        }
    }

    /// Gives the other end room for `bytes` more, which were taken off the channel.
    pub(super) const fn consumed(&mut self, bytes: usize) {
        self.owed += bytes;
    }

    pub(super) const fn arrived(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.is_complete {
            return Err(Fault::Channel);
        }
        match self.may_come.checked_sub(bytes) {
            None => Err(Fault::Overrun),
            Some(rest) => {
                self.may_come = rest;
                Ok(())
            }
        }
    }

    pub(super) const fn credited(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes == 0 || bytes > WINDOW - self.may_send {
            return Err(Fault::Credit);
        }
        self.may_send += bytes;
        Ok(())
    }

    pub(super) const fn completed(&mut self) -> Result<(), Fault> {
        if self.is_complete {
            return Err(Fault::Channel);
        }
        self.is_complete = true;
        Ok(())
    }

    /// Appends what the channel has to send now, one piece of its data at most, so that all channels have their turn.
    /// Returns whether there was anything.
    pub(super) fn write(&mut self, channel: ChannelId, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if let Some(purpose) = self.unannounced.take() {
            Frame::Open { channel, purpose }.emit(out);
        }
        // Half a window at a time: a frame for each piece would cost more than it carries.
        if self.owed >= WINDOW / 2 && !self.is_complete {
            self.may_come += self.owed;
            let bytes = u32::try_from(core::mem::take(&mut self.owed)).unwrap_or(u32::MAX);
            Frame::Credit { channel, bytes }.emit(out);
        }
        let len = self.waiting.len().min(self.may_send).min(DATA_MAX);
        if len > 0 {
            let bytes = self.waiting.drain(..len).collect();
            self.may_send -= len;
            Frame::Data { channel, bytes }.emit(out);
        }
        if self.sending == Sending::Ending && self.waiting.is_empty() {
            self.sending = Sending::Ended;
            Frame::End { channel }.emit(out);
        }
        out.len() > before
    }
}
