//! One DTU of a shell: its machine, its connections, its screen, and who watches that.

use std::net::Ipv4Addr;

use proto::Instant;
use proto::frame::Size;
use terminal::Painter;
use tokio::sync::{broadcast, watch};

use super::beacon_cache::Cursor;
use super::view::{Look, View};
use crate::dtu::{Config, ConnId, Dtu, Paint};
use crate::io::conn;
use crate::io::trust::Trust;
use crate::screen::Screen;

/// Changes a slow viewer may lag behind before it is sent the whole screen.
const VIEW_BACKLOG: usize = 64;
pub(super) struct Slot {
    pub(super) dtu: Dtu,
    pub(super) screen: Option<Screen>,
    pub(super) bind: Option<Ipv4Addr>,
    /// By what it knows its hosts, and they know it.
    pub(super) trust: Trust,
    pub(super) conns: Vec<(ConnId, conn::Sender)>,
    /// The entry in the heap that will wake it.
    pub(super) armed: Option<Instant>,
    /// It waits for the canary before it judges.
    pub(super) judging: bool,
    /// Which of the beacons in the cache it was told of.
    pub(super) cursor: Cursor,
    pub(super) views: broadcast::Sender<View>,
    /// What viewers show.
    painter: Painter,
    pub(super) changes: watch::Sender<u64>,
    pub(super) dirty: Dirty,
}

/// What viewers have not been sent yet.
pub(super) enum Dirty {
    No,
    /// The state changed, the screen did not.
    State,
    Screen,
}

impl Slot {
    /// A DTU that is off.
    pub(super) fn new(config: Config, bind: Option<Ipv4Addr>, screen: bool, trust: Trust) -> Self {
        Self {
            screen: screen.then(|| Screen::new(config.size)),
            dtu: Dtu::new(config),
            bind,
            trust,
            conns: Vec::new(),
            armed: None,
            judging: false,
            cursor: Cursor::default(),
            views: broadcast::Sender::new(VIEW_BACKLOG),
            painter: Painter::default(),
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

    /// True when viewers were not going to be told anyway.
    pub(super) fn paint(&mut self, paint: &Paint) -> bool {
        let Some(screen) = &mut self.screen else { return false };
        screen.apply(paint);
        self.touch(Dirty::Screen)
    }

    /// True when viewers were not going to be told anyway.
    pub(super) fn touch(&mut self, dirty: Dirty) -> bool {
        matches!(core::mem::replace(&mut self.dirty, dirty), Dirty::No)
    }

    pub(super) fn show(&mut self) {
        match (core::mem::replace(&mut self.dirty, Dirty::No), &mut self.screen) {
            (Dirty::No, _) => return,
            // Nobody watches most of the time.
            (Dirty::Screen, Some(screen)) if self.views.receiver_count() == 0 => {
                screen.unseen(&mut self.painter);
            }
            (Dirty::Screen, Some(screen)) => {
                let bytes = screen.update(&mut self.painter);
                if !bytes.is_empty() {
                    let _ = self.views.send(bytes.into());
                }
            }
            _ => {}
        }
        self.changes.send_modify(|revision| *revision += 1);
    }

    /// What draws all that is shown now, and what comes after that. Those who watch already must have been shown it.
    pub(super) fn view(&mut self) -> (Vec<u8>, broadcast::Receiver<View>) {
        let all = self.screen.as_ref().map_or_else(Vec::new, |screen| screen.redraw(&mut self.painter));
        (all, self.views.subscribe())
    }

    pub(super) fn look(&self) -> Look {
        Look {
            status: self.dtu.status(),
            serial: self.dtu.serial().clone(),
            size: self.screen.as_ref().map_or_else(Size::default, Screen::size),
            lines: self.screen.as_ref().map_or_else(Vec::new, Screen::lines),
            cursor: self.screen.as_ref().and_then(Screen::cursor),
            notice: self.screen.as_ref().and_then(|screen| screen.notice().map(str::to_owned)),
            redraw: self
                .screen
                .as_ref()
                .map_or_else(Vec::new, |screen| screen.redraw(&mut Painter::default())),
        }
    }
}
