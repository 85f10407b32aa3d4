//! Cuts what a program writes into characters, control characters and sequences.
//!
//! The state machine is the one of DEC's terminals as Paul Williams drew it (<https://vt100.net/emu/dec_ansi_parser>), with
//! UTF-8. A sequence that is not finished is kept as it was written, so that a copy of the terminal can be brought
//! into the same state; parsers in libraries keep that to themselves.

/// Longest control sequence; a longer one is passed over.
const SEQUENCE_MAX: usize = 256;
/// Longest control string, with room for a clipboard; a longer one is passed over.
const STRING_MAX: usize = 96 * 1024;
/// Capacity that is kept between sequences.
const CAPACITY_IDLE: usize = 1024;
/// Most parameters of a sequence; further ones are ignored.
pub(crate) const PARAMS_MAX: usize = 32;

const ESC: u8 = 0x1b;

/// What becomes of it.
pub(crate) trait Perform {
    /// A character, which is no control character of seven bits.
    fn print(&mut self, c: char);
    /// A control character, C0.
    fn control(&mut self, byte: u8);
    /// An escape sequence.
    fn escape(&mut self, sequence: &Sequence);
    /// A control sequence.
    fn csi(&mut self, sequence: &Sequence);
    /// An operating system command, and whether a bell ended it.
    fn osc(&mut self, data: &[u8], bell: bool);
    /// A device control string: how it begins, and what follows that.
    fn dcs(&mut self, sequence: &Sequence, data: &[u8]);
}

/// A sequence without its introducer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequence {
    /// `<`, `=`, `>` or `?`, or 0.
    prefix: u8,
    intermediates: [u8; 2],
    intermediates_len: usize,
    params: [u16; PARAMS_MAX],
    count: usize,
    /// Bit n: parameter n follows a colon, and belongs to the one before.
    colons: u32,
    last: u8,
}

impl Sequence {
    /// Prefix, intermediates and last character: what it is called by.
    pub(crate) fn name(&self) -> (u8, &[u8], u8) {
        (self.prefix, &self.intermediates[..self.intermediates_len], self.last)
    }

    /// The parameters; those that were left out are 0.
    pub(crate) fn params(&self) -> &[u16] {
        &self.params[..self.count]
    }

    /// Parameter `n`, 0 if it is missing.
    pub(crate) fn param(&self, n: usize) -> u16 {
        self.params().get(n).copied().unwrap_or(0)
    }

    /// Parameter `n`, or 1 if it is missing or 0: a count.
    pub(crate) fn count(&self, n: usize) -> usize {
        usize::from(self.param(n)).max(1)
    }

    /// Whether parameter `n` belongs to the one before.
    pub(crate) const fn is_sub(&self, n: usize) -> bool {
        n < PARAMS_MAX && self.colons & 1 << n != 0
    }

    /// Takes a byte that may stand before the last one. False if it may not stand there.
    fn take(&mut self, byte: u8) -> bool {
        match byte {
            b'0'..=b'9' | b':' | b';' if self.intermediates_len > 0 => return false,
            b'0'..=b'9' => {
                self.count = self.count.max(1);
                let param = &mut self.params[self.count - 1];
                *param = param.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
            }
            b':' | b';' => {
                self.count = self.count.max(1);
                if self.count < PARAMS_MAX {
                    if byte == b':' {
                        self.colons |= 1 << self.count;
                    }
                    self.count += 1;
                } else {
                    return false;
                }
            }
            b'<'..=b'?' if self.count == 0 && self.prefix == 0 && self.intermediates_len == 0 => {
                self.prefix = byte;
            }
            b' '..=b'/' if self.intermediates_len < self.intermediates.len() => {
                self.intermediates[self.intermediates_len] = byte;
                self.intermediates_len += 1;
            }
            _ => return false,
        }
        true
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    Csi,
    /// A control sequence that is passed over.
    Ignored,
    /// A control string, by its introducer.
    String(u8),
    /// In one, and an escape has come: the end, if a backslash follows.
    StringEscape(u8),
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    state: State,
    sequence: Sequence,
    /// What was written of a sequence, or of a character, that is not finished.
    raw: Vec<u8>,
}

impl Parser {
    /// What was written of a sequence or a character that is not finished.
    pub(crate) fn unfinished(&self) -> &[u8] {
        &self.raw
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut impl Perform) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.state == State::Text {
                rest = self.text(rest, out);
            } else {
                self.step(rest[0], out);
                rest = &rest[1..];
            }
        }
    }

    /// Takes in text up to the next control character, and that one. Returns what is left.
    fn text<'a>(&mut self, bytes: &'a [u8], out: &mut impl Perform) -> &'a [u8] {
        if !self.raw.is_empty() {
            return self.finish_character(bytes, out);
        }
        let is_control = |byte: &u8| *byte < b' ' || *byte == 0x7f;
        let end = bytes.iter().position(is_control).unwrap_or(bytes.len());
        let mut run = &bytes[..end];
        while !run.is_empty() {
            let (good, bad) = match core::str::from_utf8(run) {
                Ok(_) => (run, None),
                Err(error) => (&run[..error.valid_up_to()], Some(error.error_len())),
            };
            core::str::from_utf8(good).unwrap_or_default().chars().for_each(|c| out.print(c));
            run = &run[good.len()..];
            match bad {
                None => {}
                Some(None) if end == bytes.len() => {
                    self.raw.extend_from_slice(run);
                    return &[];
                }
                Some(len) => {
                    out.print(char::REPLACEMENT_CHARACTER);
                    run = &run[len.unwrap_or(run.len())..];
                }
            }
        }
        let Some((&control, after)) = bytes[end..].split_first() else { return &[] };
        self.control(control, out);
        after
    }

    /// Goes on with a character of which the first bytes are there.
    fn finish_character<'a>(&mut self, bytes: &'a [u8], out: &mut impl Perform) -> &'a [u8] {
        self.raw.push(bytes[0]);
        match core::str::from_utf8(&self.raw) {
            Ok(text) => {
                text.chars().for_each(|c| out.print(c));
                self.raw.clear();
                &bytes[1..]
            }
            Err(error) if error.error_len().is_none() => &bytes[1..],
            Err(_) => {
                // It ended before this byte, which begins something else.
                self.raw.clear();
                out.print(char::REPLACEMENT_CHARACTER);
                bytes
            }
        }
    }

    fn begin(&mut self) {
        self.raw.clear();
        self.raw.push(ESC);
        self.sequence = Sequence::default();
        self.state = State::Escape;
    }

    fn end(&mut self) {
        self.raw.clear();
        self.raw.shrink_to(CAPACITY_IDLE);
        self.state = State::Text;
    }

    fn control(&mut self, byte: u8, out: &mut impl Perform) {
        match byte {
            ESC => self.begin(),
            // They abort a sequence.
            0x18 | 0x1a => self.end(),
            0x7f => {}
            _ => out.control(byte),
        }
    }

    fn step(&mut self, byte: u8, out: &mut impl Perform) {
        match self.state {
            State::Text => {}
            State::String(kind) => self.string(kind, byte, out),
            State::StringEscape(kind) => {
                if byte == b'\\' {
                    self.string_end(kind, out);
                } else {
                    // Any other sequence ends the string without effect.
                    self.begin();
                    self.step(byte, out);
                }
            }
            State::Escape | State::Csi | State::Ignored if byte < b' ' || byte == 0x7f => {
                self.control(byte, out);
            }
            State::Escape => self.escape(byte, out),
            State::Csi => self.csi(byte, out),
            State::Ignored => {
                if (b'@'..=b'~').contains(&byte) {
                    self.end();
                }
            }
        }
    }

    fn escape(&mut self, byte: u8, out: &mut impl Perform) {
        self.raw.push(byte);
        match byte {
            b' '..=b'/' if self.sequence.take(byte) => {}
            b'[' if self.sequence.intermediates_len == 0 => self.state = State::Csi,
            b']' | b'P' | b'X' | b'^' | b'_' if self.sequence.intermediates_len == 0 => {
                self.state = State::String(byte);
            }
            b'0'..=b'~' => {
                self.sequence.last = byte;
                self.state = State::Text;
                out.escape(&self.sequence);
                self.end();
            }
            _ => self.end(),
        }
    }

    fn csi(&mut self, byte: u8, out: &mut impl Perform) {
        match byte {
            b'@'..=b'~' => {
                self.sequence.last = byte;
                self.end();
                out.csi(&self.sequence);
            }
            _ if self.raw.len() < SEQUENCE_MAX && self.sequence.take(byte) => self.raw.push(byte),
            _ => {
                self.state = State::Ignored;
                // The shortest one that is passed over as well.
                self.raw.clear();
                self.raw.extend_from_slice(b"\x1b[0<");
            }
        }
    }

    fn string(&mut self, kind: u8, byte: u8, out: &mut impl Perform) {
        match byte {
            ESC => {
                self.raw.push(ESC);
                self.state = State::StringEscape(kind);
            }
            0x07 if kind == b']' => {
                self.raw.push(byte);
                self.string_end(kind, out);
            }
            0x18 | 0x1a => self.end(),
            _ if self.raw.len() >= STRING_MAX => {
                // A string without effect.
                self.raw.clear();
                self.raw.extend_from_slice(b"\x1bX");
                self.state = State::String(b'X');
            }
            _ if kind == b'X' || kind == b'^' || kind == b'_' => {}
            _ => self.raw.push(byte),
        }
    }

    fn string_end(&mut self, kind: u8, out: &mut impl Perform) {
        let raw = core::mem::take(&mut self.raw);
        self.end();
        // Behind `ESC ]` or `ESC P`, and before the bell or the escape.
        let data = &raw[2..raw.len() - 1];
        match kind {
            b']' => out.osc(data, raw.ends_with(b"\x07")),
            b'P' => {
                let mut sequence = Sequence::default();
                let Some(head) = data.iter().position(|byte| !sequence.take(*byte)) else { return };
                if (b'@'..=b'~').contains(&data[head]) {
                    sequence.last = data[head];
                    out.dcs(&sequence, &data[head + 1..]);
                }
            }
            _ => {}
        }
    }
}
