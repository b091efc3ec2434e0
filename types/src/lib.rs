//! What every room of `timely-persist` names: ids, codecs, errors, limits, clocks, and the facts that are recorded.
//!
//! A program uses `timely-persist`, which has all of this again. Nothing here does I/O, waits or spawns.

#![warn(unreachable_pub)]

pub mod clock;
pub mod codec;
pub mod config;
pub mod error;
pub mod ids;
pub mod record;
