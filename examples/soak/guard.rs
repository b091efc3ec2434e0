//! A process that cleans up when `run` dies without doing so: it ends the servers and removes their directories.
//!
//! Its input says what there is: `process ID`, `postgres DIRECTORY`, `remove DIRECTORY`; `done` at last, if all was
//! cleaned up. It stands in a group of its own, so what a terminal ends does not end it.

use std::io::BufRead;
use std::process::ExitCode;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::forget_the_dead;

pub fn guard() -> ExitCode {
    let lines: Vec<String> = std::io::stdin().lock().lines().map_while(Result::ok).collect();
    if lines.last().is_some_and(|line| line == "done") {
        return ExitCode::SUCCESS;
    }
    for line in &lines {
        match line.split_once(' ') {
            Some(("process", id)) => end(id.parse().ok(), Signal::KILL),
            Some(("postgres", directory)) => {
                let file = std::fs::read_to_string(format!("{directory}/data/postmaster.pid"));
                // Its first line is the server's; QUIT ends it and all that belongs to it at once.
                end(file.ok().and_then(|file| file.lines().next()?.parse().ok()), Signal::QUIT);
            }
            _ => {}
        }
    }
    forget_the_dead();
    for directory in lines.iter().filter_map(|line| line.strip_prefix("remove ")) {
        let _ = std::fs::remove_dir_all(directory); // it may be gone already
    }
    ExitCode::SUCCESS
}

fn end(id: Option<i32>, signal: Signal) {
    if let Some(process) = id.and_then(Pid::from_raw) {
        let _ = kill_process(process, signal); // it may have ended already
    }
}
