//! A stage of the run: how far it is, for people, and how long it took.
//!
//! A bar appears on standard error when a stage has lasted a second and standard error is a terminal. Otherwise nothing
//! is printed.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long a stage may take before a person wants to know.
const PATIENCE: Duration = Duration::from_secs(1);

/// A stage that is under way. Dropping it takes the bar away.
pub(crate) struct Stage {
    bar: ProgressBar,
    started: Instant,
    shown: bool,
}

impl Stage {
    /// A stage of `steps` steps, all still to be done.
    pub(crate) fn start(name: &'static str, steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        // The template is a constant; should it not parse, the plain bar will do.
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {human_pos}/{human_len} {eta}") {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        Self { bar, started: Instant::now(), shown: false }
    }

    /// Some more steps are done. Cheap enough to call for each.
    pub(crate) fn advance(&mut self, steps: u64) {
        self.bar.inc(steps);
        if !self.shown && self.started.elapsed() >= PATIENCE {
            self.shown = true;
            // Draws nothing where standard error is not a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// So many steps are done.
    pub(crate) fn reach(&mut self, steps: u64) {
        self.bar.set_position(steps);
        self.advance(0);
    }

    /// The stage is over: how long it took.
    pub(crate) fn finish(self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
