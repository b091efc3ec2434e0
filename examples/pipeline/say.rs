//! What the user reads.

use std::fmt::Display;
use std::io::{self, Write};

/// What a process ends with because nobody reads what it prints any more (`pipeline | head`), as shells say it of `SIGPIPE`.
pub(crate) const NOBODY_READS: i32 = 141;

/// Prints a line to standard output. If nobody reads it any more, the process ends, and with it those that it has started.
pub(crate) fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(NOBODY_READS),
        Err(error) => {
            complain(format_args!("cannot write to standard output: {error}"));
            std::process::exit(1)
        }
    }
}

/// Says what went wrong.
pub(crate) fn complain(problem: impl Display) {
    let _ = writeln!(io::stderr(), "error: {problem}"); // nobody is left to tell if this fails too
}
