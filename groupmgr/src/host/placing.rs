//! Where a new session goes, and what the hosts tell each other for that: how busy each is now, and that a DTU is on its
//! way.

use std::collections::BTreeMap;

use proto::peer::{COMING_PER_MESSAGE_MAX, PeerBody};
use proto::{GrantId, HostName, Instant};

use super::driver::Effect;
use super::env::Local;
use super::out::Out;
use super::step::{PresentationId, ToPlacing, ToPresentations};
use super::workload::Workload;
use crate::directory::{Answer, Ask};
use crate::placement::{Candidate, Notices, Placement};
use crate::reach::{Choice, Dtu};
use proto::rng::SecretRng;

/// The machine that chooses the host of a new session.
#[derive(Debug)]
pub(super) struct Placing {
    workload: Workload,
    placement: Placement,
    notices: Notices,
    entropy: SecretRng,
}

impl Placing {
    pub(super) fn new(entropy: SecretRng) -> Self {
        Self {
            workload: Workload::default(),
            placement: Placement::new(),
            notices: Notices::default(),
            entropy,
        }
    }

    pub(super) const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// Notices to be said again.
    pub(super) fn notices(&self) -> usize {
        self.notices.len()
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 3] {
        [
            ("notice of a DTU", self.notices.poll_at()),
            ("arrival of a DTU", self.workload.sent_here.poll_at()),
            ("session of a DTU", self.workload.being_made.poll_at()),
        ]
    }

    pub(super) fn handle(&mut self, local: &Local<'_>, step: ToPlacing, out: &mut Out<'_>) {
        let Workload { starts, sent_here, being_made } = &mut self.workload;
        match step {
            ToPlacing::Place { id, dtu, answers } => self.place(local, id, dtu, answers, out),
            ToPlacing::Expect { conn } => being_made.add(local.now, conn),
            ToPlacing::GaveUp { conn } => being_made.remove(conn),
            ToPlacing::Begun { conn } => {
                if let Some(conn) = conn {
                    being_made.remove(conn);
                }
                starts.add(local.now);
            }
            ToPlacing::Coming(grants) => {
                grants.into_iter().for_each(|grant| sent_here.add(local.now, grant));
            }
            ToPlacing::Arrived(grant) => sent_here.remove(grant),
            ToPlacing::Due => {
                sent_here.expire(local.now);
                being_made.expire(local.now);
                self.tell_again(local, out);
            }
        }
    }

    /// Chooses among this host and those that answered.
    fn place(
        &mut self,
        local: &Local<'_>,
        id: PresentationId,
        dtu: Dtu,
        answers: Vec<Answer>,
        out: &mut Out<'_>,
    ) {
        let sure = answers.iter().filter(|a| a.reach.choice == Choice::First && dtu.is_taken(a.load));
        let mut candidates: Vec<Candidate> = sure.filter_map(|answer| candidate(local, answer)).collect();
        let note = local.load_note(&self.workload);
        let own = &local.config.identity;
        candidates.push(Candidate {
            host: own.host.clone(),
            own: true,
            load: note.load,
            as_of: local.now,
            cpus: own.cpus,
            clock: own.clock,
            drain: note.drain,
        });
        let chosen = self.placement.choose(local.now, &candidates, &mut self.entropy);
        let elsewhere = chosen.and_then(|host| answers.into_iter().find(|a| a.reach.host == host));
        match &elsewhere {
            Some(answer) => self.tell_of_dtu(local, answer, out),
            // Who is placed next in this moment finds it counted.
            None => self.workload.being_made.add(local.now, id.conn),
        }
        out.step(ToPresentations::Placed { id, elsewhere: elsewhere.map(Box::new) });
    }

    /// Tells a host that a DTU is on its way to it: whoever asks it meanwhile is answered with a load that holds the
    /// DTU's session.
    fn tell_of_dtu(&mut self, local: &Local<'_>, to: &Answer, out: &mut Out<'_>) {
        if to.load.is_some() {
            let bytes = local.seal_peer(PeerBody::Coming { grants: vec![to.grant] });
            out.effect(Effect::Ask(Ask { to: to.asked_at, bytes }));
            self.notices.sent(local.now, to.reach.host.clone(), to.grant);
        }
    }

    /// Says it once more, to each host in as few datagrams as possible.
    fn tell_again(&mut self, local: &Local<'_>, out: &mut Out<'_>) {
        let mut again: BTreeMap<HostName, Vec<GrantId>> = BTreeMap::new();
        for (host, grant) in self.notices.due(local.now) {
            again.entry(host).or_default().push(grant);
        }
        for (host, grants) in again {
            let Some(row) = local.members.row(&host).filter(|row| row.is_up()) else { continue };
            let to = row.ask_at(local.now);
            for grants in grants.chunks(COMING_PER_MESSAGE_MAX) {
                let bytes = local.seal_peer(PeerBody::Coming { grants: grants.to_vec() });
                out.effect(Effect::Ask(Ask { to, bytes }));
            }
        }
    }
}

/// A host that answered, unless it has another data store. One of an older version tells how busy it is in its
/// beacons only.
fn candidate(local: &Local<'_>, answer: &Answer) -> Option<Candidate> {
    let row = local.members.row(&answer.reach.host)?;
    let facts = row.facts();
    if facts.has_other_store(local.members.store_id()) {
        return None;
    }
    let (load, drain, as_of) = match answer.load {
        Some(note) => (note.load, note.drain, answer.asked),
        None => (facts.load, facts.drain, row.heard_at()),
    };
    let (host, cpus, clock) = (answer.reach.host.clone(), facts.cpus, facts.clock);
    Some(Candidate { host, own: false, load, as_of, cpus, clock, drain })
}
