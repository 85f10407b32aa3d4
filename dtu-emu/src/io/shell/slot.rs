//! One DTU of a shell: its machine, its connections, its screen, and who watches that.

use std::net::Ipv4Addr;

use proto::Instant;
use proto::frame::Size;
use tokio::sync::{broadcast, watch};

use super::board::Told;
use super::{Look, View};
use crate::dtu::{Config, ConnId, Dtu, Paint};
use crate::io::conn;
use crate::screen::Screen;

/// Changes a slow viewer may lag behind before it is sent the whole screen.
const VIEW_BACKLOG: usize = 64;
pub(super) struct Slot {
    pub(super) dtu: Dtu,
    pub(super) screen: Option<Screen>,
    pub(super) bind: Option<Ipv4Addr>,
    pub(super) conns: Vec<(ConnId, conn::Sender)>,
    /// The entry in the heap that will wake it.
    pub(super) armed: Option<Instant>,
    /// It waits for the canary before it judges.
    pub(super) judging: bool,
    /// Which of the beacons on the board it was told of.
    pub(super) told: Told,
    pub(super) views: broadcast::Sender<View>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) dirty: Dirty,
}

/// What viewers have not been sent yet.
pub(super) enum Dirty {
    No,
    /// The state changed, the screen did not.
    State,
    Bytes(Vec<u8>),
    All,
}

impl Slot {
    /// A DTU that is off.
    pub(super) fn new(config: Config, bind: Option<Ipv4Addr>, screen: bool) -> Self {
        Self {
            screen: screen.then(|| Screen::new(config.size)),
            dtu: Dtu::new(config),
            bind,
            conns: Vec::new(),
            armed: None,
            judging: false,
            told: Told::default(),
            views: broadcast::Sender::new(VIEW_BACKLOG),
            changes: watch::Sender::new(0),
            dirty: Dirty::No,
        }
    }

    pub(super) fn send(&self, conn: ConnId, bytes: Vec<u8>) {
        if let Some((_, sender)) = self.conns.iter().find(|(known, _)| *known == conn) {
            // A connection that has just ended says so itself.
            let _ = sender.send(bytes);
        }
    }

    /// True when viewers have to be told.
    pub(super) fn paint(&mut self, paint: Paint) -> bool {
        let Some(screen) = &mut self.screen else { return false };
        screen.apply(&paint);
        let next = match (paint, &mut self.dirty) {
            // A notice covers what is written under it.
            (Paint::Bytes(_), Dirty::All) => Dirty::All,
            (Paint::Bytes(bytes), Dirty::Bytes(before)) if screen.notice().is_none() => {
                before.extend(bytes);
                return false;
            }
            (Paint::Bytes(bytes), _) if screen.notice().is_none() => Dirty::Bytes(bytes),
            _ => Dirty::All,
        };
        self.touch(next)
    }

    /// True when viewers were not going to be told anyway.
    pub(super) fn touch(&mut self, dirty: Dirty) -> bool {
        matches!(core::mem::replace(&mut self.dirty, dirty), Dirty::No)
    }

    pub(super) fn show(&mut self) {
        let view = match core::mem::replace(&mut self.dirty, Dirty::No) {
            Dirty::No => return,
            Dirty::State => None,
            Dirty::Bytes(bytes) => Some(View::Bytes(bytes.into())),
            Dirty::All if self.views.receiver_count() == 0 => None,
            Dirty::All => self.screen.as_ref().map(|screen| View::Redraw(screen.redraw().into())),
        };
        if let Some(view) = view {
            // Nobody watches most of the time.
            let _ = self.views.send(view);
        }
        self.changes.send_modify(|revision| *revision += 1);
    }

    pub(super) fn look(&self) -> Look {
        Look {
            status: self.dtu.status(),
            serial: self.dtu.serial().clone(),
            size: self.screen.as_ref().map_or_else(Size::default, Screen::size),
            lines: self.screen.as_ref().map_or_else(Vec::new, Screen::lines),
            cursor: self.screen.as_ref().and_then(Screen::cursor),
            notice: self.screen.as_ref().and_then(|screen| screen.notice().map(str::to_owned)),
            redraw: self.screen.as_ref().map_or_else(Vec::new, Screen::redraw),
        }
    }
}
