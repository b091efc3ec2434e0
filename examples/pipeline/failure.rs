//! What stops a dataflow: set by whichever worker hears of it, seen by all.

use std::sync::{Arc, OnceLock};

use crate::problem::Problem;

/// The first problem of a dataflow, if it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<OnceLock<Problem>>);

impl Failure {
    /// Stops the dataflow, if there is a problem.
    pub(crate) fn note(&self, problem: Option<Problem>) {
        if let Some(problem) = problem {
            let _ = self.0.set(problem); // the first one stays
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.0.get().map_or(Ok(()), |problem| Err(problem.clone()))
    }
}
