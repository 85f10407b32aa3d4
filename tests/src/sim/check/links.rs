//! What an operator asks another host over a link has one answer, or the reason why it gets none, and in time; and a
//! link that nobody needs says nothing and is closed.

use std::collections::BTreeMap;

use groupmgr::links::{IDLE_MAX, Loss};
use proto::time::Duration;
use proto::{HostName, Instant};

use super::rule::{Check, Moment};
use crate::world::{Fate, Observation, QuestionId, secs};

/// Between hosts that are well a question is answered within this time, with what was lost before sent again.
const ANSWERED: Duration = secs(6);
/// Whatever becomes of the way, a question has an end: as long as the longest fault, and what was lost meanwhile.
const ENDED: Duration = secs(40);
/// A link is closed so long after it had something to do.
const CLOSED: Duration = IDLE_MAX.saturating_add(secs(1));

#[derive(Debug)]
struct Question {
    from: HostName,
    to: HostName,
    asked_at: Instant,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Links {
    open: BTreeMap<QuestionId, Question>,
    answered: u64,
    lost: u64,
    rested: u64,
}

impl Links {
    fn on_answered(
        &mut self,
        Moment { now, health }: Moment<'_>,
        question: QuestionId,
        loss: Option<Loss>,
    ) -> Result<(), String> {
        let Some(Question { from, to, .. }) = self.open.remove(&question) else {
            return Err(format!("{question:?} has a second answer"));
        };
        // A machine that lost its power told nobody: who speaks on a link from before then finds out.
        let are_well = [&from, &to].into_iter().all(|host| health.host(now, host, ANSWERED.max(CLOSED)));
        match loss {
            None => self.answered += 1,
            Some(Loss::Fault(fault)) => {
                return Err(format!("{from} or {to} breaks the rules of a link: {fault}"));
            }
            Some(Loss::Silence | Loss::Reset) if are_well => {
                return Err(format!("{from} loses its link to {to} with nobody's doing: {loss:?}"));
            }
            Some(_) => self.lost += 1,
        }
        Ok(())
    }
}

impl Check for Links {
    fn rule(&self) -> &'static str {
        "a question over a link ends once and in time"
    }

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        let Moment { now, health } = moment;
        match observation {
            Observation::AsksOver { question, from, to } => {
                let question_of = Question { from: from.clone(), to: to.clone(), asked_at: now };
                self.open.insert(*question, question_of);
            }
            Observation::Answered { question, loss } => return self.on_answered(moment, *question, *loss),
            // Who asked is gone, and so is the operator's connection to it.
            Observation::Host { host, fate: Fate::Dies } => self.open.retain(|_, open| open.from != *host),
            Observation::RestingLinkSpeaks { host } => {
                return Err(format!("{host} speaks on a link that nobody needs"));
            }
            Observation::LinkRests { host, time } if health.host(now, host, secs(2)) => {
                self.rested += 1;
                if *time > CLOSED {
                    return Err(format!("{host} keeps a link that nobody has needed for {time:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pass(&mut self, Moment { now, health }: Moment<'_>) -> Result<(), String> {
        for (question, Question { from, to, asked_at }) in &self.open {
            let time = now.since(*asked_at);
            let are_well = [from, to].into_iter().all(|host| health.host(now, host, ANSWERED));
            if time > ENDED || time > ANSWERED && are_well {
                return Err(format!("what {from} has asked {to} has no end after {time:?}: {question:?}"));
            }
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.answered
    }

    fn parts(&self) -> Vec<(&'static str, u64)> {
        vec![
            (self.rule(), self.answered),
            ("a question over a link that is lost has a reason", self.lost),
            ("a link that nobody needs is closed", self.rested),
        ]
    }
}
