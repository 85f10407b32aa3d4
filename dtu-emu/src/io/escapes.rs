//! What `type` takes for keys: text with a few escapes.

/// `\n` and a line's end press Enter; `\r \t \e \b \\ \xHH` are what they usually are; any other backslash is
/// one.
pub(super) fn to_keys(text: &str) -> Vec<u8> {
    let mut keys = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail.first()) {
            (b'\n', _) => keys.push(b'\r'),
            (b'\\', Some(&letter)) => {
                let (key, used) = escape(letter, &tail[1..]);
                keys.extend(key.map_or_else(|| vec![b'\\'], |key| vec![key]));
                rest = if key.is_some() { &tail[used..] } else { tail };
            }
            _ => keys.push(byte),
        }
    }
    keys
}

/// The key, and how many bytes after the backslash made it.
fn escape(letter: u8, after: &[u8]) -> (Option<u8>, usize) {
    match letter {
        b'n' | b'r' => (Some(b'\r'), 1),
        b't' => (Some(b'\t'), 1),
        b'e' => (Some(0x1b), 1),
        b'b' => (Some(0x08), 1),
        b'\\' => (Some(b'\\'), 1),
        b'x' => (after.get(..2).and_then(proto::hex::decode::<1>).map(|[byte]| byte), 3),
        _ => (None, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_press_the_keys_they_name_and_other_text_stays() {
        assert_eq!(to_keys("ls\\n"), b"ls\r");
        assert_eq!(to_keys("a\nb"), b"a\rb");
        assert_eq!(to_keys("\\t\\e[A\\x03\\\\"), b"\t\x1b[A\x03\\");
        assert_eq!(to_keys("\\q \\xZZ \\"), b"\\q \\xZZ \\");
        assert_eq!(to_keys("\u{e9}"), "\u{e9}".as_bytes());
    }
}
