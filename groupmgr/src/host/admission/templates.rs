//! Templates as they were last fetched, for a storm and for when the data store is away.

use std::collections::BTreeMap;

use datastore::Value;
use proto::Instant;
use proto::time::Duration;
use sessiond::template::{Template, TemplateError};

use super::super::new_session::DEFAULT_TEMPLATE;

/// A template is not fetched again within this time.
const FRESH: Duration = Duration::from_secs(2);
/// How many templates are remembered.
pub(in crate::host) const TEMPLATES_MAX: usize = 256;

/// One that was fetched.
#[derive(Debug)]
struct Fetched {
    template: Template,
    /// What it asks for in vain.
    ignored: Vec<TemplateError>,
    at: Instant,
}

/// Those that were fetched.
#[derive(Debug, Default)]
pub(super) struct Templates(BTreeMap<String, Fetched>);

impl Templates {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One that was fetched, however long ago, else the default.
    pub(super) fn get(&self, name: &str) -> Template {
        self.0.get(name).map(|fetched| fetched.template.clone()).unwrap_or_default()
    }

    /// Whether one need not be fetched again.
    pub(super) fn is_fresh(&self, now: Instant, name: &str) -> bool {
        self.0.get(name).is_some_and(|fetched| now.since(fetched.at) < FRESH)
    }

    /// Takes in what the data store has under a name. Says what of it is ignored, if that is news.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be used; what to do about it.
    pub(super) fn put(
        &mut self,
        now: Instant,
        name: &str,
        found: Option<&Value>,
    ) -> Result<Vec<TemplateError>, String> {
        let (template, ignored) = match found {
            None if name == DEFAULT_TEMPLATE => (Template::default(), Vec::new()),
            None => return Err(format!("there is no template {name}: groupmgr template put {name} FILE")),
            Some(value) => Template::parse_stored(&String::from_utf8_lossy(value.as_bytes()))
                .map_err(|error| format!("template {name}: {error}"))?,
        };
        if self.0.len() >= TEMPLATES_MAX && !self.0.contains_key(name) {
            self.0.pop_first();
        }
        let fetched = Fetched { template, ignored: ignored.clone(), at: now };
        let before = self.0.insert(name.to_owned(), fetched);
        Ok(if before.is_some_and(|before| before.ignored == ignored) { Vec::new() } else { ignored })
    }
}
