//! Telling a client's recorder what happened, and how long it took.
//!
//! Always: where nobody records, nothing is computed, allocated or measured for it; and no recorder stops what it is told of.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use timely_persist_types::record::Recorder;

use super::Life;
use super::supervisor::panic_text;

impl Life {
    /// Whether somebody records: what only a fact needs is not computed otherwise.
    pub fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// Tells a fact, if somebody records.
    pub fn tell(&self, tell: impl FnOnce(&dyn Recorder)) {
        let Some(recorder) = self.recorder.as_deref() else { return };
        let told = catch_unwind(AssertUnwindSafe(|| tell(recorder)));
        if let Err(panic) = told
            && !self.recorder_panicked.swap(true, Ordering::Relaxed)
        {
            let panic = panic_text(&*panic);
            tracing::error!(panic, "the recorder of a client panicked, which is not said again: correct it");
        }
    }

    /// Measures from now on, if somebody records.
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch(self.is_recorded().then(Instant::now))
    }
}

/// Since when something goes on.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Stopwatch(Option<Instant>);

impl Stopwatch {
    /// How long that is; zero where nobody records.
    pub fn elapsed(self) -> Duration {
        self.0.map_or(Duration::ZERO, |begun| begun.elapsed())
    }
}
