//! What is kept of a screen, and how it looks afterwards.

use super::*;
use continuity::limits::OBJECT_MAX;
use continuity::{Encoded, Version};
use proto::Epoch;

const STAMP: Stamp = Stamp { epoch: Epoch { generation: 1, counter: 2 }, version: Version(9) };

fn screen() -> Screen {
    Screen {
        size: Size { cols: 20, rows: 5 },
        command: "login shell".into(),
        around: Whereabouts {
            directory: Some("/home/ann".into()),
            foreground: Some("vim notes".into()),
            environment: b"LANG=de_DE.UTF-8\0".as_slice().into(),
        },
        picture: b"\x1b[1mone\x1b[m\r\ntwo".as_slice().into(),
        output: b" and more".to_vec(),
        input: vec![(Nonce(5), 7), (Nonce(6), 0)],
        is_still: false,
    }
}

fn service() -> ServiceName {
    "terminal".parse().unwrap()
}

#[test]
fn a_screen_comes_back_as_it_was_kept() {
    let object = screen().to_object(SessionId(3), &service(), STAMP);
    let copy = Object::decode(&object.encode().unwrap()).unwrap();
    assert_eq!((copy.head.stamp, copy.head.session, &copy.head.service), (STAMP, SessionId(3), &service()));
    assert_eq!(Screen::of(&copy), Some(screen()));
    let bare = Screen { around: Whereabouts::default(), input: Vec::new(), is_still: true, ..screen() };
    assert_eq!(Screen::of(&bare.to_object(SessionId(3), &service(), STAMP)), Some(bare));
}

#[test]
fn the_old_screen_is_lines_above_the_new_one_and_one_line_says_what_was_lost() {
    let mut new = Terminal::new(Size { cols: 100, rows: 8 });
    new.feed(&screen().transcript());
    assert_eq!(new.lines()[..3], ["one", "two and more", ""]);
    assert_eq!(new.cursor(), Some((0, 2)), "what follows begins a line");
    let lost = "b".parse().unwrap();
    let line = screen().epitaph(Some(&lost), None, false);
    assert!(line.contains("Host b is gone, and vim notes ended with it"), "{line}");
    assert!(line.contains("login shell: it starts in /home/ann"), "{line}");
    assert!(line.ends_with("was dropped."), "{line}");
    let line = screen().epitaph(Some(&lost), None, true);
    assert!(line.starts_with("Your session has moved here from host b, ") && line.ends_with("dropped."));
    let line = Screen { is_still: true, ..screen() }.epitaph(Some(&lost), None, true);
    assert!(!line.contains("dropped"), "{line}");
    let line = screen().epitaph(None, Some("/root"), false);
    assert!(line.contains("/home/ann is not here, so it starts in /root"), "{line}");
    let around = Whereabouts { foreground: Some("\x1b[2Jx\n".into()), ..Whereabouts::default() };
    let line = Screen { around, ..screen() }.epitaph(None, None, false);
    assert!(!line.contains(char::is_control) && line.contains("[2Jx ended"), "{line}");
}

#[test]
fn all_of_the_longest_screen_fits_an_object() {
    let noise = |len: usize| (0..len).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>();
    let longest = Screen {
        command: "x".repeat(COMMAND_MAX),
        around: Whereabouts {
            directory: Some(format!("/{}", "d".repeat(1000))),
            foreground: Some("y".repeat(COMMAND_MAX)),
            environment: noise(ENVIRONMENT_MAX).into(),
        },
        picture: noise(PICTURE_MAX).into(),
        output: noise(OUTPUT_MAX),
        input: vec![(Nonce(u128::MAX), u64::MAX); INPUT_RUNS_MAX],
        ..screen()
    };
    let encoded = longest.to_object(SessionId(3), &service(), STAMP).encode().unwrap();
    assert!(encoded.as_bytes().len() <= OBJECT_MAX);
    let short = longest.shortened(b"p".to_vec());
    assert!((short.around.environment.len(), short.output.len()) == (0, 0) && &*short.picture == b"p");
}

#[test]
fn an_object_that_holds_no_screen_is_none() {
    assert_eq!(Screen::of(&Object::new(SessionId(3), service())), None);
    let mut object = screen().to_object(SessionId(3), &service(), STAMP);
    let (key, value) = ("size".parse().unwrap(), Value::raw(b"0x99999").unwrap());
    object.apply(Edit::Put { place: Place::Global, key, value }).unwrap();
    assert_eq!(Screen::of(&object), None, "no size of a screen");
    assert!(Encoded::open(b"HDO").is_err());
}
