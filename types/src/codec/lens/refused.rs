//! Why a change is none that data survives.

use std::fmt;

/// Every change that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// Each of them: one at least.
    pub refused: Vec<Refused>,
}

/// A change that is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Where, such as `order.lines[].price`: `[]` are the values of a list, `.0` is the first component of a tuple, `::Paid` a
    /// variant, `(id 4)` a field that is retired. Empty for the type as a whole.
    pub path: String,
    /// What, and why not.
    pub reason: String,
}

/// How many are said in a message; all are in [`Incompatible::refused`].
const SAID_MAX: usize = 20;

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for refused in self.refused.iter().take(SAID_MAX) {
            write!(f, "{refused}; ")?;
        }
        if self.refused.len() > SAID_MAX {
            write!(f, "and {} more; ", self.refused.len() - SAID_MAX)?;
        }
        f.write_str("undo that, or write a new shard with rewrite_into")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the type" } else { &self.path };
        write!(f, "{path}: {}", self.reason)
    }
}

impl std::error::Error for Incompatible {}
