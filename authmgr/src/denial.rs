//! Why a token gets no session, in the words of the person at the screen and in those of a counter.

use core::fmt;

/// Why a presented token is denied. Nothing was changed by the presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// The DTU cannot read the card: type `invalid`, an id of zeros, or text that makes no token.
    UnreadableCard,
    /// The DTU never said its serial.
    NoSerial,
    /// Sun's software client: its dialogue is not known.
    SoftwareClient,
    /// DTUs without a card get no session here.
    NoCard,
    /// The DTU does not prove the key that is pinned to its serial.
    WrongKey,
    /// DTUs without a key are not admitted, and this one has none.
    NoKey,
    /// Only registered cards are admitted, and this one is not.
    NotRegistered,
    /// The card was disabled.
    Disabled,
    /// The card did not prove that it holds its secret.
    WrongAnswer,
    /// The card did not answer its challenge in time.
    NoAnswer,
    /// The token's record in the registry cannot be read.
    BadRecord,
    /// The data store is unreachable and this token is not known without it.
    StoreAway,
    /// The host has as many sessions as it may have, and so have the others.
    Full,
    /// Nobody registered the token, and as many sessions of such tokens were made from here, or on this host, as may be.
    TooManyGuests,
    /// The session could not be made or attached.
    SessionFailed,
    /// The host is stopping or being drained, and no other can be reached.
    HostLeaving,
}

impl Denial {
    /// Every denial, for tests of their words.
    pub const ALL: [Self; 16] = [
        Self::UnreadableCard,
        Self::NoSerial,
        Self::SoftwareClient,
        Self::NoCard,
        Self::WrongKey,
        Self::NoKey,
        Self::NotRegistered,
        Self::Disabled,
        Self::WrongAnswer,
        Self::NoAnswer,
        Self::BadRecord,
        Self::StoreAway,
        Self::Full,
        Self::TooManyGuests,
        Self::SessionFailed,
        Self::HostLeaving,
    ];

    /// One sentence for the person at the screen: what is wrong and what helps.
    #[must_use]
    pub const fn notice(self) -> &'static str {
        match self {
            Self::UnreadableCard => "This card cannot be read. Take it out and insert it again.",
            Self::NoSerial => "This desk unit did not say its serial. Ask your administrator.",
            Self::SoftwareClient => "This kind of client cannot be served here. Use a desk unit.",
            Self::NoCard => "Insert your card.",
            Self::WrongKey => {
                "This desk unit is not the one that is known by its serial. Ask your administrator."
            }
            Self::NoKey => {
                "This desk unit has no key of its own, and needs one here. Ask your administrator."
            }
            Self::NotRegistered => "This card is not registered. Ask your administrator.",
            Self::Disabled => "This card is disabled. Ask your administrator.",
            Self::WrongAnswer => "This card is not the one that was registered. Ask your administrator.",
            Self::NoAnswer => "The card did not answer. Take it out and insert it again.",
            Self::BadRecord => "The record of this card is damaged. Ask your administrator.",
            Self::StoreAway => "The data store cannot be reached. Your session is shown when it is back.",
            Self::Full => "No host has room for another session. Try again later.",
            Self::TooManyGuests => {
                "Too many unregistered cards were used here. Have yours registered, or wait."
            }
            Self::SessionFailed => "Your session could not be started. Ask your administrator.",
            Self::HostLeaving => "The host is stopping and no other can be reached. Please wait.",
        }
    }

    /// One word for counters and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnreadableCard => "unreadable_card",
            Self::NoSerial => "no_serial",
            Self::SoftwareClient => "software_client",
            Self::NoCard => "no_card",
            Self::WrongKey => "wrong_key",
            Self::NoKey => "no_key",
            Self::NotRegistered => "not_registered",
            Self::Disabled => "disabled",
            Self::WrongAnswer => "wrong_answer",
            Self::NoAnswer => "no_answer",
            Self::BadRecord => "bad_record",
            Self::StoreAway => "store_away",
            Self::Full => "full",
            Self::TooManyGuests => "too_many_guests",
            Self::SessionFailed => "session_failed",
            Self::HostLeaving => "host_leaving",
        }
    }

    /// Whether the same presentation may succeed later without anybody doing anything about the token:
    /// whoever denied it may ask again by itself.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::StoreAway | Self::Full | Self::TooManyGuests | Self::SessionFailed | Self::HostLeaving
        )
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_denial_has_a_word_and_a_sentence_of_its_own() {
        let words: BTreeSet<_> = Denial::ALL.iter().map(|d| d.word()).collect();
        let notices: BTreeSet<_> = Denial::ALL.iter().map(|d| d.notice()).collect();
        assert_eq!((words.len(), notices.len()), (Denial::ALL.len(), Denial::ALL.len()));
        assert!(notices.iter().all(|n| n.ends_with('.') && n.len() < 100));
    }
}
