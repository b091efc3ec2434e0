//! Statistics of the record batches of a part, as they are written.
//!
//! Always: works on Arrow's arrays alone, so every codec has statistics; memory is bounded by the number of columns,
//! because long values are shortened at once.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};

use super::column::{ColumnStats, PartStats};
use crate::part::value::{self, StatValue};

/// The statistics so far.
#[derive(Debug)]
pub struct StatsCollector {
    leaves: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    path: String,
    null_count: u64,
    min: Option<StatValue>,
    max: Max,
}

#[derive(Debug)]
enum Max {
    /// No value yet.
    None,
    Known(StatValue),
    /// A value so large that no short bound is above it.
    Unbounded,
}

impl StatsCollector {
    /// None yet, of columns of this schema.
    pub fn new(schema: &Schema) -> Self {
        let mut leaves = Vec::new();
        for field in schema.fields() {
            name_leaves(field, field.name().clone(), &mut leaves);
        }
        Self { leaves }
    }

    /// Adds those of a batch of that schema.
    pub fn observe(&mut self, batch: &RecordBatch) {
        let mut leaves = self.leaves.iter_mut();
        for column in batch.columns() {
            observe(column, None, &mut leaves);
        }
    }

    /// Those of all batches: so many rows, in an object of so many bytes.
    pub fn finish(self, rows: u64, encoded_bytes: u64) -> PartStats {
        PartStats { rows, encoded_bytes, columns: finished(self.leaves) }
    }
}

/// Those of one value, an array of one row, in a column of this path.
pub(super) fn of_value(path: &str, value: &ArrayRef) -> Vec<ColumnStats> {
    let mut leaves = Vec::new();
    name_leaves(&Field::new("", value.data_type().clone(), true), path.to_owned(), &mut leaves);
    observe(value, None, &mut leaves.iter_mut());
    finished(leaves)
}

/// The paths of a column, which is called by its own path, and of those within.
pub(super) fn leaf_paths(column: &Field) -> Vec<String> {
    let mut leaves = Vec::new();
    name_leaves(column, column.name().clone(), &mut leaves);
    leaves.into_iter().map(|leaf| leaf.path).collect()
}

fn finished(leaves: Vec<Leaf>) -> Vec<ColumnStats> {
    let finished = leaves.into_iter().map(|leaf| {
        let max = match leaf.max {
            Max::Known(max) => Some(max),
            Max::None | Max::Unbounded => None,
        };
        ColumnStats { path: leaf.path, null_count: leaf.null_count, min: leaf.min, max }
    });
    finished.collect()
}

/// The children of a struct with their paths: an option's child has the path of the option.
fn name_leaves(field: &Field, path: String, leaves: &mut Vec<Leaf>) {
    match field.data_type() {
        DataType::Struct(children) if is_option(children) => {
            name_leaves(&children[0], path, leaves);
        }
        DataType::Struct(children) => {
            for child in children {
                name_leaves(child, format!("{path}.{}", child.name()), leaves);
            }
        }
        _ => leaves.push(Leaf { path, null_count: 0, min: None, max: Max::None }),
    }
}

/// Whether these are an option's, and not those of a derived struct whose only field has that name: such a field has an id.
fn is_option(children: &Fields) -> bool {
    matches!(&children[..], [some] if some.name() == "some" && some.metadata().is_empty())
}

/// Visits the leaves of an array in the same order. Values outside `present` are placeholders.
fn observe<'a>(array: &dyn Array, present: Option<&NullBuffer>, leaves: &mut impl Iterator<Item = &'a mut Leaf>) {
    if let Some(array) = array.as_struct_opt() {
        let present = NullBuffer::union(present, array.nulls());
        for child in array.columns() {
            observe(child, present.as_ref(), leaves);
        }
    } else if let Some(leaf) = leaves.next() {
        let present = NullBuffer::union(present, array.nulls());
        leaf.observe(array, present.as_ref());
    }
}

impl Leaf {
    fn observe(&mut self, array: &dyn Array, present: Option<&NullBuffer>) {
        self.null_count += present.map_or(0, |present| present.null_count() as u64);
        match array.data_type() {
            DataType::Boolean => {
                let array = array.as_boolean();
                let bounds = bounds(array.len(), present, |index| array.value(index));
                self.include(bounds, StatValue::Bool, |max| Some(StatValue::Bool(max)));
            }
            DataType::Int8 => self.observe_integers::<Int8Type>(array, present),
            DataType::Int16 => self.observe_integers::<Int16Type>(array, present),
            DataType::Int32 => self.observe_integers::<Int32Type>(array, present),
            DataType::Int64 => self.observe_integers::<Int64Type>(array, present),
            DataType::UInt8 => self.observe_integers::<UInt8Type>(array, present),
            DataType::UInt16 => self.observe_integers::<UInt16Type>(array, present),
            DataType::UInt32 => self.observe_integers::<UInt32Type>(array, present),
            DataType::UInt64 => self.observe_integers::<UInt64Type>(array, present),
            DataType::Date32 => self.observe_integers::<Date32Type>(array, present),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.observe_integers::<TimestampMicrosecondType>(array, present);
            }
            DataType::Decimal128(..) => self.observe_integers::<Decimal128Type>(array, present),
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                let bounds = bounds(array.len(), present, |index| array.value(index));
                let max = |max: &str| value::utf8_upper(max).map(StatValue::Utf8);
                self.include(bounds, |min| StatValue::Utf8(value::utf8_lower(min)), max);
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                self.observe_bytes(bounds(array.len(), present, |index| array.value(index)));
            }
            // Eight bytes are a word whose bytes are not in the order of its values.
            DataType::FixedSizeBinary(16) => {
                let array = array.as_fixed_size_binary();
                self.observe_bytes(bounds(array.len(), present, |index| array.value(index)));
            }
            // Unknown, also of floating-point numbers, which have no kind of bound, and of what is in a list.
            _ => {}
        }
    }

    fn observe_integers<P: ArrowPrimitiveType<Native: Into<i128>>>(
        &mut self,
        array: &dyn Array,
        present: Option<&NullBuffer>,
    ) {
        let values = array.as_primitive::<P>().values();
        let bounds = bounds(values.len(), present, |index| values[index].into());
        self.include(bounds, StatValue::Int, |max| Some(StatValue::Int(max)));
    }

    fn observe_bytes(&mut self, bounds: Option<(&[u8], &[u8])>) {
        let max = |max: &[u8]| value::bytes_upper(max).map(StatValue::Bytes);
        self.include(bounds, |min| StatValue::Bytes(value::bytes_lower(min)), max);
    }

    /// Widens the bounds by the smallest and the largest value of a batch.
    fn include<V>(
        &mut self,
        bounds: Option<(V, V)>,
        lower: impl FnOnce(V) -> StatValue,
        upper: impl FnOnce(V) -> Option<StatValue>,
    ) {
        let Some((min, max)) = bounds else {
            return;
        };
        let min = lower(min);
        self.min = Some(match self.min.take() {
            Some(other) => other.min(min),
            None => min,
        });
        self.max = match (std::mem::replace(&mut self.max, Max::Unbounded), upper(max)) {
            (Max::None, Some(max)) => Max::Known(max),
            (Max::Known(other), Some(max)) => Max::Known(other.max(max)),
            (Max::Unbounded, _) | (_, None) => Max::Unbounded,
        };
    }
}

fn bounds<V: Ord + Copy>(len: usize, present: Option<&NullBuffer>, value: impl Fn(usize) -> V) -> Option<(V, V)> {
    let is_present = |index: &usize| present.is_none_or(|present| present.is_valid(*index));
    let widen = |bounds: Option<(V, V)>, index| {
        let value = value(index);
        Some(bounds.map_or((value, value), |(min, max)| if value < min { (value, max) } else { (min, max.max(value)) }))
    };
    (0..len).filter(is_present).fold(None, widen)
}
