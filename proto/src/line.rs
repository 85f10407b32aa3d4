//! The text grammar of everything said over UDP and on the session protocol: `command key=value ...`.
//!
//! See `docs/protocol.md`, "Text". Order is kept, repeated keys and unknown ones are allowed, a bare key means
//! `key=true`, spaces around `=` are tolerated. This module only splits and joins; what a key means is said by
//! the modules that own the messages. Nothing here fails a connection: a line that cannot be read is a value
//! ([`LineError`]) that its reader counts.

use core::fmt;
use core::str::FromStr;

/// Longest message in bytes, without its terminator.
pub const LINE_MAX: usize = 2048;

/// A message: its command, if its first word is one, and its pairs in order.
///
/// A message whose first word holds a `=` has no command: it is a host message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The command, then every key and its value, without escapes.
    text: String,
    /// Where in it the command ends; 0 for a host message.
    command: usize,
    /// Where the key and where the value of each pair ends; it begins where the one before ended.
    ends: Vec<(usize, usize)>,
}

/// Why bytes are not a message. Whoever sent them is at fault; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nothing but separators.
    #[error("empty line")]
    Empty,
    /// Longer than [`LINE_MAX`].
    #[error("line longer than {LINE_MAX} bytes")]
    TooLong,
    /// A control byte, or bytes that are no text after the escapes were taken out.
    #[error("not text")]
    NotText,
    /// A command or a key of no characters.
    #[error("a value without a key")]
    NoKey,
}

/// Why a message lacks what its reader needs. Whoever sent it is at fault; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The key is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The key is there, with a value that is none.
    #[error("{0} has an unusable value")]
    Bad(&'static str),
    /// The first word names another message.
    #[error("not a {0} message")]
    NotThis(&'static str),
}

impl Line {
    /// A message with a command and no pairs yet.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self { text: command.to_owned(), command: command.len(), ends: Vec::new() }
    }

    /// A message without a command: a host message.
    #[must_use]
    pub const fn bare() -> Self {
        Self { text: String::new(), command: 0, ends: Vec::new() }
    }

    /// Reads one message; a terminator at its end is allowed.
    ///
    /// ```
    /// use proto::Line;
    ///
    /// let line = Line::parse(b"infoReq event=insert type=card id=7 later=unknown\r\n")?;
    /// assert_eq!((line.command(), line.get("id")), ("infoReq", Some("7")));
    /// assert_eq!(Line::new("notice").with("text", "see you").to_string(), r"notice text=see\ you");
    /// # Ok::<(), proto::line::LineError>(())
    /// ```
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LineError> {
        let bytes = trim_end(bytes);
        if bytes.len() > LINE_MAX {
            return Err(LineError::TooLong);
        }
        if bytes.iter().any(|b| *b != b'\t' && !(0x20..0x7f).contains(b)) {
            return Err(LineError::NotText);
        }
        let mut words = Words { rest: bytes };
        let Some(first) = words.next() else { return Err(LineError::Empty) };
        // Most messages have no more pairs: then this is all the memory they need.
        let (text, ends) = (String::with_capacity(bytes.len()), Vec::with_capacity(16));
        let mut line = Self { text, command: 0, ends };
        match first.value {
            None => line.command = put_name(first.key, &mut line.text)?,
            Some(_) => line.put(first)?,
        }
        words.try_for_each(|word| line.put(word))?;
        Ok(line)
    }

    fn put(&mut self, Word { key, value }: Word<'_>) -> Result<(), LineError> {
        let key_end = put_name(key, &mut self.text)?;
        match value {
            None => self.text.push_str("true"),
            Some(value) => unescape(value, &mut self.text)?,
        }
        self.ends.push((key_end, self.text.len()));
        Ok(())
    }

    /// The command, or `""` for a host message.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.text[..self.command]
    }

    /// The value of a key; of a repeated one, the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().rev().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// All values of a key, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs().filter(move |(k, _)| *k == key).map(|(_, v)| v)
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.ends.iter().enumerate().map(|(n, &(key_end, end))| {
            let begin = n.checked_sub(1).map_or(self.command, |before| self.ends[before].1);
            (&self.text[begin..key_end], &self.text[key_end..end])
        })
    }

    /// The value of a key, read as a `T`.
    ///
    /// # Errors
    /// [`FieldError::Missing`] or [`FieldError::Bad`].
    pub fn need<T: FromStr>(&self, key: &'static str) -> Result<T, FieldError> {
        self.get(key).ok_or(FieldError::Missing(key))?.parse().map_err(|_| FieldError::Bad(key))
    }

    /// The value of a key that may be absent, read as a `T`.
    ///
    /// # Errors
    /// [`FieldError::Bad`] when it is there and unusable.
    pub fn want<T: FromStr>(&self, key: &'static str) -> Result<Option<T>, FieldError> {
        self.get(key).map(|v| v.parse().map_err(|_| FieldError::Bad(key))).transpose()
    }

    /// The value of a key, or `None` when absent or odd: for fields that must never fail a connection.
    #[must_use]
    pub fn lenient<T: FromStr>(&self, key: &str) -> Option<T> {
        self.get(key).and_then(|v| v.parse().ok())
    }

    /// Whether a flag is set: `key=1`, `key=true`, or the bare key.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("1" | "true"))
    }

    /// Checks that the command is `name`.
    ///
    /// # Errors
    /// [`FieldError::NotThis`].
    pub fn expect(&self, name: &'static str) -> Result<(), FieldError> {
        if self.command() == name { Ok(()) } else { Err(FieldError::NotThis(name)) }
    }

    /// Appends a pair.
    pub fn push(&mut self, key: &str, value: impl fmt::Display) {
        use fmt::Write as _;
        self.text.push_str(key);
        let key_end = self.text.len();
        let Ok(()) = write!(self.text, "{value}") else { unreachable!("memory takes what is written") };
        self.ends.push((key_end, self.text.len()));
    }

    /// The same, for building a message in one expression.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.push(key, value);
        self
    }

    /// The same, when there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

/// The message as text, without a terminator. It may be longer than [`LINE_MAX`] if its maker put too much
/// in; makers bound what they put in.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.command(), f)?;
        for (n, (key, value)) in self.pairs().enumerate() {
            if n > 0 || self.command > 0 {
                f.write_str(" ")?;
            }
            escape(key, f)?;
            f.write_str("=")?;
            escape(value, f)?;
        }
        Ok(())
    }
}

impl FromStr for Line {
    type Err = LineError;
    fn from_str(s: &str) -> Result<Self, LineError> {
        Self::parse(s.as_bytes())
    }
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    for byte in text.bytes() {
        match byte {
            b'=' | b'\\' | b' ' | b'\t' => {
                f.write_char('\\')?;
                f.write_char(char::from(byte))?;
            }
            0x21..0x7f => f.write_char(char::from(byte))?,
            _ => write!(f, "\\{byte:03o}")?,
        }
    }
    Ok(())
}

fn unescape(text: &[u8], out: &mut String) -> Result<(), LineError> {
    if !text.contains(&b'\\') {
        out.push_str(str::from_utf8(text).map_err(|_| LineError::NotText)?);
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.iter().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
        if digits > 0 {
            let value = rest[..digits].iter().fold(0_u32, |sum, b| sum * 8 + u32::from(b - b'0'));
            bytes.push(u8::try_from(value).map_err(|_| LineError::NotText)?);
            rest = &rest[digits..];
        } else if let Some((&plain, tail)) = rest.split_first() {
            bytes.push(plain);
            rest = tail;
        }
    }
    out.push_str(str::from_utf8(&bytes).map_err(|_| LineError::NotText)?);
    Ok(())
}

/// Puts a command or a key. Returns where it ends.
fn put_name(name: &[u8], out: &mut String) -> Result<usize, LineError> {
    let begin = out.len();
    unescape(name, out)?;
    if out.len() == begin { Err(LineError::NoKey) } else { Ok(out.len()) }
}

const fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let n = bytes.iter().take_while(|b| is_space(**b)).count();
    &bytes[n..]
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'\n' | b'\r' | 0] = bytes {
        bytes = rest;
    }
    bytes
}

/// One `key=value` or `key`, still escaped.
struct Word<'a> {
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// Takes bytes up to an unescaped separator, and, when `stop_at_equals`, up to an unescaped `=`.
    fn until(&mut self, stop_at_equals: bool) -> &'a [u8] {
        let mut escaped = false;
        let end = self.rest.iter().position(|&b| {
            let stop = !escaped && (is_space(b) || (stop_at_equals && b == b'='));
            escaped = !escaped && b == b'\\';
            stop
        });
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        self.rest = trim_start(self.rest);
        if self.rest.is_empty() {
            return None;
        }
        let key = self.until(true);
        let after_space = trim_start(self.rest);
        let Some((b'=', after_equals)) = after_space.split_first() else {
            return Some(Word { key, value: None });
        };
        // "key= value": the value is the next word, unless that word has a "=" of its own.
        let next = trim_start(after_equals);
        self.rest = after_equals;
        if next.len() != after_equals.len() {
            let mut ahead = Words { rest: next };
            ahead.until(true);
            if ahead.rest.first() == Some(&b'=') {
                return Some(Word { key, value: Some(b"") });
            }
            self.rest = next;
        }
        Some(Word { key, value: Some(self.until(false)) })
    }
}

/// Cuts a TCP byte stream into messages at LF, CR or NUL. Empty lines vanish. Holds at
/// most [`LINE_MAX`] bytes; a longer line is reported once and skipped up to its terminator.
#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
    skipping: bool,
}

impl Splitter {
    /// A splitter at the start of a line.
    #[must_use]
    pub const fn new() -> Self {
        Self { partial: Vec::new(), skipping: false }
    }

    /// Takes in `bytes` and hands every finished line to `each`.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Result<Line, LineError>)) {
        for part in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r' | 0)) {
            let text = trim_end(part);
            let ended = text.len() != part.len();
            if !self.skipping && self.partial.len() + text.len() > LINE_MAX {
                self.skipping = true;
                each(Err(LineError::TooLong));
            }
            if !self.skipping {
                self.partial.extend_from_slice(text);
            }
            if !ended {
                continue;
            }
            if !self.skipping && !self.partial.is_empty() {
                match Line::parse(&self.partial) {
                    Err(LineError::Empty) => {}
                    read => each(read),
                }
            }
            self.partial.clear();
            self.skipping = false;
        }
    }
}

/// The beginning of `text`: at most `max` bytes of it, and only whole characters.
///
/// ```
/// assert_eq!(proto::line::cut("grün", 3), "gr");
/// ```
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spaces_around_an_equals_sign_are_tolerated() {
        for text in ["c key=value", "c key = value", "c key= value", "c key =value", "c\tkey=value  "] {
            let line = Line::parse(text.as_bytes()).unwrap();
            assert_eq!((line.command(), line.get("key")), ("c", Some("value")), "{text:?}");
        }
    }

    #[test]
    fn an_empty_value_before_another_pair_stays_empty() {
        let line = Line::parse(b"c a= b=2").unwrap();
        assert_eq!(line.pairs().collect::<Vec<_>>(), [("a", ""), ("b", "2")]);
    }

    #[test]
    fn a_bare_key_means_true_and_a_repeated_key_keeps_both() {
        let line = Line::parse(b"c flag x=1 x=2").unwrap();
        assert!(line.flag("flag"));
        assert_eq!(line.get("x"), Some("2"));
        assert_eq!(line.all("x").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_first_word_with_an_equals_sign_makes_a_host_message() {
        let line = Line::parse(b"host=mud addr=81907f05").unwrap();
        assert_eq!((line.command(), line.get("host")), ("", Some("mud")));
    }

    #[test]
    fn escapes_give_back_what_was_put_in() {
        let line = Line::new("c").with("k", "a b=c\\d\té\n");
        assert_eq!(line.to_string(), "c k=a\\ b\\=c\\\\d\\\t\\303\\251\\012");
        assert_eq!(line.to_string().parse::<Line>().unwrap(), line);
    }

    #[test]
    fn what_is_not_text_is_refused_with_a_reason() {
        assert_eq!(Line::parse(b"  "), Err(LineError::Empty));
        assert_eq!(Line::parse(b"c k=\x07"), Err(LineError::NotText));
        assert_eq!(Line::parse(b"c k=\\377"), Err(LineError::NotText));
        assert_eq!(Line::parse(b"c k=\\777"), Err(LineError::NotText));
        assert_eq!(Line::parse(b"=v"), Err(LineError::NoKey));
        assert_eq!(Line::parse(b"c k=1 =v"), Err(LineError::NoKey));
        // A name of nothing but a backslash is one of nothing: as a command it would make a host message.
        assert_eq!(Line::parse(b"\\"), Err(LineError::NoKey));
        assert_eq!(Line::parse(b"c \\"), Err(LineError::NoKey));
        assert_eq!(Line::parse(&[b'x'; LINE_MAX + 1]), Err(LineError::TooLong));
    }

    #[test]
    fn a_line_too_long_is_skipped_once_and_the_next_is_read() {
        let mut splitter = Splitter::new();
        let mut seen = Vec::new();
        for chunk in [vec![b'a'; 1500], vec![b'a'; 1500], b"\nnext k=v\r\n\0".to_vec()] {
            splitter.push(&chunk, |line| seen.push(line));
        }
        assert_eq!(seen, [Err(LineError::TooLong), Ok(Line::new("next").with("k", "v"))]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Line::parse(&bytes);
        }

        #[test]
        fn what_is_printed_reads_back_the_same(
            command in "[a-zA-Z]{1,12}",
            pairs in proptest::collection::vec(("[a-z_.]{1,8}", "\\PC{0,24}"), 0..12),
        ) {
            let mut line = Line::new(&command);
            for (key, value) in &pairs {
                line.push(key, value);
            }
            prop_assert_eq!(Line::parse(line.to_string().as_bytes()), Ok(line));
        }

        #[test]
        fn a_stream_reads_the_same_however_it_is_cut(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'='), Just(b' '), any::<u8>()], 0..200),
            cut in 0_usize..200,
        ) {
            let mut whole = Vec::new();
            Splitter::new().push(&bytes, |line| whole.push(line));
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let mut parts = Vec::new();
            let mut splitter = Splitter::new();
            splitter.push(a, |line| parts.push(line));
            splitter.push(b, |line| parts.push(line));
            prop_assert_eq!(whole, parts);
        }
    }
}
