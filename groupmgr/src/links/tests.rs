//! Two ends of a link on a wire with delay, cuts and freezes, in virtual time.

use proptest::prelude::*;
use proto::link::{DATA_MAX, PAYLOAD_MAX, WINDOW};

use super::*;

const DELAY: Duration = Duration::from_millis(5);

/// A link from `0`, the opener, to `1`.
struct Wire {
    now: Instant,
    ends: [Link; 2],
    events: [Vec<Event>; 2],
    /// What is on the way to each end, and when it is there.
    coming: [Vec<(Instant, Vec<u8>)>; 2],
    is_cut: bool,
    /// An end that does nothing.
    frozen: Option<usize>,
    /// Bytes that each end has written.
    written: [usize; 2],
}

impl Wire {
    fn new() -> Self {
        let now = Instant::from_micros(7);
        Self {
            now,
            ends: [Link::new(now, End::Opener), Link::new(now, End::Accepter)],
            events: [Vec::new(), Vec::new()],
            coming: [Vec::new(), Vec::new()],
            is_cut: false,
            frozen: None,
            written: [0; 2],
        }
    }

    /// Lets one end take in what has come, do what is due, and write.
    fn step(&mut self, end: usize) {
        if self.frozen == Some(end) {
            return;
        }
        let (now, link, events) = (self.now, &mut self.ends[end], &mut self.events[end]);
        for (_, bytes) in self.coming[end].extract_if(.., |(at, _)| *at <= now) {
            link.receive(now, &bytes, events);
        }
        link.poll(now, events);
        let mut out = Vec::new();
        link.write(now, &mut out);
        self.written[end] += out.len();
        if !out.is_empty() && !self.is_cut {
            self.coming[1 - end].push((now + DELAY, out));
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step(0);
            self.step(1);
            self.now += Duration::from_millis(1);
        }
    }

    fn open(&mut self, purpose: &str) -> ChannelId {
        self.ends[0].open(self.now, purpose).unwrap()
    }

    /// What an end has heard since it was asked last; what came is consumed.
    fn heard(&mut self, end: usize) -> Vec<Event> {
        let events = core::mem::take(&mut self.events[end]);
        for event in &events {
            if let Event::Data { channel, bytes } = event {
                self.ends[end].consumed(*channel, bytes.len());
            }
        }
        events
    }
}

fn bytes_of(events: &[Event], wanted: ChannelId) -> Vec<u8> {
    let pieces = events.iter().filter_map(|event| match event {
        Event::Data { channel, bytes } if *channel == wanted => Some(bytes.as_slice()),
        _ => None,
    });
    pieces.flatten().copied().collect()
}

#[test]
fn a_question_and_its_answer_are_a_channel_that_is_over_afterwards() {
    let mut wire = Wire::new();
    let channel = wire.open("ask by=x");
    assert_eq!(wire.ends[0].send(channel, b"how?"), 4);
    wire.ends[0].end(channel);
    wire.run(DELAY * 3);
    let opened = Event::Opened { channel, purpose: "ask by=x".into() };
    let data = |bytes: &[u8]| Event::Data { channel, bytes: bytes.to_vec() };
    assert_eq!(wire.heard(1), [opened, data(b"how?"), Event::Complete { channel }]);
    wire.ends[1].send(channel, b"so");
    wire.ends[1].end(channel);
    wire.run(DELAY * 3);
    assert_eq!(wire.heard(0), [data(b"so"), Event::Complete { channel }]);
    assert!(!wire.ends[0].is_open(channel) && !wire.ends[1].is_open(channel));
}

#[test]
fn either_end_opens_channels_and_the_numbers_never_meet() {
    let mut wire = Wire::new();
    let (a, b) = (wire.open("a"), wire.ends[1].open(wire.now, "b").unwrap());
    wire.run(DELAY * 3);
    assert_ne!(a, b);
    assert_eq!(wire.heard(0), [Event::Opened { channel: b, purpose: "b".into() }]);
    assert_eq!(wire.heard(1), [Event::Opened { channel: a, purpose: "a".into() }]);
}

#[test]
fn a_slow_reader_stops_its_channel_and_no_other() {
    let mut wire = Wire::new();
    let (slow, fast) = (wire.open("slow"), wire.open("fast"));
    let (mut sent, mut got) = ([0; 2], 0);
    for _ in 0..200 {
        for (n, channel) in [slow, fast].into_iter().enumerate() {
            sent[n] += wire.ends[0].send(channel, &[0; DATA_MAX]);
        }
        wire.run(Duration::from_millis(2));
        for event in core::mem::take(&mut wire.events[1]) {
            if let Event::Data { channel, bytes } = event
                && channel == fast
            {
                wire.ends[1].consumed(channel, bytes.len());
                got += bytes.len();
            }
        }
    }
    assert_eq!(sent[0], WINDOW + WAITING_MAX, "on the way, and what may wait");
    assert!(got > 10 * WINDOW, "{got} bytes came on the other channel");
    assert_eq!(wire.ends[0].loss(), None);
}

#[test]
fn a_link_without_channels_is_silent_and_says_goodbye_after_a_while() {
    let mut wire = Wire::new();
    let channel = wire.open("x");
    wire.ends[0].end(channel);
    wire.run(DELAY * 3);
    wire.ends[1].end(channel);
    wire.run(DELAY * 3);
    let written = wire.written;
    wire.run(IDLE_MAX - DELAY * 10);
    assert_eq!(wire.written, written, "it says something at rest");
    assert_eq!(wire.ends[0].loss(), None);
    wire.run(DELAY * 20);
    assert_eq!(wire.ends.each_ref().map(Link::loss), [Some(Loss::Goodbye); 2]);
    assert_eq!(wire.ends.each_ref().map(Link::poll_at), [None; 2]);
}

#[test]
fn who_waits_on_a_cut_link_knows_of_it_in_three_seconds() {
    let mut wire = Wire::new();
    wire.open("x");
    wire.run(Duration::from_secs(20));
    assert_eq!(wire.ends.each_ref().map(Link::loss), [None; 2], "the other end lives");
    wire.is_cut = true;
    wire.run(PING_AFTER + PONG_WITHIN + DELAY * 2);
    assert_eq!(wire.ends.each_ref().map(Link::loss), [Some(Loss::Silence); 2]);
    assert_eq!(wire.events[0].last(), Some(&Event::Lost(Loss::Silence)));
}

#[test]
fn a_short_freeze_of_either_end_loses_nothing_and_a_long_one_is_silence_to_the_other() {
    for (freeze, loss) in [(1_900, None), (4_000, Some(Loss::Silence))] {
        for frozen in [0, 1] {
            let mut wire = Wire::new();
            wire.open("x");
            wire.run(Duration::from_millis(500));
            wire.frozen = Some(frozen);
            wire.run(Duration::from_millis(freeze));
            assert_eq!(wire.ends[1 - frozen].loss(), loss, "{freeze} ms, end {frozen}");
            // It hears what came meanwhile before it judges the other end.
            wire.frozen = None;
            wire.step(frozen);
            assert_eq!(wire.ends[frozen].loss(), None, "{freeze} ms, end {frozen}");
        }
    }
}

#[test]
fn a_broken_stream_and_a_goodbye_are_told_apart_and_told_once() {
    let mut wire = Wire::new();
    wire.open("x");
    wire.run(DELAY * 3);
    wire.ends[0].broke(&mut wire.events[0]);
    wire.ends[0].broke(&mut wire.events[0]);
    assert_eq!(wire.events[0], [Event::Lost(Loss::Reset)]);
    wire.ends[1].close(&mut wire.events[1]);
    let mut out = Vec::new();
    wire.ends[1].write(wire.now, &mut out);
    wire.ends[1].write(wire.now, &mut out);
    assert_eq!(out, [8, 0, 0, 0, 0]);
    assert_eq!(wire.ends[1].open(wire.now, "y"), None);
}

/// What an accepter that has seen channel 1 open and 3 cancelled makes of `frames`.
fn fault_of(frames: &[Frame]) -> Option<Loss> {
    let (now, mut link, mut events) = (Instant::ZERO, Link::new(Instant::ZERO, End::Accepter), Vec::new());
    let open = |number| Frame::Open { channel: ChannelId(number), purpose: "x".into() };
    for frame in [open(1), open(3), Frame::Cancel { channel: ChannelId(3) }].iter().chain(frames) {
        let mut bytes = Vec::new();
        frame.emit(&mut bytes);
        link.receive(now, &bytes, &mut events);
    }
    let lost = events.iter().filter(|event| matches!(event, Event::Lost(_))).count();
    assert_eq!(lost, usize::from(link.loss().is_some()));
    link.loss()
}

#[test]
fn whoever_breaks_a_rule_loses_the_link_with_the_rule_named() {
    let data = |number, len| Frame::Data { channel: ChannelId(number), bytes: vec![0; len] };
    let credit = |number, bytes| Frame::Credit { channel: ChannelId(number), bytes };
    let end = |number| Frame::End { channel: ChannelId(number) };
    let open = |number| Frame::Open { channel: ChannelId(number), purpose: String::new() };
    let mut too_much = vec![data(1, DATA_MAX); WINDOW / DATA_MAX];
    assert_eq!(fault_of(&too_much), None);
    too_much.push(data(1, WINDOW % DATA_MAX + 1));
    for (frames, fault) in [
        (vec![Frame::Other { kind: 99, payload: vec![0; PAYLOAD_MAX + 1] }], Fault::TooLong),
        (vec![data(1, 0)], Fault::Malformed),
        (vec![data(5, 1)], Fault::Channel),
        (vec![data(0, 1)], Fault::Channel),
        (vec![data(2, 1)], Fault::Channel),
        (vec![open(2)], Fault::Channel),
        (vec![open(3)], Fault::Channel),
        (vec![open(u32::MAX)], Fault::Channel),
        (vec![end(1), data(1, 1)], Fault::Channel),
        (vec![end(1), end(1)], Fault::Channel),
        (vec![credit(1, 1)], Fault::Credit),
        (vec![credit(1, 0)], Fault::Credit),
        (too_much, Fault::Overrun),
        ((2..200).map(|n| open(2 * n + 1)).collect(), Fault::Channels),
    ] {
        assert_eq!(fault_of(&frames), Some(Loss::Fault(fault)), "{:?}", &frames[..frames.len().min(3)]);
    }
    // Of a channel that is over something may still be on the way, and later versions may say more.
    let late = [data(3, 1), credit(3, 1), end(3), Frame::Other { kind: 99, payload: vec![1] }];
    assert_eq!(fault_of(&late), None);
}

#[test]
fn a_channel_too_many_is_refused_and_the_others_go_on() {
    let (now, mut link, mut events) = (Instant::ZERO, Link::new(Instant::ZERO, End::Accepter), Vec::new());
    for n in 0..=u32::try_from(CHANNELS_MAX).unwrap() {
        let mut bytes = Vec::new();
        Frame::Open { channel: ChannelId(2 * n + 1), purpose: String::new() }.emit(&mut bytes);
        link.receive(now, &bytes, &mut events);
    }
    assert_eq!(events.len(), CHANNELS_MAX);
    let (mut out, mut cancel) = (Vec::new(), Vec::new());
    link.write(now, &mut out);
    Frame::Cancel { channel: ChannelId(2 * 64 + 1) }.emit(&mut cancel);
    assert_eq!(out, cancel);
    let mut own = 0;
    while link.open(now, "x").is_some() {
        own += 1;
    }
    assert_eq!(own, CHANNELS_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is sent on however many channels arrives whole and in order, if its reader reads.
    #[test]
    fn what_is_sent_arrives_whole_and_in_order(
        texts in proptest::collection::vec((any::<u8>(), 0..3 * WINDOW), 1..6),
        cut in 1_usize..9_000,
    ) {
        let mut wire = Wire::new();
        let mut sending: Vec<(ChannelId, Vec<u8>)> = texts
            .iter()
            .map(|(seed, len)| {
                let text = (0..*len).map(|n| seed.wrapping_add(u8::try_from(n % 251).unwrap())).collect();
                (wire.open("x"), text)
            })
            .collect();
        let wanted = sending.clone();
        let mut heard = Vec::new();
        for _ in 0..60 {
            for (channel, rest) in &mut sending {
                let taken = wire.ends[0].send(*channel, rest);
                rest.drain(..taken);
                if rest.is_empty() {
                    wire.ends[0].end(*channel);
                }
            }
            for (_, bytes) in core::mem::take(&mut wire.coming[1]) {
                for piece in bytes.chunks(cut) {
                    wire.ends[1].receive(wire.now, piece, &mut wire.events[1]);
                }
            }
            wire.run(DELAY * 2);
            heard.extend(wire.heard(1));
        }
        for (channel, text) in wanted {
            prop_assert!(bytes_of(&heard, channel) == text, "{channel:?}");
            let complete = Event::Complete { channel };
            prop_assert!(heard.contains(&complete));
        }
    }
}
