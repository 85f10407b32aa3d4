//! The part of [`Display`] that has to do with there being several: which are opened, which is shown, and what follows when
//! one ends.

use proto::ServiceName;
use proto::alp::DISPLAYS_MAX;

use super::config::Shows;
use super::ctx::{Env, Out};
use super::display::Display;
use super::event::DtuEvent;
use super::fault::Fault;
use super::input::{Effect, FLIP_KEYS, Paint};
use super::panel::{HIDDEN_TRIES_MAX, Panel};
use super::step::{ToConnection, ToFailover};

impl Display {
    /// A session was granted, with these displays.
    pub(super) fn on_granted(&mut self, env: &Env<'_>, offers: Vec<proto::alp::Display>, out: &mut Out<'_>) {
        let session = offers.first().map(|offer| offer.session);
        if offers.is_empty() || env.config.shows == Shows::Nothing {
            self.close(out);
            self.session = session.or(self.session);
            return out.tell(ToFailover::ScreenGood(session));
        }
        let is_another = session != self.session;
        let was_shown = self.panel().service().cloned();
        if is_another {
            let dropped = self.forget(out);
            out.tell(ToFailover::InputLost(dropped));
            self.session = session;
        }
        self.take_offers(offers, out);
        let kept = self.panels.iter().position(|panel| panel.service() == was_shown.as_ref());
        self.shown = kept.unwrap_or(0);
        let panel = &mut self.panels[self.shown];
        panel.has_ended = false;
        let stays = panel.offer.as_ref().is_some_and(|o| panel.channel.as_ref().is_some_and(|c| c.serves(o)));
        if !stays {
            self.painted = false;
            panel.open(env, out);
        }
        if is_another && self.total > 1 {
            let text = self.which();
            self.pass(env, &text, out);
        }
        if self.painted {
            self.open_others(env, out);
        }
    }

    /// The displays are these from now on. What is known of one that stays is kept.
    fn take_offers(&mut self, offers: Vec<proto::alp::Display>, out: &mut Out<'_>) {
        let mut before = core::mem::take(&mut self.panels);
        for offer in offers.into_iter().take(DISPLAYS_MAX) {
            let known = before.iter().position(|panel| panel.service() == Some(&offer.service));
            // One that has shown nothing yet becomes the first.
            let known = known.or_else(|| before.iter().position(|panel| panel.offer.is_none()));
            let mut panel = known.map_or_else(|| Panel::new(out.dice.nonce()), |n| before.remove(n));
            panel.offer = Some(offer);
            if panel.channel.as_ref().is_some_and(|c| panel.offer.as_ref().is_some_and(|o| !c.serves(o))) {
                panel.close(out);
            }
            self.panels.push(panel);
        }
        for mut gone in before {
            gone.close(out);
            self.drop_input(gone.typed.kept(), out);
        }
    }

    /// Opens all displays that are not shown.
    pub(super) fn open_others(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        for panel in self.panels.iter_mut().filter(|panel| !panel.is_open() && !panel.has_ended) {
            panel.open(env, out);
        }
    }

    /// Which display is shown, in words.
    fn which(&self) -> String {
        let name = self.panel().service().map_or("", ServiceName::as_str);
        let (number, count) = (self.shown + 1, self.count());
        let more = match self.total.saturating_sub(count) {
            0 => String::new(),
            more => format!(" The session has {more} more: a desk shows at most {DISPLAYS_MAX}."),
        };
        format!("Display {number} of {count}: {name}. {FLIP_KEYS} shows the next one.{more}")
    }

    /// Shows the next display of the session.
    pub(super) fn flip(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        if self.count() < 2 {
            return;
        }
        self.show((self.shown + 1) % self.panels.len(), out);
        let panel = &mut self.panels[self.shown];
        let word = panel.word.take().unwrap_or_default();
        let is_open = panel.is_open();
        let text = format!("{} {word}", self.which());
        self.pass(env, text.trim_end(), out);
        if !is_open {
            // Its ticket is used, or old: a new one comes with the next connInf, and what ended is started again.
            out.tell(ToConnection::ReopenDisplay);
        }
    }

    fn show(&mut self, number: usize, out: &mut Out<'_>) {
        self.shown = number;
        out.effect(Effect::Paint(Paint::Clear));
        self.panels[number].reveal(out);
    }

    /// A service ended. Where another one is open, that is shown instead; else its host says what follows.
    pub(super) fn on_exit(&mut self, env: &Env<'_>, n: usize, status: i32, out: &mut Out<'_>) {
        out.report(DtuEvent::Exited { status });
        let panel = &mut self.panels[n];
        panel.close(out);
        panel.picture.forget();
        panel.has_ended = true;
        if n != self.shown {
            return;
        }
        // The next one, and not the first: else a display that ends whenever it is looked at hides all behind it.
        let count = self.panels.len();
        let mut others = (1..count).map(|step| (n + step) % count);
        let Some(next) = others.find(|other| self.panels[*other].is_open()) else {
            self.session = None;
            return out.tell(ToConnection::ServiceEnded);
        };
        let name = self.panel().service().map_or("", ServiceName::as_str).to_owned();
        self.show(next, out);
        let text = format!("{name} has ended. {}", self.which());
        self.pass(env, &text, out);
    }

    /// A channel is dead. Of the one that is shown that is a loss; of another the person at the screen does not know.
    pub(super) fn died(
        &mut self,
        env: &Env<'_>,
        n: usize,
        fault: Fault,
        was_silent: bool,
        out: &mut Out<'_>,
    ) {
        let is_shown = n == self.shown;
        let panel = &mut self.panels[n];
        let Some(channel) = panel.channel.take() else { return };
        if is_shown {
            // A held session's daemon is gone and so the session is given up; else its host lives, and the token is
            // presented again.
            let death = channel.death(fault, was_silent);
            out.tell(ToFailover::DisplayDied(death.clone()));
            out.tell(ToConnection::DisplayDied(death));
            // What broke one may have broken all.
            for channel in self.panels.iter_mut().filter_map(|panel| panel.channel.as_mut()) {
                channel.ping(env.now, env.config.timing.answer, out);
            }
        } else {
            let was_good = channel.death(fault, was_silent).was_good(env.now);
            panel.failures = if was_good { 1 } else { panel.failures + 1 };
            panel.has_ended = panel.failures >= HIDDEN_TRIES_MAX;
            if !panel.has_ended {
                out.tell(ToConnection::ReopenDisplay);
            }
        }
    }
}
