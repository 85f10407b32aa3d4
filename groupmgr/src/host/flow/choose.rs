//! Who has a session for the token: of those the DTU can reach, everybody is asked who may have one, and the
//! session with the most recent last connection wins (seed 003, Figure 9b, 916 to 922).

use std::net::SocketAddrV4;

use authmgr::{Denial, Presentation};
use proto::alp::RedirectInf;
use proto::peer::SessionNote;
use proto::ticket::{Ticket, TicketClaims};
use proto::{HostName, Instant, SessionId};

use super::super::driver::{ConnId, Effect};
use super::super::note::Note;
use super::super::takeup::KEEP_GRACE;
use super::super::{Clock, Host};
use super::{Flow, Stage};
use crate::directory::{Answer, Found, Outbox, Target};
use crate::reach::{Choice, Dtu, Reachable};
use crate::topology::{Row, Standing};

impl Host {
    /// Asks whoever may have a session. What comes of it goes on in [`Host::on_found`].
    pub(in crate::host) fn look_up(&mut self, clock: Clock, conn: ConnId, out: &mut Vec<Effect>) {
        let Some(flow) = self.conns.get(conn).and_then(|c| c.flow.as_ref()) else { return };
        let (token, mut besides) = (flow.token().clone(), flow.besides.clone());
        besides.places = self.sessions.of_token(&token).is_empty();
        let everybody = self.targets(clock.now, flow);
        let all = everybody.len();
        let targets = self.worth_asking(everybody, &token, &besides);
        let spared = targets.len() < all;
        let (mut asks, mut found) = (Vec::new(), Vec::new());
        let mut outbox = Outbox { asks: &mut asks, found: &mut found };
        let (ring, entropy) = (&self.config.ring, &mut self.entropy);
        let Some(id) = self.directory.ask(clock.now, ring, entropy, &token, targets, &mut outbox) else {
            self.deny(clock, conn, Denial::Full, out);
            return;
        };
        self.counters.done("lookup");
        self.shows.asking.insert(id, conn);
        if let Some(flow) = self.flow_mut(conn) {
            flow.spared = spared;
        }
        self.set_stage(conn, Stage::Asking(id));
        out.extend(asks.into_iter().map(Effect::Ask));
        for found in found {
            self.on_found(clock, found, out);
        }
    }

    /// Everybody who could be asked.
    fn targets(&self, now: Instant, flow: &Flow) -> Vec<Target> {
        let avoid = &flow.presentation.avoid;
        // On a LAN of ours and the DTU's a host is asked there, and not where it happens to be heard first: if it
        // does not hear us on that LAN, it will not hear the DTU either.
        let local = self.announcer.interfaces().iter().any(|i| i.holds(flow.dtu.addr));
        let mut hosts = self.reachable(now, flow.dtu);
        hosts.extend(self.perhaps_restarting(now, flow.dtu));
        let hosts = hosts.into_iter().filter(|reach| Some(&reach.host) != avoid.as_ref());
        let target = |reach: Reachable| {
            let row = self.topology.row(&reach.host)?;
            let here = local && reach.choice == Choice::First;
            let ask_at = if here { reach.addr } else { row.ask_at(now) };
            Some(Target { reach, ask_at })
        };
        hosts.filter_map(target).collect()
    }

    /// Whether `host` could have been asked by the last lookup and was not, for its digest gave no reason to.
    pub(super) fn was_spared(&self, now: Instant, flow: &Flow, host: &HostName) -> bool {
        let was_asked = |found: &Found| {
            let answered = found.answers.iter().any(|answer| answer.reach.host == *host);
            answered || found.gone.contains(host) || found.mute.contains(host)
        };
        flow.spared
            && flow.besides.named.as_ref() != Some(host)
            && !flow.found.as_ref().is_some_and(was_asked)
            && self.targets(now, flow).iter().any(|target| target.reach.host == *host)
    }

    /// Silent hosts whose sessions may be waiting for their next daemon. They are asked only to find out whether
    /// it is the daemon that is gone, which is refused, or the whole host, which says nothing.
    fn perhaps_restarting(&self, now: Instant, dtu: Dtu) -> Vec<Reachable> {
        let silent =
            self.topology.rows().filter(|row| row.standing() == Standing::Silent && row.facts().keep);
        let silent = silent.filter(|row| dtu.suits(row));
        let lately = silent.filter(|row| now.since(row.heard_at()) < KEEP_GRACE);
        let reach = |row: &Row| Reachable {
            host: row.host().clone(),
            boot: row.boot(),
            addr: SocketAddrV4::new(row.addr(), row.facts().port),
            choice: Choice::Second,
        };
        lately.map(reach).collect()
    }

    pub(in crate::host) fn on_found(&mut self, clock: Clock, found: Found, out: &mut Vec<Effect>) {
        let Some(conn) = self.shows.asking.remove(&found.id) else { return };
        let Some(flow) = self.flow_mut(conn) else { return };
        if !matches!(flow.stage, Stage::Asking(id) if id == found.id) {
            return;
        }
        let (token, bound) = (flow.token().clone(), flow.bound);
        let local = self.sessions.of_token(&token).first().map(|s| (s.last, s.id));
        let remote = newest(&found).map(|(answer, note)| (note.last, answer.clone(), note.session));
        if let Some(flow) = self.flow_mut(conn) {
            flow.found = Some(found);
        }
        match (local, remote) {
            (Some((here, session)), Some((there, _, _))) if here >= there => {
                self.show_when_running(clock, conn, session, out);
            }
            // Who was sent here is not sent on, but goes back and is sent again.
            (None, Some(_)) if bound => self.deny(clock, conn, Denial::SessionFailed, out),
            (Some((_, session)), _) if bound => self.show_when_running(clock, conn, session, out),
            (_, Some((_, answer, session))) => self.redirect(clock, conn, &answer, Some(session), out),
            (Some((_, session)), None) => self.show_when_running(clock, conn, session, out),
            (None, None) => self.read_claim(clock, conn, out),
        }
    }

    /// Sends a DTU to another host, with the ticket that lets it in there.
    pub(super) fn redirect(
        &mut self,
        clock: Clock,
        conn: ConnId,
        to: &Answer,
        session: Option<SessionId>,
        out: &mut Vec<Effect>,
    ) {
        let Some(flow) = self.conns.get_mut(conn).and_then(|c| c.flow.take()) else { return };
        self.placing.gave_up(conn);
        let Presentation { token_seq, token, serial, .. } = flow.presentation;
        let claims = TicketClaims {
            grant: to.grant,
            token: token.clone(),
            session,
            serial: serial.clone(),
            target: to.reach.host.clone(),
            boot: to.reach.boot,
        };
        let ticket = Ticket::issue(&self.config.ring, &claims);
        let redirect = RedirectInf {
            addr: to.reach.addr,
            props: ticket.map(|t| t.to_string()),
            host: Some(to.reach.host.clone()),
        };
        self.counters.done("redirected");
        out.push(Effect::Note(Note::Redirected { token, serial, to: to.reach.host.clone() }));
        self.at_gate(clock, conn, out, |gate, now, fx| gate.redirect(now, token_seq, redirect, fx));
    }
}

/// The session with the most recent last connection; of two equal ones, that of the lower host, so that all
/// who ask choose alike.
fn newest(found: &Found) -> Option<(&Answer, &SessionNote)> {
    let all = found.answers.iter().flat_map(|answer| answer.sessions.iter().map(move |note| (answer, note)));
    all.min_by_key(|(answer, note)| (core::cmp::Reverse(note.last), &answer.reach.host, note.session))
}
