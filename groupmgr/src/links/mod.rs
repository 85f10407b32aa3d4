//! A link to another host: numbered channels over one stream, as a machine that is handed bytes and the time.
//!
//! Each direction of a channel has a window ([`proto::link::WINDOW`]): a slow reader of one channel stops that channel
//! and no other. What waits to be sent is bounded ([`WAITING_MAX`] for each of [`CHANNELS_MAX`] channels from either
//! end), and so is what came and was not consumed.
//!
//! A link costs nothing at rest. While no channel is open it sends nothing, and after [`IDLE_MAX`] it says goodbye. While
//! one is open, somebody waits: after [`PING_AFTER`] without a word the other end is asked whether it lives, and without
//! an answer within [`PONG_WITHIN`] the link is lost. Each loss has its reason ([`Loss`]).

mod channel;
mod loss;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use proto::Instant;
use proto::link::{ChannelId, Frame};
use proto::time::Duration;

use channel::Channel;
pub use channel::WAITING_MAX;
pub use loss::{Fault, Loss};

/// Channels that either end may have open at a time.
pub const CHANNELS_MAX: usize = 64;
/// A link without a channel is closed after this time, which is before the kernel would ask whether the other end lives.
pub const IDLE_MAX: Duration = Duration::from_secs(15);
/// While a channel is open, the other end is asked whether it lives after so much silence.
pub const PING_AFTER: Duration = Duration::from_secs(1);
/// It has to answer within this time.
pub const PONG_WITHIN: Duration = Duration::from_secs(2);
/// Bytes that are written ahead of the stream: what is urgent waits behind them.
const AHEAD_MAX: usize = 64 * 1024;

/// Which end of a link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It opened the stream; its channels have odd numbers.
    Opener,
    /// It accepted the stream; its channels have even numbers.
    Accepter,
}

/// What happened on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The other end has opened a channel.
    Opened {
        /// The channel that the other end opened.
        channel: ChannelId,
        /// What it is for.
        purpose: String,
    },
    /// Bytes came. Once they are dealt with, [`Link::consumed`] makes room for more.
    Data {
        /// On which channel.
        channel: ChannelId,
        /// The bytes, in order.
        bytes: Vec<u8>,
    },
    /// The other end has sent all on this channel.
    Complete {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// The other end has given up a channel, which is over.
    Cancelled {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// The link is over, with all its channels. Happens once, as the last event.
    Lost(Loss),
}

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    end: End,
    channels: BTreeMap<ChannelId, Channel>,
    /// The number of the channel that this end opens next, and the lowest that the other may open next.
    next_own: u32,
    next_other: u32,
    /// Channels of which the other end is to be told that they are over.
    cancelled: BTreeSet<ChannelId>,
    /// The channel that was written last: the next one is written first.
    turn: ChannelId,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// The other end was heard, or the first of the open channels opened, or the last one ended.
    last_change: Instant,
    pinged_at: Option<Instant>,
    must_ping: bool,
    must_pong: bool,
    must_say_goodbye: bool,
    loss: Option<Loss>,
}

impl Link {
    /// A link whose ends have just proved themselves to each other.
    #[must_use]
    pub const fn new(now: Instant, end: End) -> Self {
        let (next_own, next_other) = match end {
            End::Opener => (1, 2),
            End::Accepter => (2, 1),
        };
        Self {
            end,
            channels: BTreeMap::new(),
            next_own,
            next_other,
            cancelled: BTreeSet::new(),
            turn: ChannelId(0),
            partial: Vec::new(),
            last_change: now,
            pinged_at: None,
            must_ping: false,
            must_pong: false,
            must_say_goodbye: false,
            loss: None,
        }
    }

    /// Why it is over, if it is.
    #[must_use]
    pub const fn loss(&self) -> Option<Loss> {
        self.loss
    }

    /// Whether a channel is open.
    #[must_use]
    pub fn is_open(&self, channel: ChannelId) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Whether no channel is open.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.channels.is_empty()
    }

    /// Whether this end may open a channel: it has fewer than [`CHANNELS_MAX`].
    #[must_use]
    pub fn may_open(&self) -> bool {
        self.loss.is_none() && self.next_own < u32::MAX - 2 && self.count(self.next_own) < CHANNELS_MAX
    }

    /// Opens a channel. `None` when this end may not ([`may_open`](Self::may_open)).
    ///
    /// `purpose` is a line of at most [`proto::link::PURPOSE_MAX`] bytes; the other end refuses another.
    pub fn open(&mut self, now: Instant, purpose: &str) -> Option<ChannelId> {
        if !self.may_open() {
            return None;
        }
        let channel = ChannelId(self.next_own);
        self.next_own += 2;
        self.add(now, channel, Some(purpose.to_owned()));
        Some(channel)
    }

    /// Takes in as much of `bytes` as may wait on a channel; returns how much. There is room again after
    /// [`write`](Self::write) has taken some away.
    pub fn send(&mut self, channel: ChannelId, bytes: &[u8]) -> usize {
        self.channels.get_mut(&channel).map_or(0, |channel| channel.send(bytes))
    }

    /// Nothing more is sent on a channel after what waits.
    pub fn end(&mut self, channel: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.end();
        }
    }

    /// Gives up a channel.
    pub fn cancel(&mut self, now: Instant, channel: ChannelId) {
        if self.remove(now, channel).is_some_and(|channel| channel.is_announced()) {
            self.cancelled.insert(channel);
        }
    }

    /// Of what came on a channel, `bytes` bytes were dealt with.
    pub fn consumed(&mut self, channel: ChannelId, bytes: usize) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.consumed(bytes);
        }
    }

    /// Takes in what was received.
    pub fn receive(&mut self, now: Instant, bytes: &[u8], events: &mut Vec<Event>) {
        if self.loss.is_some() {
            return;
        }
        (self.last_change, self.pinged_at) = (now, None);
        let mut all = core::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let mut rest = &all[..];
        while self.loss.is_none() {
            match Frame::parse(rest) {
                Ok(None) => break,
                Ok(Some((frame, len))) => {
                    rest = &rest[len..];
                    if let Err(fault) = self.take(now, frame, events) {
                        self.lose(Loss::Fault(fault), events);
                    }
                }
                Err(error) => self.lose(Loss::Fault(error.into()), events),
            }
        }
        self.partial = rest.to_vec();
    }

    /// The stream has ended or failed.
    pub fn broke(&mut self, events: &mut Vec<Event>) {
        self.lose(Loss::Reset, events);
    }

    /// Says goodbye: what [`write`](Self::write) says after this is the last.
    pub fn close(&mut self, events: &mut Vec<Event>) {
        if self.loss.is_none() {
            self.lose(Loss::Goodbye, events);
            self.must_say_goodbye = true;
        }
    }

    /// When it wants to be called with [`poll`](Self::poll).
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        if self.loss.is_some() {
            return None;
        }
        Some(match self.pinged_at {
            _ if self.channels.is_empty() => self.last_change + IDLE_MAX,
            Some(at) => at + PONG_WITHIN,
            None => self.last_change + PING_AFTER,
        })
    }

    /// Does what is due. What was received is handed in before, or a pause of this process is taken for the other's.
    pub fn poll(&mut self, now: Instant, events: &mut Vec<Event>) {
        if self.poll_at().is_none_or(|at| now < at) {
            return;
        }
        if self.channels.is_empty() {
            self.close(events);
        } else if self.pinged_at.is_some() {
            self.lose(Loss::Silence, events);
        } else {
            (self.pinged_at, self.must_ping) = (Some(now), true);
        }
    }

    /// Appends what is to be written to the stream now to `out`, which should be empty: as much as the other end
    /// allows, all channels in turn, up to a bound.
    pub fn write(&mut self, now: Instant, out: &mut Vec<u8>) {
        for (must, frame) in [
            (&mut self.must_pong, Frame::Pong),
            (&mut self.must_ping, Frame::Ping),
            (&mut self.must_say_goodbye, Frame::Goodbye),
        ] {
            if core::mem::take(must) {
                frame.emit(out);
            }
        }
        for channel in core::mem::take(&mut self.cancelled) {
            Frame::Cancel { channel }.emit(out);
        }
        let mut idle = 0;
        while out.len() < AHEAD_MAX && idle < self.channels.len() {
            let after = (core::ops::Bound::Excluded(self.turn), core::ops::Bound::Unbounded);
            let next = self.channels.range(after).next().or_else(|| self.channels.first_key_value());
            let Some(number) = next.map(|(number, _)| *number) else { return };
            self.turn = number;
            let Some(channel) = self.channels.get_mut(&number) else { return };
            idle = if channel.write(number, out) { 0 } else { idle + 1 };
            if channel.is_over() {
                self.remove(now, number);
            }
        }
    }

    fn take(&mut self, now: Instant, frame: Frame, events: &mut Vec<Event>) -> Result<(), Fault> {
        match frame {
            Frame::Open { channel, purpose } => return self.opened(now, channel, purpose, events),
            Frame::Data { channel, bytes } => {
                if let Some(open) = self.known(channel)? {
                    open.arrived(bytes.len())?;
                    events.push(Event::Data { channel, bytes });
                }
            }
            Frame::Credit { channel, bytes } => {
                if let Some(open) = self.known(channel)? {
                    open.credited(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                }
            }
            Frame::End { channel } => {
                if let Some(open) = self.known(channel)? {
                    open.completed()?;
                    let is_over = open.is_over();
                    events.push(Event::Complete { channel });
                    if is_over {
                        self.remove(now, channel);
                    }
                }
            }
            Frame::Cancel { channel } => {
                if self.known(channel)?.is_some() {
                    self.remove(now, channel);
                    events.push(Event::Cancelled { channel });
                }
            }
            Frame::Ping => self.must_pong = true,
            Frame::Pong | Frame::Other { .. } => {}
            Frame::Goodbye => self.lose(Loss::Goodbye, events),
        }
        Ok(())
    }

    fn opened(
        &mut self,
        now: Instant,
        channel: ChannelId,
        purpose: String,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        if self.is_own(channel) || channel.0 < self.next_other {
            return Err(Fault::Channel);
        }
        self.next_other = channel.0.checked_add(2).ok_or(Fault::Channel)?;
        if self.cancelled.len() >= CHANNELS_MAX {
            return Err(Fault::Channels);
        }
        if self.count(channel.0) >= CHANNELS_MAX {
            self.cancelled.insert(channel);
            return Ok(());
        }
        self.add(now, channel, None);
        events.push(Event::Opened { channel, purpose });
        Ok(())
    }

    /// An open channel; `None` for one that is over, of which something may still be on the way.
    fn known(&mut self, channel: ChannelId) -> Result<Option<&mut Channel>, Fault> {
        let next = if self.is_own(channel) { self.next_own } else { self.next_other };
        if channel.0 >= next || channel.0 == 0 {
            return Err(Fault::Channel);
        }
        Ok(self.channels.get_mut(&channel))
    }

    const fn is_own(&self, channel: ChannelId) -> bool {
        (channel.0 % 2 == 1) == matches!(self.end, End::Opener)
    }

    /// How many channels of the end that opened `like` are open.
    fn count(&self, like: u32) -> usize {
        self.channels.keys().filter(|channel| channel.0 % 2 == like % 2).count()
    }

    fn add(&mut self, now: Instant, channel: ChannelId, purpose: Option<String>) {
        if self.channels.is_empty() {
            (self.last_change, self.pinged_at) = (now, None);
        }
        self.channels.insert(channel, Channel::new(purpose));
    }

    fn remove(&mut self, now: Instant, channel: ChannelId) -> Option<Channel> {
        let removed = self.channels.remove(&channel);
        if removed.is_some() && self.channels.is_empty() {
            (self.last_change, self.pinged_at, self.must_ping) = (now, None, false);
        }
        removed
    }

    fn lose(&mut self, loss: Loss, events: &mut Vec<Event>) {
        if self.loss.is_none() {
            self.loss = Some(loss);
            self.channels.clear();
            self.cancelled.clear();
            (self.must_ping, self.must_pong) = (false, false);
            events.push(Event::Lost(loss));
        }
    }
}
