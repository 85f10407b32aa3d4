//! Whether this host can make a session now.
//!
//! Takes in what was found of each thing that sessions need ([`Finding`]), and how attempts to make one went. Says what
//! is lacking and why ([`Fitness::lacks`]); a host that lacks something announces it and counts as drained. Every lack
//! clears by itself when the thing is found well again. Refuses to look at anything: whoever drives the host does.

use std::collections::BTreeMap;

use proto::Instant;
use proto::lack::{Lack, Lacks};
use proto::time::Duration;

/// After a session could not be made for want of processes the host is not trusted with another for so long; then one
/// may try.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sessions need, of which this was found.
    pub of: Lack,
    /// How it is.
    pub how: Condition,
}

/// How a thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As it should be.
    Well,
    /// Not; the text says why, and what to do about it.
    Wrong(String),
    /// So much of it is left. Below `few` it is lacking, until there is `enough` again: between the two it stays as it
    /// was, so that a host at the edge does not come and go.
    Left {
        /// What is left of it, in its own unit.
        left: u64,
        /// Less than this is too little.
        few: u64,
        /// From this on there is enough.
        enough: u64,
        /// What a person reads while it is lacking, with the remedy.
        text: String,
    },
}

/// A lack that has begun, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What this host lacks or has again.
    pub of: Lack,
    /// Why; none when it has ended.
    pub why: Option<String>,
}

/// What this host lacks.
#[derive(Debug, Default)]
pub struct Fitness {
    lacks: BTreeMap<Lack, String>,
    try_again_at: Option<Instant>,
    news: Vec<News>,
}

impl Fitness {
    /// Nothing is known to be lacking.
    #[must_use]
    pub const fn new() -> Self {
        Self { lacks: BTreeMap::new(), try_again_at: None, news: Vec::new() }
    }

    /// Takes in what was found.
    pub fn find(&mut self, Finding { of, how }: Finding) {
        match how {
            Condition::Well => self.clear(of),
            Condition::Wrong(why) => self.set(of, why),
            Condition::Left { left, few, text, .. } if left < few => self.set(of, text),
            Condition::Left { left, enough, .. } if left >= enough => self.clear(of),
            Condition::Left { .. } => {}
        }
    }

    /// A session could not be made, by no fault of its template or account.
    pub fn on_spawn_failed(&mut self, now: Instant, why: &str) {
        // Whoever has no spawner has said so already.
        if self.lacks.contains_key(&Lack::Spawner) {
            return;
        }
        self.set(Lack::Processes, why.to_owned());
        self.try_again_at = Some(now + TRY_AGAIN_AFTER);
    }

    /// A session process was made.
    pub fn on_spawned(&mut self) {
        self.try_again_at = None;
        self.clear(Lack::Processes);
    }

    /// Lets somebody try again when it is time.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.try_again_at.is_some_and(|at| at <= now) {
            self.on_spawned();
        }
    }

    /// When [`Fitness::on_timeout`] wants to be called.
    #[must_use]
    pub const fn poll_at(&self) -> Option<Instant> {
        self.try_again_at
    }

    /// What is lacking, and why.
    #[must_use]
    pub const fn why(&self) -> &BTreeMap<Lack, String> {
        &self.lacks
    }

    /// What is lacking.
    #[must_use]
    pub fn lacks(&self) -> Lacks {
        self.lacks.keys().copied().collect()
    }

    /// Whether it is certain that no session can be made, so that nobody need try.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.lacks.contains_key(&Lack::Spawner)
    }

    /// What has begun or ended since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        core::mem::take(&mut self.news)
    }

    fn set(&mut self, of: Lack, why: String) {
        if self.lacks.insert(of, why.clone()).is_none() {
            self.news.push(News { of, why: Some(why) });
        }
    }

    fn clear(&mut self, of: Lack) {
        if self.lacks.remove(&of).is_some() {
            self.news.push(News { of, why: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(of: Lack, how: Condition) -> Finding {
        Finding { of, how }
    }

    fn left(left: u64) -> Finding {
        found(Lack::Memory, Condition::Left { left, few: 10, enough: 20, text: "little memory".into() })
    }

    #[test]
    fn what_is_found_wrong_is_lacking_until_it_is_found_well_and_is_told_once_each_time() {
        let mut fitness = Fitness::new();
        for _ in 0..3 {
            fitness.find(found(Lack::Account, Condition::Wrong("no account ann".into())));
        }
        let begun = News { of: Lack::Account, why: Some("no account ann".into()) };
        assert_eq!((fitness.lacks().to_string().as_str(), fitness.take_news()), ("account", vec![begun]));
        fitness.find(found(Lack::Account, Condition::Well));
        assert_eq!(fitness.take_news(), [News { of: Lack::Account, why: None }]);
        assert!(fitness.lacks().is_empty());
    }

    #[test]
    fn what_is_used_up_is_lacking_until_there_is_enough_again() {
        let mut fitness = Fitness::new();
        let lacking = [15, 9, 10, 19, 20, 10, 9].map(|n| {
            fitness.find(left(n));
            !fitness.lacks().is_empty()
        });
        assert_eq!(lacking, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn a_host_that_could_not_make_a_process_is_tried_again_after_a_while_and_is_well_when_that_succeeds() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let mut fitness = Fitness::new();
        fitness.on_spawn_failed(at(0), "fork: try again");
        fitness.on_timeout(at(4));
        assert_eq!((fitness.lacks().to_string().as_str(), fitness.poll_at()), ("processes", Some(at(5))));
        fitness.on_timeout(at(5));
        assert!(fitness.lacks().is_empty() && fitness.poll_at().is_none());
        fitness.on_spawn_failed(at(6), "fork: try again");
        fitness.on_spawned();
        assert!(fitness.lacks().is_empty());
    }

    #[test]
    fn a_host_without_a_spawner_does_not_say_that_it_lacks_processes_too() {
        let mut fitness = Fitness::new();
        fitness.find(found(Lack::Spawner, Condition::Wrong("it is gone".into())));
        fitness.on_spawn_failed(Instant::ZERO, "the spawner is gone");
        assert_eq!(fitness.lacks().to_string(), "spawner");
    }
}
