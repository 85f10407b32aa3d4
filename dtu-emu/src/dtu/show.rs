//! One display channel, from the wish to open it to its end (DESIGN 4.5).
//!
//! What outlives a channel is elsewhere: how far the screen is in [`super::picture`], unacknowledged input in
//! [`super::typed`].

use proto::alp::Display;
use proto::frame::{Frame, Hello};
use proto::{Instant, Serial};

use super::config::{Config, Timing};
use super::event::DtuEvent;
use super::input::{ConnId, DisplayTarget, Effect, Fault, Paint};
use super::picture::Drawn;
use super::watch::{Prompt, Pulse};
use super::{Cx, Dtu};

/// ```text
///            DisplayOpened            Welcome
/// Opening ───────────────▶ Greeting ─────────▶ Up
/// ```
/// A channel that ends, refuses or is silent for too long is dropped whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// TCP, the first line, TLS.
    Opening,
    /// Hello is out.
    Greeting,
    /// Output comes.
    Up,
}

#[derive(Debug)]
pub(super) struct Show {
    pub(super) conn: ConnId,
    pub(super) display: Display,
    pub(super) stage: Stage,
    pub(super) pulse: Pulse,
    pub(super) ping_at: Instant,
    pings: u64,
    pub(super) up_at: Instant,
    /// Something was drawn since the channel was opened.
    pub(super) painted: bool,
}

impl Show {
    fn hello(&self, serial: &Serial, dtu: &Dtu) -> Frame {
        let (stream, have) = dtu.picture.position();
        Frame::Hello(Hello {
            ticket: self.display.ticket,
            serial: serial.clone(),
            service: self.display.service.clone(),
            run: dtu.typed.run(),
            stream,
            have,
            size: dtu.seat.size,
        })
    }

    /// Asks the session for a sign of life.
    pub(super) fn ping(&mut self, cx: &mut Cx<'_>, patience: core::time::Duration) {
        if self.stage == Stage::Up {
            self.pings += 1;
            cx.push(Effect::SendDisplay { conn: self.conn, frame: Frame::Ping(self.pings) });
            self.pulse.asked(cx.now, patience);
        }
    }

    /// Whether it serves what a new connInf offers, so that it can stay.
    pub(super) fn serves(&self, offered: &Display) -> bool {
        self.stage == Stage::Up
            && (self.display.session, &self.display.service, self.display.fp, self.display.addr)
                == (offered.session, &offered.service, offered.fp, offered.addr)
    }

    /// How often it is probed when nothing else prompts that. A session on another host than the one whose
    /// beacons we hear must be asked as often as a host that sends none.
    pub(super) fn ping_rule(&self, timing: &Timing, control: std::net::Ipv4Addr) -> PingRule {
        if *self.display.addr.ip() == control {
            PingRule { every: timing.display_idle, patience: timing.display_open }
        } else {
            PingRule { every: timing.probe, patience: timing.answer }
        }
    }
}

/// See [`Show::ping_rule`].
#[derive(Clone, Copy, Debug)]
pub(super) struct PingRule {
    pub(super) every: core::time::Duration,
    pub(super) patience: core::time::Duration,
}

impl Dtu {
    /// Opens a display, unless the one that is open serves the same.
    pub(super) fn show(&mut self, cx: &mut Cx<'_>, display: Display) {
        if self.show.as_ref().is_some_and(|show| show.serves(&display)) {
            return;
        }
        self.close_display(cx);
        if self.picture.session() != Some(display.session) {
            let dropped = self.typed.restart(self.dice.nonce());
            self.drop_input(cx, dropped);
            if let Some(gap) = &mut self.gap {
                gap.lost_input(dropped);
            }
        }
        self.picture.of(display.session);
        let conn = self.next_conn();
        let target = DisplayTarget { addr: display.addr, session: display.session, fp: display.fp };
        cx.push(Effect::OpenDisplay { conn, target });
        let mut pulse = Pulse::new(cx.now);
        pulse.asked(cx.now, self.config.timing.display_open);
        self.show = Some(Show {
            conn,
            display,
            stage: Stage::Opening,
            pulse,
            ping_at: cx.now + self.config.timing.display_idle,
            pings: 0,
            up_at: cx.now,
            painted: false,
        });
    }

    pub(super) fn close_display(&mut self, cx: &mut Cx<'_>) {
        if let Some(show) = self.show.take() {
            cx.push(Effect::CloseDisplay { conn: show.conn });
        }
    }

    fn is_shown_on(&self, conn: ConnId) -> bool {
        self.show.as_ref().is_some_and(|show| show.conn == conn)
    }

    pub(super) fn on_display_opened(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(mut show) = self.show.take_if(|show| show.conn == conn && show.stage == Stage::Opening)
        else {
            return;
        };
        show.stage = Stage::Greeting;
        show.pulse.heard(cx.now);
        show.pulse.asked(cx.now, self.config.timing.display_open);
        let hello = show.hello(&self.config.serial, self);
        cx.push(Effect::SendDisplay { conn, frame: hello });
        self.show = Some(show);
    }

    pub(super) fn on_display_heard(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        // Before Welcome only Welcome counts: a session that streams without it is no use.
        if let Some(show) = self.show.as_mut().filter(|show| show.conn == conn && show.stage == Stage::Up) {
            show.pulse.heard(cx.now);
            self.held_display_answered(cx);
        }
    }

    pub(super) fn on_display_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: Fault) {
        if let Some(show) = self.show.take_if(|show| show.conn == conn) {
            // When it is our kernel that ended it, for want of acknowledgements, the daemon is probably cut off too.
            let prompt = if fault == Fault::Unreachable { Prompt::Path } else { Prompt::Beacons };
            self.display_died(cx, &show, fault, prompt);
        }
    }

    pub(super) fn on_display_frame(&mut self, cx: &mut Cx<'_>, conn: ConnId, frame: Frame) {
        if !self.is_shown_on(conn) {
            return;
        }
        self.on_display_heard(cx, conn);
        let up = self.show.as_ref().is_some_and(|show| show.stage == Stage::Up);
        match frame {
            Frame::Welcome { input_applied, stream } if !up => {
                self.welcomed(cx, input_applied, stream);
            }
            Frame::Output { offset, bytes } if up => match self.picture.output(cx.now, offset, bytes) {
                Drawn::Paint(paint) => self.painted(cx, paint),
                Drawn::Nothing => {}
                Drawn::Gap => cx.push(Effect::SendDisplay { conn, frame: Frame::WantRepaint }),
            },
            Frame::Repaint { offset, size, bytes } if up => {
                let paint = self.picture.repaint(cx.now, offset, size, bytes);
                self.painted(cx, paint);
            }
            Frame::Ack { input, .. } => {
                self.typed.acked(cx.now, input);
                self.send_typed(cx);
            }
            Frame::Notice(text) => self.notice_for_a_while(cx, &text),
            Frame::Exit(status) => {
                cx.report(DtuEvent::Exited { status });
                self.service_ended(cx);
            }
            Frame::Ping(number) => cx.push(Effect::SendDisplay { conn, frame: Frame::Pong(number) }),
            // Pong was heard above; the rest is not a session's to say, or of a later version.
            _ => {}
        }
    }

    fn welcomed(&mut self, cx: &mut Cx<'_>, applied: u64, stream: proto::Nonce) {
        let Some(show) = &mut self.show else { return };
        show.stage = Stage::Up;
        show.up_at = cx.now;
        show.pulse.heard(cx.now);
        let is_another = self.picture.welcome(stream);
        if is_another {
            cx.push(Effect::Paint(Paint::Clear));
        }
        self.typed.welcome(cx.now, applied);
        self.send_typed(cx);
        if !is_another {
            // The screen has this stream already; if nothing was written meanwhile, nothing will come.
            self.on_screen(cx);
        }
    }

    fn painted(&mut self, cx: &mut Cx<'_>, paint: Paint) {
        cx.push(Effect::Paint(paint));
        self.on_screen(cx);
    }

    /// The session is on the screen.
    fn on_screen(&mut self, cx: &mut Cx<'_>) {
        let Some(show) = self.show.as_mut().filter(|show| !show.painted) else { return };
        show.painted = true;
        let session = show.display.session;
        let took = cx.now.since(self.presented_at);
        cx.report(DtuEvent::Shown { session, took });
        self.close_gap(cx, Some(session));
    }

    pub(super) fn on_typed(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        if self.take_enter(cx, bytes) {
            return;
        }
        // While a host is away the session may come back as it was; what is typed meanwhile waits for it.
        self.dismiss_notice(cx);
        let taken = if self.picture.session().is_some() { self.typed.keep(bytes) } else { 0 };
        self.drop_input(cx, bytes.len() - taken);
        self.send_typed(cx);
    }

    fn send_typed(&mut self, cx: &mut Cx<'_>) {
        let Some(show) = self.show.as_ref().filter(|show| show.stage == Stage::Up) else { return };
        for frame in self.typed.next_frames(cx.now) {
            cx.push(Effect::SendDisplay { conn: show.conn, frame });
        }
    }

    pub(super) fn on_resized(&mut self, cx: &mut Cx<'_>, size: proto::frame::Size) {
        self.seat.size = size;
        if let Some(show) = self.show.as_ref().filter(|show| show.stage == Stage::Up) {
            cx.push(Effect::SendDisplay { conn: show.conn, frame: Frame::Resize(size) });
        }
    }

    /// What is due on the display by itself: acknowledgements and idle probes.
    pub(super) fn tend_display(&mut self, cx: &mut Cx<'_>, control: Option<std::net::Ipv4Addr>) {
        let Some(show) = self.show.as_mut().filter(|show| show.stage == Stage::Up) else { return };
        if let Some(output) = self.picture.ack(cx.now) {
            cx.push(Effect::SendDisplay { conn: show.conn, frame: Frame::Ack { output, input: 0 } });
        }
        if show.ping_at <= cx.now {
            let Config { timing, .. } = &self.config;
            let rule = match control {
                Some(control) => show.ping_rule(timing, control),
                None => PingRule { every: timing.probe, patience: timing.answer },
            };
            show.ping_at = cx.now + rule.every;
            show.ping(cx, rule.patience);
        }
    }
}
