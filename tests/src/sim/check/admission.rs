//! Nobody is attached who has not proved whose the token is: by presenting it, and by its secret if it has one.

use std::collections::{BTreeMap, BTreeSet};

use proto::{Instant, Token};

use super::rule::{Check, Moment};
use crate::world::{DeskId, Observation};

/// A card that was taken out may still be granted what was asked while it was in.
const LATE: proto::time::Duration = proto::time::Duration::from_secs(15);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Admission {
    /// Tokens that need a secret, and those that are disabled.
    keyed: BTreeSet<String>,
    disabled: BTreeSet<String>,
    /// Which genuine cards a desk has or had, and until when.
    genuine: BTreeMap<DeskId, Vec<(Token, Option<Instant>)>>,
    /// What was presented on each connection: a grant may cross the next presentation.
    presented: BTreeMap<u64, Vec<String>>,
    evaluated: u64,
    keyed_granted: u64,
    disabled_presented: u64,
}

impl Admission {
    fn take_out(&mut self, now: Instant, desk: DeskId) -> &mut Vec<(Token, Option<Instant>)> {
        let cards = self.genuine.entry(desk).or_default();
        for (_, until) in cards.iter_mut().filter(|(_, until)| until.is_none()) {
            *until = Some(now + LATE);
        }
        cards.retain(|(_, until)| until.is_none_or(|until| until >= now));
        cards
    }

    fn judge(&mut self, now: Instant, desk: DeskId, conn: u64, token: &str) -> Result<(), String> {
        self.evaluated += 1;
        let presented = self.presented.get(&conn).map(Vec::as_slice).unwrap_or_default();
        if !presented.iter().any(|said| said == token) {
            return Err(format!("{desk:?} is granted {token} and presented {presented:?}"));
        }
        if self.disabled.contains(token) {
            return Err(format!("{desk:?} is granted {token}, which is disabled"));
        }
        let cards = self.genuine.get(&desk).map(Vec::as_slice).unwrap_or_default();
        let has = |(card, until): &(Token, Option<Instant>)| {
            card.as_str() == token && until.is_none_or(|until| until >= now)
        };
        if self.keyed.contains(token) {
            self.keyed_granted += 1;
            if !cards.iter().any(has) {
                return Err(format!("{desk:?} is granted {token} without its secret"));
            }
        }
        Ok(())
    }
}

impl Check for Admission {
    fn rule(&self) -> &'static str {
        "nobody is attached without authentication or a ticket"
    }

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Registered { token, disabled } => {
                let tokens = if *disabled { &mut self.disabled } else { &mut self.keyed };
                tokens.insert(token.to_string());
            }
            Observation::Card { desk, token, genuine } => {
                let cards = self.take_out(moment.now, *desk);
                cards.extend(token.iter().filter(|_| *genuine).map(|token| (token.clone(), None)));
            }
            Observation::Presents { conn, token, .. } => {
                self.disabled_presented += u64::from(self.disabled.contains(token));
                self.presented.entry(*conn).or_default().push(token.clone());
            }
            Observation::Grants { desk, conn, token, .. } => {
                return self.judge(moment.now, *desk, *conn, token);
            }
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }

    fn parts(&self) -> Vec<(&'static str, u64)> {
        vec![
            (self.rule(), self.evaluated),
            ("nobody is attached to a keyed card without its secret", self.keyed_granted),
            ("nobody is attached to a disabled card", self.disabled_presented),
        ]
    }
}
