//! A stranger on the LANs of the group: it repeats what it has heard, forges what it likes, and asks to be let in
//! with what it has no right to. It knows every ticket that was ever made, which travel encrypted, and no key.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use proto::line::Line;

use super::forgery::{FORGERIES, Names};
use super::people::People;
use super::trouble::Island;
use crate::world::{DeskId, Heard, LanId, StrangerId, TestRng, World};

/// Tickets it remembers.
const TICKETS_MAX: usize = 64;

/// How far it looks back for a word that is worth changing.
const LOOKS_BACK: usize = 400;

/// Where it is: a machine that listens and speaks, and a terminal of its own.
#[derive(Debug)]
struct Place {
    machine: StrangerId,
    hand: DeskId,
    hosts: Vec<SocketAddrV4>,
    names: Vec<String>,
    desks: Vec<DeskId>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Intruder {
    dice: TestRng,
    places: Vec<Place>,
    tickets: VecDeque<String>,
    conns: u64,
    /// What it has said so far.
    pub(super) said: u64,
}

impl Intruder {
    /// One on every LAN of these islands.
    pub(super) fn new(w: &mut World, seed: u64, islands: &[Island]) -> Self {
        let mut places = Vec::new();
        for island in islands {
            for lan in &island.lans {
                places.push(Place::new(w, places.len(), island, *lan));
            }
        }
        let dice = TestRng::new(seed ^ 0x696e_7472_7564_6572);
        Self { dice, places, tickets: VecDeque::new(), conns: 0, said: 0 }
    }

    /// It has come by a ticket.
    pub(super) fn learn(&mut self, ticket: &str) {
        if self.tickets.len() == TICKETS_MAX {
            self.tickets.pop_front();
        }
        self.tickets.push_back(ticket.to_owned());
    }

    /// It says something.
    pub(super) fn act(&mut self, w: &mut World, people: &People) {
        self.said += 1;
        let number = self.dice.below(self.places.len() as u64) as usize;
        match self.dice.below(10) {
            0..=4 => self.repeat(w, number),
            5..=7 => self.forge(w, number),
            _ => self.ask_to_be_let_in(w, number, people),
        }
    }

    fn repeat(&mut self, w: &mut World, number: usize) {
        let place = &self.places[number];
        let count = w.recorded(place.machine) as u64;
        let Some(Heard { mut bytes, .. }) = w.record(place.machine, self.dice.below(count) as usize) else {
            return;
        };
        if self.dice.below(4) == 0
            && let Some(byte) = bytes.get_mut(self.dice.below(300) as usize)
        {
            *byte ^= 1;
        }
        self.say(w, number, &bytes);
    }

    /// To one host, to one desk, or to everybody.
    fn say(&mut self, w: &mut World, number: usize, bytes: &[u8]) {
        let place = &self.places[number];
        let one = |dice: &mut TestRng, n: usize| dice.below(n as u64) as usize;
        match self.dice.below(3) {
            0 => w.stranger_says(place.machine, place.hosts[one(&mut self.dice, place.hosts.len())], bytes),
            1 if !place.desks.is_empty() => {
                let desk = place.desks[one(&mut self.dice, place.desks.len())];
                let to = SocketAddrV4::new(w.address_of_desk(desk), proto::PORT);
                w.stranger_says(place.machine, to, bytes);
            }
            _ => w.stranger_shouts(place.machine, bytes),
        }
    }

    fn forge(&mut self, w: &mut World, number: usize) {
        let place = &self.places[number];
        let n = self.dice.u64();
        let own = if self.dice.below(2) == 0 { Some(n % 500) } else { None };
        let real = place.names[n as usize % place.names.len()].clone();
        let host = own.map_or(real, |n| format!("evil{n}"));
        let boot = w.boot_of_any(&host).map_or_else(|| format!("{n:016x}"), |boot| boot.to_string());
        let address = w.address_of_stranger(place.machine);
        let [a, b, c, d] = address.octets();
        let ip = format!("{a:02x}{b:02x}{c:02x}{d:02x}");
        let names = Names { host, boot, ip, n };
        let kind = self.dice.below(FORGERIES + 1);
        // What it changes in somebody's word, it has heard before.
        let heard = (kind == FORGERIES).then(|| self.heard_shown(w, number)).flatten();
        let (text, purpose) = heard.map_or_else(|| names.forge(kind), |line| names.shown_later(&line));
        let bytes = match n % 3 {
            // Signed with a key that is none of the group's,
            0 => Line::parse(text.as_bytes()).ok().map(|line| w.foreign_ring().seal(purpose, &line)),
            // as if with the group's, whose id everybody hears,
            1 => Some(format!("{text} kid={} sig={n:040x}", w.signing_key()).into_bytes()),
            // or not at all.
            _ => None,
        };
        self.say(w, number, &bytes.unwrap_or_else(|| text.into_bytes()));
    }

    /// Somebody's word, of late, that a token is shown there.
    fn heard_shown(&mut self, w: &World, number: usize) -> Option<Line> {
        let machine = self.places[number].machine;
        let count = w.recorded(machine);
        let all = (0..count.min(LOOKS_BACK)).filter_map(|n| w.record(machine, count - 1 - n));
        all.filter(|heard| heard.bytes.starts_with(b"shown "))
            .find_map(|heard| Line::parse(&heard.bytes).ok())
    }

    /// From its own terminal it presents a token whose secret it does not have, by itself or as if it had been sent
    /// with a ticket that was made for somebody else.
    fn ask_to_be_let_in(&mut self, w: &mut World, number: usize, people: &People) {
        let Some(token) = people.a_keyed_token(&mut self.dice) else { return };
        let place = &self.places[number];
        if w.hand_is_open(place.hand) {
            let ticket = self.tickets.get(self.dice.below(self.tickets.len() as u64) as usize);
            let more = ticket.map_or(String::new(), |t| format!("cause=redirect redirectProps={t}"));
            w.hand_presents(place.hand, self.conns, token.as_str(), 1, &more);
        } else {
            self.conns += 1;
            let host = place.hosts[self.dice.below(place.hosts.len() as u64) as usize];
            w.hand_opens(place.hand, self.conns, host);
        }
    }
}

impl Place {
    fn new(w: &mut World, number: usize, island: &Island, lan: LanId) -> Self {
        let machine = w.stranger(lan);
        let hand = w.hand(&format!("66{number:010x}"), lan);
        let hosts = island.hosts.iter().map(|host| w.address(host, lan)).collect();
        let desks = island.desks.iter().copied().filter(|desk| w.is_on(*desk, lan)).collect();
        Self { machine, hand, hosts, names: island.hosts.clone(), desks }
    }
}
