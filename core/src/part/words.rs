//! Whether times and diffs can be stored: asked before anything is written.

use std::iter::once;

use timely_persist_types::codec::{Diff, EncodeError, Time, bounded};
use timely_persist_types::error::Error;

/// `Invalid` for a time that has no word.
#[inline]
pub(crate) fn check_time<T: Time>(time: &T) -> Result<(), Error> {
    time.check().map_err(|error| no_time(time, &error))
}

/// `Invalid` for a diff that has no word.
#[inline]
pub(super) fn check_diff<D: Diff>(diff: &D) -> Result<(), Error> {
    diff.check().map_err(|error| no_diff(diff, &error))
}

/// `Invalid` for a diff that has no word and is not several either that have.
#[inline]
pub(super) fn check_apart<D: Diff>(diff: &D) -> Result<(), Error> {
    diff.check().or_else(|_| D::apart(once(diff)).iter().try_for_each(D::check)).map_err(|error| no_diff(diff, &error))
}

#[cold]
fn no_time<T: Time>(time: &T, error: &EncodeError) -> Error {
    Error::invalid(format!("the time {} cannot be stored: {error}", bounded(format_args!("{time:?}"))))
}

#[cold]
fn no_diff<D: Diff>(diff: &D, error: &EncodeError) -> Error {
    Error::invalid(format!("the diff {} cannot be stored: {error}", bounded(format_args!("{diff:?}"))))
}
