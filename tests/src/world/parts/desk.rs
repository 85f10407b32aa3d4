//! A desk: who decides there, and what it shows.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use dtu_emu::dtu::{Dtu, DtuEvent, Shows, Timing};
use proto::beacon::Beacon;
use proto::frame::Size;
use proto::line::Line;
use proto::{DtuKey, Instant};
use terminal::Terminal;

use super::super::wire::{CableId, LanId};
use super::observation::Shown;
use super::tcp::{ConnKey, Seg};
use super::udp::Datagram;

/// A desk of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeskId(pub(in crate::world) usize);

/// What a desk is made with.
#[derive(Clone, Debug)]
pub struct DeskPlan {
    pub(in crate::world) name: String,
    pub(in crate::world) lans: Vec<LanId>,
    pub(in crate::world) servers: Vec<String>,
    pub(in crate::world) card: Option<String>,
    pub(in crate::world) shows: Shows,
    pub(in crate::world) size: Size,
    pub(in crate::world) timing: Timing,
    pub(in crate::world) is_off: bool,
    pub(in crate::world) serial: Option<String>,
    pub(in crate::world) key: Key,
}

/// Which key a desk proves.
#[derive(Clone, Copy, Debug)]
pub(in crate::world) enum Key {
    /// One of its own.
    Own,
    /// None, as a terminal of the version before.
    None,
    /// The one of this number.
    Number(u8),
}

impl DeskPlan {
    /// A desk of this name on a LAN.
    #[must_use]
    pub fn named(name: &str, lan: LanId) -> Self {
        Self {
            name: name.to_owned(),
            lans: vec![lan],
            servers: Vec::new(),
            card: None,
            shows: Shows::Display,
            size: Size::default(),
            timing: Timing::default(),
            is_off: false,
            serial: None,
            key: Key::Own,
        }
    }

    /// It is told to try this host first: at its address on the desk's LAN, else at its primary one.
    #[must_use]
    pub fn server(mut self, host: &str) -> Self {
        self.servers.push(host.to_owned());
        self
    }

    /// The card is in it when it is switched on.
    #[must_use]
    pub fn card(mut self, token: &str) -> Self {
        self.card = Some(token.to_owned());
        self
    }

    /// It opens no displays and has no screen.
    #[must_use]
    pub fn without_display(mut self) -> Self {
        self.shows = Shows::Nothing;
        self
    }

    /// Its screen has this size.
    #[must_use]
    pub fn size(mut self, cols: u16, rows: u16) -> Self {
        self.size = Size { cols, rows };
        self
    }

    /// It says this serial, which another desk may have as well.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = Some(serial.to_owned());
        self
    }

    /// It proves the key of this number, not one of its own.
    #[must_use]
    pub fn key(mut self, number: u8) -> Self {
        self.key = Key::Number(number);
        self
    }

    /// It has no key, as a terminal of the version before.
    #[must_use]
    pub fn keyless(mut self) -> Self {
        self.key = Key::None;
        self
    }

    /// It is not switched on yet.
    #[must_use]
    pub fn off(mut self) -> Self {
        self.is_off = true;
        self
    }
}

/// Who decides at a desk.
pub(in crate::world) enum Brain {
    Dtu(Box<Dtu>),
    /// Nobody: a test says what goes over its connection, and reads what comes back.
    Hand {
        heard: Vec<Line>,
        is_open: bool,
    },
}

pub(in crate::world) enum ToDesk {
    Beacon(Box<Beacon>, Ipv4Addr),
    Datagram(Datagram),
    Seg(ConnKey, Seg),
}

pub(in crate::world) struct Desk {
    pub(in crate::world) name: String,
    pub(in crate::world) brain: Brain,
    pub(in crate::world) cables: Vec<CableId>,
    pub(in crate::world) conns: BTreeMap<u64, ConnKey>,
    pub(in crate::world) wake: Option<Instant>,
    pub(in crate::world) is_asleep: bool,
    pub(in crate::world) hears_broadcasts: bool,
    /// Beacons seem to come from another address than their sender has.
    pub(in crate::world) hears_from_elsewhere: bool,
    pub(in crate::world) is_plain: bool,
    /// The key that it proves where it does not speak plain.
    pub(in crate::world) key: Option<DtuKey>,
    pub(in crate::world) held: VecDeque<ToDesk>,
    pub(in crate::world) screen: Option<Terminal>,
    pub(in crate::world) notice: Option<String>,
    pub(in crate::world) events: VecDeque<(Instant, DtuEvent)>,
    /// What it was last seen to show.
    pub(in crate::world) seen: Option<Shown>,
}

impl Desk {
    pub(in crate::world) fn dtu(&self) -> Option<&Dtu> {
        match &self.brain {
            Brain::Dtu(dtu) => Some(dtu),
            Brain::Hand { .. } => None,
        }
    }
}
