//! What this host tells of its tokens, what it hears of the others', and whom that makes it ask.

use proto::digest::DigestPart;
use proto::peer::PeerBody;
use proto::{BootId, HostName, Instant, Token};

use super::admin::DigestStatus;
use super::driver::Effect;
use super::{Clock, Host};
use crate::digest::{ASK_ALL_MAX, Tags};
use crate::directory::{Ask, Target};
use crate::reach::Choice;
use crate::topology::Ignored;

/// Hosts that are asked only because a new session may be placed there: two that answer are enough to choose
/// between, and one of three may turn out to be mute.
const DRAWN: usize = 3;

/// Whom a lookup asks although no digest calls for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Besides {
    /// Everybody: there is no data store that would tell of a session made a moment ago.
    pub(super) everybody: bool,
    /// The host that the claim names.
    pub(super) named: Option<HostName>,
    /// Hosts to choose among for a new session.
    pub(super) places: bool,
}

impl Host {
    /// The token has sessions here.
    pub(super) fn note_token(&mut self, token: &Token) {
        let ring = &self.config.ring;
        if self.shows.note_token(ring, token)
            && let Some(tag) = ring.tag(ring.signing(), token)
        {
            self.digest.add(tag.into());
        }
    }

    /// Its last session here has ended.
    pub(super) fn forget_token(&mut self, token: &Token) {
        let ring = &self.config.ring;
        if self.shows.forget_token(ring, token)
            && let Some(tag) = ring.tag(ring.signing(), token)
        {
            self.digest.remove(tag.into());
        }
    }

    pub(super) fn on_digest(&mut self, now: Instant, host: &HostName, boot: BootId, part: &DigestPart) {
        if !self.digests.on_part(now, host, boot, part, &mut self.entropy) {
            self.counters.refused("digests_full");
        }
    }

    pub(super) fn on_digest_q(&mut self, to: BootId, parts: &[u16]) -> Result<(), Ignored> {
        if to != self.config.identity.boot {
            return Err(Ignored::Ended);
        }
        self.digest.on_question(parts);
        Ok(())
    }

    pub(super) fn poll_digests(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        if let Some(part) = self.digest.speak(clock.now) {
            let bytes = self.seal_peer(PeerBody::Digest(part));
            self.broadcast(&bytes, out);
        }
        if let Some(question) = self.digests.on_timeout(clock.now, &mut self.entropy)
            && let Some(row) = self.topology.row(&question.host).filter(|row| row.is_up())
        {
            let body = PeerBody::DigestQ { to: question.boot, parts: question.parts };
            out.push(Effect::Ask(Ask { to: row.ask_at(clock.now), bytes: self.seal_peer(body) }));
        }
    }

    /// Whom of `targets` to ask for the sessions of `token`: in a small group all of them. In a large one those
    /// that may have some by their digests, or have none that we know as it is now, and those there is another
    /// reason for.
    pub(super) fn worth_asking(
        &mut self,
        targets: Vec<Target>,
        token: &Token,
        besides: &Besides,
    ) -> Vec<Target> {
        if besides.everybody || targets.len() <= ASK_ALL_MAX {
            return targets;
        }
        let ring = &self.config.ring;
        let tag = |key: &proto::keys::GroupKey| Some((key.id(), ring.tag(key.id(), token)?.into()));
        let tags: Tags = ring.keys().iter().filter_map(tag).collect();
        let (mut asked, spared): (Vec<Target>, Vec<Target>) = targets.into_iter().partition(|target| {
            let reach = &target.reach;
            besides.named.as_ref() == Some(&reach.host)
                || self.digests.may_hold(&reach.host, reach.boot, &tags)
        });
        if besides.places {
            asked.extend(self.draw(spared));
        }
        asked
    }

    /// Hosts for a new session, at random: with the least loaded ones all who ask would ask, and then choose,
    /// the same.
    fn draw(&mut self, spared: Vec<Target>) -> Vec<Target> {
        let fits = |target: &Target| target.reach.choice == Choice::First && !self.directory.is_mute(target);
        let places: Vec<Target> = spared.into_iter().filter(fits).collect();
        let drains =
            |target: &Target| self.topology.row(&target.reach.host).is_some_and(|row| row.facts().drain);
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

    pub(super) fn digest_status(&self) -> DigestStatus {
        let (known, held) = self.digests.held();
        let version = self.digest.version().map(|version| version.to_string());
        DigestStatus { version, tokens: self.digest.tags(), known, held }
    }
}
