//! The pure half of `timely-persist`: updates as the bytes of a part, and a shard's state with all that may become of it.
//!
//! A program uses `timely-persist`. Nothing here does I/O, waits, spawns, or knows a clock or randomness: what a command
//! decides follows from the state and the moment that it is given.

#![warn(unreachable_pub)]

pub mod part;
pub mod state;
