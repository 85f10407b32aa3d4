//! Templates as they were last fetched, for a storm and for when the data store is away.

use std::collections::BTreeMap;

use datastore::Value;
use proto::Instant;
use proto::time::Duration;
use sessiond::template::Template;

use super::super::new_session::DEFAULT_TEMPLATE;

/// A template is not fetched again within this time.
const FRESH: Duration = Duration::from_secs(2);
/// Templates remembered.
pub(in crate::host) const TEMPLATES_MAX: usize = 256;

/// Those that were fetched.
#[derive(Debug, Default)]
pub(super) struct Templates(BTreeMap<String, (Template, Instant)>);

impl Templates {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One that was fetched, however long ago, else the default.
    pub(super) fn get(&self, name: &str) -> Template {
        self.0.get(name).map(|(template, _)| template.clone()).unwrap_or_default()
    }

    /// Whether one need not be fetched again.
    pub(super) fn is_fresh(&self, now: Instant, name: &str) -> bool {
        self.0.get(name).is_some_and(|(_, at)| now.since(*at) < FRESH)
    }

    /// Takes in what the data store has under a name.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be used; what to do about it.
    pub(super) fn put(&mut self, now: Instant, name: &str, found: Option<&Value>) -> Result<(), String> {
        let template = match found {
            None if name == DEFAULT_TEMPLATE => Template::default(),
            None => return Err(format!("there is no template {name}: groupmgr template put {name} FILE")),
            Some(value) => Template::parse(&String::from_utf8_lossy(value.as_bytes()))
                .map_err(|error| format!("template {name}: {error}"))?,
        };
        if self.0.len() >= TEMPLATES_MAX && !self.0.contains_key(name) {
            self.0.pop_first();
        }
        self.0.insert(name.to_owned(), (template, now));
        Ok(())
    }
}
