//! What is text: lines, and everything that is said in them.

use core::fmt::Debug;

use authmgr::Policy;
use authmgr::admission::Record;
use groupmgr::host::ClaimRecord;
use proto::alp::{FromDtu, FromHost, Terminal};
use proto::beacon::Beacon;
use proto::card::Card;
use proto::digest::TAGS_PER_PART;
use proto::discovery::{ServerQ, ServerR};
use proto::host_message::{HostMessage, INTERFACES_MAX};
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::line::{LINE_MAX, Line, LineError, Splitter};
use proto::peer::{
    COMING_PER_MESSAGE_MAX, PeerBody, PeerMessage, SESSIONS_PER_TOKEN_MAX, SHOWN_PER_MESSAGE_MAX,
};
use proto::ticket::{Ticket, TicketClaims};
use sessiond::template::Template;

use crate::mutant::Seeds;

targets! {
    a_line_reads_back => line;
    a_stream_reads_the_same_however_it_is_cut => stream;
    a_message_reads_back => message;
    a_signature_is_that_of_what_was_signed => signature;
    a_ticket_lets_nobody_in_whom_it_was_not_made_for => ticket;
    a_card_file_reads_back => card;
    a_template_reads_back => template;
    a_record_of_the_registry_reads_back => record;
    a_key_directory_opens_or_says_why_not => key_directory;
}

fn ring() -> KeyRing {
    KeyRing::new(GroupKey::new(b"0123456789abcdef").unwrap(), Vec::new())
}

fn line(bytes: &[u8]) {
    let Ok(line) = Line::parse(bytes) else { return };
    let text = line.to_string();
    // Escapes may make it longer than what was read, and then it is no line any more.
    let back = Line::parse(text.as_bytes());
    assert!(back == Ok(line) || (text.len() > LINE_MAX && back == Err(LineError::TooLong)), "{text:?}");
}

fn stream(bytes: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let (mut splitter, mut lines) = (Splitter::new(), Vec::new());
        pieces.iter().for_each(|piece| splitter.push(piece, |line| lines.push(line)));
        lines
    };
    let (a, rest) = bytes.split_at(bytes.len() / 3);
    let (b, c) = rest.split_at(rest.len() / 2);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    let whole = read(&[bytes]);
    assert_eq!(whole, read(&[a, b, c]));
    assert_eq!(whole, read(&single));
}

/// Whatever can be read from `line` as a `T` reads the same from what it is written as.
fn reads_back<T: PartialEq + Debug, E: Debug>(
    line: &Line,
    read: impl Fn(&Line) -> Result<T, E>,
    write: impl Fn(&T) -> Line,
) -> bool {
    let Ok(message) = read(line) else { return false };
    assert_eq!(read(&write(&message)).as_ref().ok(), Some(&message), "{line}");
    true
}

/// Whether anybody can read it.
fn is_message(line: &Line) -> bool {
    let terminal = Terminal::default();
    let known = [
        reads_back(line, HostMessage::from_line, HostMessage::to_line),
        reads_back(line, Beacon::from_line, Beacon::to_line),
        reads_back(line, PeerMessage::from_line, PeerMessage::to_line),
        reads_back(line, ServerQ::from_line, ServerQ::to_line),
        reads_back(line, ServerR::from_line, ServerR::to_line),
        reads_back(line, FromHost::from_line, FromHost::to_line) && !line.command().is_empty(),
        reads_back(line, FromDtu::from_line, |message| message.to_line(&terminal)),
    ];
    known.contains(&true)
}

fn message(bytes: &[u8]) {
    let Ok(line) = Line::parse(bytes) else { return };
    is_message(&line);
    if let Ok(HostMessage { interfaces, .. }) = HostMessage::from_line(&line) {
        assert!(interfaces.len() <= INTERFACES_MAX);
    }
    match PeerMessage::from_line(&line).map(|message| message.body) {
        Ok(PeerBody::TokenR { sessions, .. }) => assert!(sessions.len() <= SESSIONS_PER_TOKEN_MAX),
        Ok(PeerBody::Coming { grants }) => assert!(grants.len() <= COMING_PER_MESSAGE_MAX),
        Ok(PeerBody::Shown { tokens, .. }) => assert!(tokens.len() <= SHOWN_PER_MESSAGE_MAX),
        Ok(PeerBody::Digest(part)) => assert!(part.tags.len() <= TAGS_PER_PART),
        _ => {}
    }
    if let Ok(claim) = ClaimRecord::parse(bytes) {
        assert_eq!(ClaimRecord::parse(claim.value().unwrap().as_bytes()).unwrap(), claim);
    }
}

fn signature(bytes: &[u8]) {
    let (ring, stranger) = (ring(), KeyRing::new(GroupKey::new(&[9; 16]).unwrap(), Vec::new()));
    for purpose in [Purpose::HostMessage, Purpose::Beacon, Purpose::Peer] {
        assert!(stranger.open(purpose, bytes).is_err(), "nobody has signed with this key");
        if let Ok(line) = ring.open(purpose, bytes) {
            let sealed = ring.seal(purpose, line.get());
            let (signed, sig) = sealed.split_at(sealed.len() - 40);
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let (text, hex) = bytes.split_at(bytes.len() - 40);
            assert!(text == signed && hex.eq_ignore_ascii_case(sig), "not what was signed");
        }
    }
}

fn ticket(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(ticket) = text.parse::<Ticket>() else { return };
    assert_eq!(ticket.to_string().parse::<Ticket>().ok(), Some(ticket));
    let claims = TicketClaims {
        grant: ticket.grant,
        token: "card.1".parse().unwrap(),
        session: ticket.session,
        serial: "080020abcdef".parse().unwrap(),
        target: "b".parse().unwrap(),
        boot: proto::BootId(2),
    };
    // The corpus holds one that is good, and with it the only MAC there is for these claims.
    let made = Ticket::issue(&ring(), &claims).unwrap();
    assert_eq!(ticket.is_for(&ring(), &claims), ticket == made);
}

fn card(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(card) = Card::from_file_text(text) else { return };
    let back = Card::from_file_text(&card.to_line().to_string()).unwrap();
    assert_eq!(back.token(), card.token());
    assert_eq!(back.answer(b"challenge"), card.answer(b"challenge"));
}

fn template(bytes: &[u8]) {
    let Ok((template, _)) = Template::parse_stored(&String::from_utf8_lossy(bytes)) else { return };
    assert!(template.services.iter().all(|service| service.check().is_ok()));
    assert_eq!(Template::parse_stored(&template.to_text()).unwrap().0, template);
}

fn record(bytes: &[u8]) {
    let token = "card.1".parse().unwrap();
    if let Ok(record) = Record::from_bytes(&token, bytes) {
        let written = record.to_line().to_string();
        assert_eq!(Record::from_bytes(&token, written.as_bytes()).ok(), Some(record));
    }
    if let Ok(policy) = Policy::from_bytes(bytes) {
        let written = policy.to_line().to_string();
        assert_eq!(Policy::from_bytes(written.as_bytes()).ok(), Some(policy));
    }
}

/// A key file that is damaged makes no ring: not one of a short key, nor one without any.
fn key_directory(bytes: &[u8]) {
    use proto::io::keydir::KeyDir;
    use std::cell::OnceCell;
    use std::os::unix::fs::PermissionsExt as _;
    thread_local!(static DIR: OnceCell<tempfile::TempDir> = const { OnceCell::new() });
    DIR.with(|dir| {
        let dir = dir.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            KeyDir::generate(dir.path()).unwrap();
            dir
        });
        let ring = dir.path().join("group.keys");
        std::fs::write(&ring, bytes).unwrap();
        std::fs::set_permissions(&ring, std::fs::Permissions::from_mode(0o600)).unwrap();
        match KeyDir::open(dir.path()) {
            Ok(opened) => {
                assert!(opened.ring.keys().iter().all(|key| key.secret().len() >= GroupKey::LEN_MIN));
                assert!(!opened.ring.keys().is_empty());
            }
            Err(why) => assert!(why.to_string().contains("group.keys"), "{why}"),
        }
    });
}

/// A target whose corpus is refused by the first check of its parser tests no more than that check.
#[test]
fn some_of_each_kept_corpus_can_be_read() {
    let is_any = |target: &str, reads: fn(&[u8]) -> bool| {
        let seeds = Seeds::of(&format!("fuzz::text::{target}"));
        assert!(seeds.all().iter().any(|bytes| reads(bytes)), "{target}: nothing of it can be read");
    };
    is_any("a_template_reads_back", |bytes| {
        let template = Template::parse_stored(&String::from_utf8_lossy(bytes));
        template.is_ok_and(|(template, _)| template.services.iter().any(|service| !service.required))
    });
    is_any("a_record_of_the_registry_reads_back", |bytes| {
        Record::from_bytes(&"card.1".parse().unwrap(), bytes).is_ok_and(|record| record.disabled)
    });
    is_any("a_record_of_the_registry_reads_back", |bytes| Policy::from_bytes(bytes).is_ok());
    is_any("a_card_file_reads_back", |bytes| {
        Card::from_file_text(&String::from_utf8_lossy(bytes)).is_ok_and(|card| card.secret().is_some())
    });
}

#[test]
fn every_kept_message_is_one() {
    for bytes in Seeds::of("fuzz::text::a_message_reads_back").all() {
        let text = String::from_utf8_lossy(bytes);
        let line = Line::parse(bytes).unwrap();
        assert!(is_message(&line) || ClaimRecord::parse(bytes).is_ok(), "{text}");
    }
    for bytes in Seeds::of("fuzz::text::a_signature_is_that_of_what_was_signed").all() {
        let opens = |purpose| ring().open(purpose, bytes).is_ok();
        let opened = [Purpose::HostMessage, Purpose::Beacon, Purpose::Peer].map(opens);
        assert!(opened.contains(&true), "{}", String::from_utf8_lossy(bytes));
    }
}
