//! From a part's description to its rows: the object's bytes, verified and decoded, and the window through which a
//! reader sees them.
//!
//! Always: a row outside its batch's description is never shown, on any path; an object that is missing, foreign or
//! damaged is an error that names it. This layer knows no leases: who fetches makes sure that the object is kept.

mod merge_ahead;
mod merge_runs;
mod open_part;
mod part_reader;
mod run_reader;
mod source;
mod window;

pub(crate) use merge_ahead::MergeAhead;
pub(crate) use merge_runs::MergeRuns;
pub(crate) use open_part::OpenPart;
pub(crate) use run_reader::{BlockBytes, RunReader, Seen};
pub(crate) use source::Source;
pub(crate) use window::{Plan, Window};
