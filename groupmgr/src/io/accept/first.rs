//! What a new connection is: its first byte, and where that is not enough its first line, say it.

use std::io;
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proto::SessionId;
use proto::line::{LINE_MAX, Line};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;

/// The first byte of every TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Read at first, at most: a ClientHello has some 250 bytes, a display line less.
const FIRST_READ: usize = 512;

/// Read before the first line is complete, at most: the line, and what a DTU in a hurry sends behind it.
const READ_MAX: usize = LINE_MAX + 1;

/// What a new connection wants to be.
#[derive(Debug, PartialEq, Eq)]
pub enum First {
    /// It begins as a TLS handshake does.
    Tls {
        /// All that was read, the beginning of its handshake.
        already: Vec<u8>,
    },
    /// A display connection of a session, with what was read behind its first line.
    Display {
        /// The session that it names.
        session: SessionId,
        /// What came behind the line.
        already: Vec<u8>,
    },
    /// Plain lines where they are allowed. The first is judged as any later one is: what cannot be read of it is no
    /// reason to hang up.
    Plain {
        /// All that was read.
        already: Vec<u8>,
    },
    /// The line begins neither as a display connection nor as anything that is allowed.
    Refused,
    /// A display line that does not name a session, or no line at all.
    Bad,
    /// It was closed.
    Gone,
}

/// Finds out what `stream` is.
pub(super) async fn identify(stream: &mut (impl AsyncRead + Unpin), allows_plain: bool) -> io::Result<First> {
    let mut text = Vec::with_capacity(FIRST_READ);
    if stream.read_buf(&mut text).await? == 0 {
        return Ok(First::Gone);
    }
    if text[0] == TLS_HANDSHAKE {
        return Ok(First::Tls { already: text });
    }
    let (text, already) = read_line(stream, text, |text| allows_plain || may_be_display(text)).await?;
    Ok(if text.is_empty() { First::Gone } else { judge(&text, already, allows_plain) })
}

/// What a connection is that begins with `text`, its first line with its terminator or as much of it as came, behind
/// empty lines if plain text is allowed; `already` came behind it.
#[must_use]
pub fn judge(text: &[u8], already: Vec<u8>, allows_plain: bool) -> First {
    if !ends_line(text) {
        return if may_be_display(text) || allows_plain { First::Bad } else { First::Refused };
    }
    match Line::parse(text) {
        Ok(line) if line.command() == "display" => {
            line.need("session").map_or(First::Bad, |session| First::Display { session, already })
        }
        _ if allows_plain => First::Plain { already: [text, &already].concat() },
        _ => First::Refused,
    }
}

/// Reads up to and with the terminator of the first line that holds something, as long as the text `is_welcome`; `text`
/// was read already. Text without a terminator at its end is unwelcome, too long, or cut off.
async fn read_line(
    stream: &mut (impl AsyncRead + Unpin),
    mut text: Vec<u8>,
    is_welcome: impl Fn(&[u8]) -> bool,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    loop {
        if is_welcome(b"\n") {
            let empty = text.iter().take_while(|b| is_terminator(**b)).count();
            text.drain(..empty);
        }
        if let Some(end) = text.iter().position(|b| is_terminator(*b)) {
            let already = text.split_off(end + 1);
            return Ok((text, already));
        }
        let room = READ_MAX - text.len();
        if !is_welcome(&text) || room == 0 || stream.take(room as u64).read_buf(&mut text).await? == 0 {
            return Ok((text, Vec::new()));
        }
    }
}

/// Whether the other end will send no more than what is here.
pub(super) fn is_half_closed(stream: &TcpStream) -> bool {
    let hangup = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let mut fds = [PollFd::new(stream.as_fd(), hangup)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

const fn is_terminator(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

fn ends_line(text: &[u8]) -> bool {
    text.last().is_some_and(|b| is_terminator(*b))
}

/// Whether `text` is the beginning of a display line, as far as it goes.
fn may_be_display(text: &[u8]) -> bool {
    text.iter().zip(b"display ").all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESSION: &str = "000000000000000000000000000000ff";

    /// What is found out, with what was not read added to what was.
    async fn read(text: &[u8], allows_plain: bool) -> First {
        let mut stream = text;
        let mut first = identify(&mut stream, allows_plain).await.unwrap();
        if let First::Display { already, .. } | First::Plain { already } | First::Tls { already } = &mut first
        {
            already.extend_from_slice(stream);
        }
        first
    }

    #[tokio::test]
    async fn a_display_line_is_told_from_what_comes_behind_it() {
        let text = format!("display session={SESSION}\n\x16\x03\x01");
        let session = SessionId(0xff);
        assert_eq!(read(text.as_bytes(), false).await, First::Display { session, already: vec![0x16, 3, 1] });
    }

    #[tokio::test]
    async fn plain_text_is_refused_at_its_first_bytes_unless_the_listener_allows_it() {
        assert_eq!(read(b"inf", false).await, First::Refused);
        assert_eq!(read(b"infoReq sn=1\n", false).await, First::Refused);
        let already = b"infoReq sn=1\nkeepAliveReq\n".to_vec();
        assert_eq!(read(&already, true).await, First::Plain { already: already.clone() });
    }

    #[tokio::test]
    async fn a_plain_first_line_is_judged_like_any_later_one() {
        for odd in [&b"\n\r\n"[..], b"infoReq fw=gr\xfcn\n", b"infoReq =\\\n", b"   \n"] {
            let text = [odd, b"infoReq sn=1\n"].concat();
            let First::Plain { already } = read(&text, true).await else { panic!("{odd:?} closes it") };
            let (mut lines, mut splitter) = (Vec::new(), proto::line::Splitter::new());
            splitter.push(&already, |line| lines.push(line));
            let last = lines.pop().unwrap().unwrap();
            assert_eq!(last.command(), "infoReq", "{odd:?}");
            assert_eq!(read(&text, false).await, First::Refused);
        }
        let display = format!("\n\ndisplay session={SESSION}\n");
        assert!(matches!(read(display.as_bytes(), true).await, First::Display { .. }));
    }

    #[tokio::test]
    async fn a_first_line_that_is_cut_off_or_endless_or_names_no_session_is_bad() {
        for text in [&b"display ses"[..], b"display session=xyz\n", &[b'd'; 9000]] {
            let got = read(text, false).await;
            assert!(matches!(got, First::Bad | First::Refused), "{got:?}");
        }
        let mut long = b"display session=".to_vec();
        long.extend([b'0'; 9000]);
        assert_eq!(read(&long, false).await, First::Bad);
        assert_eq!(read(b"", false).await, First::Gone);
        assert_eq!(read(b"\n\n", true).await, First::Gone);
    }

    #[tokio::test]
    async fn a_handshake_is_known_by_its_first_byte_and_none_of_it_is_lost() {
        let hello: Vec<u8> = std::iter::once(TLS_HANDSHAKE).chain((0..2000_u16).map(|n| n as u8)).collect();
        assert_eq!(read(&hello, true).await, First::Tls { already: hello.clone() });
    }

    #[tokio::test]
    async fn a_handshake_whose_other_end_has_given_up_is_told_from_one_that_waits() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for gives_up in [false, true] {
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            std::io::Write::write_all(&mut client, &[TLS_HANDSHAKE, 3, 1]).unwrap();
            if gives_up {
                client.shutdown(std::net::Shutdown::Write).unwrap();
            }
            let (mut stream, _) = listener.accept().await.unwrap();
            let already = vec![TLS_HANDSHAKE, 3, 1];
            assert_eq!(identify(&mut stream, false).await.unwrap(), First::Tls { already });
            assert_eq!(is_half_closed(&stream), gives_up);
        }
    }

    fn read_now(text: &[u8], allows_plain: bool) -> First {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read(text, allows_plain))
    }

    proptest! {
        #[test]
        fn whatever_comes_first_is_judged_and_plain_text_gets_in_only_where_it_may(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            allows_plain: bool,
        ) {
            let first = read_now(&text, allows_plain);
            let is_plain = matches!(first, First::Plain { .. });
            prop_assert!(allows_plain || !is_plain);
        }

        #[test]
        fn nothing_behind_a_display_line_is_lost(
            id: u128,
            behind in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut text = format!("display session={}\n", SessionId(id)).into_bytes();
            text.extend_from_slice(&behind);
            let wanted = First::Display { session: SessionId(id), already: behind };
            prop_assert_eq!(read_now(&text, false), wanted);
        }
    }
}
