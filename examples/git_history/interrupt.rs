//! The user presses Ctrl-C, or the system asks the program to end.
//!
//! The signal is noted, and whoever does something long looks for it between two steps. What goes on for longer than
//! [`PATIENCE`] all the same, a request to the disk say, is ended with the program: a kill at any moment loses nothing
//! that was appended.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::problem::Problem;

/// How long the program may take to end by itself.
const PATIENCE: Duration = Duration::from_millis(700);

/// What a program ends with that was interrupted before it was done, as shells say it of `SIGINT`.
const INTERRUPTED: u8 = 130;

/// Whether the user wants to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    heard: Arc<AtomicBool>,
    /// What the program ends with then.
    code: u8,
}

impl Interrupt {
    /// Not yet. `follows` says that the program stays until the user ends it, which then is no failure.
    pub(crate) fn none(follows: bool) -> Self {
        Self { heard: Arc::default(), code: if follows { 0 } else { INTERRUPTED } }
    }

    /// Listens from here on, on this runtime.
    #[allow(clippy::disallowed_methods)] // a program, which the user wants to end
    pub(crate) fn listen(&self, runtime: &Runtime) {
        let interrupt = self.clone();
        runtime.spawn(async move {
            interrupted().await;
            interrupt.heard.store(true, Ordering::Release);
            tokio::time::sleep(PATIENCE).await;
            std::process::exit(interrupt.code.into());
        });
    }

    /// Whether the user wants to end.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// Stops what is being done if the user wants to end.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if !self.is_heard() {
            return Ok(());
        }
        Err(Problem::new("Interrupted", "What was appended is kept: run again, and it goes on from there"))
    }

    /// What the program ends with if that is why it ends.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

async fn interrupted() {
    let pressed = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // There is no such signal here: the system ends the program by itself.
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            () = pressed => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    pressed.await;
}
