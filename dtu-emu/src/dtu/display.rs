//! The screen of a DTU: the session that is shown, what is typed into it, and the DTU's own line above it.

use core::time::Duration;

use proto::frame::{Frame, Hello};
use proto::{Instant, SessionId};

use super::channel::Channel;
use super::config::Shows;
use super::ctx::{Control, Env, Out, ScreenState};
use super::event::DtuEvent;
use super::fault::{ConnId, Fault};
use super::input::{DisplayTarget, Effect, Notice, Paint};
use super::picture::{Drawn, Picture};
use super::step::{ToConnection, ToDiscovery, ToDisplay, ToFailover};
use super::typed::TypedInput;

/// How long a passing notice stays on the screen.
const NOTICE_TIME: Duration = Duration::from_secs(15);
/// After this time a key takes it away: whoever typed before has not read it.
const NOTICE_MIN: Duration = Duration::from_secs(3);
/// Longest notice shown, in characters: it is a stranger's text.
const NOTICE_MAX: usize = 400;

/// Owns the display channel, the picture on the screen, what was typed, and the line above.
#[derive(Debug)]
pub(super) struct Display {
    channel: Option<Channel>,
    picture: Picture,
    typed: TypedInput,
    notice_until: Option<Instant>,
    /// Typed bytes that were dropped since the DTU was switched on.
    input_dropped: u64,
    /// When the session that was granted last was asked for.
    asked_at: Instant,
}

impl Display {
    pub(super) const fn new(typed: TypedInput) -> Self {
        Self {
            channel: None,
            picture: Picture::new(),
            typed,
            notice_until: None,
            input_dropped: 0,
            asked_at: Instant::ZERO,
        }
    }

    /// How the screen stands, for the other machines.
    pub(super) fn state(&self) -> ScreenState {
        let channel = self.channel.as_ref();
        ScreenState {
            session: self.picture.session(),
            is_up: channel.is_some_and(Channel::is_up),
            heard: channel.map(|channel| channel.pulse.last()),
            due: self.judges_at(),
        }
    }

    /// Whether something of the session was drawn since it was attached.
    pub(super) fn is_painted(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.painted)
    }

    /// Typed bytes that the session has not acknowledged yet.
    pub(super) fn unacknowledged(&self) -> usize {
        self.typed.kept()
    }

    pub(super) const fn input_dropped(&self) -> u64 {
        self.input_dropped
    }

    /// When the session's silence would be held against it.
    pub(super) fn judges_at(&self) -> Option<Instant> {
        self.channel.as_ref().and_then(|channel| channel.pulse.due())
    }

    pub(super) fn deadlines(
        &self,
        typed: Duration,
        control: &Control<'_>,
    ) -> [(&'static str, Option<Instant>); 5] {
        let up = self.channel.as_ref().filter(|channel| channel.is_up());
        [
            ("display answer", self.judges_at()),
            ("display probe", up.map(|channel| channel.ping_at)),
            ("acknowledgement of output", up.and_then(|_| self.picture.ack_at())),
            ("acknowledgement of input", self.stuck_at(typed, control)),
            ("notice", self.notice_until),
        ]
    }

    /// When typed bytes that nobody took make the DTU ask whether they arrive at all.
    fn stuck_at(&self, typed: Duration, control: &Control<'_>) -> Option<Instant> {
        let is_up = self.channel.as_ref().is_some_and(Channel::is_up);
        self.typed.waiting().filter(|_| is_up && control.open.is_some()).map(|since| since + typed)
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
                if let Some(channel) = &mut self.channel {
                    channel.pulse.excuse(env.now);
                }
            }
            ToDisplay::Due => self.on_due(env, control, out),
            ToDisplay::Opened { conn } => self.on_opened(env, conn, out),
            ToDisplay::Heard { conn } => self.on_heard(env, control, conn, out),
            ToDisplay::Frame { conn, frame } => self.on_frame(env, control, conn, frame, out),
            ToDisplay::Closed { conn, fault } => {
                if let Some(channel) = self.channel.take_if(|channel| channel.conn == conn) {
                    died(&channel, fault, false, out);
                }
            }
            ToDisplay::Typed(bytes) => self.on_typed(env, control, &bytes, out),
            ToDisplay::Resize(size) => {
                if let Some(channel) = self.channel.as_ref().filter(|channel| channel.is_up()) {
                    channel.send(Frame::Resize(size), out);
                }
            }
            ToDisplay::Granted { display, asked_at } => {
                self.asked_at = asked_at;
                self.take_notice_away(out);
                self.show_granted(env, display.map(|display| *display), out);
            }
            ToDisplay::Close => self.close(out),
            ToDisplay::Leave => self.leave(out),
            ToDisplay::Probe { patience, again_in } => {
                if let Some(channel) = &mut self.channel {
                    channel.ping(env.now, patience, out);
                    if let Some(again_in) = again_in {
                        channel.ping_at = env.now + again_in;
                    }
                }
            }
            ToDisplay::Vouched { by } => {
                // Another host would not have a session sooner that is stopped or short of processor time.
                let near = self.channel.as_mut().filter(|channel| *channel.display.addr.ip() == by);
                if let Some(channel) = near {
                    channel.pulse.relax(env.config.timing.display_open);
                }
            }
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

    /// Opens a display, unless the one that is open serves the same.
    fn show(&mut self, env: &Env<'_>, display: proto::alp::Display, out: &mut Out<'_>) {
        if self.channel.as_ref().is_some_and(|channel| channel.serves(&display)) {
            return;
        }
        self.close(out);
        if self.picture.session() != Some(display.session) {
            let dropped = self.typed.restart(out.dice.nonce());
            self.drop_input(dropped, out);
            out.tell(ToFailover::InputLost(dropped));
        }
        self.picture.of(display.session);
        let conn = out.next_conn();
        let target = DisplayTarget { addr: display.addr, session: display.session, fp: display.fp };
        out.effect(Effect::OpenDisplay { conn, target });
        self.channel = Some(Channel::new(env.now, conn, display, &env.config.timing));
    }

    fn show_granted(&mut self, env: &Env<'_>, display: Option<proto::alp::Display>, out: &mut Out<'_>) {
        match (display, env.config.shows) {
            (Some(display), Shows::Display) => self.show(env, display, out),
            (display, _) => {
                self.close(out);
                let session = display.map(|display| display.session);
                if let Some(session) = session {
                    self.picture.of(session);
                }
                out.tell(ToFailover::ScreenGood(session));
            }
        }
    }

    fn close(&mut self, out: &mut Out<'_>) {
        if let Some(channel) = self.channel.take() {
            out.effect(Effect::CloseDisplay { conn: channel.conn });
        }
    }

    /// Nothing of the session stays on the screen or on its way to it.
    fn leave(&mut self, out: &mut Out<'_>) {
        self.close(out);
        self.picture.forget();
        let dropped = self.typed.restart(out.dice.nonce());
        self.drop_input(dropped, out);
        out.effect(Effect::Paint(Paint::Clear));
        self.take_notice_away(out);
    }

    fn on_opened(&mut self, env: &Env<'_>, conn: ConnId, out: &mut Out<'_>) {
        let Some(channel) = self.channel.as_mut().filter(|channel| channel.conn == conn) else { return };
        if channel.opened(env.now, &env.config.timing) {
            let (stream, have) = self.picture.position();
            let hello = Frame::Hello(Hello {
                ticket: channel.display.ticket,
                serial: env.config.serial.clone(),
                service: channel.display.service.clone(),
                run: self.typed.run(),
                stream,
                have,
                size: env.seat.size,
            });
            channel.send(hello, out);
        }
    }

    fn on_heard(&mut self, env: &Env<'_>, control: &Control<'_>, conn: ConnId, out: &mut Out<'_>) {
        // Before Welcome only Welcome counts: a session that streams without it is no use.
        if let Some(channel) = self.channel.as_mut().filter(|channel| channel.conn == conn && channel.is_up())
        {
            channel.pulse.heard(env.now);
            if control.is_held {
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
        let Some(channel) = self.channel.as_mut().filter(|channel| channel.conn == conn) else { return };
        let up = channel.is_up();
        match frame {
            Frame::Welcome { input_applied, stream } => self.on_welcome(env, input_applied, stream, out),
            Frame::Output { offset, bytes } if up => match self.picture.output(env.now, offset, bytes) {
                Drawn::Paint(paint) => self.paint(env, paint, out),
                Drawn::Nothing => {}
                Drawn::Gap => channel.send(Frame::WantRepaint, out),
            },
            Frame::Repaint { offset, size, bytes } if up => {
                let paint = self.picture.repaint(env.now, offset, size, bytes);
                self.paint(env, paint, out);
            }
            Frame::Ack { input, .. } => {
                self.typed.acked(env.now, input);
                self.send_typed(env, out);
            }
            Frame::Notice(text) => self.pass(env, &text, out),
            Frame::Exit(status) => {
                out.report(DtuEvent::Exited { status });
                self.close(out);
                self.picture.forget();
                out.tell(ToConnection::ServiceEnded);
            }
            Frame::Ping(number) => channel.send(Frame::Pong(number), out),
            // Pong was heard above; the rest is not a session's to say, or of a later version.
            _ => {}
        }
    }

    fn on_welcome(&mut self, env: &Env<'_>, applied: u64, stream: proto::Nonce, out: &mut Out<'_>) {
        if !self.channel.as_mut().is_some_and(|channel| channel.welcomed(env.now)) {
            return;
        }
        let is_another = self.picture.welcome(stream);
        if is_another {
            out.effect(Effect::Paint(Paint::Clear));
        }
        self.typed.welcome(env.now, applied);
        self.send_typed(env, out);
        if !is_another {
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
        let Some(channel) = self.channel.as_mut().filter(|channel| !channel.painted) else { return };
        channel.painted = true;
        let session: SessionId = channel.display.session;
        out.report(DtuEvent::Shown { session, took: env.now.since(self.asked_at) });
        out.tell(ToFailover::ScreenGood(Some(session)));
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
        let taken = if self.picture.session().is_some() { self.typed.keep(bytes) } else { 0 };
        self.drop_input(bytes.len() - taken, out);
        self.send_typed(env, out);
    }

    fn send_typed(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let Some(channel) = self.channel.as_ref().filter(|channel| channel.is_up()) else { return };
        for frame in self.typed.next_frames(env.now) {
            channel.send(frame, out);
        }
    }

    /// Typed bytes that no session will ever have.
    fn drop_input(&mut self, bytes: usize, out: &mut Out<'_>) {
        if bytes > 0 {
            self.input_dropped += bytes as u64;
            out.report(DtuEvent::InputDropped { bytes });
        }
    }

    fn on_due(&mut self, env: &Env<'_>, control: &Control<'_>, out: &mut Out<'_>) {
        let (now, timing) = (env.now, &env.config.timing);
        if let Some(channel) = self.channel.take_if(|channel| channel.pulse.is_dead(now)) {
            out.effect(Effect::CloseDisplay { conn: channel.conn });
            died(&channel, Fault::Unreachable, true, out);
        }
        if self.stuck_at(timing.typed, control).is_some_and(|at| at <= now) {
            out.tell(ToConnection::InputStuck);
            self.typed.asked(now);
        }
        if let Some(channel) = self.channel.as_mut().filter(|channel| channel.is_up()) {
            if let Some(output) = self.picture.ack(now) {
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

    fn pass(&mut self, env: &Env<'_>, text: &str, out: &mut Out<'_>) {
        self.notice_until = Some(env.now + NOTICE_TIME);
        say(text, true, out);
    }

    fn take_notice_away(&mut self, out: &mut Out<'_>) {
        self.notice_until = None;
        out.effect(Effect::Paint(Paint::Notice(None)));
    }
}

/// A held session's daemon is gone and so the session is given up; else its host lives, and the token is presented again.
fn died(channel: &Channel, fault: Fault, was_silent: bool, out: &mut Out<'_>) {
    let death = channel.death(fault, was_silent);
    out.tell(ToFailover::DisplayDied(death.clone()));
    out.tell(ToConnection::DisplayDied(death));
}

fn say(text: &str, passes: bool, out: &mut Out<'_>) {
    let text: String = text.chars().filter(|c| !c.is_control()).take(NOTICE_MAX).collect();
    out.effect(Effect::Paint(Paint::Notice(Some(Notice { text: text.clone(), passes }))));
    out.report(DtuEvent::Notice { text });
}
