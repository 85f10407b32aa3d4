//! A machine that is no host.

use super::super::wire::CableId;
use super::udp::{Datagram, Heard};

/// What a stranger remembers.
pub(in crate::world) const HEARD_MAX: usize = 100_000;

/// A stranger of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StrangerId(pub(in crate::world) usize);

impl StrangerId {
    pub(in crate::world) const fn number(self) -> usize {
        self.0
    }
}

#[derive(Debug)]
pub(in crate::world) struct Stranger {
    pub(in crate::world) cables: Vec<CableId>,
    pub(in crate::world) heard: Vec<Heard>,
}

impl Stranger {
    pub(in crate::world) fn hear(&mut self, datagram: Datagram) {
        if self.heard.len() < HEARD_MAX {
            self.heard.push(Heard { from: datagram.from, bytes: datagram.bytes.to_vec() });
        }
    }
}
