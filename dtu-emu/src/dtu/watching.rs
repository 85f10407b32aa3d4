//! The part of [`Connection`] that watches it and its display: what is due, what is asked, and what follows when the
//! display dies.

use core::time::Duration;

use proto::alp::{Cause, DiscCause, FromDtu};

use super::connection::{Connection, State};
use super::ctx::{Ctx, Out};
use super::event::{DtuEvent, Loss};
use super::host_ref::HostRef;
use super::linked::Talk;
use super::reason::ConnectReason;
use super::step::{DisplayDeath, Ended, Sighting, ToDisplay, ToFailover};
use super::watch::{Prompt, Sign};

/// First and longest pause before a token is presented again whose display keeps dying.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

impl Connection {
    fn silent(&mut self, ctx: &Ctx<'_>, farewell: Option<DiscCause>, out: &mut Out<'_>) {
        if let (Some(linked), Some(_)) = (self.open(), farewell) {
            let conn = linked.conn;
            self.send(ctx, conn, &FromDtu::DiscReq { cause: farewell }, out);
        }
        self.died(ctx, Loss::Silent, Ended::Ours, out);
    }

    /// What is due on the open connection. Control is judged before the display: when both are silent it is
    /// the host that is dead.
    pub(super) fn on_due(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let now = ctx.env.now;
        let State::Open(linked) = &mut self.state else { return self.redirect_due(ctx, out) };
        if linked.pulse.is_dead(now) {
            return self.silent(ctx, None, out);
        }
        if linked.expiry_at <= now {
            return self.silent(ctx, Some(DiscCause::KeepAliveExpiry), out);
        }
        if let Talk::Asking(asking) = &mut linked.talk {
            if asking.due <= now {
                if asking.limit <= now || !ctx.hosts.is_about(now, &linked.host) {
                    return self.silent(ctx, None, out);
                }
                asking.due = (now + ctx.env.config.timing.ask).min(asking.limit);
                asking.probe_at = asking.due;
            } else if asking.probe_at <= now {
                asking.probe_at = asking.due;
                self.send_keepalive(ctx, out);
            }
        }
        self.on_settled_due(ctx, out);
    }

    fn on_settled_due(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let now = ctx.env.now;
        let State::Open(linked) = &mut self.state else { return };
        let probe = linked.watch.as_ref().is_some_and(|watch| watch.probe_at() <= now);
        let keepalive = linked.keepalive_at <= now;
        let said_all = linked.has_said_all();
        let again = linked.again_at.take_if(|at| said_all && *at <= now).is_some();
        if again && let Some(fault) = linked.blank.take() {
            out.report(DtuEvent::DisplayLost { host: linked.host.clone(), fault });
        }
        let retry = matches!(linked.talk, Talk::Denied { retry_at } if retry_at <= now);
        let avoid = if again || retry { linked.declined.take() } else { None };
        if retry {
            linked.hops = 0;
        }
        if probe {
            self.probe_both(ctx, Prompt::Beacons, out);
        } else if keepalive {
            self.send_keepalive(ctx, out);
        }
        if again || retry {
            self.present(ctx, ConnectReason::Again, Cause::Insert, None, avoid, out);
        }
    }

    /// A question to the daemon that must be answered at once, if it is of a kind that does.
    fn ask_whether_alive(&mut self, ctx: &Ctx<'_>, patience: Duration, out: &mut Out<'_>) {
        let State::Open(linked) = &mut self.state else { return };
        if linked.watch.is_some() {
            linked.pulse.asked(ctx.env.now, patience);
            self.send_keepalive(ctx, out);
        }
    }

    /// A beacon did not come, or none can be expected, or nobody takes what is typed: both connections are
    /// asked at once. A way that works in one direction only is rare, so that is judged with more patience.
    pub(super) fn probe_both(&mut self, ctx: &Ctx<'_>, prompt: Prompt, out: &mut Out<'_>) {
        let timing = &ctx.env.config.timing;
        let watch = self.open().and_then(|linked| linked.watch.as_ref());
        let patience = match (prompt, watch) {
            (Prompt::Beacons, Some(watch)) => watch.patience(ctx.env.now, timing.answer),
            (Prompt::Beacons, None) => timing.answer,
            (Prompt::Path, _) => timing.ask,
        };
        self.ask_whether_alive(ctx, patience, out);
        out.tell(ToDisplay::Probe { patience, again_in: None });
        if let State::Open(linked) = &mut self.state
            && let Some(watch) = &mut linked.watch
        {
            match prompt {
                Prompt::Beacons => watch.probed(ctx.env.now, timing.probe),
                // Beacons that do not come are still missed as soon as they would have been.
                Prompt::Path => watch.set_prompt(prompt),
            }
        }
    }

    pub(super) fn on_beacon(&mut self, ctx: &Ctx<'_>, beacon: &Sighting, out: &mut Out<'_>) {
        let State::Open(linked) = &mut self.state else { return };
        let Some(watch) = &mut linked.watch else { return };
        match watch.on_beacon(beacon) {
            // One that came late answers the question that its lateness prompted.
            Sign::Alive if watch.prompt() == Prompt::Beacons => {
                linked.pulse.forgive();
                out.tell(ToDisplay::Vouched { by: *linked.host.addr.ip() });
            }
            // Our host's name spoke as another run: it may have been restarted, or a stranger plays it. Both are
            // worth a question, and no more than one at a time.
            Sign::Odd => {
                let quiet = ctx.env.now.since(linked.pulse.last()) > ctx.env.config.timing.answer;
                if linked.pulse.due().is_none() && quiet {
                    self.probe_both(ctx, Prompt::Beacons, out);
                }
            }
            Sign::Alive | Sign::None => {}
        }
    }

    /// The display is dead. While the host lives, the token is presented to it again.
    pub(super) fn on_display_died(&mut self, ctx: &Ctx<'_>, death: DisplayDeath, out: &mut Out<'_>) {
        let now = ctx.env.now;
        let State::Open(linked) = &self.state else { return };
        if !linked.is_settled() {
            return;
        }
        let (host, is_attached) = (linked.host.clone(), matches!(linked.talk, Talk::Attached));
        out.tell(ToFailover::DisplayLost { host: host.clone(), good: death.heard });
        if death.was_good(now) {
            self.display_failures = 0;
        }
        let pause = again_after(self.display_failures);
        self.display_failures += 1;
        // Where the way to the host is broken, too, the kernel ends the connection for want of an acknowledgement.
        self.ask_whether_alive(ctx, ctx.env.config.timing.answer, out);
        let State::Open(linked) = &mut self.state else { return };
        if is_attached {
            linked.again_at = Some(now + pause);
            linked.blank = Some(death.fault);
        } else {
            out.report(DtuEvent::DisplayLost { host, fault: death.fault });
        }
    }

    /// The host says that the process of our session died. When the display was seen to end before, that was the
    /// same loss.
    pub(super) fn session_lost(&mut self, ctx: &Ctx<'_>, host: HostRef, was_blank: bool, out: &mut Out<'_>) {
        let State::Open(linked) = &mut self.state else { return };
        out.tell(ToFailover::DisplayLost { host, good: Self::good(ctx, linked) });
        out.tell(ToDisplay::Close);
        let failures = if was_blank {
            self.display_failures.saturating_sub(1)
        } else {
            self.display_failures += 1;
            self.display_failures
        };
        linked.again_at = Some(ctx.env.now + again_after(failures));
    }
}

/// How long a display is waited for that was lost so often before.
fn again_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => (AGAIN_FIRST * (1 << (n - 1).min(10))).min(AGAIN_MAX),
    }
}
