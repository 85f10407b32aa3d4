//! Where a machine puts what follows from a step: effects for the driver, steps for other machines, counts, log
//! entries. It is write-only, and belongs to one step.

use std::collections::VecDeque;

use super::admin::Reply;
use super::counters::Counters;
use super::driver::{AdminReq, Effect};
use super::edges;
use super::note::Note;
use super::step::{Machine, Step};

/// The way out of a machine.
#[derive(Debug)]
pub(super) struct Out<'a> {
    /// Whose step it is.
    pub(super) from: Machine,
    pub(super) queue: &'a mut VecDeque<Step>,
    pub(super) effects: &'a mut Vec<Effect>,
    pub(super) counters: &'a mut Counters,
}

impl Out<'_> {
    /// Queues a step of another machine, behind all that are queued.
    pub(super) fn step(&mut self, step: impl Into<Step>) {
        let step = step.into();
        debug_assert!(
            edges::is_one(self.from, step.receiver()),
            "{:?} told {:?} something, and edges.rs does not say so: {step:?}",
            self.from,
            step.receiver()
        );
        self.counters.told(self.from, step.receiver());
        self.queue.push_back(step);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }

    pub(super) fn answer(&mut self, req: AdminReq, reply: Reply) {
        self.effects.push(Effect::Answer { req, reply: Box::new(reply) });
    }

    /// Counts something done.
    pub(super) fn done(&mut self, kind: &'static str) {
        self.counters.done(kind);
    }

    /// Counts something dropped or refused.
    pub(super) fn refused(&mut self, reason: &'static str) {
        self.counters.refused(reason);
    }
}
