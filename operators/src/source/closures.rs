//! The closures that a source may be given.

use crate::common::foreign::Code;

pub(crate) const FILTER: Code = Code("the source's `filter`");
pub(crate) const FILTER_ROWS: Code = Code("the source's `filter_rows`");
pub(crate) const MAP: Code = Code("the source's `map`");
pub(crate) const START_AFTER: Code = Code("the future that the source was to `start_after`");

/// Which closures a source was given: a worker can tell no more of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Closures {
    pub(crate) filter: bool,
    pub(crate) filter_rows: bool,
    pub(crate) map: bool,
    pub(crate) start_after: bool,
}
