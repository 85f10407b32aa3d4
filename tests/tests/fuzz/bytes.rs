//! What is bytes: frames of the display channel, of links between hosts, of the data store and of the spawner, backups,
//! and the first bytes of a connection.

use core::fmt::Debug;
use std::collections::{BTreeMap, BTreeSet};

use datastore::backup::BackupReader;
use datastore::handshake::{Challenge, HandshakeReply, Proof};
use datastore::message::Change;
use datastore::wire::{self, Call, FromStore};
use datastore::{Key, Prefix};
use groupmgr::io::accept::first::{self, First};
use groupmgr::keep::copies::{Limits, Wanted};
use groupmgr::keep::{Copies, Message as Said};
use groupmgr::links::{CHANNELS_MAX, End, Event, Link};
use proto::Instant;
use proto::frame::{Frame, FrameBuffer};
use proto::link::WINDOW;
use sessiond::control::{FromSession, FromSpawner, Message, ToSession, ToSpawner};

targets! {
    a_display_frame_reads_back_however_it_is_cut => display_frames;
    a_links_frame_reads_back => link_frames;
    a_link_keeps_its_bounds_whatever_the_other_host_says => link;
    what_hosts_say_of_copies_reads_back => copies;
    what_is_said_to_the_data_store_reads_back => store_frames;
    a_control_packet_reads_back => control_packet;
    a_backup_is_whole_or_refused => backup;
    a_connection_is_plain_only_where_it_may => first_bytes;
}

fn display_frames(bytes: &[u8]) {
    let read = |piece: usize| {
        let (mut buffer, mut frames) = (FrameBuffer::default(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            buffer.push(piece);
            loop {
                match buffer.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(fault) => return (frames, Some(fault)),
                }
            }
        }
        (frames, None)
    };
    let whole = read(bytes.len());
    assert_eq!(whole, read(7));
    for frame in whole.0 {
        let mut written = Vec::new();
        frame.emit(&mut written);
        assert_eq!(Frame::parse(&written), Ok(Some((frame, written.len()))));
    }
}

fn link_frames(bytes: &[u8]) {
    if let Ok(Some((frame, len))) = proto::link::Frame::parse(bytes) {
        let mut written = Vec::new();
        frame.emit(&mut written);
        assert_eq!(written, bytes[..len]);
    }
}

/// The first byte says how large the pieces are; the rest is what another host says, of which nothing is consumed.
fn link(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let now = Instant::from_micros(1);
    let (mut link, mut came, mut opened) = (Link::new(now, End::Accepter), BTreeMap::new(), BTreeSet::new());
    let own = link.open(now, "ask").unwrap();
    link.write(now, &mut Vec::new());
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        let (mut events, mut out) = (Vec::new(), Vec::new());
        let was_lost = link.loss().is_some();
        link.receive(now, piece, &mut events);
        link.write(now, &mut out);
        assert!(!was_lost || events.is_empty() && out.is_empty(), "something follows a loss");
        for event in events {
            match event {
                Event::Opened { channel, .. } => assert!(opened.insert(channel), "{channel:?} twice"),
                Event::Data { channel, bytes } => {
                    let all = came.entry(channel).or_insert(0);
                    *all += bytes.len();
                    assert!(*all <= WINDOW, "{channel:?} has overrun its window");
                    assert!(channel == own || opened.contains(&channel));
                }
                Event::Complete { channel } | Event::Cancelled { channel } => {
                    assert!(channel == own || opened.contains(&channel));
                }
                Event::Lost(loss) => assert_eq!(link.loss(), Some(loss)),
            }
        }
        assert!(opened.iter().filter(|channel| link.is_open(**channel)).count() <= CHANNELS_MAX);
    }
}

/// Whatever is said, a host keeps what it may and answers what it must.
fn copies(bytes: &[u8]) {
    const LIMITS: Limits = Limits { sessions: 4, bytes: 1_000, shares: 2 };
    let (now, from) = (Instant::from_micros(1), "h2".parse().unwrap());
    let (mut rest, mut copies) = (bytes, Copies::new(LIMITS));
    while let Ok(Some((message, len))) = Said::parse(rest) {
        if !matches!(message, Said::Other | Said::Compare { .. }) {
            let mut written = Vec::new();
            message.emit(&mut written);
            assert_eq!(written, rest[..len]);
        }
        rest = &rest[len..];
        match message {
            Said::Whole { session, epoch, token, part, object } => {
                copies.whole(now, &from, (session, epoch), token, (part, object));
            }
            Said::Delta { session, epoch, part, delta } => {
                copies.delta(now, &from, (session, epoch), (part, &delta));
            }
            Said::Compare { session, epoch, parts } => {
                copies.compare(now, &from, (session, epoch), parts);
            }
            Said::Drop { session, epoch } => drop(copies.drop_session(session, epoch)),
            Said::Fetch { session, epoch, floor } => {
                drop(copies.fetch(now, &from, Wanted { session, epoch, floor }));
            }
            _ => {}
        }
        let held: usize = copies.view().map(|copy| copy.bytes).sum();
        assert!(copies.len() <= LIMITS.sessions && held == copies.bytes() && held <= LIMITS.bytes);
    }
}

fn payload_reads_back<M: PartialEq + Debug + serde::Serialize + serde::de::DeserializeOwned>(payload: &[u8]) {
    let Ok(message) = wire::decode::<M>(payload) else { return };
    let mut framed = Vec::new();
    // What came in compact form may be too long written out in full; then it is refused, and not cut.
    if wire::encode(&message, &mut framed).is_ok() {
        let mut buffer = wire::FrameBuffer::new(framed.len());
        buffer.push(&framed);
        assert_eq!(buffer.next_message::<M>().unwrap(), Some(message));
    }
}

fn store_frames(bytes: &[u8]) {
    const PAYLOAD_MAX: usize = 4_096;
    payload_reads_back::<Call>(bytes);
    payload_reads_back::<FromStore>(bytes);
    payload_reads_back::<Challenge>(bytes);
    payload_reads_back::<Proof>(bytes);
    payload_reads_back::<HandshakeReply>(bytes);
    let mut buffer = wire::FrameBuffer::new(PAYLOAD_MAX);
    for piece in bytes.chunks(13) {
        buffer.push(piece);
        while let Ok(Some(payload)) = buffer.next_payload() {
            assert!(payload.len() <= PAYLOAD_MAX);
            payload_reads_back::<Call>(payload);
        }
    }
}

fn packet_reads_back<M: Message + PartialEq + Debug>(packet: &[u8]) {
    let Ok(message) = M::decode(packet) else { return };
    message.check().unwrap();
    assert_eq!(M::decode(&message.encode().unwrap()), Ok(message));
}

fn control_packet(bytes: &[u8]) {
    packet_reads_back::<ToSpawner>(bytes);
    packet_reads_back::<FromSpawner>(bytes);
    packet_reads_back::<ToSession>(bytes);
    packet_reads_back::<FromSession>(bytes);
}

fn backup(bytes: &[u8]) {
    let mut reader = BackupReader::default();
    let mut lines = bytes.split(|b| *b == b'\n');
    let read = lines.try_for_each(|line| reader.line(line));
    if read.is_ok()
        && let Ok(backup) = reader.finish()
    {
        // What has changed anywhere since it was written is refused.
        for at in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            let mut reader = BackupReader::default();
            let read = damaged.split(|b| *b == b'\n').try_for_each(|line| reader.line(line));
            assert!(read.is_err() || reader.finish().is_err(), "byte {at} may be anything");
        }
        let mut text = String::new();
        let mut writer = datastore::backup::BackupWriter::begin(backup.generation, &mut text);
        for (key, value) in &backup.entries {
            writer.record(&Change { key: key.clone(), value: Some(value.clone()) }, &mut text);
        }
        writer.end(&mut text);
        let mut again = BackupReader::default();
        for line in text.lines() {
            again.line(line.as_bytes()).unwrap();
        }
        assert_eq!(again.finish().unwrap(), backup);
    }
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(key) = text.parse::<Key>()
    {
        assert_eq!(key.as_str(), text);
        assert!(text.parse::<Prefix>().is_ok_and(|prefix| prefix.holds(&key)));
    }
}

fn first_bytes(bytes: &[u8]) {
    // As far as its first terminator, as a connection is read.
    let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r' | 0)).map_or(bytes.len(), |at| at + 1);
    let (text, already) = bytes.split_at(end);
    let strict = first::judge(text, already.to_vec(), false);
    let plain = first::judge(text, already.to_vec(), true);
    assert!(!matches!(strict, First::Plain { .. } | First::Tls { .. }), "{strict:?}");
    if let First::Display { already: kept, .. } = &strict {
        assert_eq!(kept, already, "not a byte is lost");
        assert_eq!(strict, plain, "a display is one wherever it comes");
    }
    if let First::Plain { already: kept } = &plain {
        assert!(!matches!(proto::Line::parse(text), Ok(line) if line.command() == "display"));
        assert_eq!(kept, bytes, "not a byte is lost");
    }
}
