//! Who sits at the DTU: the card in it, or nobody, and what follows when that changes.

use proto::alp::{Cause, Event, FromDtu, InfoReq, Presented};
use proto::card::Card;
use proto::frame::Size;
use proto::{Serial, Token};

use super::event::DtuEvent;
use super::input::{Effect, Paint};
use super::link::{Came, Link, RETRY_FIRST};
use super::search::Start;
use super::{Cx, Dtu};

/// Pixels of a character cell, to state a screen's size in the protocol's own unit.
const CELL: (u16, u16) = (8, 16);

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) card: Option<Card>,
    pub(super) size: Size,
    /// Number of the last presentation.
    pub(super) seq: u32,
    /// Counts changes of who sits here, so that what was meant for one person never reaches the next.
    pub(super) seating: u64,
}

impl Seat {
    pub(super) const fn new(size: Size) -> Self {
        Self { card: None, size, seq: 0, seating: 0 }
    }

    /// The token that is here.
    pub(super) fn token(&self, serial: &Serial) -> Token {
        self.card.as_ref().map_or_else(|| Token::pseudo(serial), |card| card.token().clone())
    }
}

fn presented(token: &Token) -> Presented {
    Presented { kind: token.kind().to_owned(), id: token.id().to_owned() }
}

impl Dtu {
    pub(super) fn on_card(&mut self, cx: &mut Cx<'_>, card: Option<Card>) {
        if card.is_none() && self.seat.card.is_none() {
            return;
        }
        let before = self.token();
        if let Link::Linked(linked) = &self.link {
            let removal = FromDtu::InfoReq(removal(&before));
            let conn = linked.conn;
            self.send(cx, conn, &removal);
        }
        if self.seat.card.is_some() {
            cx.report(DtuEvent::Removed { token: before });
        }
        self.seat.card = card;
        self.seat.seating += 1;
        self.leave_session(cx);
        if self.seat.card.is_some() {
            cx.report(DtuEvent::Inserted { token: self.token() });
        }
        self.present_again(cx);
    }

    /// Nothing of the session stays on the screen or on its way to it.
    pub(super) fn leave_session(&mut self, cx: &mut Cx<'_>) {
        self.close_display(cx);
        self.picture.forget();
        let dropped = self.typed.restart(self.dice.nonce());
        self.drop_input(cx, dropped);
        self.gap = None;
        self.keeps_session = false;
        self.notice_until = None;
        self.show_failures = 0;
        cx.push(Effect::Paint(Paint::Clear));
        cx.push(Effect::Paint(Paint::Notice(None)));
    }

    /// Presents the token that is here now, wherever we are connected, or sees to it that we will be.
    pub(super) fn present_again(&mut self, cx: &mut Cx<'_>) {
        match &mut self.link {
            Link::Linked(linked) => {
                linked.hops = 0;
                linked.retry = RETRY_FIRST;
                self.present(cx, Came::Again, Cause::Insert, None, None);
            }
            // Its daemon does not answer, and nothing of its session is ours any more.
            Link::Holding(_) => {
                self.close_control(cx);
                self.begin_search(cx, Start::Lost, None);
            }
            Link::Idle => self.begin_search(cx, Start::Lost, None),
            // Presented as soon as a connection is open.
            Link::Off | Link::Searching(_) | Link::Errand(_) => {}
        }
    }

    /// Enter asks for a session that was taken away or refused. True when it did.
    pub(super) fn take_enter(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> bool {
        let waits = match &self.link {
            Link::Idle => true,
            Link::Linked(linked) => linked.is_without_session(),
            _ => false,
        };
        let wanted = waits && bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        if wanted {
            self.present_again(cx);
        }
        wanted
    }

    /// The infoReq that presents the token that is here.
    pub(super) fn insertion(&self, local: std::net::Ipv4Addr) -> InfoReq {
        let Size { cols, rows } = self.seat.size;
        InfoReq {
            event: Event::Insert,
            presented: presented(&self.token()),
            cause: Some(Cause::Insert),
            token_seq: Some(self.seat.seq.into()),
            start_res: Some((cols.saturating_mul(CELL.0), rows.saturating_mul(CELL.1))),
            real_ip: Some(local),
            redirect_props: None,
            atr: None,
            size: Some(self.seat.size),
            avoid: None,
        }
    }
}

/// A removal states no more than what went (protocol sheet 3.4).
fn removal(token: &Token) -> InfoReq {
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
