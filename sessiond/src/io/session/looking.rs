//! References of a restored object that the data store knows of: they are looked up a few at a time.

use std::collections::{BTreeMap, VecDeque};

use continuity::Restored;
use continuity::restore::Question;
use datastore::StoreError;

use super::asking::Outcome;

/// Questions under way at a time.
const AT_ONCE: usize = 16;

/// What is being looked up.
pub(super) struct Looking {
    restored: Restored,
    queue: VecDeque<Question>,
    under_way: usize,
    answers: BTreeMap<usize, Outcome>,
}

impl Looking {
    /// Looks up what the data store knows of; nothing, if that is nothing.
    pub(super) fn new(restored: Restored) -> Option<Self> {
        let queue = VecDeque::from(restored.questions());
        (!queue.is_empty()).then(|| Self { restored, queue, under_way: 0, answers: BTreeMap::new() })
    }

    /// What is to be asked now.
    pub(super) fn take_questions(&mut self) -> Vec<Question> {
        let room = AT_ONCE.saturating_sub(self.under_way).min(self.queue.len());
        self.under_way += room;
        self.queue.drain(..room).collect()
    }

    /// A question is answered. Returns what came of all references, after the last one. Of a data store that does not answer no
    /// more is asked.
    pub(super) fn answered(&mut self, number: usize, outcome: Outcome) -> Option<Restored> {
        self.under_way = self.under_way.saturating_sub(1);
        if let Err(error) = &outcome
            && is_away(error)
        {
            let rest = self.queue.drain(..);
            self.answers.extend(rest.map(|question| (question.number, Err(error.clone()))));
        }
        self.answers.insert(number, outcome);
        if self.under_way > 0 || !self.queue.is_empty() {
            return None;
        }
        self.restored.answered(&self.answers);
        Some(core::mem::take(&mut self.restored))
    }
}

/// Whether the other questions will fare no better. A refusal comes as an answer.
fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unreachable { .. } | StoreError::OutcomeUnknown { .. })
}

#[cfg(test)]
mod tests {
    use continuity::restore::Looked;
    use continuity::{Missing, Place, Reference};

    use super::*;

    fn referring(count: usize) -> Looking {
        let looked = |number: usize| Looked {
            depth: 0,
            place: Place::Global,
            key: format!("k{number}").parse().unwrap(),
            reference: Reference::Store(format!("v{number}").parse().unwrap()),
            what: (),
        };
        Looking::new(Restored { left: (0..count).map(looked).collect(), ..Restored::default() }).unwrap()
    }

    #[test]
    fn many_references_are_looked_up_a_few_at_a_time_and_all_of_them() {
        let (mut looking, mut asked) = (referring(40), VecDeque::from(referring(40).take_questions()));
        looking.take_questions();
        assert_eq!(asked.len(), AT_ONCE);
        let mut done = None;
        while let Some(question) = asked.pop_front() {
            assert!(done.is_none());
            done = looking.answered(question.number, Ok(datastore::Answer::Value(None)));
            asked.extend(looking.take_questions());
            assert!(asked.len() <= AT_ONCE);
        }
        assert_eq!(done.unwrap().missing.len(), 40);
    }

    #[test]
    fn of_a_store_that_is_away_no_more_is_asked() {
        let mut looking = referring(40);
        let asked = looking.take_questions();
        let away = || StoreError::Unreachable { at: "-".into(), why: "away".into() };
        let mut answers = asked.iter().map(|question| looking.answered(question.number, Err(away())));
        let restored = answers.by_ref().find_map(|done| done).unwrap();
        assert!(answers.next().is_none());
        assert_eq!(restored.missing.len(), 40);
        assert!(restored.missing.iter().all(|looked| looked.what == Missing::Unavailable));
    }
}
