//! What `doctor` looked at: one row per thing, with a verdict and a remedy.

use std::fmt::Display;

use serde::Serialize;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rating {
    Ok,
    Warn,
    Fail,
}

impl Rating {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) verdict: Rating,
    pub(super) what: &'static str,
    pub(super) found: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) remedy: String,
}

/// All that was looked at.
#[derive(Debug, Default)]
pub(super) struct Checks(pub(super) Vec<Check>);

impl Checks {
    pub(super) fn ok(&mut self, what: &'static str, found: impl Into<String>) {
        self.0.push(Check { verdict: Rating::Ok, what, found: found.into(), remedy: String::new() });
    }

    pub(super) fn warn(&mut self, what: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Check { verdict: Rating::Warn, what, found: found.into(), remedy: remedy.into() });
    }

    pub(super) fn fail(&mut self, what: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Check { verdict: Rating::Fail, what, found: found.into(), remedy: remedy.into() });
    }

    /// A failure whose error text names its remedy.
    pub(super) fn error(&mut self, what: &'static str, error: &dyn Display) {
        self.fail(what, error.to_string(), "");
    }
}
