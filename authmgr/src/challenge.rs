//! Asking a keyed card to prove that it holds its secret.
//!
//! The exchange is in `docs/protocol.md`, "Keyed cards". A
//! [`CardChallenge`] carries all it takes to judge the answer and what follows from a good one, so that
//! nobody has to keep a table of open questions. The whole HMAC is compared: a card that can compute it can
//! send it, so there is nothing to gain by cutting it.

use proto::alp::FromHost;
use proto::card::{Answer, CardSecret, INTERNAL_AUTHENTICATE, STATUS_OK};
use proto::hex;

use crate::admission::Admitted;
use crate::denial::Denial;

/// Bytes of a challenge: more than anybody can collect answers for.
pub const NONCE_LEN: usize = 16;

/// A question to one keyed card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardChallenge {
    nonce: [u8; NONCE_LEN],
    secret: CardSecret,
    then: Box<Admitted>,
}

/// What a card said to a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardAnswer {
    /// It carried the command out and answered this.
    Proof(Answer),
    /// It was asked and answered something else: another length, or a status that is not success.
    NoProof,
    /// The DTU did not reach it, or said nothing in time.
    Silent,
}

impl CardAnswer {
    /// Reads the fields of an infoSmartCard.
    #[must_use]
    pub fn read(success: bool, data: &str, status: &str) -> Self {
        if !success {
            return Self::Silent;
        }
        match hex::decode(data.as_bytes()) {
            Some(proof) if status == STATUS_OK => Self::Proof(proof),
            _ => Self::NoProof,
        }
    }
}

impl CardChallenge {
    /// A challenge of the holder of `secret`; a good answer leads to `then`. `nonce` must be unpredictable
    /// and new, since a recorded answer to it is a good one.
    #[must_use]
    pub fn new(nonce: [u8; NONCE_LEN], secret: CardSecret, then: Admitted) -> Self {
        Self { nonce, secret, then: Box::new(then) }
    }

    /// The challenge as a command for the card in the DTU.
    #[must_use]
    pub fn question(&self, tag: String) -> FromHost {
        FromHost::ControlSmartCard {
            tag,
            head: INTERNAL_AUTHENTICATE.to_owned(),
            tdata: hex::encode(&self.nonce),
            rlen: u16::try_from(size_of::<Answer>()).unwrap_or(u16::MAX),
        }
    }

    /// What a good answer leads to, without asking: for a token whose card another host of the group has
    /// asked and says so with a ticket.
    #[must_use]
    pub fn waive(self) -> Admitted {
        *self.then
    }

    /// What the card's answer leads to. Compared in constant time.
    ///
    /// # Errors
    /// [`Denial::WrongAnswer`], or [`Denial::NoAnswer`] when the card was silent.
    pub fn judge(&self, answer: &CardAnswer) -> Result<Admitted, Denial> {
        match answer {
            CardAnswer::Proof(proof) if self.secret.is_answer(&self.nonce, proof) => Ok((*self.then).clone()),
            CardAnswer::Proof(_) | CardAnswer::NoProof => Err(Denial::WrongAnswer),
            CardAnswer::Silent => Err(Denial::NoAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Token;
    use proto::card::STATUS_UNKNOWN_COMMAND;

    fn challenge() -> (CardChallenge, Admitted) {
        let token: Token = "card.1".parse().unwrap();
        let then = Admitted::unregistered(&token);
        (CardChallenge::new([7; NONCE_LEN], CardSecret::new([1; 16]), then.clone()), then)
    }

    #[test]
    fn a_card_that_holds_the_secret_is_admitted_and_no_other_is() {
        let (asked, then) = challenge();
        let right = CardSecret::new([1; 16]).answer(&[7; NONCE_LEN]);
        let wrong = CardSecret::new([2; 16]).answer(&[7; NONCE_LEN]);
        let replayed = CardSecret::new([1; 16]).answer(&[6; NONCE_LEN]);
        let judged = |answer| asked.judge(&answer);
        assert_eq!(judged(CardAnswer::Proof(right)), Ok(then));
        assert_eq!(judged(CardAnswer::Proof(wrong)), Err(Denial::WrongAnswer));
        assert_eq!(judged(CardAnswer::Proof(replayed)), Err(Denial::WrongAnswer));
        assert_eq!(judged(CardAnswer::NoProof), Err(Denial::WrongAnswer));
        assert_eq!(judged(CardAnswer::Silent), Err(Denial::NoAnswer));
    }

    #[test]
    fn an_answer_counts_only_with_success_the_right_length_and_the_right_status() {
        let proof = "00".repeat(32);
        assert_eq!(CardAnswer::read(true, &proof, "9000"), CardAnswer::Proof([0; 32]));
        assert_eq!(CardAnswer::read(true, &proof, STATUS_UNKNOWN_COMMAND), CardAnswer::NoProof);
        assert_eq!(CardAnswer::read(true, &proof[2..], "9000"), CardAnswer::NoProof);
        assert_eq!(CardAnswer::read(false, &proof, "9000"), CardAnswer::Silent);
    }

    #[test]
    fn the_question_is_internal_authenticate_in_the_terminals_own_form() {
        let line = challenge().0.question("t1".into()).to_line().to_string();
        assert_eq!(
            line,
            "controlSmartCard tag=t1 command=apduInf head=00880000 \
             tdata=07070707070707070707070707070707 rlen=32"
        );
    }
}
