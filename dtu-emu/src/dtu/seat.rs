//! Who sits at the DTU: the card in it, or nobody, and the screen.

use proto::alp::{Event, InfoReq, Presented};
use proto::card::Card;
use proto::frame::Size;
use proto::{Serial, Token};

/// Who sits at the DTU. [`super::cards::Cards`] writes it; every other machine reads it.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) card: Option<Card>,
    pub(super) size: Size,
    /// Counts changes of who sits here, so that what was meant for one person never reaches the next.
    pub(super) seating: u64,
}

impl Seat {
    pub(super) const fn new(size: Size) -> Self {
        Self { card: None, size, seating: 0 }
    }

    /// The token that is here.
    pub(super) fn token(&self, serial: &Serial) -> Token {
        self.card.as_ref().map_or_else(|| Token::pseudo(serial), |card| card.token().clone())
    }
}

/// How a token is named in an infoReq.
pub(super) fn presented(token: &Token) -> Presented {
    Presented { kind: token.kind().to_owned(), id: token.id().to_owned() }
}

/// The infoReq that says that a token is gone. It states no more than that.
pub(super) fn removal(token: &Token) -> InfoReq {
    InfoReq {
        event: Event::Remove,
        presented: presented(token),
        cause: None,
        token_seq: None,
        start_res: None,
        real_ip: None,
        redirect_props: None,
        atr: None,
        size: None,
        avoid: None,
    }
}
