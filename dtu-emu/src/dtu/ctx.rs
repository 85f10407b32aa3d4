//! What a machine of a DTU is given with each step, and where what it decides goes.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use proto::{HostName, Instant, SessionId, Token};

use super::config::Config;
use super::event::DtuEvent;
use super::fault::ConnId;
use super::hosts::Hosts;
use super::input::Effect;
use super::seat::Seat;
use super::step::{Step, ToCards, ToConnection, ToDiscovery, ToDisplay, ToFailover};
use proto::rng::SecretRng;

/// What every machine may read: the time, the configuration, and who sits here.
#[derive(Clone, Copy)]
pub(super) struct Env<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) seat: &'a Seat,
}

impl Env<'_> {
    /// The token that is here.
    pub(super) fn token(&self) -> Token {
        self.seat.token(&self.config.serial)
    }
}

/// What the machines that talk to a host may read besides: the known hosts, and the screen.
#[derive(Clone, Copy)]
pub(super) struct Ctx<'a> {
    pub(super) env: Env<'a>,
    pub(super) hosts: &'a Hosts,
    pub(super) screen: ScreenState,
}

/// How the display stands; [`super::display::Display`] says it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ScreenState {
    /// The session that is or was last shown.
    pub(super) session: Option<SessionId>,
    /// Whether output comes.
    pub(super) is_up: bool,
    /// When the session was last heard, while a display is open.
    pub(super) heard: Option<Instant>,
    /// When it must have answered.
    pub(super) due: Option<Instant>,
}

impl ScreenState {
    /// Whether a session answers.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.is_up && self.due.is_none_or(|due| due > now)
    }
}

/// How the way to the host stands; [`super::connection::Connection`], [`super::failover::Failover`] and
/// [`super::discovery::Discovery`] say it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control<'a> {
    /// The host of the control connection that is open.
    pub(super) open: Option<Ipv4Addr>,
    /// The host whose beacons count.
    pub(super) watched: Option<&'a HostName>,
    /// Whether a session is shown whose host's daemon is gone.
    pub(super) is_held: bool,
    /// Whether Enter asks for a session.
    pub(super) waits_for_enter: bool,
}

/// Where what a machine decides goes: effects for the driver, steps for other machines. Write-only.
pub(super) struct Out<'a> {
    queue: &'a mut VecDeque<Step>,
    effects: &'a mut Vec<Effect>,
    conns: &'a mut u64,
    /// Seeds jitter and backoff, so that many DTUs do not act in step.
    pub(super) dice: &'a mut SecretRng,
}

impl<'a> Out<'a> {
    pub(super) const fn new(
        queue: &'a mut VecDeque<Step>,
        effects: &'a mut Vec<Effect>,
        conns: &'a mut u64,
        dice: &'a mut SecretRng,
    ) -> Self {
        Self { queue, effects, conns, dice }
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn report(&mut self, event: DtuEvent) {
        self.effect(Effect::Report(event));
    }

    /// A number for a connection.
    pub(super) const fn next_conn(&mut self) -> ConnId {
        *self.conns += 1;
        ConnId(*self.conns)
    }

    /// A step for the machine that it names.
    pub(super) fn tell(&mut self, step: impl Into<Step>) {
        self.queue.push_back(step.into());
    }

    /// Nothing of the session stays anywhere, except a gap that is still to be told.
    pub(super) fn leave_screen(&mut self) {
        self.tell(ToDisplay::Leave);
        self.tell(ToDiscovery::SessionLeft);
        self.tell(ToConnection::SessionLeft);
    }

    /// Nothing of the session stays anywhere.
    pub(super) fn leave_session(&mut self) {
        self.leave_screen();
        self.tell(ToFailover::Forget);
    }

    /// The token is to be presented again, by whichever machine is in charge of the way to a host.
    pub(super) fn present_again(&mut self) {
        self.tell(ToConnection::PresentAgain);
        self.tell(ToFailover::PresentAgain);
        self.tell(ToDiscovery::PresentAgain);
    }
}

impl From<ToCards> for Step {
    fn from(step: ToCards) -> Self {
        Self::Cards(step)
    }
}

impl From<ToDiscovery> for Step {
    fn from(step: ToDiscovery) -> Self {
        Self::Discovery(step)
    }
}

impl From<ToConnection> for Step {
    fn from(step: ToConnection) -> Self {
        Self::Connection(step)
    }
}

impl From<ToFailover> for Step {
    fn from(step: ToFailover) -> Self {
        Self::Failover(step)
    }
}

impl From<ToDisplay> for Step {
    fn from(step: ToDisplay) -> Self {
        Self::Display(step)
    }
}
