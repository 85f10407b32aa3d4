//! What a DTU does when a connection dies: the first table of DESIGN 5.
//!
//! | Control connection | Display (probed) | Here |
//! |---|---|---|
//! | dead | answers | [`Dtu::hold`] |
//! | dead | reset, or silent | [`Dtu::give_up`] |
//! | alive | dead | [`Dtu::display_died`] |
//! | three beacons missed | | [`Dtu::probe_both`] |

use core::time::Duration;

use proto::alp::{DiscCause, FromDtu};
use proto::{Instant, SessionId};

use super::event::{DtuEvent, Loss};
use super::gap::OpenGap;
use super::hosts::HostRef;
use super::input::{ConnId, Effect, Fault, Paint};
use super::link::{Asking, Came, HoldControl, Holding, Link, Linked, Talk, Trip};
use super::search::Start;
use super::show::{Show, Stage};
use super::watch::Prompt;
use super::{Cx, Dtu};

/// First and longest pause between attempts to reach the daemon of a held session.
const REJOIN_FIRST: Duration = Duration::from_millis(20);
const REJOIN_MAX: Duration = Duration::from_millis(250);
/// How long one such attempt may take.
const REJOIN_OPEN: Duration = Duration::from_secs(1);
/// First and longest pause before a token is presented again whose display keeps dying.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// A display that was up for this long is not one that keeps dying.
const DISPLAY_GOOD: Duration = Duration::from_secs(3);
/// A held session whose host is not back after this time is worth a word.
const TELL_HELD: Duration = Duration::from_secs(3);
/// After a service ended, its host has this long to say what comes next.
const EXIT_PAUSE: Duration = Duration::from_secs(1);

/// Whether a connection that is given up is still open on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side ended it.
    Theirs,
    /// It is silent; we close it.
    Ours,
}

impl Dtu {
    pub(super) fn on_control_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: Fault) {
        if self.link.conn() != Some(conn) {
            return;
        }
        match core::mem::replace(&mut self.link, Link::Off) {
            Link::Searching(mut search) => {
                if let Some(attempt) = search.attempt.take() {
                    self.search_failed(cx, search, attempt.host, fault);
                }
            }
            Link::Errand(errand) => {
                self.link = Link::Errand(errand);
                self.errand_failed(cx, fault);
            }
            Link::Linked(linked) => self.control_died(cx, *linked, Loss::Closed(fault), Ended::Theirs),
            Link::Holding(mut holding) => {
                holding.control = HoldControl::Waiting { retry_at: cx.now + holding.pause };
                holding.pause = (holding.pause * 2).min(REJOIN_MAX);
                self.link = Link::Holding(holding);
            }
            Link::Off | Link::Idle => {}
        }
    }

    /// The open control connection is dead. What follows depends on what was going on.
    pub(super) fn control_died(&mut self, cx: &mut Cx<'_>, linked: Linked, loss: Loss, ended: Ended) {
        let (conn, host, good) = (linked.conn, linked.host.clone(), self.good_of(&linked));
        let display_lives = self.show.as_ref().is_some_and(|show| is_alive(show, cx.now));
        let fault = match &loss {
            Loss::Closed(fault) => fault.clone(),
            _ => Fault::Unreachable,
        };
        let settled = match linked.talk {
            Talk::Asking(Asking { came: Came::Again, .. }) | Talk::Attached => true,
            Talk::Asking(_) | Talk::Denied { .. } | Talk::Detached => false,
        };
        if settled && display_lives {
            return self.hold(cx, linked, ended, good);
        }
        if ended == Ended::Ours {
            cx.push(Effect::CloseControl { conn });
            if matches!(linked.talk, Talk::Asking(_)) {
                self.left_unanswered = Some(cx.now);
            }
        }
        match linked.talk {
            _ if settled => self.give_up(cx, host, loss, good),
            Talk::Asking(Asking { came: Came::Search(search), .. }) => {
                self.search_failed(cx, search, host, fault);
            }
            Talk::Asking(Asking { came: Came::Errand(Trip::Out { source, .. }), .. }) => {
                self.link = Link::Off;
                self.return_from(cx, source, host);
            }
            Talk::Asking(Asking { came: Came::Rejoin { until }, .. }) if display_lives && until > cx.now => {
                self.wait_for_daemon(host, until, cx.now + REJOIN_MAX, good);
            }
            Talk::Asking(Asking { came: Came::Rejoin { .. }, .. }) => self.give_up(cx, host, loss, good),
            // Unless the token was about to be presented again, whoever sits here decides what happens next.
            Talk::Detached if linked.again_at.is_none() => {
                cx.report(DtuEvent::Lost { host, why: loss });
                self.link = Link::Idle;
            }
            talk => {
                cx.report(DtuEvent::Lost { host: host.clone(), why: loss });
                self.hosts.bury(&host);
                let avoid = match talk {
                    Talk::Asking(Asking { came: Came::Errand(Trip::Back { avoid }), .. }) => avoid,
                    _ => None,
                };
                self.begin_search(cx, Start::Lost, avoid);
            }
        }
    }

    /// Control dead, display not: the session is asked whether it lives, and held if it does.
    fn hold(&mut self, cx: &mut Cx<'_>, linked: Linked, ended: Ended, good: Instant) {
        let timing = self.config.timing;
        let (host, until) = (linked.host.clone(), cx.now + timing.grace);
        let mut confirmed = false;
        if let Some(show) = &mut self.show {
            // Both were asked together when it was silence that we noticed; then the session has answered.
            confirmed = ended == Ended::Ours && cx.now.since(show.pulse.last()) <= timing.answer;
            show.ping(cx, timing.answer);
            show.ping_at = cx.now + timing.probe;
        }
        if confirmed {
            cx.report(DtuEvent::Held { host: host.clone() });
        }
        let control = match ended {
            Ended::Theirs => HoldControl::Waiting { retry_at: cx.now + REJOIN_FIRST },
            Ended::Ours => HoldControl::Silent(Box::new(linked)),
        };
        let tell_at = Some(cx.now + TELL_HELD);
        let pause = REJOIN_FIRST;
        self.link =
            Link::Holding(Box::new(Holding { host, until, control, confirmed, tell_at, pause, good }));
    }

    fn wait_for_daemon(&mut self, host: HostRef, until: Instant, retry_at: Instant, good: Instant) {
        let control = HoldControl::Waiting { retry_at };
        self.link = Link::Holding(Box::new(Holding {
            host,
            until,
            control,
            confirmed: true,
            tell_at: None,
            pause: REJOIN_MAX,
            good,
        }));
    }

    /// The display of a held session said something.
    pub(super) fn held_display_answered(&mut self, cx: &mut Cx<'_>) {
        if let Link::Holding(holding) = &mut self.link
            && !holding.confirmed
        {
            holding.confirmed = true;
            cx.report(DtuEvent::Held { host: holding.host.clone() });
        }
    }

    pub(super) fn tend_holding(&mut self, cx: &mut Cx<'_>) {
        let Link::Holding(holding) = &self.link else { return };
        let (host, until) = (holding.host.clone(), holding.until);
        let loss = match &self.show {
            Some(show) if !is_alive(show, cx.now) => Loss::Silent,
            Some(_) if until > cx.now => return self.tend_rejoin(cx),
            Some(_) => Loss::GraceOver,
            None => Loss::Closed(Fault::Closed),
        };
        let good = self.last_good(cx);
        self.close_control(cx);
        self.give_up(cx, host, loss, good);
    }

    fn tend_rejoin(&mut self, cx: &mut Cx<'_>) {
        if let Link::Holding(holding) = &mut self.link
            && holding.tell_at.take_if(|at| *at <= cx.now).is_some()
        {
            let host = match &holding.host.name {
                Some(name) => name.to_string(),
                None => holding.host.to_string(),
            };
            let secs = holding.until.since(cx.now).as_secs();
            let text = format!(
                "Host {host} does not answer, and your session there goes on. It is waited for, {secs} s at most."
            );
            self.notice_for_a_while(cx, &text);
        }
        let next = ConnId(self.conns + 1);
        let Link::Holding(holding) = &mut self.link else { return };
        match holding.control {
            HoldControl::Waiting { retry_at } if retry_at <= cx.now => {
                self.conns = next.0;
                holding.control = HoldControl::Opening { conn: next, due: cx.now + REJOIN_OPEN };
                cx.push(Effect::OpenControl { conn: next, addr: holding.host.addr });
            }
            HoldControl::Opening { conn, due } if due <= cx.now => {
                cx.push(Effect::CloseControl { conn });
                holding.control = HoldControl::Waiting { retry_at: cx.now };
                self.tend_rejoin(cx);
            }
            _ => {}
        }
    }

    /// The host of a held session is heard again.
    pub(super) fn hint_rejoin(&mut self, cx: &Cx<'_>) {
        if let Link::Holding(holding) = &mut self.link
            && let HoldControl::Waiting { retry_at } = &mut holding.control
        {
            *retry_at = (*retry_at).min(cx.now);
        }
    }

    /// A host is dead, and so is what it showed: another one is looked for.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, host: HostRef, why: Loss, good: Instant) {
        cx.report(DtuEvent::Lost { host: host.clone(), why: why.clone() });
        self.hosts.bury(&host);
        self.close_display(cx);
        // Where its machine only fell silent, the session's process may live; a reset came from one that is gone.
        self.keeps_session = match &why {
            Loss::Silent | Loss::GraceOver | Loss::Protocol | Loss::Closed(Fault::Unreachable) => true,
            Loss::Closed(_) | Loss::Stopped => false,
        };
        let session = self.picture.session();
        self.gap = Some(OpenGap::new(host, true, session, good, cx.now).and(self.gap.as_ref()));
        self.begin_search(cx, Start::Lost, None);
    }

    /// The display is dead. While the host lives, the token is presented to it again.
    pub(super) fn display_died(&mut self, cx: &mut Cx<'_>, show: &Show, fault: Fault, prompt: Prompt) {
        if let Link::Holding(holding) = &self.link {
            let host = holding.host.clone();
            let good = holding.good.max(show.pulse.last());
            self.close_control(cx);
            return self.give_up(cx, host, Loss::Closed(fault), good);
        }
        let Link::Linked(linked) = &self.link else { return };
        if !matches!(linked.talk, Talk::Attached | Talk::Asking(Asking { came: Came::Again, .. })) {
            return;
        }
        let (host, is_attached) = (linked.host.clone(), matches!(linked.talk, Talk::Attached));
        if self.gap.is_none() {
            let session = self.picture.session();
            self.gap = Some(OpenGap::new(host.clone(), false, session, show.pulse.last(), cx.now));
        }
        if show.stage == Stage::Up && cx.now.since(show.up_at) >= DISPLAY_GOOD {
            self.show_failures = 0;
        }
        let pause = again_after(self.show_failures);
        self.show_failures += 1;
        self.ask_whether_alive(cx, self.config.timing.answer);
        if let (Prompt::Path, Link::Linked(linked)) = (prompt, &mut self.link)
            && let Some(watch) = &mut linked.watch
        {
            watch.set_prompt(prompt);
        }
        match &mut self.link {
            Link::Linked(linked) if is_attached => {
                linked.again_at = Some(cx.now + pause);
                linked.blank = Some(fault);
            }
            _ => cx.report(DtuEvent::DisplayLost { host, fault }),
        }
    }

    /// The host says that the process of our session died. When the display was seen to end before, that was the
    /// same loss.
    pub(super) fn session_lost(&mut self, cx: &mut Cx<'_>, host: HostRef, was_blank: bool) {
        let good = self.last_good(cx);
        self.close_display(cx);
        if self.gap.is_none() {
            self.gap = Some(OpenGap::new(host, false, self.picture.session(), good, cx.now));
        }
        let pause = if was_blank {
            again_after(self.show_failures.saturating_sub(1))
        } else {
            self.show_failures += 1;
            again_after(self.show_failures)
        };
        if let Link::Linked(linked) = &mut self.link {
            linked.again_at = Some(cx.now + pause);
        }
    }

    /// The service ended. Its host says what follows; if it does not, the token is presented again.
    pub(super) fn service_ended(&mut self, cx: &mut Cx<'_>) {
        self.close_display(cx);
        self.picture.forget();
        if let Link::Linked(linked) = &mut self.link {
            linked.again_at = Some(cx.now + EXIT_PAUSE);
        }
    }

    /// A question to the daemon that must be answered at once, if it is of a kind that does.
    fn ask_whether_alive(&mut self, cx: &mut Cx<'_>, patience: Duration) {
        let Link::Linked(linked) = &mut self.link else { return };
        if linked.watch.is_some() {
            linked.pulse.asked(cx.now, patience);
            self.send_keepalive(cx);
        }
    }

    /// Three beacons were missed, or none can be expected, or nobody takes what is typed: both connections are
    /// asked at once. A way that works in one direction only is rare, so that is judged with more patience.
    fn probe_both(&mut self, cx: &mut Cx<'_>, prompt: Prompt) {
        let timing = self.config.timing;
        let patience = if prompt == Prompt::Beacons { timing.answer } else { timing.ask };
        self.ask_whether_alive(cx, patience);
        if let Some(show) = &mut self.show {
            show.ping(cx, patience);
        }
        if let Link::Linked(linked) = &mut self.link
            && let Some(watch) = &mut linked.watch
        {
            match prompt {
                Prompt::Beacons => watch.probed(cx.now, timing.probe),
                // Beacons that do not come are still missed as soon as they would have been.
                Prompt::Path => watch.set_prompt(prompt),
            }
        }
    }

    /// Our host's name spoke as another run: it may have been restarted, or a stranger plays it. Both are
    /// worth a question, and no more than one at a time.
    pub(super) fn probe_on_odd_beacon(&mut self, cx: &mut Cx<'_>) {
        let Link::Linked(linked) = &self.link else { return };
        if linked.pulse.due().is_none() && cx.now.since(linked.pulse.last()) > self.config.timing.answer {
            self.probe_both(cx, Prompt::Beacons);
        }
    }

    /// The daemon of our host spoke: a session on the same machine that is silent is stopped or short of
    /// processor time, and another host would not have it sooner.
    pub(super) fn vouch_for_display(&mut self) {
        let (Link::Linked(linked), Some(show)) = (&self.link, &mut self.show) else { return };
        if show.display.addr.ip() == linked.host.addr.ip() {
            show.pulse.relax(self.config.timing.display_open);
        }
    }

    /// A verified beacon that came late: the question it prompted is answered.
    pub(super) fn vouch_by_beacon(&mut self) {
        let Link::Linked(linked) = &mut self.link else { return };
        if linked.watch.as_ref().is_some_and(|watch| watch.prompt() == Prompt::Beacons) {
            linked.pulse.forgive();
            self.vouch_for_display();
        }
    }

    /// What is due on the open connection. Control is judged before the display: when both are silent it is
    /// the host that is dead.
    pub(super) fn tend_linked(&mut self, cx: &mut Cx<'_>) {
        let Link::Linked(linked) = &mut self.link else { return };
        if linked.pulse.is_dead(cx.now) {
            return self.silent(cx, None);
        }
        if linked.expiry_at <= cx.now {
            return self.silent(cx, Some(DiscCause::KeepAliveExpiry));
        }
        if let Talk::Asking(asking) = &mut linked.talk {
            if asking.due <= cx.now {
                if asking.limit <= cx.now || !self.hosts.is_about(cx.now, &linked.host) {
                    return self.silent(cx, None);
                }
                asking.due = (cx.now + self.config.timing.ask).min(asking.limit);
                asking.probe_at = asking.due;
            } else if asking.probe_at <= cx.now {
                asking.probe_at = asking.due;
                self.send_keepalive(cx);
            }
        }
        self.tend_settled(cx);
    }

    fn tend_settled(&mut self, cx: &mut Cx<'_>) {
        let typed = self.typed_is_stuck(cx.now);
        let Link::Linked(linked) = &mut self.link else { return };
        let probe = linked.watch.as_ref().is_some_and(|watch| watch.probe_at() <= cx.now);
        let keepalive = linked.keepalive_at <= cx.now;
        let said_all = linked.has_said_all();
        let again = linked.again_at.take_if(|at| said_all && *at <= cx.now).is_some();
        if again && let Some(fault) = linked.blank.take() {
            cx.report(DtuEvent::DisplayLost { host: linked.host.clone(), fault });
        }
        let retry = matches!(linked.talk, Talk::Denied { retry_at } if retry_at <= cx.now);
        let avoid = if again || retry { linked.declined.take() } else { None };
        if retry {
            linked.hops = 0;
        }
        if probe {
            self.probe_both(cx, Prompt::Beacons);
        } else if typed {
            self.probe_both(cx, Prompt::Path);
            self.typed.asked(cx.now);
        } else if keepalive {
            self.send_keepalive(cx);
        }
        if again || retry {
            self.present(cx, Came::Again, proto::alp::Cause::Insert, None, avoid);
        }
    }

    fn typed_is_stuck(&self, now: Instant) -> bool {
        let up = self.show.as_ref().is_some_and(|show| show.stage == Stage::Up);
        up && self.typed.waiting().is_some_and(|since| since + self.config.timing.typed <= now)
    }

    fn silent(&mut self, cx: &mut Cx<'_>, farewell: Option<DiscCause>) {
        if let (Link::Linked(linked), Some(_)) = (&self.link, farewell) {
            let conn = linked.conn;
            self.send(cx, conn, &FromDtu::DiscReq { cause: farewell });
        }
        if let Link::Linked(linked) = core::mem::replace(&mut self.link, Link::Off) {
            self.control_died(cx, *linked, Loss::Silent, Ended::Ours);
        }
    }

    fn good_of(&self, linked: &Linked) -> Instant {
        let beacon = linked.watch.as_ref().and_then(super::watch::Watch::beacon);
        let display = self.show.as_ref().map(|show| show.pulse.last());
        [beacon, display].into_iter().flatten().fold(linked.pulse.last(), Instant::max)
    }

    /// When the screen was last known to be good.
    pub(super) fn last_good(&self, cx: &Cx<'_>) -> Instant {
        match &self.link {
            Link::Linked(linked) => self.good_of(linked),
            Link::Holding(holding) => {
                self.show.as_ref().map_or(holding.good, |show| show.pulse.last().max(holding.good))
            }
            _ => cx.now,
        }
    }

    /// The screen is good again.
    pub(super) fn close_gap(&mut self, cx: &mut Cx<'_>, session: Option<SessionId>) {
        let (Some(open), Some(to)) = (self.gap.take(), self.link.host().cloned()) else { return };
        if let Some(text) = open.tell(session) {
            self.notice_for_a_while(cx, &text);
        }
        let gap = open.close(cx.now);
        cx.report(if open.given_up {
            DtuEvent::FailedOver { from: open.from, to, session, gap }
        } else {
            DtuEvent::Restored { host: to, gap }
        });
    }

    pub(super) fn tend_notice(&mut self, cx: &mut Cx<'_>) {
        if self.notice_until.take_if(|until| *until <= cx.now).is_some() {
            cx.push(Effect::Paint(Paint::Notice(None)));
        }
    }
}

/// How long a display is waited for that was lost so often before.
fn again_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => (AGAIN_FIRST * (1 << (n - 1).min(10))).min(AGAIN_MAX),
    }
}

fn is_alive(show: &Show, now: Instant) -> bool {
    show.stage == Stage::Up && !show.pulse.is_dead(now)
}
