//! What is almost a message: noise gets no further than the first check of a parser.

use std::fs;
use std::path::Path;

use crate::feed::Feed;

/// What is worth putting into a message.
const WORDS: [&[u8]; 20] = [
    b"=",
    b" ",
    b"\\",
    b"\n",
    b"\0",
    b"\\000",
    b"true",
    b"0",
    b"-1",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b".",
    b"/",
    b"\xff",
];

/// How long a mutant may grow, in bytes.
const LEN_MAX: usize = 8 * 1024;

/// A mutant that is being tried: one that fails is printed, since what the fuzzer prints is what it was drawn from.
pub(crate) struct Tried(pub(crate) Vec<u8>);

impl Drop for Tried {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the mutant: b\"{}\"", self.0.escape_ascii());
        }
    }
}

/// The kept corpus of one target.
pub(crate) struct Seeds(Vec<Vec<u8>>);

impl Seeds {
    /// That of the target with this path, `fuzz::module::name`.
    pub(crate) fn of(path: &str) -> Self {
        let name = path.split_once("::").map_or(path, |(_, name)| name).replace("::", "__");
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/__fuzz__").join(name).join("corpus");
        let mut files: Vec<_> = fs::read_dir(&dir)
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", dir.display());
        Self(files.iter().map(|file| fs::read(file).unwrap()).collect())
    }

    /// All inputs of the corpus.
    pub(crate) fn all(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// One of the corpus after some changes, all drawn from `choices`.
    pub(crate) fn mutant(&self, choices: &[u8]) -> Vec<u8> {
        let mut feed = Feed(choices);
        let mut bytes = self.0[feed.below(self.0.len())].clone();
        for _ in 0..=feed.u8() % 6 {
            self.change(&mut feed, &mut bytes);
        }
        bytes.truncate(LEN_MAX);
        bytes
    }

    fn change(&self, feed: &mut Feed<'_>, bytes: &mut Vec<u8>) {
        let (at, until) = (feed.below(bytes.len() + 1), feed.below(bytes.len() + 1));
        let (from, to) = (at.min(until), at.max(until));
        match feed.u8() % 8 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (feed.u8() % 8),
            1 if at < bytes.len() => bytes[at] = feed.u8(),
            2 => drop(bytes.drain(from..to)),
            3 => bytes.truncate(at),
            4 => {
                let piece = bytes[from..to].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = &self.0[feed.below(self.0.len())];
                let cut = feed.below(other.len() + 1);
                bytes.splice(at.., other[cut..].iter().copied());
            }
            6 => {
                bytes.splice(at..at, feed.bytes().to_vec());
            }
            _ => {
                let word = WORDS[feed.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
}
