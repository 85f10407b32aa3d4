//! Whether the data store answers, whether it takes writes, and which generation of it does.

mod state;

pub(super) use state::{Bearing, StoreState};

use datastore::Request;
use proto::Instant;
use proto::time::Duration;

use super::driver::Port;
use super::env::Env;
use super::note::Note;
use super::out::Out;
use super::port::StorePort;
use super::step::{ToAdmission, ToClaims, ToMembership, ToPresentations, ToRecords, ToStore};

/// How often a store that takes no writes is asked whether it does again.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// The machine that knows how the data store does.
#[derive(Debug)]
pub(super) struct StoreWatch {
    state: StoreState,
    /// When a store that takes no writes is asked again.
    ask_at: Option<Instant>,
    port: StorePort<()>,
}

impl StoreWatch {
    pub(super) fn new() -> Self {
        Self { state: StoreState::default(), ask_at: None, port: StorePort::new(Port::Store) }
    }

    pub(super) const fn state(&self) -> &StoreState {
        &self.state
    }

    /// Requests under way.
    pub(super) fn pending(&self) -> usize {
        self.port.len()
    }

    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.port.awaits(seq)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 2] {
        [("store health", self.ask_at), ("store health, unanswered", self.port.poll_at())]
    }

    pub(super) fn handle(&mut self, env: &Env<'_>, step: ToStore, out: &mut Out<'_>) {
        match step {
            ToStore::Link { up, store } => {
                if let Some(id) = store {
                    out.step(ToMembership::StoreIs(id));
                }
                self.set_up(up, out);
            }
            ToStore::Late => self.set_up(false, out),
            ToStore::Answered { in_time, bearing } => self.on_answered(env, in_time, bearing, out),
            ToStore::Stored { seq } => drop(self.port.arrived(seq)),
            ToStore::Due => {
                while self.port.overdue(env.now, out).is_some() {}
                if self.ask_at.is_some_and(|at| at <= env.now) {
                    self.ask_at = Some(env.now + HEALTH_EVERY);
                    if self.state.up {
                        // Too much is under way: it is asked a second later.
                        let _ = self.port.ask(env.now, (), Request::Status, out);
                    }
                }
            }
        }
    }

    fn set_up(&mut self, up: bool, out: &mut Out<'_>) {
        if up == self.state.up {
            return;
        }
        self.state.up = up;
        out.note(Note::Store { up });
        if up {
            out.step(ToClaims::StoreUp);
            out.step(ToRecords::StoreUp);
            out.step(ToAdmission::StoreUp);
            out.step(ToPresentations::StoreUp);
        }
    }

    /// An answer has come, or the news that there will be none.
    fn on_answered(&mut self, env: &Env<'_>, in_time: bool, bearing: Bearing, out: &mut Out<'_>) {
        let Bearing { generation, trouble, writes } = bearing;
        if generation.is_some() || trouble.is_some() {
            self.state.trouble = trouble;
        }
        if !in_time {
            return;
        }
        if let Some(generation) = generation {
            self.set_up(true, out);
            if generation > self.state.generation {
                self.state.generation = generation;
                self.state.restored_at = Some(env.now);
                out.step(ToClaims::Restored);
                out.step(ToRecords::Restored);
            }
        }
        match writes {
            Some(None) => (self.state.refuses, self.ask_at) = (None, None),
            Some(Some(why)) => {
                self.state.refuses = Some(why);
                self.ask_at = Some(env.now + HEALTH_EVERY);
            }
            None => {}
        }
    }
}
