//! What two hosts say about copies on the link between them: a channel in each direction, whose messages come in order.
//!
//! An end opens its channel with the first message and ends it when it has said nothing for [`QUIET_FOR`]: while no
//! channel is open a link costs nothing. What has come counts against the channel's window until it is taken.

use std::collections::VecDeque;

use proto::Instant;
use proto::envelope::FrameError;
use proto::link::ChannelId;
use proto::time::Duration;

use super::message::Message;
use crate::links::Link;

/// What such a channel says it is for.
pub const PURPOSE: &str = "keep";
/// A channel on which nothing was sent for this long is ended: before the other host would be asked whether it lives.
pub const QUIET_FOR: Duration = Duration::from_millis(500);
/// Bytes that wait to be given to the link, from which on [`Channels::has_room`] is false.
const WAITING_MAX: usize = 64 * 1024;

/// Both channels of one link.
#[derive(Debug, Default)]
pub struct Channels {
    /// The one that this end has opened.
    own: Option<ChannelId>,
    waiting: Vec<u8>,
    sent_at: Instant,
    /// The one that the other end has opened, and the beginning of a message on it.
    other: Option<(ChannelId, Vec<u8>)>,
    /// What has come, and how many bytes of the window it takes.
    heard: VecDeque<(Message, usize)>,
}

impl Channels {
    /// Whether there is room for another message.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Whether something that was said may not have come if the link is lost now: nobody knows what the other end has read
    /// of an open channel.
    #[must_use]
    pub const fn is_saying(&self) -> bool {
        self.own.is_some() || !self.waiting.is_empty()
    }

    /// Says something, behind all that was said before.
    pub fn say(&mut self, message: &Message) {
        message.emit(&mut self.waiting);
    }

    /// Hands the link as much as it takes, and ends the channel when there was nothing to say for a while.
    pub fn write(&mut self, now: Instant, link: &mut Link) {
        self.own = self.own.filter(|channel| link.is_open(*channel));
        if !self.waiting.is_empty() {
            self.own = self.own.or_else(|| link.open(now, PURPOSE));
            if let Some(channel) = self.own {
                let sent = link.send(channel, &self.waiting);
                self.waiting.drain(..sent);
                self.sent_at = now;
            }
        } else if self.poll_at().is_some_and(|at| at <= now)
            && let Some(channel) = self.own.take()
        {
            link.end(channel);
        }
    }

    /// When [`Self::write`] wants to be called to end the channel.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.own.filter(|_| self.waiting.is_empty()).map(|_| self.sent_at + QUIET_FOR)
    }

    /// The other end has opened a channel for this [`PURPOSE`]. Returns whether it may: it has one at a time.
    pub fn opened(&mut self, channel: ChannelId, link: &Link) -> bool {
        let is_first = self.other.as_ref().is_none_or(|(other, _)| !link.is_open(*other));
        if is_first {
            self.other = Some((channel, Vec::new()));
        }
        is_first
    }

    /// Whether it is the other end's channel.
    #[must_use]
    pub fn hears(&self, channel: ChannelId) -> bool {
        self.other.as_ref().is_some_and(|(other, _)| *other == channel)
    }

    /// Takes what came on it.
    ///
    /// # Errors
    /// It is no message: the channel is of no further use.
    pub fn data(&mut self, link: &mut Link, bytes: &[u8]) -> Result<(), FrameError> {
        let Some((channel, partial)) = &mut self.other else { return Ok(()) };
        // The beginning of a message is given back at once: what waits for the rest must not keep it away.
        let mut given_back = partial.len();
        partial.extend_from_slice(bytes);
        let mut rest = &partial[..];
        while let Some((message, len)) = Message::parse(rest)? {
            rest = &rest[len..];
            self.heard.push_back((message, len - given_back));
            given_back = 0;
        }
        link.consumed(*channel, rest.len() - given_back);
        *partial = rest.to_vec();
        Ok(())
    }

    /// A channel was given up by the other end. Returns whether it was this end's: the other host does not know what it is
    /// for, or does not understand what is said.
    pub fn cancelled(&mut self, channel: ChannelId) -> bool {
        let is_own = self.own.take_if(|own| *own == channel).is_some();
        if is_own {
            self.waiting.clear();
        }
        is_own
    }

    /// Whether something has come.
    #[must_use]
    pub fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }

    /// The next message that has come; there is room for as much again.
    pub fn heard(&mut self, link: &mut Link) -> Option<Message> {
        let (message, bytes) = self.heard.pop_front()?;
        if let Some((channel, _)) = &self.other {
            link.consumed(*channel, bytes);
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::{End, Event};
    use proto::{Epoch, SessionId};

    /// Both ends of a link, and what has been said on it.
    struct Bench {
        now: Instant,
        ends: [(Link, Channels); 2],
        bytes: usize,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::from_micros(5_000_000);
            let end = |end| (Link::new(now, end), Channels::default());
            Self { now, ends: [end(End::Opener), end(End::Accepter)], bytes: 0 }
        }

        /// Lets both say what they have to say now, until neither has.
        fn exchange(&mut self) {
            loop {
                let before = self.bytes;
                for side in 0..2 {
                    let (mut out, mut events) = (Vec::new(), Vec::new());
                    let (link, channels) = &mut self.ends[side];
                    channels.write(self.now, link);
                    link.write(self.now, &mut out);
                    self.bytes += out.len();
                    let (link, channels) = &mut self.ends[1 - side];
                    link.receive(self.now, &out, &mut events);
                    for event in events {
                        match event {
                            Event::Opened { channel, purpose } if purpose == PURPOSE => {
                                assert!(channels.opened(channel, link));
                            }
                            Event::Data { channel, bytes } if channels.hears(channel) => {
                                channels.data(link, &bytes).unwrap();
                            }
                            Event::Complete { channel } if channels.hears(channel) => link.end(channel),
                            Event::Complete { .. } => {}
                            other => panic!("{other:?}"),
                        }
                    }
                }
                if self.bytes == before {
                    return;
                }
            }
        }

        fn heard(&mut self, side: usize) -> Option<Message> {
            let (link, channels) = &mut self.ends[side];
            channels.heard(link)
        }
    }

    fn word(n: u128) -> Message {
        Message::Drop { session: SessionId(n), epoch: Epoch::default() }
    }

    #[test]
    fn a_channel_on_which_nothing_is_said_is_ended_and_opened_again() {
        let mut bench = Bench::new();
        for round in 0..3 {
            bench.ends[0].1.say(&word(round));
            bench.exchange();
            assert_eq!(bench.heard(1), Some(word(round)));
            bench.ends[1].1.say(&word(round));
            bench.exchange();
            assert_eq!(bench.heard(0), Some(word(round)));
            assert!(!bench.ends[0].0.is_at_rest() && bench.ends[0].1.is_saying());
            bench.now += QUIET_FOR;
            assert!(bench.ends[0].1.poll_at() <= Some(bench.now));
            bench.exchange();
            let [(link, channels), _] = &bench.ends;
            assert!(link.is_at_rest() && !channels.is_saying() && channels.poll_at().is_none());
            let before = bench.bytes;
            bench.now += Duration::from_secs(5);
            bench.exchange();
            assert_eq!(bench.bytes, before, "a link at rest costs nothing");
        }
    }

    #[test]
    fn what_nobody_takes_stays_with_its_sender_and_comes_in_order() {
        let mut bench = Bench::new();
        let mut said = 0;
        while bench.ends[0].1.has_room() {
            bench.ends[0].1.say(&word(said));
            said += 1;
            bench.exchange();
        }
        let came = bench.ends[1].1.heard.len();
        assert!(came < usize::try_from(said).unwrap() / 2 + 100, "{came} of {said}");
        for n in 0..said {
            bench.exchange();
            assert_eq!(bench.heard(1), Some(word(n)));
        }
        assert_eq!(bench.heard(1), None);
    }
}
