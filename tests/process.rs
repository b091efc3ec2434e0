//! What a process can come to: no more threads, and another process with its memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods)] // real processes keep the machine's time

#[path = "process/child.rs"]
mod child;
#[path = "process/forked.rs"]
mod forked;
#[path = "process/tasks.rs"]
mod tasks;
#[path = "process/threads.rs"]
mod threads;
