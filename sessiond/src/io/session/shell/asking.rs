//! The part of the loop that has to do with the data store: what programs ask of it, and what this process asks itself.

use super::Shell;
use crate::control::{Bytes, FromSession};
use crate::io::session::asking::{Asker, OWN, Outcome, unanswered};

impl Shell {
    /// Passes on what a program asks of the data store.
    pub(super) fn relay(&mut self, client: u32) {
        for request in self.data.read(client) {
            if !self.tell(FromSession::Data { client, request }) {
                return self.data.close(client);
            }
        }
    }

    /// Asks for what programs want to be done once, and for what is to be looked up. Returns whether there was anything.
    pub(super) fn ask_store(&mut self) -> bool {
        let asked = self.state.take_asked();
        let had_any = !asked.is_empty();
        for (asker, request) in asked {
            let (client, request) = self.asking.ask(asker, request);
            if !self.tell(FromSession::Data { client, request })
                && let Some(asker) = self.asking.give_up(client)
            {
                self.store_says(&asker, Err(unanswered("the host does not read")));
            }
        }
        had_any
    }

    /// A part of an answer of the data store.
    pub(super) fn data(&mut self, client: u32, part: &Bytes, is_last: bool) {
        if client < OWN {
            return self.data.answer(client, &part.0, is_last);
        }
        if let Some((asker, outcome)) = self.asking.answered(client, &part.0, is_last) {
            self.store_says(&asker, outcome);
        }
    }

    /// What was asked through an earlier daemon is not answered.
    pub(super) fn forget_data(&mut self) {
        self.data.forget();
        for asker in self.asking.forget() {
            self.store_says(&asker, Err(unanswered("the daemon has begun anew")));
        }
    }

    fn store_says(&mut self, asker: &Asker, outcome: Outcome) {
        self.state.answered(self.clock.now(), proto::io::wall_now(), asker, outcome);
    }
}
