//! Which token a DTU presents, out of what it states.
//!
//! Real terminals state cards they cannot read as `invalid` or with an id
//! of zeros: such a thing names nobody, and taking it for a token would give everyone who holds an odd card
//! the same session.

use proto::alp::Presented;
use proto::{Serial, Token};

use super::words::Odd;
use crate::denial::Denial;

/// Reads the stated token; `serial` is that of the DTU, if it said one.
///
/// # Errors
/// What to tell the person, and what to count.
pub(super) fn read(stated: &Presented, serial: Option<&Serial>) -> Result<(Token, Serial), (Denial, Odd)> {
    if stated.kind == "pseudo" {
        // A pseudo token stands for the DTU itself: its serial is what counts, whatever the id says.
        let stated_id = || stated.id.parse().ok().filter(|_| !is_blank(&stated.id));
        let serial = serial.cloned().or_else(stated_id).ok_or((Denial::NoSerial, Odd::BadToken))?;
        return Ok((Token::pseudo(&serial), serial));
    }
    let reserved = ["pseudo", "user"].iter().any(|kind| stated.kind.eq_ignore_ascii_case(kind));
    if reserved {
        return Err((Denial::UnreadableCard, Odd::ReservedType));
    }
    if stated.kind == "invalid" || is_blank(&stated.id) {
        return Err((Denial::UnreadableCard, Odd::BadToken));
    }
    let token = Token::new(&stated.kind, &stated.id).map_err(|_| (Denial::UnreadableCard, Odd::BadToken))?;
    let serial = serial.cloned().ok_or((Denial::NoSerial, Odd::BadToken))?;
    Ok((token, serial))
}

/// Empty, or nothing but zeros.
fn is_blank(id: &str) -> bool {
    id.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_as(kind: &str, id: &str, serial: Option<&str>) -> Result<String, (Denial, Odd)> {
        let serial = serial.map(|s| s.parse().unwrap());
        read(&Presented { kind: kind.into(), id: id.into() }, serial.as_ref()).map(|(t, _)| t.to_string())
    }

    #[test]
    fn a_pseudo_token_names_the_dtu_itself_whatever_id_it_states() {
        assert_eq!(read_as("pseudo", "080020abcdef", Some("080020abcdef")), Ok("pseudo.080020abcdef".into()));
        assert_eq!(read_as("pseudo", "080020ffffff", Some("080020abcdef")), Ok("pseudo.080020abcdef".into()));
        assert_eq!(read_as("pseudo", "080020abcdef", None), Ok("pseudo.080020abcdef".into()));
        assert_eq!(read_as("pseudo", "0", None), Err((Denial::NoSerial, Odd::BadToken)));
    }

    #[test]
    fn a_card_that_the_dtu_could_not_read_names_nobody() {
        for (kind, id) in [
            ("invalid", "4711"),
            ("card", "0"),
            ("T1unknown", "00000000"),
            ("card", ""),
            ("card", "a b"),
            ("ca.rd", "1"),
            ("", "1"),
        ] {
            assert_eq!(
                read_as(kind, id, Some("1")),
                Err((Denial::UnreadableCard, Odd::BadToken)),
                "{kind}.{id}"
            );
        }
        assert_eq!(read_as("T0unknown", "0a", Some("1")), Ok("T0unknown.0a".into()));
        assert_eq!(read_as("mondex", "9998007668077709", Some("1")), Ok("mondex.9998007668077709".into()));
    }

    #[test]
    fn nobody_logs_in_by_stating_a_user_as_a_card() {
        for kind in ["user", "User", "PSEUDO"] {
            assert_eq!(read_as(kind, "ann", Some("1")), Err((Denial::UnreadableCard, Odd::ReservedType)));
        }
    }

    #[test]
    fn a_card_at_a_dtu_without_a_serial_is_denied() {
        assert_eq!(read_as("card", "1", None), Err((Denial::NoSerial, Odd::BadToken)));
    }

    proptest! {
        #[test]
        fn what_is_read_is_a_card_or_the_dtus_own_pseudo_token(kind in "\\PC{0,40}|pseudo|user", id in "\\PC{0,200}|0*") {
            let serial: Serial = "s1".parse().unwrap();
            if let Ok((token, at)) = read(&Presented { kind, id }, Some(&serial)) {
                prop_assert_eq!(&at, &serial);
                prop_assert!(token.is_card() || token == Token::pseudo(&serial));
            }
        }
    }
}
