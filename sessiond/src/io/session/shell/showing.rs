//! The part of the loop that has to do with display connections.

use std::os::fd::OwnedFd;

use proto::frame::Frame;

use super::Shell;
use crate::control::{FromSession, Refusal};
use crate::io::session::displays::{Broken, Connection, DisplayState};
use crate::session::{ConnId, Effect};

/// Output given to a connection at once; as much again may be in the kernel.
const ROOM: usize = 64 * 1024;

/// Display connections that have not said hello, at most.
const STRANGERS_MAX: usize = 8;

impl Shell {
    pub(super) fn on_handed_over(&mut self, fd: OwnedFd, already: &[u8]) {
        let Some(tls) = self.tls.clone() else { return };
        let now = self.clock.now();
        let strangers = self
            .displays
            .iter()
            .filter(|(_, d)| matches!(d.stage, DisplayState::Hello { .. }))
            .map(|(conn, _)| *conn);
        let strangers: Vec<ConnId> = strangers.collect();
        if let Some(oldest) = strangers.first().filter(|_| strangers.len() >= STRANGERS_MAX) {
            self.refuse(*oldest, Refusal::TooMany);
        }
        let Ok(connection) = Connection::new(fd, &tls, now) else { return };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.displays.insert(conn, connection);
        self.with_frames(conn, |display, frames| display.begin(already, frames));
        // Whoever connects has mostly sent the rest already.
        self.on_display(conn);
    }

    pub(super) fn on_display(&mut self, conn: ConnId) {
        self.with_frames(conn, Connection::read);
    }

    /// Reads from a connection in some way and acts on the frames that came of it.
    fn with_frames(
        &mut self,
        conn: ConnId,
        read: impl FnOnce(&mut Connection, &mut Vec<Frame>) -> Result<(), Broken>,
    ) {
        let Some(display) = self.displays.get_mut(&conn) else { return };
        let mut frames = Vec::new();
        let outcome = read(display, &mut frames);
        display.flush(self.clock.now());
        for frame in frames {
            self.on_frame(conn, frame);
        }
        if let Err(broken) = outcome {
            self.on_broken(conn, &broken);
        }
    }

    fn on_frame(&mut self, conn: ConnId, frame: Frame) {
        let Some(display) = self.displays.get_mut(&conn) else { return };
        match (display.stage, frame) {
            (DisplayState::Hello { .. }, Frame::Hello(hello)) => {
                display.stage = DisplayState::Open;
                self.core.hello(self.clock.now(), conn, &hello, &mut self.effects);
            }
            (DisplayState::Hello { .. }, _) => self.refuse(conn, Refusal::NoHello),
            (DisplayState::Open, frame) => {
                self.core.frame(self.clock.now(), conn, frame, &mut self.effects);
            }
            (DisplayState::Closing { .. } | DisplayState::Gone, _) => {}
        }
        // Input reaches its service before the next frame is looked at.
        self.perform();
    }

    fn on_broken(&mut self, conn: ConnId, broken: &Broken) {
        let Some(display) = self.displays.get_mut(&conn) else { return };
        match (display.stage, broken) {
            (DisplayState::Hello { .. }, Broken::Tls) => self.refuse(conn, Refusal::Tls),
            (DisplayState::Hello { .. }, Broken::Frame) => self.refuse(conn, Refusal::NoHello),
            (DisplayState::Open, Broken::Frame | Broken::Tls) => {
                self.core.lost(conn, &mut self.effects);
                display.close(&[Frame::Notice("That was not a frame.".into())], self.clock.now());
            }
            _ => {
                self.core.lost(conn, &mut self.effects);
                self.displays.remove(&conn);
            }
        }
    }

    pub(super) fn refuse(&mut self, conn: ConnId, refusal: Refusal) {
        if let Some(display) = self.displays.get_mut(&conn) {
            display.close(&[Frame::Notice(refusal.to_string())], self.clock.now());
            self.effects.push(Effect::Tell(FromSession::DisplayRefused(refusal)));
        }
    }

    /// Gives each connection what it should show, as long as it takes it.
    pub(super) fn feed_displays(&mut self) {
        let mut bytes = Vec::new();
        for (conn, display) in &mut self.displays {
            while display.stage == DisplayState::Open && display.is_idle() {
                bytes.clear();
                self.core.pull(self.clock.now(), *conn, ROOM, &mut bytes, &mut self.effects);
                if bytes.is_empty() {
                    break;
                }
                display.give(&bytes);
                display.flush(self.clock.now());
            }
        }
        self.drop_gone();
    }

    fn drop_gone(&mut self) {
        let gone: Vec<ConnId> = self
            .displays
            .iter()
            .filter(|(_, d)| d.stage == DisplayState::Gone)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in gone {
            self.core.lost(conn, &mut self.effects);
            self.displays.remove(&conn);
        }
    }
}
