//! Why bytes are no entry or state.

use timely_persist_types::error::{Error, ErrorKind};

pub(super) fn missing() -> Error {
    Error::corrupt("a field that must be there is missing")
}

/// Something that a later version of the library wrote.
pub(super) fn newer(what: &str) -> Error {
    Error::new(ErrorKind::Newer, format!("{what} is unknown"))
}
