//! Where a new session goes, and what the hosts tell each other for that: how busy each is now, and that a DTU is on its
//! way.

use proto::host_message::Load;
use proto::peer::{COMING_PER_MESSAGE_MAX, LoadNote, PeerBody};
use proto::{GrantId, HostName, Instant};

use super::super::driver::{ConnId, Effect};
use super::super::{Clock, Host};
use super::NewClaim;
use crate::directory::{Answer, Ask};
use crate::placement::{Arrivals, Candidate, Notices, Placement, Starts};
use crate::reach::Choice;

/// What placing new sessions needs to remember.
#[derive(Debug, Default)]
pub(in crate::host) struct Placing {
    placement: Placement,
    starts: Starts,
    /// DTUs that other hosts have sent here, until they arrive.
    sent_here: Arrivals<GrantId>,
    /// DTUs that are here and whose session is being claimed.
    being_made: Arrivals<ConnId>,
    notices: Notices,
}

impl Placing {
    /// The session of a DTU that is here will be made here.
    pub(super) fn expect_here(&mut self, now: Instant, conn: ConnId) {
        self.being_made.add(now, conn);
    }

    /// What a DTU brought a grant for has been decided about.
    pub(super) fn arrived(&mut self, grant: GrantId) {
        self.sent_here.remove(grant);
    }

    /// No session is made for it any more.
    pub(in crate::host) fn gave_up(&mut self, conn: ConnId) {
        self.being_made.remove(conn);
    }

    /// The session of a DTU has begun to start.
    pub(super) fn begun(&mut self, now: Instant, conn: ConnId) {
        self.being_made.remove(conn);
        self.starts.add(now);
    }

    /// A session that no DTU waits for has.
    pub(in crate::host) fn begun_by_order(&mut self, now: Instant) {
        self.starts.add(now);
    }

    fn expected_now(&mut self, now: Instant) -> usize {
        self.sent_here.count(now) + self.being_made.count(now)
    }

    /// DTUs that are expected, of both kinds.
    pub(in crate::host) fn expected(&self) -> [usize; 2] {
        [self.sent_here.len(), self.being_made.len()]
    }

    /// Notices to be said again.
    pub(in crate::host) fn notices(&self) -> usize {
        self.notices.len()
    }

    pub(in crate::host) fn poll_at(&self) -> Option<Instant> {
        self.notices.poll_at()
    }
}

impl Host {
    /// How busy this host is now: with the sessions that it is starting and the DTUs that are on their way to it.
    pub(in crate::host) fn load_now(&mut self, now: Instant) -> Load {
        let to_come = u32::try_from(self.placing.expected_now(now)).unwrap_or(u32::MAX);
        let starting = self.placing.starts.run_queue(now, to_come, self.config.identity.cpus);
        let sessions = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        Load {
            run_queue: self.run_queue.saturating_add(starting),
            sessions: sessions.saturating_add(to_come),
            mem_mib: self.announcer.load().mem_mib,
        }
    }

    /// The same for a host that has to place a session.
    pub(in crate::host) fn load_note(&mut self, now: Instant) -> LoadNote {
        let plain = Some(self.config.identity.plain);
        LoadNote { load: self.load_now(now), drain: self.takes_none(now), plain }
    }

    /// Whether a new session should go elsewhere.
    fn takes_none(&mut self, now: Instant) -> bool {
        let to_come = self.placing.expected_now(now);
        let max = self.config.sessions_max;
        self.announcer.drain() || (max > 0 && self.sessions.len() + to_come >= max)
    }

    /// Chooses among this host and those that answered.
    pub(super) fn place(&mut self, clock: Clock, conn: ConnId, claim: NewClaim, out: &mut Vec<Effect>) {
        let Some(flow) = self.conns.get(conn).and_then(|c| c.flow.as_ref()) else { return };
        let answers: Vec<Answer> = flow.found.as_ref().map(|f| f.answers.clone()).unwrap_or_default();
        let sure = answers.iter().filter(|a| a.reach.choice == Choice::First && flow.dtu.is_taken(a.load));
        let mut candidates: Vec<Candidate> = sure.filter_map(|answer| self.candidate(answer)).collect();
        let note = self.load_note(clock.now);
        let id = &self.config.identity;
        candidates.push(Candidate {
            host: id.host.clone(),
            own: true,
            load: note.load,
            as_of: clock.now,
            cpus: id.cpus,
            clock: id.clock,
            drain: note.drain,
        });
        let chosen = self.placing.placement.choose(clock.now, &candidates, &mut self.entropy);
        let target = chosen.and_then(|host| answers.into_iter().find(|a| a.reach.host == host));
        match target {
            Some(answer) => {
                self.tell_of_dtu(clock.now, &answer, out);
                self.redirect(clock, conn, &answer, None, out);
            }
            None => {
                self.placing.expect_here(clock.now, conn);
                self.create(clock, conn, claim, out);
            }
        }
    }

    /// A host that answered, unless it has another data store. One of an older version tells how busy it is in its
    /// beacons only.
    fn candidate(&self, answer: &Answer) -> Option<Candidate> {
        let row = self.topology.row(&answer.reach.host)?;
        let facts = row.facts();
        if facts.has_other_store(self.announcer.store_id()) {
            return None;
        }
        let (load, drain, as_of) = match answer.load {
            Some(note) => (note.load, note.drain, answer.asked),
            None => (facts.load, facts.drain, row.heard_at()),
        };
        let (host, cpus, clock) = (answer.reach.host.clone(), facts.cpus, facts.clock);
        Some(Candidate { host, own: false, load, as_of, cpus, clock, drain })
    }

    /// Tells a host that a DTU is on its way to it: whoever asks it meanwhile is answered with a load that holds the
    /// DTU's session.
    fn tell_of_dtu(&mut self, now: Instant, to: &Answer, out: &mut Vec<Effect>) {
        if to.load.is_some() {
            let ask =
                Ask { to: to.asked_at, bytes: self.seal_peer(PeerBody::Coming { grants: vec![to.grant] }) };
            out.push(Effect::Ask(ask));
            self.placing.notices.sent(now, to.reach.host.clone(), to.grant);
        }
    }

    /// Says it once more, to each host in as few datagrams as possible.
    pub(in crate::host) fn poll_placing(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let mut again: std::collections::BTreeMap<HostName, Vec<GrantId>> = std::collections::BTreeMap::new();
        for (host, grant) in self.placing.notices.due(now) {
            again.entry(host).or_default().push(grant);
        }
        for (host, grants) in again {
            let Some(row) = self.topology.row(&host).filter(|row| row.is_up()) else { continue };
            let to = row.ask_at(now);
            for grants in grants.chunks(COMING_PER_MESSAGE_MAX) {
                let bytes = self.seal_peer(PeerBody::Coming { grants: grants.to_vec() });
                out.push(Effect::Ask(Ask { to, bytes }));
            }
        }
    }

    /// Another host has sent DTUs here. Those that are here already, or never had a grant, are not counted.
    pub(in crate::host) fn on_coming(&mut self, now: Instant, grants: &[GrantId]) {
        for grant in grants {
            if self.grants.is_good(now, *grant) {
                self.placing.sent_here.add(now, *grant);
            } else {
                self.counters.refused("unknown_grant");
            }
        }
    }
}
