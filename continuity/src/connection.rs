//! One program on a state socket: what it has said that was not read yet, and what it is to be answered.

use std::collections::VecDeque;

use crate::effects::Ticket;
use crate::names::Stamp;
use crate::stream::Stream;

/// Answers that a program may wait for. Its next request is read when there are fewer.
pub const ANSWERS_MAX: usize = 64;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// Each with the version that must be safe before it is said.
    answers: VecDeque<(Stamp, Vec<u8>)>,
    pub(crate) is_watching: bool,
    /// Its operation was refused or given up. What it believes to be part of it is refused until it has heard of that:
    /// a program may send all of an operation before it reads an answer.
    pub(crate) has_lost: bool,
    /// It is read no further until this is answered.
    pub(crate) waits: Option<Ticket>,
}

impl Connection {
    /// Whether more of it is to be read now.
    pub(crate) fn reads(&self) -> bool {
        self.answers.len() < ANSWERS_MAX && self.waits.is_none()
    }

    /// Answers it, when the version `after` is safe.
    pub(crate) fn answer(&mut self, after: Stamp, bytes: Vec<u8>) {
        self.answers.push_back((after, bytes));
    }

    /// What can be said when versions up to `safe` are safe, in the order in which it was asked.
    pub(crate) fn take_safe(&mut self, safe: Stamp) -> impl Iterator<Item = Vec<u8>> {
        let count = self.answers.iter().take_while(|(stamp, _)| *stamp <= safe).count();
        self.answers.drain(..count).map(|(_, bytes)| bytes)
    }
}
