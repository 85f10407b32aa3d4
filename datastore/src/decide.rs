//! What a write does to the keys it names: the rule all stores share.

use crate::error::{Refusal, StoreError};
use crate::guard::{Guard, Write};
use crate::key::Key;
use crate::message::{Answer, Change, Request};
use crate::once::{Deed, EffectId, Known, Memory, OUTCOME_MAX, Past, STEPS_MAX, memory_key};
use crate::value::Value;

/// The outcome of a write, before anything is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to answer once the changes are safe.
    pub answer: Answer,
    /// What to change, all of it or nothing; each key once.
    pub changes: Vec<Change>,
}

impl Decision {
    const fn only(answer: Answer) -> Self {
        Self { answer, changes: Vec::new() }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::only(Answer::Failed(refusal.into()))
    }
}

/// Decides a write. `newest` reads the newest value of a key. `None` for requests that write nothing.
///
/// # Errors
/// Whatever `newest` says.
pub fn decide<E>(
    request: &Request,
    mut newest: impl FnMut(&Key) -> Result<Option<Value>, E>,
) -> Result<Option<Decision>, E> {
    match request {
        Request::Guarded { guard, write } => {
            let is_admitted = guard.admits(newest(&guard.key)?.as_ref());
            let fenced = Decision::refused(Refusal::Fenced);
            if is_admitted { write_now(write, newest).map(Some) } else { Ok(Some(fenced)) }
        }
        Request::Once { guard: Some(guard), effect, deed } => once(guard, effect, deed, newest).map(Some),
        // Without a guard nobody knows whose effect it is.
        Request::Once { guard: None, .. } => Ok(Some(Decision::refused(Refusal::NotHere))),
        Request::Put { .. } | Request::Swap { .. } | Request::Delete { .. } => {
            let write = Write::try_from(request.clone()).ok();
            write.map(|write| write_now(&write, newest)).transpose()
        }
        Request::Get { .. }
        | Request::Scan { .. }
        | Request::Watch { .. }
        | Request::Unwatch { .. }
        | Request::Ping
        | Request::Status => Ok(None),
    }
}

fn write_now<E>(
    write: &Write,
    mut newest: impl FnMut(&Key) -> Result<Option<Value>, E>,
) -> Result<Decision, E> {
    let current = newest(write.key())?;
    let change = |key: &Key, value: Option<&Value>| Change { key: key.clone(), value: value.cloned() };
    let mut decision = match write {
        Write::Put { key, value } => {
            Decision { answer: Answer::Stored, changes: vec![change(key, Some(value))] }
        }
        Write::Delete { key } => Decision {
            answer: Answer::Deleted { existed: current.is_some() },
            changes: current.iter().map(|_| change(key, None)).collect(),
        },
        Write::Swap { key, expected, new } if expected.is(current.as_ref()) => {
            // Absent to absent is granted and changes nothing.
            let changes = current.is_some() || new.is_some();
            let change = changes.then(|| change(key, new.as_ref()));
            Decision { answer: Answer::Swapped, changes: change.into_iter().collect() }
        }
        Write::Swap { .. } => Decision::only(Answer::Lost { current }),
    };
    // What was done under a record goes with it.
    if let [Change { key, value: None }] = &*decision.changes
        && let Some(memory) = memory_key(key)
        && newest(&memory)?.is_some()
    {
        decision.changes.push(Change { key: memory, value: None });
    }
    Ok(decision)
}

fn once<E>(
    guard: &Guard,
    effect: &EffectId,
    deed: &Deed,
    mut newest: impl FnMut(&Key) -> Result<Option<Value>, E>,
) -> Result<Decision, E> {
    if !guard.admits(newest(&guard.key)?.as_ref()) {
        return Ok(Decision::refused(Refusal::Fenced));
    }
    let is_one = (1..=STEPS_MAX).contains(&effect.step) && effect.epoch <= (guard.generation, guard.counter);
    let memory = memory_key(&guard.key).filter(|_| is_one);
    let Some(key) = memory else { return Ok(Decision::refused(Refusal::NotHere)) };
    let Some(mut memory) = Memory::read(newest(&key)?.as_ref()) else {
        return Ok(Decision::refused(Refusal::NotHere));
    };
    let mut decision = match (memory.knows(effect), deed) {
        (Known::Forgotten, _) => return Ok(Decision::refused(Refusal::Superseded)),
        (Known::Past(Past::Begun), Deed::End(outcome)) | (Known::Nothing, Deed::End(outcome)) => {
            match outcome.as_bytes().len() {
                0..=OUTCOME_MAX => Decision::only(Answer::Ended),
                bytes => {
                    let error = StoreError::too_large("outcome", bytes, OUTCOME_MAX);
                    return Ok(Decision::only(Answer::Failed(error)));
                }
            }
        }
        (Known::Past(past), _) => return Ok(Decision::only(Answer::Already(past))),
        (Known::Nothing, Deed::Begin) => Decision::only(Answer::Begun),
        (Known::Nothing, Deed::Write(write)) => write_now(write, newest)?,
    };
    let past = match (&decision.answer, deed) {
        (Answer::Stored, _) => Past::Stored,
        (Answer::Swapped, _) => Past::Swapped,
        (Answer::Deleted { existed }, _) => Past::Deleted { existed: *existed },
        (Answer::Begun, _) => Past::Begun,
        (Answer::Ended, Deed::End(outcome)) => Past::Ended(outcome.clone()),
        // Nothing was done.
        _ => return Ok(decision),
    };
    memory.remember(effect, past);
    match memory.to_value() {
        Some(value) => decision.changes.push(Change { key, value: Some(value) }),
        None => {
            return Ok(Decision::only(Answer::Failed(StoreError::too_large(
                "memory of effects",
                usize::MAX,
                Value::LEN_MAX,
            ))));
        }
    }
    Ok(decision)
}

/// The key a write names.
#[must_use]
pub const fn written_key(request: &Request) -> Option<&Key> {
    match request {
        Request::Put { key, .. } | Request::Delete { key } | Request::Swap { key, .. } => Some(key),
        Request::Guarded { write, .. } | Request::Once { deed: Deed::Write(write), .. } => Some(write.key()),
        _ => None,
    }
}
