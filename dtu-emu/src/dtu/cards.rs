//! The card in the DTU and the size of its screen: what follows when they change.

use proto::card::Card;
use proto::frame::Size;

use super::config::Config;
use super::ctx::Out;
use super::event::DtuEvent;
use super::seat::Seat;
use super::step::{ToCards, ToConnection, ToDisplay};

/// Owns who sits at the DTU.
#[derive(Debug)]
pub(super) struct Cards {
    seat: Seat,
}

impl Cards {
    pub(super) const fn new(size: Size) -> Self {
        Self { seat: Seat::new(size) }
    }

    /// Who sits here, for the other machines.
    pub(super) const fn seat(&self) -> &Seat {
        &self.seat
    }

    pub(super) fn handle(&mut self, config: &Config, step: ToCards, out: &mut Out<'_>) {
        match step {
            ToCards::Card(card) => self.on_card(config, card.map(|card| *card), out),
            ToCards::Resized(size) => {
                self.seat.size = size;
                out.tell(ToDisplay::Resize(size));
            }
        }
    }

    fn on_card(&mut self, config: &Config, card: Option<Card>, out: &mut Out<'_>) {
        if card.is_none() && self.seat.card.is_none() {
            return;
        }
        let before = self.seat.token(&config.serial);
        out.tell(ToConnection::Removed(before.clone()));
        if self.seat.card.is_some() {
            out.report(DtuEvent::Removed { token: before });
        }
        self.seat.card = card;
        self.seat.seating += 1;
        out.leave_session();
        if self.seat.card.is_some() {
            out.report(DtuEvent::Inserted { token: self.seat.token(&config.serial) });
        }
        out.present_again();
    }
}
