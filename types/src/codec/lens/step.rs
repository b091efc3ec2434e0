//! What is done to a column, and to those within it.
//!
//! Always: a place is looked at only if it is `present`: at others there are placeholders. Nulls are kept where they are,
//! so that what may not be there is found by the decoder behind.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, StructArray, UInt8Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, Field};

use super::super::DecodeError;
use super::super::shape::VALUES;
use super::leaf::Number;
use super::repeat::Repeated;
use super::target::{Target, typed};

/// What is done to a column.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Nothing.
    Keep,
    /// Numbers of another type.
    Number(Number),
    /// `Some` around each.
    Some(Box<Step>, Target),
    /// What is in each `Some`; `None` is an error.
    Unwrap(Box<Step>, String),
    /// An option, a tuple or a struct.
    Fields(Fields),
    /// The values of lists; whether they may be null, where that is known.
    List(Box<Step>, Option<bool>),
    /// An enum.
    Variants(Variants),
}

/// What is done to a struct.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// How many columns it has.
    pub(super) old: usize,
    pub(super) sources: Vec<Source>,
    pub(super) retired: Vec<Retired>,
    pub(super) target: Target,
}

/// Where a column of the new struct comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// From this column of the old one.
    Column(usize, Step),
    /// It is the same in all rows.
    Default(Repeated),
}

/// A field that is taken away: each row must hold its default.
#[derive(Clone, Debug)]
pub(super) struct Retired {
    pub(super) column: usize,
    pub(super) default: Repeated,
    pub(super) path: String,
}

/// What is done to an enum.
#[derive(Clone, Debug)]
pub(super) struct Variants {
    /// How many columns it has, the tag among them; `None` if it is a column of tags alone.
    pub(super) old: Option<usize>,
    /// How many variants there are, before and after.
    pub(super) known: [usize; 2],
    /// Where the data of each variant comes from that has any.
    pub(super) sources: Vec<VariantSource>,
    /// `None` if the new one is a column of tags alone.
    pub(super) target: Option<Target>,
    pub(super) path: String,
}

/// Where the data of a variant comes from.
#[derive(Clone, Debug)]
pub(super) enum VariantSource {
    /// From this column.
    Column(usize, Step),
    /// The variant of this tag had none: its fields have their defaults.
    Defaults(u8, Fields),
    /// There was no such variant.
    Absent(Repeated),
}

type Mapped = Result<ArrayRef, DecodeError>;

impl Step {
    /// Maps a column; where `present` is given, of its length, other places hold placeholders. The column comes with whether
    /// it may hold nulls, and so does what becomes of it: of a type that only its own codec knows, nothing else says so.
    pub(super) fn map(
        &self,
        (array, nullable): (&ArrayRef, bool),
        present: Option<&NullBuffer>,
    ) -> Result<(ArrayRef, bool), DecodeError> {
        let mapped = match self {
            Self::Keep => Ok(ArrayRef::clone(array)),
            Self::Number(number) => number.map(array, present),
            Self::Some(step, target) => {
                let some = step.map((array, nullable), present)?;
                target.build(vec![some], None, array.len())
            }
            Self::Unwrap(step, path) => {
                let options = typed::<StructArray>(array)?;
                let [some] = options.columns() else {
                    return Err(DecodeError(format!("{path}: an option of {} columns", options.num_columns())));
                };
                if options.nulls().is_some_and(|nulls| !covers(nulls, present)) {
                    return Err(DecodeError(format!("{path}: a value is missing, and may not be")));
                }
                return step.map((some, options.fields()[0].is_nullable()), present);
            }
            Self::Fields(fields) => {
                let array = typed::<StructArray>(array)?;
                let present = NullBuffer::union(present, array.nulls());
                fields.map(array, present.as_ref(), array.nulls().cloned())
            }
            Self::List(step, nullable) => list(step, *nullable, typed(array)?, present),
            Self::Variants(variants) => variants.map(array, present),
        };
        Ok((mapped?, nullable))
    }

    /// Where it finds rows without a place in the new shape.
    pub(super) fn partial(&self, paths: &mut Vec<String>) {
        match self {
            Self::Keep => {}
            Self::Number(number) if number.is_total() => {}
            Self::Number(number) => paths.push(number.path().to_owned()),
            Self::Some(step, _) | Self::List(step, _) => step.partial(paths),
            Self::Unwrap(step, path) => {
                paths.push(path.clone());
                step.partial(paths);
            }
            Self::Fields(fields) => fields.partial(paths),
            Self::Variants(variants) => variants.partial(paths),
        }
    }
}

/// Whether nothing is null that is present.
fn covers(nulls: &NullBuffer, present: Option<&NullBuffer>) -> bool {
    present.map_or(nulls.null_count() == 0, |present| present.contains(nulls))
}

impl Fields {
    /// Maps the columns of a struct, which is `present` there, to a struct that is null where `nulls` say.
    fn map(&self, array: &StructArray, present: Option<&NullBuffer>, nulls: Option<NullBuffer>) -> Mapped {
        if array.num_columns() != self.old {
            return Err(DecodeError(format!("a struct of {} columns instead of {}", array.num_columns(), self.old)));
        }
        if array.columns().iter().any(|column| column.len() != array.len()) {
            return Err(DecodeError("a struct of columns of different lengths".to_owned()));
        }
        for retired in &self.retired {
            retired.check(array.column(retired.column), present)?;
        }
        let column = |source: &Source| match source {
            Source::Column(index, step) => {
                step.map((array.column(*index), array.fields()[*index].is_nullable()), present)
            }
            Source::Default(default) => Ok((default.rows(array.len())?, default.is_nullable())),
        };
        let columns = self.sources.iter().map(column).collect::<Result<_, DecodeError>>()?;
        self.target.build(columns, nulls, array.len())
    }

    /// A struct of defaults, in so many rows.
    fn defaults(&self, nulls: Option<NullBuffer>, rows: usize) -> Mapped {
        let column = |source: &Source| match source {
            Source::Default(default) => Ok((default.rows(rows)?, default.is_nullable())),
            Source::Column(..) => Err(DecodeError("a variant without data has none to map".to_owned())),
        };
        let columns = self.sources.iter().map(column).collect::<Result<_, DecodeError>>()?;
        self.target.build(columns, nulls, rows)
    }

    fn partial(&self, paths: &mut Vec<String>) {
        paths.extend(self.retired.iter().map(|retired| retired.path.clone()));
        for source in &self.sources {
            if let Source::Column(_, step) = source {
                step.partial(paths);
            }
        }
    }
}

impl Retired {
    fn check(&self, column: &ArrayRef, present: Option<&NullBuffer>) -> Result<(), DecodeError> {
        let defaults = self.default.rows(column.len())?;
        let equal = |Range { start, end }: Range<usize>| {
            column.slice(start, end - start).to_data() == defaults.slice(start, end - start).to_data()
        };
        let equal = match present {
            None => equal(0..column.len()),
            Some(present) => present.valid_slices().all(|(start, end)| equal(start..end)),
        };
        if equal {
            return Ok(());
        }
        Err(DecodeError(format!(
            "{}: the field is retired, and a row holds something else than its default",
            self.path
        )))
    }
}

fn list(step: &Step, nullable: Option<bool>, array: &ListArray, present: Option<&NullBuffer>) -> Mapped {
    let mut paths = Vec::new();
    step.partial(&mut paths);
    // Only who refuses values asks which of them count.
    let present = (!paths.is_empty()).then(|| values_present(array, present));
    let old = matches!(array.data_type(), DataType::List(field) if field.is_nullable());
    let (values, old) = step.map((array.values(), old), present.as_ref())?;
    let field = Field::new(VALUES, values.data_type().clone(), nullable.unwrap_or(old));
    let array = ListArray::try_new(Arc::new(field), array.offsets().clone(), values, array.nulls().cloned());
    Ok(Arc::new(array.map_err(|error| DecodeError(error.to_string()))?))
}

/// Which values are in a list that is present.
fn values_present(array: &ListArray, present: Option<&NullBuffer>) -> NullBuffer {
    let mut counts = vec![false; array.values().len()];
    for (index, ends) in array.offsets().windows(2).enumerate() {
        let range = ends[0] as usize..ends[1] as usize; // they are never negative, and never fall
        if array.is_valid(index)
            && present.is_none_or(|present| present.is_valid(index))
            && let Some(counts) = counts.get_mut(range)
        {
            counts.fill(true);
        }
    }
    NullBuffer::from(counts)
}

impl Variants {
    fn map(&self, array: &ArrayRef, present: Option<&NullBuffer>) -> Mapped {
        let Some(old) = self.old else {
            return self.build(array, &[], present, None);
        };
        let array = typed::<StructArray>(array)?;
        let (tags, data) =
            array.columns().split_first().ok_or_else(|| DecodeError("an enum without tags".to_owned()))?;
        if array.num_columns() != old {
            return Err(DecodeError(format!("{}: {} columns instead of {old}", self.path, array.num_columns())));
        }
        let present = NullBuffer::union(present, array.nulls());
        self.build(tags, data, present.as_ref(), array.nulls().cloned())
    }

    fn build(
        &self,
        tags: &ArrayRef,
        data: &[ArrayRef],
        present: Option<&NullBuffer>,
        nulls: Option<NullBuffer>,
    ) -> Mapped {
        self.check(typed(tags)?, present)?;
        let Some(target) = &self.target else {
            return Ok(ArrayRef::clone(tags));
        };
        let column = |source: &VariantSource| match source {
            VariantSource::Column(index, step) => {
                let column = data.get(*index).ok_or_else(|| DecodeError("a variant without its data".to_owned()))?;
                step.map((column, true), present)
            }
            VariantSource::Defaults(tag, fields) => {
                let tags = typed::<UInt8Array>(tags)?;
                let is = BooleanBuffer::collect_bool(tags.len(), |index| tags.values()[index] == *tag);
                Ok((fields.defaults(Some(NullBuffer::new(is)), tags.len())?, true))
            }
            VariantSource::Absent(absent) => Ok((absent.rows(tags.len())?, true)),
        };
        let mut columns = vec![(ArrayRef::clone(tags), false)];
        for source in &self.sources {
            columns.push(column(source)?);
        }
        target.build(columns, nulls, tags.len())
    }

    /// No variant that there is not, before or after.
    fn check(&self, tags: &UInt8Array, present: Option<&NullBuffer>) -> Result<(), DecodeError> {
        let [old, new] = self.known;
        let known = old.min(new);
        let mut odd = tags.values().iter().enumerate().filter(|(_, tag)| usize::from(**tag) >= known);
        let odd = odd.find(|(index, _)| present.is_none_or(|present| present.is_valid(*index)));
        match odd {
            None => Ok(()),
            Some((_, tag)) if usize::from(*tag) < old => {
                Err(DecodeError(format!("{}: a value of variant {tag} (from 0), which is not known here", self.path)))
            }
            Some((_, tag)) => Err(DecodeError(format!("{}: variant {tag} (from 0) of {old}", self.path))),
        }
    }

    fn partial(&self, paths: &mut Vec<String>) {
        if self.known[0] > self.known[1] {
            paths.push(self.path.clone());
        }
        for source in &self.sources {
            if let VariantSource::Column(_, step) = source {
                step.partial(paths);
            }
        }
    }
}
