//! The screen of a DTU: the displays of the session, of which one is shown, what is typed into it, and the DTU's own line
//! above it.
//!
//! The first display of a session is opened at once, the others as soon as something is on the screen, so that they cost
//! it no time. One that is not shown is followed and acknowledged, and not drawn.

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::frame::Frame;
use proto::time::earliest;
use proto::{Instant, Nonce, ServiceName, SessionId};

use super::channel::Channel;
use super::ctx::{Control, Env, Out, ScreenState};
use super::event::DtuEvent;
use super::fault::{ConnId, Fault};
use super::input::{Effect, Notice, Paint};
use super::panel::Panel;
use super::picture::{Drawn, Welcomed};
use super::step::{ToConnection, ToDiscovery, ToDisplay, ToFailover};

/// How long a passing notice stays on the screen.
const NOTICE_TIME: Duration = Duration::from_secs(15);
/// After this time a key takes it away: whoever typed before has not read it.
const NOTICE_MIN: Duration = Duration::from_secs(3);
/// Longest notice shown, in characters: it is a stranger's text.
const NOTICE_MAX: usize = 400;

/// Owns the displays of the session, and the line above.
#[derive(Debug)]
pub(super) struct Display {
    pub(super) session: Option<SessionId>,
    /// Never empty: what is typed while a session has nothing to show waits for it too.
    pub(super) panels: Vec<Panel>,
    /// Which of them is shown.
    pub(super) shown: usize,
    /// How many displays the session has, as its host says: more than there are panels where they are too many.
    pub(super) total: usize,
    /// Something was drawn since the shown channel was opened.
    pub(super) painted: bool,
    notice_until: Option<Instant>,
    /// Typed bytes that were dropped since the DTU was switched on.
    input_dropped: u64,
    /// When the session that was granted last was asked for.
    asked_at: Instant,
}

impl Display {
    pub(super) fn new(run: Nonce) -> Self {
        Self {
            session: None,
            panels: vec![Panel::new(run)],
            shown: 0,
            total: 0,
            painted: false,
            notice_until: None,
            input_dropped: 0,
            asked_at: Instant::ZERO,
        }
    }

    pub(super) fn panel(&self) -> &Panel {
        &self.panels[self.shown]
    }

    /// How the screen stands, for the other machines.
    pub(super) fn state(&self) -> ScreenState {
        let channel = self.panel().channel.as_ref();
        ScreenState {
            session: self.session,
            is_up: channel.is_some_and(Channel::is_up),
            heard: channel.map(|channel| channel.pulse.last()),
            due: channel.and_then(|channel| channel.pulse.due()),
        }
    }

    /// Whether something of the session was drawn since it was attached.
    pub(super) fn is_painted(&self) -> bool {
        self.painted && self.panel().is_open()
    }

    /// The service that is shown, where a display is open.
    pub(super) fn service(&self) -> Option<&ServiceName> {
        self.panel().service().filter(|_| self.panel().is_open())
    }

    /// How many displays of the session can be shown.
    pub(super) fn count(&self) -> usize {
        self.panels.iter().filter(|panel| panel.offer.is_some()).count()
    }

    /// Typed bytes that the session has not acknowledged yet.
    pub(super) fn unacknowledged(&self) -> usize {
        self.panels.iter().map(|panel| panel.typed.kept()).sum()
    }

    pub(super) const fn input_dropped(&self) -> u64 {
        self.input_dropped
    }

    fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.panels.iter().filter_map(|panel| panel.channel.as_ref())
    }

    /// When the session's silence would be held against it.
    pub(super) fn judges_at(&self) -> Option<Instant> {
        self.channels().filter_map(|channel| channel.pulse.due()).min()
    }

    pub(super) fn deadlines(
        &self,
        typed: Duration,
        control: &Control<'_>,
    ) -> [(&'static str, Option<Instant>); 5] {
        let up = || self.panels.iter().filter(|panel| panel.is_up());
        let probe = self.channels().filter(|channel| channel.is_up()).map(|channel| channel.ping_at).min();
        [
            ("display answer", self.judges_at()),
            ("display probe", probe),
            ("acknowledgement of output", up().filter_map(|panel| panel.picture.ack_at()).min()),
            (
                "acknowledgement of input",
                up().map(|panel| stuck_at(panel, typed, control)).fold(None, earliest),
            ),
            ("notice", self.notice_until),
        ]
    }

    pub(super) fn handle(
        &mut self,
        env: &Env<'_>,
        control: &Control<'_>,
        step: ToDisplay,
        out: &mut Out<'_>,
    ) {
        match step {
            ToDisplay::Resumed => {
                for channel in self.panels.iter_mut().filter_map(|panel| panel.channel.as_mut()) {
                    channel.pulse.excuse(env.now);
                }
            }
            ToDisplay::Due => self.on_due(env, control, out),
            ToDisplay::Opened { conn } => {
                if let Some(n) = self.number_of(conn) {
                    self.panels[n].greet(env, out);
                }
            }
            ToDisplay::Heard { conn } => self.on_heard(env, control, conn, out),
            ToDisplay::Frame { conn, frame } => self.on_frame(env, control, conn, frame, out),
            ToDisplay::Closed { conn, fault } => {
                if let Some(n) = self.number_of(conn) {
                    self.died(env, n, fault, false, out);
                }
            }
            ToDisplay::Typed(bytes) => self.on_typed(env, control, &bytes, out),
            ToDisplay::Flip => self.flip(env, out),
            ToDisplay::Resize(size) => {
                for panel in &mut self.panels {
                    if let Some(channel) = panel.up() {
                        channel.send(Frame::Resize(size), out);
                    }
                }
            }
            ToDisplay::Granted { displays, total, asked_at } => {
                (self.asked_at, self.total) = (asked_at, total);
                self.take_notice_away(out);
                self.on_granted(env, displays, out);
            }
            ToDisplay::Close => self.close(out),
            ToDisplay::Leave => self.leave(out),
            ToDisplay::Probe { patience, again_in } => {
                if let Some(channel) = &mut self.panels[self.shown].channel {
                    channel.ping(env.now, patience, out);
                    if let Some(again_in) = again_in {
                        channel.ping_at = env.now + again_in;
                    }
                }
            }
            ToDisplay::Vouched { by } => self.on_vouched(env, by),
            ToDisplay::Notice(text) => {
                self.notice_until = None;
                say(&text, false, out);
            }
            ToDisplay::NoHost(text) => {
                self.notice_until = None;
                out.effect(Effect::Paint(Paint::Notice(Some(Notice { text, passes: false }))));
            }
            ToDisplay::PassingNotice(text) => self.pass(env, &text, out),
            ToDisplay::EndPassingNotice => {
                if self.notice_until.is_some() {
                    self.take_notice_away(out);
                }
            }
        }
    }

    /// Another host would not have a session sooner that is stopped or short of processor time.
    fn on_vouched(&mut self, env: &Env<'_>, by: Ipv4Addr) {
        let channels = self.panels.iter_mut().filter_map(|panel| panel.channel.as_mut());
        for channel in channels.filter(|channel| *channel.display.addr.ip() == by) {
            channel.pulse.relax(env.config.timing.display_open);
        }
    }

    fn number_of(&self, conn: ConnId) -> Option<usize> {
        self.panels.iter().position(|panel| panel.channel.as_ref().is_some_and(|c| c.conn == conn))
    }

    /// Closes all channels.
    pub(super) fn close(&mut self, out: &mut Out<'_>) {
        for panel in &mut self.panels {
            panel.close(out);
        }
    }

    /// What is known of a session is of no use to another. Says how many typed bytes are lost with it.
    pub(super) fn forget(&mut self, out: &mut Out<'_>) -> usize {
        self.close(out);
        let dropped = self.unacknowledged();
        self.panels.clear();
        self.panels.push(Panel::new(out.dice.nonce()));
        self.shown = 0;
        self.session = None;
        self.drop_input(dropped, out);
        dropped
    }

    /// Nothing of the session stays on the screen or on its way to it.
    fn leave(&mut self, out: &mut Out<'_>) {
        self.forget(out);
        out.effect(Effect::Paint(Paint::Clear));
        self.take_notice_away(out);
    }

    fn on_heard(&mut self, env: &Env<'_>, control: &Control<'_>, conn: ConnId, out: &mut Out<'_>) {
        // Before Welcome only Welcome counts: a session that streams without it is no use.
        let Some(n) = self.number_of(conn) else { return };
        if let Some(channel) = self.panels[n].up() {
            channel.pulse.heard(env.now);
            if control.is_held && n == self.shown {
                out.tell(ToFailover::DisplayHeard);
            }
        }
    }

    fn on_frame(
        &mut self,
        env: &Env<'_>,
        control: &Control<'_>,
        conn: ConnId,
        frame: Frame,
        out: &mut Out<'_>,
    ) {
        self.on_heard(env, control, conn, out);
        let Some(n) = self.number_of(conn) else { return };
        let (is_shown, panel) = (n == self.shown, &mut self.panels[n]);
        let Some(channel) = &mut panel.channel else { return };
        let up = channel.is_up();
        match frame {
            Frame::Welcome { input_applied, stream } => self.on_welcome(env, n, (input_applied, stream), out),
            Frame::Output { offset, bytes } if up && !is_shown => {
                panel.picture.skip(env.now, offset.saturating_add(bytes.len() as u64));
            }
            Frame::Repaint { offset, .. } if up && !is_shown => panel.picture.skip(env.now, offset),
            Frame::Output { offset, bytes } if up => match panel.picture.output(env.now, offset, bytes) {
                Drawn::Paint(paint) => self.paint(env, paint, out),
                Drawn::Nothing => {}
                Drawn::Gap => channel.send(Frame::WantRepaint, out),
            },
            Frame::Repaint { offset, size, bytes } if up => {
                let paint = panel.picture.repaint(env.now, offset, size, bytes);
                self.paint(env, paint, out);
            }
            Frame::Ack { input, .. } => {
                panel.typed.acked(env.now, input);
                panel.send_typed(env.now, out);
            }
            Frame::Notice(text) if !is_shown => panel.word = Some(text),
            Frame::Notice(text) => self.pass(env, &text, out),
            Frame::Exit(status) => self.on_exit(env, n, status, out),
            Frame::Ping(number) => channel.send(Frame::Pong(number), out),
            // Pong was heard above; the rest is not a session's to say, or of a later version.
            _ => {}
        }
    }

    fn on_welcome(&mut self, env: &Env<'_>, n: usize, (applied, stream): (u64, Nonce), out: &mut Out<'_>) {
        let is_shown = n == self.shown;
        let panel = &mut self.panels[n];
        if !panel.channel.as_mut().is_some_and(|channel| channel.welcomed(env.now)) {
            return;
        }
        let welcomed = panel.picture.welcome(stream);
        if is_shown && welcomed == Welcomed::Another {
            out.effect(Effect::Paint(Paint::Clear));
        }
        if let (Welcomed::Unpainted, Some(channel)) = (welcomed, panel.up()) {
            channel.send(Frame::WantRepaint, out);
        }
        let dropped = panel.typed.welcome(env.now, applied);
        panel.send_typed(env.now, out);
        self.drop_input(dropped, out);
        if is_shown && welcomed == Welcomed::Same {
            // The screen has this stream already; if nothing was written meanwhile, nothing will come.
            self.on_screen(env, out);
        }
    }

    fn paint(&mut self, env: &Env<'_>, paint: Paint, out: &mut Out<'_>) {
        out.effect(Effect::Paint(paint));
        self.on_screen(env, out);
    }

    /// The session is on the screen.
    fn on_screen(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let Some(session) = self.session.filter(|_| !self.painted) else { return };
        self.painted = true;
        out.report(DtuEvent::Shown { session, took: env.now.since(self.asked_at) });
        out.tell(ToFailover::ScreenGood(Some(session)));
        self.open_others(env, out);
    }

    fn on_typed(&mut self, env: &Env<'_>, control: &Control<'_>, bytes: &[u8], out: &mut Out<'_>) {
        // Enter asks for a session that was taken away or refused.
        if control.waits_for_enter && bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            out.tell(ToConnection::PresentAgain);
            return out.tell(ToDiscovery::PresentAgain);
        }
        // While a host is away the session may come back as it was; what is typed meanwhile waits for it.
        if self.notice_until.is_some_and(|until| env.now + NOTICE_TIME >= until + NOTICE_MIN) {
            self.take_notice_away(out);
        }
        let panel = &mut self.panels[self.shown];
        let taken = if self.session.is_some() { panel.typed.keep(bytes) } else { 0 };
        panel.send_typed(env.now, out);
        self.drop_input(bytes.len() - taken, out);
    }

    /// Typed bytes that no session will ever have.
    pub(super) fn drop_input(&mut self, bytes: usize, out: &mut Out<'_>) {
        if bytes > 0 {
            self.input_dropped += bytes as u64;
            out.report(DtuEvent::InputDropped { bytes });
        }
    }

    fn on_due(&mut self, env: &Env<'_>, control: &Control<'_>, out: &mut Out<'_>) {
        let (now, timing) = (env.now, &env.config.timing);
        for n in 0..self.panels.len() {
            let is_dead = |channel: &Channel| channel.pulse.is_dead(now);
            if let Some(channel) = self.panels[n].channel.as_ref().filter(|channel| is_dead(channel)) {
                out.effect(Effect::CloseDisplay { conn: channel.conn });
                self.died(env, n, Fault::Unreachable, true, out);
            }
        }
        for panel in self.panels.iter_mut().filter(|panel| panel.is_up()) {
            if stuck_at(panel, timing.typed, control).is_some_and(|at| at <= now) {
                out.tell(ToConnection::InputStuck);
                panel.typed.asked(now);
            }
            let Some(channel) = &mut panel.channel else { continue };
            if let Some(output) = panel.picture.ack(now) {
                channel.send(Frame::Ack { output, input: 0 }, out);
            }
            if channel.ping_at <= now {
                let (every, patience) = channel.ping_rule(timing, control.open);
                channel.ping_at = now + every;
                channel.ping(now, patience, out);
            }
        }
        if self.notice_until.is_some_and(|until| until <= now) {
            self.take_notice_away(out);
        }
    }

    pub(super) fn pass(&mut self, env: &Env<'_>, text: &str, out: &mut Out<'_>) {
        self.notice_until = Some(env.now + NOTICE_TIME);
        say(text, true, out);
    }

    fn take_notice_away(&mut self, out: &mut Out<'_>) {
        self.notice_until = None;
        out.effect(Effect::Paint(Paint::Notice(None)));
    }
}

/// When typed bytes that nobody took make the DTU ask whether they arrive at all.
fn stuck_at(panel: &Panel, patience: Duration, control: &Control<'_>) -> Option<Instant> {
    panel.typed.waiting().filter(|_| panel.is_up() && control.open.is_some()).map(|since| since + patience)
}

fn say(text: &str, passes: bool, out: &mut Out<'_>) {
    let text: String = text.chars().filter(|c| !c.is_control()).take(NOTICE_MAX).collect();
    out.effect(Effect::Paint(Paint::Notice(Some(Notice { text: text.clone(), passes }))));
    out.report(DtuEvent::Notice { text });
}
