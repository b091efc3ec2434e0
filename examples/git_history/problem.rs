//! What stops the program: what happened, and what the user can do about it.
//!
//! Every failure that a user can cause or meet ends as one of these on standard error, with exit code 1.

use std::fmt;

/// A failure told to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    what: String,
    advice: String,
}

impl Problem {
    /// What happened, and what to do about it: two sentences without a final full stop.
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.advice)
    }
}

impl std::error::Error for Problem {}
