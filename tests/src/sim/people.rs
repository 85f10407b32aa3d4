//! The people at the desks: they put cards in, take them out, carry them to other desks, lend a copy of one, and
//! press Enter where a desk asks for it.

use std::collections::BTreeSet;

use proto::Token;
use proto::card::{Card, CardSecret};

use crate::world::{DeskId, Observation, TestRng, World};

/// One card of so many is disabled.
const DISABLED_OF: usize = 8;

/// A card of somebody.
#[derive(Clone, Debug)]
pub(super) struct PersonCard {
    token: Token,
    secret: Option<[u8; 16]>,
    /// Whether its owner has reported it lost, and still uses it.
    is_disabled: bool,
    /// The seat it is in; copies of it may be in others.
    holder: Option<usize>,
}

/// A desk and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// The desk of this seat.
    pub(super) desk: DeskId,
    /// The island it belongs to.
    pub(super) island: usize,
    /// The card in it, by number, and whether that is the genuine one.
    pub(super) card: Option<(usize, bool)>,
}

impl Seat {
    /// Whether the genuine card of somebody is in it.
    pub(super) fn has_card(&self) -> bool {
        self.card.is_some_and(|(_, genuine)| genuine)
    }
}

/// All people of the simulation: their cards, and where these are.
#[derive(Debug)]
pub(super) struct People {
    dice: TestRng,
    cards: Vec<PersonCard>,
    /// The cards of each island.
    of_island: Vec<Vec<usize>>,
    /// Whether they pay, and how often they have: only where sessions outlive their hosts.
    pays: Option<u64>,
    /// A seat for each desk.
    pub(super) seats: Vec<Seat>,
}

impl People {
    /// So many cards on so many islands; this share of them, in percent, has a secret. What has one is registered.
    pub(super) fn new(w: &mut World, seed: u64, cards: usize, islands: usize, keyed: u64) -> Self {
        let mut dice = TestRng::new(seed ^ 0x7065_6f70_6c65);
        let mut made = Vec::with_capacity(cards);
        let mut of_island = vec![Vec::new(); islands];
        for n in 0..cards {
            let island = n % islands;
            let Ok(token) = format!("card.c{n}").parse::<Token>() else { continue };
            let secret = (dice.below(100) < keyed).then(|| {
                let mut secret = [0; 16];
                secret.copy_from_slice(&dice.seed()[..16]);
                secret
            });
            let is_disabled = n % DISABLED_OF == DISABLED_OF - 1;
            if is_disabled {
                register(w, &token, "disabled=true", true);
            } else if let Some(secret) = secret {
                let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
                register(w, &token, &format!("secret={hex}"), false);
            }
            of_island[island].push(made.len());
            made.push(PersonCard { token, secret, is_disabled, holder: None });
        }
        Self { dice, cards: made, of_island, pays: None, seats: Vec::new() }
    }

    /// From now on they pay.
    pub(super) const fn pay(&mut self) {
        self.pays = Some(0);
    }

    /// The token that is in a desk, and whether it should be let in.
    #[must_use]
    pub(super) fn due(&self, seat: &Seat) -> Option<(&Token, bool)> {
        let (number, genuine) = seat.card?;
        let card = &self.cards[number];
        Some((&card.token, !card.is_disabled && (genuine || card.secret.is_none())))
    }

    /// A token that needs a secret, if there is one: for whoever wants to be let in without it.
    pub(super) fn a_keyed_token(&self, dice: &mut TestRng) -> Option<Token> {
        let card = self.cards.get(dice.below(self.cards.len() as u64) as usize)?;
        card.secret.filter(|_| !card.is_disabled).map(|_| card.token.clone())
    }

    /// Everybody who has a desk's worth of card puts it in, as in the morning.
    pub(super) fn sit_down(&mut self, w: &mut World, number: usize) {
        if self.dice.below(100) < 80 {
            self.put_in(w, number, false);
        }
    }

    /// Somebody does something at some desk.
    pub(super) fn act(&mut self, w: &mut World) {
        let number = self.dice.below(self.seats.len() as u64) as usize;
        match self.dice.below(10) {
            0..=2 => self.take_out(w, number),
            3..=7 => self.put_in(w, number, false),
            8 => self.put_in(w, number, true),
            _ => {
                let desk = self.seats[number].desk;
                match &mut self.pays {
                    // Several at once: the host of one desk in many dies while one of them is under way.
                    Some(paid) => {
                        for _ in 0..5 {
                            *paid += 1;
                            w.type_line(desk, &format!("pay {paid}"));
                        }
                    }
                    None => w.type_line(desk, "count"),
                }
            }
        }
    }

    /// Somebody takes the card out of one desk and puts it into another.
    pub(super) fn carry(&mut self, w: &mut World, from: usize, to: usize) {
        if let Some((card, true)) = self.seats[from].card
            && from != to
        {
            self.take_out(w, from);
            self.put_card_in(w, to, card, false);
        }
    }

    fn take_out(&mut self, w: &mut World, number: usize) {
        let seat = &mut self.seats[number];
        if let Some((card, _)) = seat.card.take() {
            self.cards[card].holder.take_if(|holder| *holder == number);
        }
        w.see(Observation::Card { desk: seat.desk, token: None, genuine: true });
        w.remove(seat.desk);
    }

    /// Puts a card in: one that is in no desk, one that is carried from another, or (`copied`) one that stays there
    /// too. A copy of a card with a secret is one without it.
    fn put_in(&mut self, w: &mut World, number: usize, copied: bool) {
        let island = self.seats[number].island;
        let pool = &self.of_island[island];
        if pool.is_empty() {
            return;
        }
        let card = pool[self.dice.below(pool.len() as u64) as usize];
        self.put_card_in(w, number, card, copied);
    }

    fn put_card_in(&mut self, w: &mut World, number: usize, card: usize, copied: bool) {
        if self.seats[number].card.is_some_and(|(has, _)| has == card) {
            return;
        }
        if let (false, Some(other)) = (copied, self.cards[card].holder) {
            self.take_out(w, other);
        }
        if let Some((before, _)) = self.seats[number].card {
            self.cards[before].holder.take_if(|holder| *holder == number);
        }
        let PersonCard { token, secret, .. } = self.cards[card].clone();
        let genuine = !copied;
        let secret = secret.filter(|_| genuine).map(CardSecret::new);
        let is_copy_of_keyed = copied && self.cards[card].secret.is_some();
        let Ok(card_in) = Card::new(token.clone(), secret) else { return };
        let desk = self.seats[number].desk;
        self.seats[number].card = Some((card, !is_copy_of_keyed));
        if !copied {
            self.cards[card].holder = Some(number);
        }
        w.see(Observation::Card { desk, token: Some(token), genuine: !is_copy_of_keyed });
        w.insert_card(desk, card_in);
    }

    /// Whoever reads that Enter brings the session back presses it, unless the session is at another desk.
    pub(super) fn press_enter(&self, w: &mut World) {
        let shown = self.seats.iter().filter(|seat| w.shows(seat.desk).is_some());
        let shown: BTreeSet<usize> = shown.filter_map(|seat| Some(seat.card?.0)).collect();
        for seat in &self.seats {
            let asks = w.notice(seat.desk).is_some_and(|notice| notice.contains("Press Enter"));
            if asks && seat.card.is_none_or(|(card, _)| !shown.contains(&card)) {
                w.type_line(seat.desk, "");
            }
        }
    }
}

/// Puts a record of a token into the data store.
fn register(w: &mut World, token: &Token, fields: &str, disabled: bool) {
    let key = authmgr::admission::token_key(token);
    w.store_put(key.as_str(), &format!("token name={token} {fields}"));
    w.see(Observation::Registered { token: token.clone(), disabled });
}
