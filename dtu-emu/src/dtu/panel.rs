//! One display of a session at a DTU: its channel, how far it has followed the output, and what was typed into it.

use proto::frame::{Frame, Hello};
use proto::{Instant, Nonce, ServiceName};

use super::channel::Channel;
use super::ctx::{Env, Out};
use super::input::{DisplayTarget, Effect};
use super::picture::Picture;
use super::typed::TypedInput;

/// A display that nobody looks at is opened again this often without success, and then only when it is looked at.
pub(super) const HIDDEN_TRIES_MAX: u32 = 3;

/// One display, whether it is shown or not.
#[derive(Debug)]
pub(super) struct Panel {
    /// What the newest connInf said of it; `None` where nothing can be shown.
    pub(super) offer: Option<proto::alp::Display>,
    pub(super) channel: Option<Channel>,
    pub(super) picture: Picture,
    pub(super) typed: TypedInput,
    /// Its service has ended, or it cannot be opened: nobody tries until it is looked at.
    pub(super) has_ended: bool,
    /// How often in a row its channel died while nobody looked.
    pub(super) failures: u32,
    /// What its session said last while nobody looked.
    pub(super) word: Option<String>,
}

impl Panel {
    pub(super) const fn new(run: Nonce) -> Self {
        Self {
            offer: None,
            channel: None,
            picture: Picture::new(),
            typed: TypedInput::new(run),
            has_ended: false,
            failures: 0,
            word: None,
        }
    }

    pub(super) fn service(&self) -> Option<&ServiceName> {
        self.offer.as_ref().map(|offer| &offer.service)
    }

    pub(super) fn is_up(&self) -> bool {
        self.channel.as_ref().is_some_and(Channel::is_up)
    }

    /// Whether there is something to look at, or soon will be.
    pub(super) const fn is_open(&self) -> bool {
        self.channel.is_some()
    }

    /// The channel, once output comes over it.
    pub(super) fn up(&mut self) -> Option<&mut Channel> {
        self.channel.as_mut().filter(|channel| channel.is_up())
    }

    /// Opens its channel, unless the one that is open serves what is offered.
    pub(super) fn open(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let Some(offer) = &self.offer else { return };
        if self.channel.as_ref().is_some_and(|channel| channel.serves(offer)) {
            return;
        }
        let offer = offer.clone();
        self.close(out);
        let conn = out.next_conn();
        let target = DisplayTarget { addr: offer.addr, session: offer.session, fp: offer.fp };
        out.effect(Effect::OpenDisplay { conn, target });
        self.channel = Some(Channel::new(env.now, conn, offer, &env.config.timing));
    }

    pub(super) fn close(&mut self, out: &mut Out<'_>) {
        if let Some(channel) = self.channel.take() {
            out.effect(Effect::CloseDisplay { conn: channel.conn });
        }
    }

    /// Its channel is open: says hello.
    pub(super) fn greet(&mut self, env: &Env<'_>, out: &mut Out<'_>) {
        let Some(channel) = &mut self.channel else { return };
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

    /// Sends what was typed and may be sent.
    pub(super) fn send_typed(&mut self, now: Instant, out: &mut Out<'_>) {
        let Some(channel) = self.channel.as_ref().filter(|channel| channel.is_up()) else { return };
        for frame in self.typed.next_frames(now) {
            channel.send(frame, out);
        }
    }

    /// It is looked at from now on: the screen shows something else, and needs all of this one.
    pub(super) fn reveal(&mut self, out: &mut Out<'_>) {
        self.picture.reveal();
        if let Some(channel) = self.up() {
            channel.send(Frame::WantRepaint, out);
        }
    }
}
