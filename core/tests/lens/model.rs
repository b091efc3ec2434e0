//! Values of any shape, to arrays and back, and what a safe change makes of them: slowly, and without a lens.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, ListArray, NullArray,
    PrimitiveArray, RecordBatch, StringArray, StructArray, UInt8Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use timely_persist_types::codec::{Constant, FIELD_ID, FieldShape, Leaf, Shape};

/// In the order that codecs have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Unit,
    Bool(bool),
    Unsigned(u128),
    Signed(i128),
    Float(Float),
    Text(String),
    Bytes(Vec<u8>),
    Option(Option<Box<Value>>),
    /// Of a tuple or a struct.
    Parts(Vec<Value>),
    List(Vec<Value>),
    Variant(usize, Vec<Value>),
}

#[derive(Clone, Copy, Debug)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A type that only its own codec knows, and no serde type.
pub const OWN: &str = "mine";

/// The array of the rows; what is `None` is a placeholder, and as unlike a value as it may be.
pub fn encode(shape: &Shape, rows: &[Option<&Value>]) -> ArrayRef {
    macro_rules! numbers {
        ($arrow:ident $native:ident $kind:ident) => {{
            let number = |row: &Option<&Value>| match row {
                Some(Value::$kind(number)) => $native::try_from(*number).unwrap(),
                None => $native::MAX,
                other => panic!("{other:?} in a column of {shape}"),
            };
            Arc::new(PrimitiveArray::<$arrow>::from_iter_values(rows.iter().map(number)))
        }};
    }
    let fixed = |values: Vec<[u8; 16]>| match values.is_empty() {
        true => FixedSizeBinaryArray::try_new(16, arrow_buffer::Buffer::from_vec(Vec::<u8>::new()), None).unwrap(),
        false => FixedSizeBinaryArray::try_from_iter(values.iter()).unwrap(),
    };
    match shape {
        Shape::Leaf(Leaf::Unit) => Arc::new(NullArray::new(rows.len())),
        Shape::Leaf(Leaf::Bool) => {
            let values = rows.iter().map(|row| matches!(row, Some(Value::Bool(true)) | None));
            Arc::new(BooleanArray::from(values.collect::<Vec<_>>()))
        }
        Shape::Leaf(Leaf::Unsigned(8)) => numbers!(UInt8Type u8 Unsigned),
        Shape::Leaf(Leaf::Unsigned(16)) => numbers!(UInt16Type u16 Unsigned),
        Shape::Leaf(Leaf::Unsigned(32)) => numbers!(UInt32Type u32 Unsigned),
        Shape::Leaf(Leaf::Unsigned(64)) => numbers!(UInt64Type u64 Unsigned),
        Shape::Leaf(Leaf::Signed(8)) => numbers!(Int8Type i8 Signed),
        Shape::Leaf(Leaf::Signed(16)) => numbers!(Int16Type i16 Signed),
        Shape::Leaf(Leaf::Signed(32)) => numbers!(Int32Type i32 Signed),
        Shape::Leaf(Leaf::Signed(64)) => numbers!(Int64Type i64 Signed),
        Shape::Leaf(Leaf::Unsigned(_) | Leaf::Signed(_)) => {
            let bytes = |row: &Option<&Value>| match row {
                Some(Value::Unsigned(number)) => number.to_be_bytes(),
                Some(Value::Signed(number)) => ((*number as u128) ^ (1 << 127)).to_be_bytes(),
                _ => [0xff; 16],
            };
            Arc::new(fixed(rows.iter().map(bytes).collect()))
        }
        Shape::Leaf(Leaf::Float(bits)) => {
            let float =
                |row: &Option<&Value>| if let Some(Value::Float(Float(f))) = row { *f } else { f64::MIN_POSITIVE };
            match bits {
                32 => Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| float(row) as f32))),
                _ => Arc::new(Float64Array::from_iter_values(rows.iter().map(float))),
            }
        }
        Shape::Leaf(Leaf::Text) => {
            let text =
                |row: &Option<&Value>| if let Some(Value::Text(t)) = row { t.clone() } else { "junk".to_owned() };
            Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
        }
        Shape::Leaf(Leaf::Bytes) | Shape::Opaque(_) => {
            let bytes =
                |row: &Option<&Value>| if let Some(Value::Bytes(bytes)) = row { bytes.clone() } else { vec![9] };
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(bytes)))
        }
        Shape::Leaf(Leaf::Uuid) => {
            let bytes = |row: &Option<&Value>| {
                if let Some(Value::Bytes(bytes)) = row { bytes.clone().try_into().unwrap() } else { [7; 16] }
            };
            Arc::new(fixed(rows.iter().map(bytes).collect()))
        }
        Shape::Leaf(other) => panic!("no rows of {other} here"),
        Shape::Option(some) => {
            let inner = |row: &Option<&'_ Value>| match row {
                Some(Value::Option(some)) => some.is_some(),
                _ => false,
            };
            let present: Vec<_> = rows.iter().map(inner).collect();
            let rows: Vec<_> = rows
                .iter()
                .map(|row| if let Some(Value::Option(some)) = row { some.as_deref() } else { None })
                .collect();
            structure(vec![column("some", None, some, &rows)], Some(NullBuffer::from(present)), rows.len())
        }
        Shape::Tuple(shapes) => {
            let column = |(index, shape): (usize, &Shape)| column(&index.to_string(), None, shape, &parts(rows, index));
            structure(shapes.iter().enumerate().map(column).collect(), None, rows.len())
        }
        Shape::Struct(of) => fields(&of.fields, rows, None),
        Shape::List(value) => {
            let lists = rows.iter().map(|row| if let Some(Value::List(values)) = row { &values[..] } else { &[] });
            let values: Vec<_> = lists.clone().flatten().map(Some).collect();
            let (field, values) = column("item", None, value, &values);
            let offsets = OffsetBuffer::from_lengths(lists.map(<[_]>::len));
            Arc::new(ListArray::new(Arc::new(field), offsets, values, None))
        }
        Shape::Enum(of) => {
            let tag = |row: &Option<&Value>| if let Some(Value::Variant(tag, _)) = row { *tag as u8 } else { 200 };
            let tags: ArrayRef = Arc::new(UInt8Array::from_iter_values(rows.iter().map(tag)));
            if of.variants.iter().all(|variant| variant.fields.is_empty()) {
                return tags;
            }
            let mut columns = vec![(Field::new("tag", DataType::UInt8, false), tags)];
            for (index, variant) in of.variants.iter().enumerate().filter(|(_, variant)| !variant.fields.is_empty()) {
                let is = |row: &Option<&Value>| matches!(row, Some(Value::Variant(tag, _)) if *tag == index);
                let data: Vec<_> = rows.iter().map(|row| row.filter(|_| is(row))).collect();
                let nulls = NullBuffer::from(rows.iter().map(is).collect::<Vec<_>>());
                let array = fields(&variant.fields, &data, Some(nulls));
                let field = Field::new(&variant.name, array.data_type().clone(), true);
                columns.push((field.with_metadata([(FIELD_ID.to_owned(), variant.id.to_string())]), array));
            }
            structure(columns, None, rows.len())
        }
    }
}

fn parts<'a>(rows: &[Option<&'a Value>], index: usize) -> Vec<Option<&'a Value>> {
    let part = |row: &Option<&'a Value>| match row {
        Some(Value::Parts(parts) | Value::Variant(_, parts)) => Some(&parts[index]),
        _ => None,
    };
    rows.iter().map(part).collect()
}

fn column(name: &str, id: Option<u32>, shape: &Shape, rows: &[Option<&Value>]) -> (Field, ArrayRef) {
    let array = encode(shape, rows);
    let nullable = matches!(shape, Shape::Leaf(Leaf::Unit) | Shape::Option(_));
    let field = Field::new(name, array.data_type().clone(), nullable);
    let metadata = id.map(|id| (FIELD_ID.to_owned(), id.to_string()));
    (field.with_metadata(metadata.into_iter().collect::<std::collections::HashMap<_, _>>()), array)
}

fn fields(fields: &[FieldShape], rows: &[Option<&Value>], nulls: Option<NullBuffer>) -> ArrayRef {
    let columns = fields.iter().enumerate();
    let columns =
        columns.map(|(i, field)| column(&field.name, Some(field.id), &field.shape, &parts(rows, i))).collect();
    structure(columns, nulls, rows.len())
}

fn structure(columns: Vec<(Field, ArrayRef)>, nulls: Option<NullBuffer>, rows: usize) -> ArrayRef {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    Arc::new(StructArray::try_new_with_length(fields.into(), columns, nulls, rows).unwrap())
}

/// The rows of an array, as strictly as a codec: nulls only where they may be, tags that there are.
pub fn decode(shape: &Shape, array: &dyn Array, present: Option<&NullBuffer>) -> Vec<Option<Value>> {
    if let Some(data_type) = shape.data_type() {
        assert_eq!(array.data_type(), &data_type);
    }
    let is_present = |row: usize| present.is_none_or(|present| present.is_valid(row));
    let rows = |value: &dyn Fn(usize) -> Value| -> Vec<_> {
        (0..array.len()).map(|row| is_present(row).then(|| value(row))).collect()
    };
    if !matches!(shape, Shape::Option(_)) {
        assert_eq!(array.null_count(), 0, "nulls in a column of {shape}");
    }
    macro_rules! numbers {
        ($arrow:ident $kind:ident) => {
            rows(&|row| Value::$kind(array.as_primitive::<$arrow>().value(row).into()))
        };
    }
    match shape {
        Shape::Leaf(Leaf::Unit) => rows(&|_| Value::Unit),
        Shape::Leaf(Leaf::Bool) => rows(&|row| Value::Bool(array.as_boolean().value(row))),
        Shape::Leaf(Leaf::Unsigned(8)) => numbers!(UInt8Type Unsigned),
        Shape::Leaf(Leaf::Unsigned(16)) => numbers!(UInt16Type Unsigned),
        Shape::Leaf(Leaf::Unsigned(32)) => numbers!(UInt32Type Unsigned),
        Shape::Leaf(Leaf::Unsigned(64)) => numbers!(UInt64Type Unsigned),
        Shape::Leaf(Leaf::Signed(8)) => numbers!(Int8Type Signed),
        Shape::Leaf(Leaf::Signed(16)) => numbers!(Int16Type Signed),
        Shape::Leaf(Leaf::Signed(32)) => numbers!(Int32Type Signed),
        Shape::Leaf(Leaf::Signed(64)) => numbers!(Int64Type Signed),
        Shape::Leaf(Leaf::Unsigned(_) | Leaf::Signed(_) | Leaf::Uuid) => {
            let bytes = |row| <[u8; 16]>::try_from(array.as_fixed_size_binary().value(row)).unwrap();
            rows(&|row| match shape {
                Shape::Leaf(Leaf::Unsigned(_)) => Value::Unsigned(u128::from_be_bytes(bytes(row))),
                Shape::Leaf(Leaf::Signed(_)) => Value::Signed((u128::from_be_bytes(bytes(row)) ^ (1 << 127)) as i128),
                _ => Value::Bytes(bytes(row).to_vec()),
            })
        }
        Shape::Leaf(Leaf::Float(32)) => {
            rows(&|row| Value::Float(Float(array.as_primitive::<Float32Type>().value(row).into())))
        }
        Shape::Leaf(Leaf::Float(_)) => rows(&|row| Value::Float(Float(array.as_primitive::<Float64Type>().value(row)))),
        Shape::Leaf(Leaf::Text) => rows(&|row| Value::Text(array.as_string::<i32>().value(row).to_owned())),
        Shape::Leaf(Leaf::Bytes) | Shape::Opaque(_) => {
            rows(&|row| Value::Bytes(array.as_binary::<i32>().value(row).to_vec()))
        }
        Shape::Leaf(other) => panic!("no rows of {other} here"),
        Shape::Option(some) => {
            let present = NullBuffer::union(present, array.nulls());
            let values = decode(some, array.as_struct().column(0), present.as_ref());
            rows(&|row| Value::Option(values[row].clone().map(Box::new)))
        }
        Shape::Tuple(shapes) => {
            let columns: Vec<_> = shapes.iter().collect();
            let parts = decode_parts(&columns, array.as_struct(), present);
            rows(&|row| Value::Parts(parts(row)))
        }
        Shape::Struct(of) => {
            let columns: Vec<_> = of.fields.iter().map(|field| &field.shape).collect();
            let parts = decode_parts(&columns, array.as_struct(), present);
            rows(&|row| Value::Parts(parts(row)))
        }
        Shape::List(value) => {
            let array = array.as_list::<i32>();
            let values = decode(value, array.values(), None);
            let list = |row: usize| values[array.offsets()[row] as usize..array.offsets()[row + 1] as usize].to_vec();
            rows(&|row| Value::List(list(row).into_iter().map(Option::unwrap).collect()))
        }
        Shape::Enum(of) => {
            let with_data: Vec<_> = of.variants.iter().enumerate().filter(|(_, v)| !v.fields.is_empty()).collect();
            let tags = if with_data.is_empty() { array } else { &**array.as_struct().column(0) };
            let tags = tags.as_primitive::<UInt8Type>();
            assert!((0..array.len()).all(|row| !is_present(row) || usize::from(tags.value(row)) < of.variants.len()));
            let mut values = rows(&|row| Value::Variant(tags.value(row).into(), Vec::new()));
            for (column, (tag, variant)) in with_data.into_iter().enumerate() {
                let data = array.as_struct().column(column + 1).as_struct();
                // A variant has data exactly where the tag says so.
                let is: Vec<_> = tags.values().iter().map(|known| usize::from(*known) == tag).collect();
                assert!((0..array.len()).all(|row| !is_present(row) || data.is_valid(row) == is[row]), "{array:?}");
                let shapes: Vec<_> = variant.fields.iter().map(|field| &field.shape).collect();
                let is = NullBuffer::union(present, Some(&NullBuffer::from(is)));
                let parts = decode_parts(&shapes, data, is.as_ref());
                for (row, value) in values.iter_mut().enumerate() {
                    if let Some(Value::Variant(known, data)) = value
                        && *known == tag
                    {
                        *data = parts(row);
                    }
                }
            }
            values
        }
    }
}

fn decode_parts(shapes: &[&Shape], array: &StructArray, present: Option<&NullBuffer>) -> impl Fn(usize) -> Vec<Value> {
    assert_eq!(shapes.len(), array.num_columns());
    let columns: Vec<_> =
        shapes.iter().zip(array.columns()).map(|(shape, column)| decode(shape, column, present)).collect();
    move |row| columns.iter().map(|column| column[row].clone().unwrap()).collect()
}

/// All rows of an array in which none is a placeholder.
pub fn rows(shape: &Shape, array: &dyn Array) -> Vec<Value> {
    decode(shape, array, None).into_iter().map(Option::unwrap).collect()
}

pub fn column_of(shape: &Shape, rows: &[Value]) -> ArrayRef {
    encode(shape, &rows.iter().map(Some).collect::<Vec<_>>())
}

/// As `Constant::of` makes it of a codec's value.
pub fn constant(shape: &Shape, value: &Value) -> Constant {
    let (field, array) = column("value", None, shape, &[Some(value)]);
    let schema = Arc::new(Schema::new(vec![field]));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&RecordBatch::try_new(schema, vec![array]).unwrap()).unwrap();
    Constant { digest: format!("{value:?}").into_bytes(), column: writer.into_inner().unwrap() }
}

pub fn default_of(field: &FieldShape) -> Value {
    let mut reader = StreamReader::try_new(&field.default.as_ref().unwrap().column[..], None).unwrap();
    rows(&field.shape, reader.next().unwrap().unwrap().column(0)).remove(0)
}

/// What a safe change makes of a value.
pub fn upgrade(old: &Shape, new: &Shape, value: &Value) -> Value {
    let all = |fields: (&[FieldShape], &[FieldShape]), values: &[Value]| -> Vec<Value> {
        let field = |field: &FieldShape| match fields.0.iter().position(|known| known.id == field.id) {
            Some(index) => upgrade(&fields.0[index].shape, &field.shape, &values[index]),
            None => default_of(field),
        };
        fields.1.iter().map(field).collect()
    };
    match (old, new, value) {
        (Shape::Option(old), Shape::Option(new), Value::Option(value)) => {
            Value::Option(value.as_ref().map(|value| Box::new(upgrade(old, new, value))))
        }
        (old, Shape::Option(new), value) => Value::Option(Some(Box::new(upgrade(old, new, value)))),
        (Shape::Leaf(_), Shape::Leaf(Leaf::Signed(_)), Value::Unsigned(number)) => {
            Value::Signed((*number).try_into().unwrap())
        }
        (Shape::Tuple(old), Shape::Tuple(new), Value::Parts(values)) => {
            Value::Parts(old.iter().zip(new).zip(values).map(|((old, new), value)| upgrade(old, new, value)).collect())
        }
        (Shape::List(old), Shape::List(new), Value::List(values)) => {
            Value::List(values.iter().map(|value| upgrade(old, new, value)).collect())
        }
        (Shape::Struct(old), Shape::Struct(new), Value::Parts(values)) => {
            Value::Parts(all((&old.fields, &new.fields), values))
        }
        (Shape::Enum(old), Shape::Enum(new), Value::Variant(tag, values)) => {
            Value::Variant(*tag, all((&old.variants[*tag].fields, &new.variants[*tag].fields), values))
        }
        (_, _, value) => value.clone(),
    }
}
