use super::*;
use proptest::prelude::*;

fn part() -> Part {
    Part { service: "terminal".parse().unwrap(), kind: Kind::Screen }
}

/// The bytes of an object that nobody reads.
fn object(version: u64, body: &[u8]) -> Encoded {
    let stamp: Stamp = format!("1.7/{version}").parse().unwrap();
    Encoded::open(&[b"HDO\x01", &stamp.to_bytes()[..], body].concat()).unwrap()
}

fn messages() -> Vec<Message> {
    let (session, epoch, part) = (SessionId(0xab), Epoch { generation: 1, counter: 7 }, part());
    let token: Token = "card.ann".parse().unwrap();
    let (old, new) = (object(1, b"some text"), object(2, b"some texts"));
    let standing = Standing { part: part.clone(), stamp: new.stamp(), hash: new.hash() };
    vec![
        Message::Whole { session, epoch, token, part: part.clone(), object: old.clone() },
        Message::Delta { session, epoch, part: part.clone(), delta: Delta::between(&old, &new) },
        Message::Kept { session, part: part.clone(), stamp: new.stamp() },
        Message::Want { session, part: part.clone() },
        Message::Stale { session, epoch },
        Message::Full { session, epoch },
        Message::Drop { session, epoch },
        Message::Compare { session, epoch, parts: vec![standing.clone(), standing] },
        Message::Fetch { session, epoch, floor: epoch },
        Message::Object { session, part, object: new },
        Message::Fetched { session, epoch, objects: 1 },
        Message::HandOver { session, epoch },
        Message::HandedOver { session, epoch, done: true },
        Message::Watch { session, epoch },
    ]
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

#[test]
fn a_message_reads_back_as_it_was_written() {
    for message in messages() {
        let bytes = bytes_of(&message);
        assert_eq!(Message::parse(&bytes), Ok(Some((message.clone(), bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..end]), Ok(None), "{message:?} cut to {end}");
        }
    }
}

#[test]
fn the_bytes_of_a_message_stay_what_they_are() {
    let (session, epoch) = ("000000000000000000000000000000ab", "0000000100000007");
    let (part, stamp) = ("01087465726d696e616c", "00000001000000070000000000000002");
    let hash = object(2, b"some texts").hash();
    let golden = [
        format!(
            "0100000048{session}{epoch}08636172642e616e6e{part}48444f0100000001000000070000000000000001{}",
            "736f6d652074657874"
        ),
        format!("020000005d{session}{epoch}{part}{}", "*"),
        format!("030000002a{session}{part}{stamp}"),
        format!("040000001a{session}{part}"),
        format!("0500000018{session}{epoch}"),
        format!("0600000018{session}{epoch}"),
        format!("0700000018{session}{epoch}"),
        format!("080000006c{session}{epoch}{part}{stamp}{hash}{part}{stamp}{hash}"),
        format!("0900000020{session}{epoch}{epoch}"),
        format!("0a00000038{session}{part}48444f01{stamp}736f6d65207465787473"),
        format!("0b0000001a{session}{epoch}0001"),
        format!("0c00000018{session}{epoch}"),
        format!("0d00000019{session}{epoch}01"),
        format!("0e00000018{session}{epoch}"),
    ];
    for (message, golden) in messages().iter().zip(golden) {
        let hex = proto::hex::encode(&bytes_of(message));
        // The bytes of a delta are described with it.
        match golden.strip_suffix('*') {
            Some(golden) => assert_eq!(hex[10..golden.len()], golden[10..]),
            None => assert_eq!(hex, golden),
        }
    }
}

#[test]
fn what_a_later_version_says_is_skipped_and_what_breaks_the_rules_is_not() {
    let other = [42, 0, 0, 0, 2, 1, 2];
    assert_eq!(Message::parse(&other), Ok(Some((Message::Other, 7))));
    let mut later_part = bytes_of(&Message::Want { session: SessionId(1), part: part() });
    later_part[5 + 16] = 2;
    assert_eq!(Message::parse(&later_part), Ok(Some((Message::Other, later_part.len()))));
    let too_long = [1, 0, 1, 0, 0];
    assert_eq!(Message::parse(&too_long), Err(FrameError::TooLong(65_536)));
    let no_object = [10, 0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 8];
    let no_object = [&no_object[..], b"terminal"].concat();
    assert_eq!(Message::parse(&no_object), Err(FrameError::Payload(10)));
    for message in messages() {
        let mut longer = bytes_of(&message);
        let is_open_ended = matches!(
            message,
            Message::Whole { .. } | Message::Delta { .. } | Message::Object { .. } | Message::Compare { .. }
        );
        longer.push(0);
        longer[4] += 1;
        assert!(is_open_ended || Message::parse(&longer).is_err(), "{message:?}");
    }
}

#[test]
fn no_more_parts_are_compared_than_a_session_has() {
    let (session, epoch) = (SessionId(1), Epoch::default());
    let of = |n: usize| Standing {
        part: part(),
        stamp: Stamp::default(),
        hash: Hash([u8::try_from(n).unwrap(); 16]),
    };
    let compare = |n: usize| Message::Compare { session, epoch, parts: (0..n).map(of).collect() };
    let most = bytes_of(&compare(PARTS_MAX));
    assert_eq!(Message::parse(&most), Ok(Some((compare(PARTS_MAX), most.len()))));
    assert_eq!(bytes_of(&compare(PARTS_MAX + 1)), most);
    let one_more = [&most[..], &most[5 + 24..5 + 24 + 42]].concat();
    let len = u32::try_from(one_more.len() - 5).unwrap().to_be_bytes();
    let one_more = [&one_more[..1], &len, &one_more[5..]].concat();
    assert_eq!(Message::parse(&one_more), Err(FrameError::Payload(8)));
}

proptest! {
    #[test]
    fn no_bytes_are_more_than_an_error(kind in 0..16_u8, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let bytes = [&[kind][..], &len, &payload].concat();
        if let Ok(Some((message, len))) = Message::parse(&bytes) {
            prop_assert_eq!(len, bytes.len());
            if !matches!(message, Message::Other | Message::Compare { .. }) {
                prop_assert_eq!(bytes_of(&message), bytes);
            }
        }
    }
}
