//! Columns of one shape as columns of another: how a type changes while its data stays.
//!
//! **A change is safe iff its map of rows is injective and strictly monotone**, in the order by which parts are sorted. Then
//! what was sorted and consolidated is so after it, and nobody but the decoder needs to know that there was a change:
//!
//! | change | the map | why it is safe |
//! | --- | --- | --- |
//! | a new field anywhere, of a struct or a variant, with a default | puts in a constant | a constant decides no order |
//! | `u8` → `u16` → … → `u128`, `i8` → … → `i128`, an unsigned integer to a wider signed one, `f32` → `f64` | the same number | numbers are in the order of numbers |
//! | `T` → `Option<T>` | `Some` | it keeps order, and nothing was `None` |
//! | another name for a field, a variant or a type | the same value | what it is, its id says |
//! | a new variant at the end | the same value | it is behind the others |
//! | a field retired, with the shape it had | takes it away, where it holds its default | a constant decides no order; **another value is an error** |
//!
//! A retired field makes a lens *partial* ([`Lens::partial`]): whoever lets a shard change so must know, or find out by reading,
//! that rows hold the default there. All of it holds within options, tuples, lists, fields and variants. Everything else is
//! refused: a field or variant taken away, moved or put between, a narrower type, `Option<T>` → `T`, another kind of type,
//! a default given, changed or taken away after the field, an id used again.
//!
//! `Option<T>` → `Option<Option<T>>` is refused although it could be made safe: nothing says whether `None` became `None`
//! or `Some(None)`.
//!
//! Always: what no lens changes is shared, not copied; values at places that an outer `None` hides are placeholders, are
//! never looked at, and stay something that a decoder takes; a foreign array is an error, never a panic.

mod judge;
mod leaf;
mod refused;
mod repeat;
mod step;
mod target;

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::{DecodeError, Shape};
use judge::Judge;
use step::Step;

pub use refused::{Incompatible, Refused};

/// Maps columns of one shape to columns of another. Cheap to clone; meant to be made once and used for every block.
///
/// ```
/// use timely_persist::codec::{Builder, Codec, Column, Lens};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// type Old = u32;
/// type New = Option<i64>;
/// let lens = Lens::between(&Old::shape(), &New::shape())?;
/// let mut builder = <Old as Codec>::Builder::default();
/// builder.push(7);
/// let column = lens.map(&builder.finish()?)?;
/// let column = <New as Codec>::Column::try_new(&column, None)?;
/// assert_eq!(column.get(0), Some(7));
///
/// let refused = Lens::between(&i64::shape(), &u32::shape()).unwrap_err().refused;
/// assert_eq!(refused[0].to_string(), "the type: i64 cannot become u32: narrowing loses values");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lens {
    step: Step,
    /// The Arrow type of what it maps, where that is known.
    source: Option<DataType>,
}

impl Lens {
    /// The lens for a safe change, or every reason why it is none. Columns that it maps are in the same order as before, and
    /// no two rows become equal.
    pub fn between(old: &Shape, new: &Shape) -> Result<Self, Incompatible> {
        Self::judged(Judge::strict(), old, new)
    }

    /// The lens for a reader of an older shape: as [`Lens::between`], and it also maps back what `between` allows. It leaves
    /// out fields that `new` does not know, so rows may become equal and need not be in order. A number, a missing value or a
    /// variant that `new` cannot hold is an error of [`Lens::map`].
    pub fn projecting(old: &Shape, new: &Shape) -> Result<Self, Incompatible> {
        Self::judged(Judge::projecting(), old, new)
    }

    fn judged(mut judge: Judge, old: &Shape, new: &Shape) -> Result<Self, Incompatible> {
        let step = judge.judge(old, new)?;
        Ok(Self { step, source: old.data_type() })
    }

    /// Whether it changes nothing, and costs nothing.
    pub fn is_identity(&self) -> bool {
        matches!(self.step, Step::Keep)
    }

    /// The paths at which a row of the old shape can be an error: what holds something else than the default of a retired
    /// field, or, where the lens projects, than the new shape can hold. Empty if every row has a place.
    pub fn partial(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.step.partial(&mut paths);
        paths
    }

    /// Maps a column. An error if it is no column of the old shape, or holds a row that has no place in the new one.
    ///
    /// It allocates for what is converted, for an added default only if the column is longer than all before.
    pub fn map(&self, column: &ArrayRef) -> Result<ArrayRef, DecodeError> {
        if self.is_identity() {
            return Ok(ArrayRef::clone(column));
        }
        if let Some(source) = self.source.as_ref().filter(|source| *source != column.data_type()) {
            return Err(DecodeError(format!("a column of {} where {source} was expected", column.data_type())));
        }
        self.step.map((column, false), None).map(|(mapped, _)| mapped)
    }
}
