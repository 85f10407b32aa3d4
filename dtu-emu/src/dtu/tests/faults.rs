//! What happens to hosts and connections of a [`World`].

use core::time::Duration;

use proto::alp::FromDtu;
use proto::chain::Chain;

use super::host::Proc;
use super::world::{Delivery, Kind, World};
use crate::dtu::DtuInput;

impl World {
    pub(super) fn kill(&mut self, name: &'static str) {
        self.kill_daemon(name);
        self.kill_session(name);
    }

    pub(super) fn kill_daemon(&mut self, name: &'static str) {
        self.host(name).daemon = Proc::Dead;
        self.host(name).backlog.clear();
        self.close_all(name, Kind::Control);
    }

    pub(super) fn kill_session(&mut self, name: &'static str) {
        self.host(name).session = Proc::Dead;
        self.close_all(name, Kind::Display);
    }

    /// The session goes on and takes its display off the desk.
    pub(super) fn end_display(&mut self, name: &'static str) {
        self.close_all(name, Kind::Display);
    }

    /// Another run of the daemon, and another chain.
    pub(super) fn start_daemon(&mut self, name: &'static str) {
        let host = self.host(name);
        host.daemon = Proc::Runs;
        host.boot += 7;
        host.chain = Chain::new([host.run ^ 0x55; 16], 6_000);
        host.tick = 0;
    }

    /// Another process of the session: what the first one knew is gone.
    pub(super) fn start_session(&mut self, name: &'static str) {
        let host = self.host(name);
        host.session = Proc::Runs;
        host.run = host.run.wrapping_add(7);
        host.applied.clear();
    }

    pub(super) fn freeze(&mut self, name: &'static str) {
        self.stop_daemon(name);
        self.host(name).session = Proc::Stopped;
    }

    pub(super) fn stop_daemon(&mut self, name: &'static str) {
        self.host(name).daemon = Proc::Stopped;
    }

    pub(super) fn resume_daemon(&mut self, name: &'static str) {
        self.host(name).daemon = Proc::Runs;
        let backlog = core::mem::take(&mut self.host(name).backlog);
        for (conn, line) in backlog {
            if self.conns.contains_key(&conn) {
                self.on_line(name, conn, line);
            }
        }
    }
}

impl World {
    pub(super) fn send_raw(&mut self, name: &'static str, line: &str) {
        for conn in self.conns_of(name, Kind::Control) {
            self.later(Delivery::Line(conn, line.parse().unwrap()));
        }
    }

    /// What a stopped daemon has not read yet.
    pub(super) fn backlog(&mut self, name: &str) -> Vec<FromDtu> {
        self.host(name).backlog.iter().map(|(_, line)| FromDtu::from_line(line).unwrap()).collect()
    }
}

impl World {
    /// The display connections break; the session lives, and what was on the way is lost.
    pub(super) fn break_displays(&mut self, name: &'static str) {
        self.close_all(name, Kind::Display);
    }

    /// The DTU is not run for this long; what happens meanwhile waits for it.
    pub(super) fn stall(&mut self, by: Duration) {
        let end = self.now + by;
        while self.next_beacon <= end {
            self.now = self.next_beacon;
            self.beacons();
        }
        self.now = end;
        // It looks at the clock before it reads what waits.
        self.input(DtuInput::Timeout);
    }
}
