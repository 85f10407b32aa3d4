//! The object itself: its head, its pools and the stack of composite steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::ids::{ServiceName, SessionId};

use crate::head::Head;
use crate::names::{Key, Place, StepName};
use crate::pool::Pool;
use crate::series::Series;
use crate::value::Value;

/// What a service of a session has said of itself.
///
/// ```
/// use continuity::{Edit, Object, Value};
///
/// let mut object = Object::new(proto::SessionId(7), "shop".parse()?);
/// let key: continuity::Key = "units/a".parse()?;
/// let units = Value::raw(b"10").ok_or("too long")?;
/// object.apply(Edit::Put { place: "application".parse()?, key: key.clone(), value: units })?;
/// let copy = Object::decode(&object.encode()?)?;
/// assert_eq!(copy.get(&"application".parse()?, &key).and_then(Value::as_raw), Some(&b"10"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What is not in pools.
    pub head: Head,
    pub(crate) global: Pool,
    pub(crate) composites: Vec<Composite>,
    pub(crate) interactive: Series<Pool>,
    pub(crate) application: Series<Pool>,
    /// Fields of a later version by their number, unread.
    pub(crate) later: BTreeMap<u8, Arc<[u8]>>,
}

/// A composite step on the stack: an activity that others may have begun, and to which one returns from those above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composite {
    /// What its program calls it.
    pub name: StepName,
    pub(crate) states: Series<Step>,
}

/// One state of a composite step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub(crate) values: Pool,
    pub(crate) simple: BTreeMap<StepName, Pool>,
}

impl Composite {
    /// States 1 to N, of which one is current.
    #[must_use]
    pub const fn states(&self) -> &Series<Step> {
        &self.states
    }
}

impl Step {
    /// The values of the composite step itself.
    #[must_use]
    pub const fn values(&self) -> &Pool {
        &self.values
    }

    /// The values of its simple steps that have any.
    #[must_use]
    pub const fn simple(&self) -> &BTreeMap<StepName, Pool> {
        &self.simple
    }

    fn len(&self) -> usize {
        self.values.len() + self.simple.values().map(Pool::len).sum::<usize>()
    }
}

impl Object {
    /// An empty one.
    #[must_use]
    pub fn new(session: SessionId, service: ServiceName) -> Self {
        Self {
            head: Head::new(session, service),
            global: Pool::default(),
            composites: Vec::new(),
            interactive: Series::default(),
            application: Series::default(),
            later: BTreeMap::new(),
        }
    }

    /// The value of a key in a pool, by hash: of the current state, and of the composite step on top of the stack.
    #[must_use]
    pub fn get(&self, place: &Place, key: &Key) -> Option<&Value> {
        self.pool(place)?.get(key)
    }

    /// A pool, in its current state; `None` if no composite step is on the stack or the simple step has no values.
    #[must_use]
    pub fn pool(&self, place: &Place) -> Option<&Pool> {
        match place {
            Place::Global => Some(&self.global),
            Place::Composite => self.composites.last().map(|composite| &composite.states.current().values),
            Place::Step(name) => self.composites.last()?.states.current().simple.get(name),
            Place::Interactive => Some(self.interactive.current()),
            Place::Application => Some(self.application.current()),
        }
    }

    /// The stack of composite steps, from the bottom to the top.
    #[must_use]
    pub fn stack(&self) -> &[Composite] {
        &self.composites
    }

    /// The states of the interactive pool.
    #[must_use]
    pub const fn interactive(&self) -> &Series<Pool> {
        &self.interactive
    }

    /// The states of the application's pool.
    #[must_use]
    pub const fn application(&self) -> &Series<Pool> {
        &self.application
    }

    /// How many values it has, in all states of all pools.
    #[must_use]
    pub fn values(&self) -> usize {
        let pools = |series: &Series<Pool>| series.states().map(Pool::len).sum::<usize>();
        let steps = self.composites.iter().flat_map(|composite| composite.states.states());
        self.global.len()
            + steps.map(Step::len).sum::<usize>()
            + pools(&self.interactive)
            + pools(&self.application)
    }
}
