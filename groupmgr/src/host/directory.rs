//! Who has sessions for a token: this host's questions to the others, and its answers to theirs.
//!
//! Of those that a DTU can reach, everybody is asked who may have a session. The
//! machine also owns the grants that this host gives in its answers, and knows which hosts ask for the same token at
//! the same time.

use std::collections::BTreeMap;

use proto::keys::GroupKey;
use proto::peer::{PeerBody, SessionNote};
use proto::{BootId, GrantId, HostName, Instant, Last, Token};

use super::askers::Askers;
use super::candidates::candidates;
use super::driver::Effect;
use super::env::Ctx;
use super::out::Out;
use super::step::{
    Lookup, LookupScope, PresentationId, ToDirectory, ToPlacing, ToPresentations, TokenQuestion,
};
use crate::digest::{ASK_ALL_MAX, Tags};
use crate::directory::grants::Grants;
use crate::directory::{Directory, Found, LookupId, Outbox, Target, TokenReply};
use crate::reach::Choice;
use proto::rng::SecretRng;

/// Hosts that are asked only because a new session may be placed there: two that answer are enough to choose
/// between, and one of three may turn out to be mute.
const DRAWN: usize = 3;

/// The machine that asks other hosts, and answers them.
#[derive(Debug)]
pub(super) struct Lookups {
    directory: Directory,
    /// Whose a lookup is, and whether it left anybody out who could have been asked.
    asking: BTreeMap<LookupId, (PresentationId, bool)>,
    grants: Grants,
    askers: Askers,
    entropy: SecretRng,
}

impl Lookups {
    pub(super) fn new(own: HostName, boot: BootId, entropy: SecretRng) -> Self {
        Self {
            directory: Directory::new(own, boot),
            asking: BTreeMap::new(),
            grants: Grants::new(),
            askers: Askers::default(),
            entropy,
        }
    }

    /// Lookups, grants and askers, for the bounds check.
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.directory.lookups(), self.grants.len(), self.askers.len()]
    }

    /// Hosts that were asked and did not answer.
    pub(super) fn mute(&self) -> impl Iterator<Item = &HostName> {
        self.directory.mute().map(|(host, _)| host)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 1] {
        [("lookup or probe", self.directory.poll_at())]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToDirectory, out: &mut Out<'_>) {
        match step {
            ToDirectory::Look(lookup) => self.look(ctx, &lookup, out),
            ToDirectory::Redeem { id, grant } => {
                let good = self.grants.redeem(ctx.now, grant);
                if good {
                    out.step(ToPlacing::Arrived(grant));
                }
                out.step(ToPresentations::Redeemed { id, good });
            }
            ToDirectory::Rivals { id, token } => {
                let ring = &ctx.config.ring;
                let tag = ring.tag(ring.signing(), &token);
                let lowest = tag.and_then(|tag| self.askers.lowest(ctx.now, tag)).cloned();
                out.step(ToPresentations::Rivals { id, lowest });
            }
            ToDirectory::Refused { addr } => {
                let gone = self.run(out, |directory, outbox| directory.on_refused(addr, outbox));
                if !gone.is_empty() {
                    out.done("daemon_gone");
                }
            }
            ToDirectory::Asked(question) => self.answer(ctx, *question, out),
            ToDirectory::Answered { host, boot, reply } => self.on_answer(ctx, &host, boot, *reply, out),
            ToDirectory::Coming(grants) => {
                let (good, unknown): (Vec<GrantId>, Vec<GrantId>) =
                    grants.into_iter().partition(|grant| self.grants.is_good(ctx.now, *grant));
                // Those that are here already, or never had a grant, are not counted.
                unknown.iter().for_each(|_| out.refused("unknown_grant"));
                out.step(ToPlacing::Coming(good));
            }
            ToDirectory::Lost(host) => {
                self.run(out, |directory, outbox| directory.on_lost(&host, outbox));
            }
            ToDirectory::Due => {
                let (mut asks, mut found) = (Vec::new(), Vec::new());
                let mut outbox = Outbox { asks: &mut asks, found: &mut found };
                self.directory.on_timeout(ctx.now, &ctx.config.ring, &mut self.entropy, &mut outbox);
                out.effects.extend(asks.into_iter().map(Effect::Ask));
                self.tell(found, out);
            }
        }
    }

    /// Asks whoever may have a session.
    fn look(&mut self, ctx: &Ctx<'_>, lookup: &Lookup, out: &mut Out<'_>) {
        let Lookup { id, token, dtu, avoid, scope } = lookup;
        let everybody = candidates(ctx.now, ctx.members, *dtu, avoid.as_ref());
        let all = everybody.len();
        let targets = self.worth_asking(ctx, everybody, token, scope);
        let skips = targets.len() < all;
        let (mut asks, mut found) = (Vec::new(), Vec::new());
        let mut outbox = Outbox { asks: &mut asks, found: &mut found };
        let (ring, entropy) = (&ctx.config.ring, &mut self.entropy);
        match self.directory.ask(ctx.now, ring, entropy, token, targets, &mut outbox) {
            Some(lookup) => {
                out.done("lookup");
                self.asking.insert(lookup, (*id, skips));
                out.effects.extend(asks.into_iter().map(Effect::Ask));
                self.tell(found, out);
            }
            None => out.step(ToPresentations::TooManyLookups { id: *id }),
        }
    }

    /// Runs a step of the directory and tells the presentations whose lookup it ended.
    fn run<R>(&mut self, out: &mut Out<'_>, step: impl FnOnce(&mut Directory, &mut Outbox<'_>) -> R) -> R {
        let (mut asks, mut found) = (Vec::new(), Vec::new());
        let result = step(&mut self.directory, &mut Outbox { asks: &mut asks, found: &mut found });
        out.effects.extend(asks.into_iter().map(Effect::Ask));
        self.tell(found, out);
        result
    }

    fn tell(&mut self, found: Vec<Found>, out: &mut Out<'_>) {
        for found in found {
            if let Some((id, skips)) = self.asking.remove(&found.id) {
                out.step(ToPresentations::Found { id, skips, found: Box::new(found) });
            }
        }
    }

    /// Whom of `targets` to ask for the sessions of `token`: in a small group all of them. In a large one those
    /// that may have some by their digests, or have none that we know as it is now, and those there is another
    /// reason for.
    fn worth_asking(
        &mut self,
        ctx: &Ctx<'_>,
        targets: Vec<Target>,
        token: &Token,
        scope: &LookupScope,
    ) -> Vec<Target> {
        if *scope == LookupScope::Everybody || targets.len() <= ASK_ALL_MAX {
            return targets;
        }
        let ring = &ctx.config.ring;
        let tag = |key: &GroupKey| Some((key.id(), ring.tag(key.id(), token)?.into()));
        let tags: Tags = ring.keys().iter().filter_map(tag).collect();
        let named = match scope {
            LookupScope::Named(host) => Some(host),
            _ => None,
        };
        let (mut asked, skipped): (Vec<Target>, Vec<Target>) = targets.into_iter().partition(|target| {
            let reach = &target.reach;
            named == Some(&reach.host) || ctx.members.may_hold(&reach.host, reach.boot, &tags)
        });
        if ctx.sessions.of_token(token).is_empty() {
            asked.extend(self.draw(ctx, skipped));
        }
        asked
    }

    /// Hosts for a new session, at random: with the least loaded ones all who ask would ask, and then choose,
    /// the same.
    fn draw(&mut self, ctx: &Ctx<'_>, skipped: Vec<Target>) -> Vec<Target> {
        let fits = |target: &Target| target.reach.choice == Choice::First && !self.directory.is_mute(target);
        let places: Vec<Target> = skipped.into_iter().filter(fits).collect();
        let drains =
            |target: &Target| ctx.members.row(&target.reach.host).is_some_and(|row| row.facts().drain);
        let (draining, mut pool): (Vec<Target>, Vec<Target>) = places.into_iter().partition(drains);
        if pool.is_empty() {
            pool = draining;
        }
        let mut drawn = Vec::new();
        while drawn.len() < DRAWN && !pool.is_empty() {
            drawn.push(pool.swap_remove(self.entropy.below(pool.len())));
        }
        drawn
    }

    /// Answers another host.
    fn answer(&mut self, ctx: &Ctx<'_>, question: TokenQuestion, out: &mut Out<'_>) {
        let TokenQuestion { from, iface, to, seq, nonce, tagged, token } = question;
        out.done("token_asked");
        self.askers.note(ctx.now, token, &from);
        let known = ctx.sessions.token_of(tagged, token);
        if known.is_none() && ctx.sessions.has_stragglers() {
            // It may be whose session is still being taken up: no answer is better than a wrong one.
            return;
        }
        let notes = known.map(|token| {
            let sessions = ctx.sessions.of_token(token);
            sessions.iter().map(|s| SessionNote { session: s.id, epoch: s.epoch, last: s.last }).collect()
        });
        let grant = self.grants.give(ctx.now, &mut self.entropy);
        let load = Some(ctx.load_note(ctx.workload));
        let (sessions, keeps) = (notes.unwrap_or_default(), ctx.kept.keeps_tag(tagged, token));
        let body = PeerBody::TokenR { seq, nonce, grant, load, sessions, keeps };
        out.effect(Effect::Datagram { iface, to, bytes: ctx.seal_peer(body) });
    }

    fn on_answer(
        &mut self,
        ctx: &Ctx<'_>,
        host: &HostName,
        boot: BootId,
        mut reply: TokenReply,
        out: &mut Out<'_>,
    ) {
        // An absurd time of last connection must not win every comparison for years.
        let group_time = ctx.group_time();
        for note in &mut reply.sessions {
            if !note.last.is_plausible(group_time) {
                note.last = Last::default();
                out.refused("absurd_last");
            }
        }
        if !self.run(out, |directory, outbox| directory.on_answer(ctx.now, host, boot, reply, outbox)) {
            out.refused("unasked");
        }
    }
}
