//! Changes to an object, one at a time: each is made wholly or refused.

use crate::limits::{STACK_MAX, STEPS_MAX, VALUES_MAX};
use crate::names::{Key, Place, SeriesName, StepName};
use crate::object::{Composite, Object, Step};
use crate::pool::Pool;
use crate::series::Series;
use crate::value::Value;

/// One change to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Puts a value, in place of one that is there.
    Put {
        /// Into which pool.
        place: Place,
        /// Under which key.
        key: Key,
        /// What is put, at most [`VALUE_MAX`](crate::limits::VALUE_MAX) bytes.
        value: Value,
    },
    /// Removes a value.
    Remove {
        /// From which pool.
        place: Place,
        /// Under which key it is.
        key: Key,
    },
    /// Begins a composite step on top of the stack.
    Push(StepName),
    /// Ends the one on top: its values are gone, and the one below goes on where it was.
    Pop,
    /// Keeps the current state to come back to; what follows changes a copy of it.
    Mark(SeriesName),
    /// Goes to the state before.
    Back(SeriesName),
    /// Goes to the state after, from which one went back.
    Forward(SeriesName),
    /// Drops all states but the current one.
    Forget(SeriesName),
}

/// Why a change is refused. The object is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no composite step on the stack.
    #[error("no composite step is on the stack")]
    NoComposite,
    /// The stack is as deep as it may be.
    #[error("more than {STACK_MAX} composite steps")]
    TooDeep,
    /// The composite step has as many simple steps as it may have.
    #[error("more than {STEPS_MAX} simple steps")]
    TooManySteps,
    /// The object has as many values as it may have.
    #[error("more than {VALUES_MAX} values in all states together")]
    TooManyValues,
    /// There is no value under that key.
    #[error("there is no such key")]
    NoSuchKey,
    /// There is no state before or after.
    #[error("there is no such state")]
    NoSuchState,
}

impl Object {
    /// Makes one change.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn apply(&mut self, edit: Edit) -> Result<(), Refusal> {
        match edit {
            Edit::Put { place, key, value } => self.put(&place, key, value),
            Edit::Remove { place, key } => self.remove(&place, &key),
            Edit::Push(name) => {
                if self.composites.len() >= STACK_MAX {
                    return Err(Refusal::TooDeep);
                }
                self.composites.push(Composite { name, states: Series::default() });
                Ok(())
            }
            Edit::Pop => self.composites.pop().map(drop).ok_or(Refusal::NoComposite),
            Edit::Mark(series) => self.mark(series),
            Edit::Back(series) => self.walk(series, Series::back, Series::back),
            Edit::Forward(series) => self.walk(series, Series::forward, Series::forward),
            Edit::Forget(series) => self.on_series(series, Series::forget, Series::forget),
        }
    }

    fn put(&mut self, place: &Place, key: Key, value: Value) -> Result<(), Refusal> {
        if self.get(place, &key).is_none() && self.values() >= VALUES_MAX {
            return Err(Refusal::TooManyValues);
        }
        let pool = match place {
            Place::Global => &mut self.global,
            Place::Interactive => self.interactive.current_mut(),
            Place::Application => self.application.current_mut(),
            Place::Composite => &mut self.top()?.values,
            Place::Step(name) => {
                let simple = &mut self.top()?.simple;
                if simple.len() >= STEPS_MAX && !simple.contains_key(name) {
                    return Err(Refusal::TooManySteps);
                }
                simple.entry(name.clone()).or_default()
            }
        };
        pool.put(key, value);
        Ok(())
    }

    fn remove(&mut self, place: &Place, key: &Key) -> Result<(), Refusal> {
        let was_there = match place {
            Place::Global => self.global.remove(key),
            Place::Interactive => self.interactive.current_mut().remove(key),
            Place::Application => self.application.current_mut().remove(key),
            Place::Composite => self.top()?.values.remove(key),
            Place::Step(name) => {
                let simple = &mut self.top()?.simple;
                let pool = simple.get_mut(name).ok_or(Refusal::NoSuchKey)?;
                let was_there = pool.remove(key);
                // A step without values is none: how it came about must not be seen in the encoding.
                if pool.is_empty() {
                    simple.remove(name);
                }
                was_there
            }
        };
        if was_there { Ok(()) } else { Err(Refusal::NoSuchKey) }
    }

    fn top(&mut self) -> Result<&mut Step, Refusal> {
        self.composites.last_mut().map(|top| top.states.current_mut()).ok_or(Refusal::NoComposite)
    }

    fn on_series<T>(
        &mut self,
        series: SeriesName,
        of_pool: impl FnOnce(&mut Series<Pool>) -> T,
        of_step: impl FnOnce(&mut Series<Step>) -> T,
    ) -> Result<T, Refusal> {
        match series {
            SeriesName::Interactive => Ok(of_pool(&mut self.interactive)),
            SeriesName::Application => Ok(of_pool(&mut self.application)),
            SeriesName::Composite => {
                self.composites.last_mut().map(|top| of_step(&mut top.states)).ok_or(Refusal::NoComposite)
            }
        }
    }

    fn walk(
        &mut self,
        series: SeriesName,
        of_pool: fn(&mut Series<Pool>) -> bool,
        of_step: fn(&mut Series<Step>) -> bool,
    ) -> Result<(), Refusal> {
        if self.on_series(series, of_pool, of_step)? { Ok(()) } else { Err(Refusal::NoSuchState) }
    }

    /// Old states make room for a new one, since they are a convenience; nothing else does.
    fn mark(&mut self, series: SeriesName) -> Result<(), Refusal> {
        self.on_series(series, Series::mark, Series::mark)?;
        while self.values() > VALUES_MAX {
            if !self.on_series(series, Series::drop_first, Series::drop_first)? {
                break;
            }
        }
        Ok(())
    }
}
