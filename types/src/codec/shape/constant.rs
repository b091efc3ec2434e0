//! A value that is part of a shape: to Arrow's bytes and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_ipc::{Message, MessageHeader, root_as_message};
use arrow_schema::{ArrowError, DataType, FieldRef, Schema};

use super::super::{Builder, Codec, DecodeError, field};
use super::{CONSTANT_COLUMN_BYTES_MAX, Constant, Shape};

/// What the column is called; nobody asks.
const COLUMN: &str = "value";

/// What begins a message, by Arrow's format, and its length behind it, four bytes each.
const CONTINUATION_MARKER: [u8; 4] = [0xff; 4];

impl Constant {
    /// The constant of a value. Of one that its codec cannot store, a constant without a column, with which no shape is
    /// well-formed ([`Shape::check`](super::Shape::check)).
    pub fn of<C: Codec>(value: &C) -> Self {
        let mut digest = Vec::new();
        C::digest_bytes(value.as_ref(), &mut digest);
        Self { digest, column: column(value).unwrap_or_default() }
    }

    /// The value, which must be one of the shape, as an array of one row. An error for bytes that are none: they may come from
    /// storage.
    pub fn array(&self, shape: &Shape) -> Result<ArrayRef, DecodeError> {
        self.decode(shape.data_type().as_ref()).map(|(array, _)| array)
    }

    /// The array of one row, and the field of its column, which is of this type if that is known. The bytes may come from
    /// storage.
    pub(in super::super) fn decode(&self, expected: Option<&DataType>) -> Result<(ArrayRef, FieldRef), DecodeError> {
        let wrong = |why: &str| DecodeError(format!("a default that does not decode: {why}"));
        if self.column.len() > CONSTANT_COLUMN_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        check(&self.column, expected).map_err(|why| wrong(&why))?;
        // Arrow asserts what is left, such as buffers of whole values. A constant is decoded when a lens is made, not for each
        // block, so a panic may be caught here.
        let batch = catch_unwind(AssertUnwindSafe(|| read(&self.column)));
        let batch = batch.map_err(|_| wrong("Arrow panicked"))?.map_err(|error| wrong(&error.to_string()))?;
        match (batch.columns(), &batch.schema().fields()[..]) {
            ([column], [field]) if column.len() == 1 => Ok((Arc::clone(column), Arc::clone(field))),
            _ => Err(wrong("it is not one value")),
        }
    }
}

fn column<C: Codec>(value: &C) -> Option<Vec<u8>> {
    C::check(value.as_ref()).ok()?;
    let mut builder = C::Builder::default();
    builder.push(value.as_ref());
    let schema = Arc::new(Schema::new(vec![field::<C>(COLUMN)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![builder.finish().ok()?]).ok()?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).ok()?;
    writer.write(&batch).ok()?;
    writer.finish().ok()?;
    writer.into_inner().ok()
}

fn read(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let batch = StreamDecoder::new().decode(&mut Buffer::from(bytes))?;
    batch.ok_or_else(|| ArrowError::IpcError("no rows".to_owned()))
}

/// Whether what Arrow's reader takes for granted is so: it slices by the offsets of a message and allocates by its lengths.
fn check(bytes: &[u8], expected: Option<&DataType>) -> Result<(), String> {
    let mut rest = bytes;
    while let Some((message, body, behind)) = message(rest).ok_or("its messages are malformed")? {
        rest = behind;
        match message.header_type() {
            MessageHeader::Schema => {
                let schema = message.header_as_schema().ok_or("its messages are malformed")?;
                let schema = try_fb_to_schema(schema).map_err(|error| error.to_string())?;
                let types = schema.fields().iter().map(|field| field.data_type());
                if let Some(expected) = expected.filter(|expected| types.ne([*expected])) {
                    return Err(format!("it is not of {expected}"));
                }
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch();
                batch.and_then(|batch| check_batch(&batch, body)).ok_or("its rows are malformed")?;
            }
            _ => return Err("its messages are of other kinds".to_owned()),
        }
    }
    Ok(())
}

/// The message that bytes begin with, its body, and what is behind: `Some(None)` where they end. `None` if it is none.
fn message(bytes: &[u8]) -> Option<Option<(Message<'_>, &[u8], &[u8])>> {
    let Some((marker, rest)) = bytes.split_first_chunk::<4>() else {
        return Some(None);
    };
    let (length, rest) = rest.split_first_chunk::<4>()?;
    match usize::try_from(i32::from_le_bytes(*length)).ok()? {
        0 => Some(None),
        length if *marker == CONTINUATION_MARKER => {
            let (message, rest) = rest.split_at_checked(length)?;
            let message = root_as_message(message).ok()?;
            let (body, rest) = rest.split_at_checked(usize::try_from(message.bodyLength()).ok()?)?;
            Some(Some((message, body, rest)))
        }
        _ => None,
    }
}

fn check_batch(batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Option<()> {
    if batch.length() != 1 || batch.compression().is_some() {
        return None;
    }
    // A column has a value; one within may have more (a list's), but few without bytes.
    let length_max = (body.len() as i64).max(1) * 8;
    let length = |node: &arrow_ipc::FieldNode| (0..=length_max).contains(&node.length());
    let nulls = |node: &arrow_ipc::FieldNode| (0..=node.length()).contains(&node.null_count());
    let within = |buffer: &arrow_ipc::Buffer| {
        let (start, len) = (usize::try_from(buffer.offset()).ok()?, usize::try_from(buffer.length()).ok()?);
        body.get(start..start.checked_add(len)?).map(|_| ())
    };
    let nodes = batch.nodes().into_iter().flatten().all(|node| length(node) && nulls(node));
    let buffers = batch.buffers().into_iter().flatten().all(|buffer| within(buffer).is_some());
    (nodes && buffers).then_some(())
}
