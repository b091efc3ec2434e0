//! What a process of the attack tells the one that started it: lines on its standard output.
//!
//! `count WHAT` is a number more of something, `violation WHAT` the end of the run.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use timely_persist::{Error, ErrorKind};

/// Something happened once more.
pub fn count(what: &str) {
    line(&format!("count {what}"));
}

/// Whether this process has told a violation.
static VIOLATED: AtomicBool = AtomicBool::new(false);

pub fn is_violated() -> bool {
    VIOLATED.load(Ordering::Relaxed)
}

/// A promise of the library was broken.
pub fn violation(what: &str) {
    VIOLATED.store(true, Ordering::Relaxed);
    line(&format!("violation {}", what.replace('\n', " / ")));
}

/// Counts an error that the attack can bring about; any other is a violation.
pub fn judge(error: &Error, doing: &str) {
    match error.kind() {
        ErrorKind::Unavailable => count("unavailable"),
        ErrorKind::LeaseExpired { .. } => count("lease expired"),
        ErrorKind::Since { .. } => count("too early"),
        _ => violation(&format!("{doing}: {error:?}")),
    }
}

/// The reader may be gone, as this process soon will be.
fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
}
