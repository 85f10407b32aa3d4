//! Whether this host can make sessions, announced and told to operators.

use std::collections::BTreeMap;

use super::driver::Effect;
use super::note::Note;
use super::{Clock, Host};
use crate::fitness::{Finding, News};

impl Host {
    pub(super) fn on_findings(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.fitness.find(finding);
        }
    }

    /// Announces what is lacking as soon as it is, or no longer is.
    pub(super) fn poll_fitness(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        self.fitness.on_timeout(clock.now);
        let news = self.fitness.take_news();
        if news.is_empty() {
            return;
        }
        self.announcer.set_lacks(clock.now, self.fitness.lacks());
        for News { of, why } in news {
            self.counters.done("fitness_changed");
            out.push(Effect::Note(Note::Lacks { of, why }));
        }
    }

    /// What is lacking, and why, as operators read it.
    pub(super) fn lacks_in_words(&self) -> BTreeMap<String, String> {
        self.fitness.why().iter().map(|(of, why)| (of.to_string(), why.clone())).collect()
    }
}
